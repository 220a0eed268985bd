//! Requests of mail clients: what they say of themselves, and how they are asked.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use host::contract::changes::Account;
use host::contract::requests::{
    self, Access, AccountName, Claims, Credential, Denial, Grant, RequestHead, Resolution, Span, Standing,
};
use host::tenant;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answers::{Asked, Callbacks, HangUp};
use crate::border::{Failure, Status, blocking_call, call, list, optional_text, place, record, text};
use crate::registry::{self, Object};

/// A header.
#[repr(C)]
pub struct Header {
    /// Its name; in small letters where it is given to a plugin.
    pub name: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// What a user may do.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Its own account, and those that it was given rights to.
    User = 0,
    /// Some accounts of the tenant.
    DelegatedAdministrator = 1,
    /// Every account of the tenant.
    Administrator = 2,
}

/// A login that holds: the caller of this library has verified it.
#[repr(C)]
pub struct Login {
    /// The account's id.
    pub id: *const c_char,
    /// Its main address.
    pub name: *const c_char,
    /// One of `postbell_rank`.
    pub rank: i32,
    /// Names the login without being a secret; null: the account's id.
    pub visit: *const c_char,
    /// What the plugin writes where the client expects a token, to be replaced while sending; null: none.
    pub token_placeholder: *const c_char,
    /// How long the token lives, in milliseconds; 0: there is none.
    pub token_lifetime_ms: u64,
}

/// A request. Null and zero where there is nothing to say.
#[repr(C)]
pub struct Request {
    /// In capitals.
    pub method: *const c_char,
    /// Without the query.
    pub path: *const c_char,
    /// What follows the `?`; null: nothing.
    pub query: *const c_char,
    /// The header Content-Type; null: none.
    pub content_type: *const c_char,
    /// Those that the plugin's route asks for.
    pub headers: *const Header,
    /// How many.
    pub headers_count: usize,
    /// The body as it came: secrets in it are overwritten before the plugin's state sees them.
    pub body: *const u8,
    /// Its length.
    pub body_length: usize,
    /// Whether the client came over TLS.
    pub secure: bool,
    /// Who asks; null: nobody that is known.
    pub login: *const Login,
    /// Without a login: why. 0 missing, 1 malformed, 2 unknown login, 3 wrong secret, 4 unknown token, 5 expired, 6 inactive,
    /// 7 not permitted, 8 throttled, 9 unavailable.
    pub denial: i32,
    /// How the caller stands to the accounts that the request names, as JSON; null: it may see none of them.
    /// `{"act-as": R, "accounts": [R, ...]}`, in the order in which postbell_identify() names them, each R
    /// `{"id": "...", "name": "...", "standing": "itself"}`; standing: itself, permitted, forbidden, unknown, unavailable,
    /// elsewhere.
    pub resolutions: *const c_char,
}

/// What a request says of itself, as JSON, which is to be freed by postbell_string_free():
/// `{"credential": ..., "wants-token": ..., "ends-login": ..., "act-as": ..., "accounts": [...], "secrets": [...]}`.
/// A credential is null, `{"password": {"login", "secret", "administrator"}}`, `{"token": "..."}` or `{"preauth": {"account",
/// "timestamp", "expires", "digest", "administrator"}}`; an account `{"name": "..."}`, `{"id": "..."}`, `{"address": "..."}`,
/// `{"principal-name": "..."}` or `{"sid": "..."}`; a secret `{"start", "length"}`.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_identify(tenant: u64, request: *const Request, claims: *mut *mut c_char) -> Status {
    blocking_call(|| {
        let claims = place(claims, "claims")?;
        *claims = std::ptr::null_mut();
        let (open, request) = (registry::tenant(tenant)?, record(request, "request")?);
        let (head, body) = (head(request)?, body(request)?);
        let identified = pollster::block_on(open.tenant.identify(&head, &body));
        let identified = identified.map_err(|error| Failure::new(Status::Fault, error))?;
        *claims = give(&json_of(&identified).to_string());
        Ok(())
    })
}

/// Hands a request to the plugin: whatever is called next comes after it. The answer comes by `callbacks`; `answer` is
/// written before the first of them is called.
///
/// # Safety
///
/// Pointers are valid or null; the callbacks may be called until `on_end` returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_request(
    tenant: u64,
    request: *const Request,
    callbacks: *const Callbacks,
    answer: *mut u64,
) -> Status {
    blocking_call(|| {
        let answer = place(answer, "answer")?;
        *answer = 0;
        let (open, request) = (registry::tenant(tenant)?, record(request, "request")?);
        let callbacks = *record(callbacks, "callbacks")?;
        let resolutions = resolutions(request)?;
        let request = tenant::Request::new(head(request)?, body(request)?, access(request)?);
        let asked = Asked::hand_over(open.tenant, request, resolutions, callbacks);
        let (hang_up, hung_up) = HangUp::new();
        let handle = registry::add(Object::Answer(hang_up));
        *answer = handle;
        open.worker.run(asked.read(handle, hung_up)).inspect_err(|_| drop(registry::remove(handle)))
    })
}

/// Frees a text that this library gave. Null is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_string_free(string: *mut c_char) -> Status {
    call(|| {
        if string.is_null() || given().remove(&(string as usize)).is_some() {
            return Ok(());
        }
        Err(Failure::new(Status::Handle, "this text is not of this library, or was freed"))
    })
}

/// Texts that were given and not freed, by their address.
fn given() -> MutexGuard<'static, BTreeMap<usize, CString>> {
    static GIVEN: Mutex<BTreeMap<usize, CString>> = Mutex::new(BTreeMap::new());
    GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn give(text: &str) -> *mut c_char {
    let text = CString::new(text).unwrap_or_default();
    let pointer = text.as_ptr().cast_mut();
    given().insert(pointer as usize, text);
    pointer
}

fn head(request: &Request) -> Result<RequestHead, Failure> {
    let or_empty = |pointer, name| Ok::<_, Failure>(optional_text(pointer, name)?.unwrap_or_default().to_owned());
    let header = |header: &Header| {
        Ok((text(header.name, "name")?.to_ascii_lowercase(), text(header.value, "value")?.to_owned()))
    };
    let headers = list(request.headers, request.headers_count, "headers")?.iter().map(header);
    Ok(RequestHead {
        method: text(request.method, "method")?.to_owned(),
        path: text(request.path, "path")?.to_owned(),
        query: or_empty(request.query, "query")?,
        content_type: or_empty(request.content_type, "content_type")?,
        headers: headers.collect::<Result<_, Failure>>()?,
        secure: request.secure,
    })
}

fn body(request: &Request) -> Result<Bytes, Failure> {
    Ok(Bytes::copy_from_slice(list(request.body, request.body_length, "body")?))
}

fn access(request: &Request) -> Result<Access, Failure> {
    const DENIALS: [Denial; 10] = [
        Denial::Missing,
        Denial::Malformed,
        Denial::UnknownLogin,
        Denial::WrongSecret,
        Denial::UnknownToken,
        Denial::Expired,
        Denial::Inactive,
        Denial::NotPermitted,
        Denial::Throttled,
        Denial::Unavailable,
    ];
    if request.login.is_null() {
        let denial = usize::try_from(request.denial).ok().and_then(|number| DENIALS.get(number));
        let none = || Failure::new(Status::Value, format!("there is no denial {}", request.denial));
        return Ok(Access::Denied(*denial.ok_or_else(none)?));
    }
    let login = record(request.login, "login")?;
    let account = Account::new(text(login.id, "id")?, text(login.name, "name")?);
    let visit = optional_text(login.visit, "visit")?.unwrap_or(&account.id).to_owned();
    let token_placeholder = optional_text(login.token_placeholder, "token_placeholder")?.map(str::to_owned);
    let (rank, token_lifetime_ms) = (rank(login.rank)?, login.token_lifetime_ms);
    Ok(Access::Granted(Grant { account, rank, visit, token_placeholder, token_lifetime_ms }))
}

fn rank(number: i32) -> Result<requests::Rank, Failure> {
    Ok(match number {
        0 => requests::Rank::User,
        1 => requests::Rank::DelegatedAdministrator,
        2 => requests::Rank::Administrator,
        _ => return Err(Failure::new(Status::Value, format!("there is no rank {number}"))),
    })
}

/// How the caller stands to the accounts that a request names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Resolutions {
    act_as: Option<Resolved>,
    accounts: Vec<Resolved>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolved {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    standing: Word,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Itself,
    Permitted,
    Forbidden,
    Unknown,
    Unavailable,
    Elsewhere,
}

impl Resolutions {
    /// One for each account that the claims name; those that were not given are unknown.
    pub fn of(self, claims: &Claims) -> (Option<Resolution>, Vec<Resolution>) {
        let unknown = || Resolution { account: None, standing: Standing::Unknown };
        let given = |resolved: Option<Resolved>| resolved.map_or_else(unknown, Resolved::resolution);
        let act_as = claims.act_as.as_ref().map(|_| given(self.act_as));
        let mut accounts = self.accounts.into_iter();
        (act_as, claims.accounts.iter().map(|_| given(accounts.next())).collect())
    }
}

impl Resolved {
    fn resolution(self) -> Resolution {
        let standing = match self.standing {
            Word::Itself => Standing::Itself,
            Word::Permitted => Standing::Permitted,
            Word::Forbidden => Standing::Forbidden,
            Word::Unknown => Standing::Unknown,
            Word::Unavailable => Standing::Unavailable,
            Word::Elsewhere => Standing::Elsewhere,
        };
        let known = !matches!(standing, Standing::Unknown);
        Resolution { account: known.then(|| Account::new(self.id, self.name)), standing }
    }
}

fn resolutions(request: &Request) -> Result<Resolutions, Failure> {
    match optional_text(request.resolutions, "resolutions")? {
        None => Ok(Resolutions::default()),
        Some(text) => serde_json::from_str(text).map_err(|error| Failure::new(Status::Json, error)),
    }
}

/// The body as it may be journaled. A span beyond it is the plugin's fault, and hides nothing.
pub fn without_secrets(body: &Bytes, secrets: &[Span]) -> Bytes {
    let mut bytes = body.to_vec();
    for Span { start, length } in secrets {
        let (start, length) = (*start as usize, *length as usize);
        if let Some(secret) = bytes.get_mut(start..).and_then(|rest| rest.get_mut(..length)) {
            secret.fill(b'*');
        }
    }
    bytes.into()
}

fn json_of(claims: &Claims) -> Value {
    let credential = claims.credential.as_ref().map(|credential| match credential {
        Credential::Password(password) => json!({"password": {
            "login": password.login, "secret": password.secret, "administrator": password.administrator,
        }}),
        Credential::Token(token) => json!({ "token": token }),
        Credential::Preauth(preauth) => json!({"preauth": {
            "account": name_of(&preauth.account), "timestamp": preauth.timestamp, "expires": preauth.expires,
            "digest": preauth.digest, "administrator": preauth.administrator,
        }}),
    });
    let secrets = claims.secrets.iter().map(|span| json!({"start": span.start, "length": span.length}));
    json!({
        "credential": credential,
        "wants-token": claims.wants_token,
        "ends-login": claims.ends_login,
        "act-as": claims.act_as.as_ref().map(name_of),
        "accounts": claims.accounts.iter().map(name_of).collect::<Vec<_>>(),
        "secrets": secrets.collect::<Vec<_>>(),
    })
}

fn name_of(name: &AccountName) -> Value {
    match name {
        AccountName::Name(name) => json!({ "name": name }),
        AccountName::Id(id) => json!({ "id": id }),
        AccountName::Address(address) => json!({ "address": address }),
        AccountName::PrincipalName(name) => json!({ "principal-name": name }),
        AccountName::Sid(sid) => json!({ "sid": sid }),
    }
}
