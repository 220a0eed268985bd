//! Logins of one's own: the plugin says where a request names its user, the embedder decides who that is, what may be done,
//! and which tokens hold. Passwords never reach the plugin's state.

use std::collections::BTreeMap;
use std::error::Error;

use bytes::Bytes;
use postbell::contract::changes::Account;
use postbell::contract::requests::{
    Access, AccountName, Claims, Credential, Denial, Grant, Password, RequestHead, Resolution, Span, Standing,
};
use postbell::tenant::{Body, Request, Tenant};
use postbell::{Host, HostOptions, TenantOptions};

/// The users, as the mail server knows them: passwords, and the tokens that were given.
pub struct Users {
    passwords: BTreeMap<String, String>,
    tokens: BTreeMap<String, String>,
}

impl Users {
    /// Users with these names and passwords.
    pub fn new(users: &[(&str, &str)]) -> Users {
        let passwords = users.iter().map(|(name, password)| ((*name).to_owned(), (*password).to_owned()));
        Users { passwords: passwords.collect(), tokens: BTreeMap::new() }
    }

    /// Answers a request: its status, and the text of its answer.
    pub async fn ask(
        &mut self,
        tenant: &Tenant,
        head: &RequestHead,
        body: &str,
    ) -> Result<(u16, String), Box<dyn Error>> {
        let body = Bytes::from(body.to_owned());
        let claims = tenant.identify(head, &body).await?;
        let user = self.verify(claims.credential.as_ref());
        let placeholder = "PLACEHOLDERxOFxAxTOKEN";
        let request = Request {
            head: head.clone(),
            body: without_secrets(&body, &claims),
            access: match &user {
                Ok(user) => granted(user, claims.wants_token.then_some(placeholder)),
                Err(denial) => Access::Denied(*denial),
            },
            act_as: claims.act_as.as_ref().map(|name| self.resolve(user.as_deref().ok(), name)),
            accounts: claims.accounts.iter().map(|name| self.resolve(user.as_deref().ok(), name)).collect(),
        };
        let answer = tenant.request(request).await?;
        let Body::Whole(bytes) = answer.body else { return Err("this example answers no streams".into()) };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Ok(user) = user else { return Ok((answer.status, text)) };
        // The plugin wrote the placeholder where its client looks for the token.
        let token = format!("token{}of{}", self.tokens.len(), user.len());
        if text.contains(placeholder) {
            self.tokens.insert(token.clone(), user);
        }
        Ok((answer.status, text.replace(placeholder, &token)))
    }

    fn verify(&self, credential: Option<&Credential>) -> Result<String, Denial> {
        match credential {
            None | Some(Credential::Preauth(_)) => Err(Denial::Missing),
            Some(Credential::Token(token)) => self.tokens.get(token).cloned().ok_or(Denial::UnknownToken),
            Some(Credential::Password(Password { login, secret, .. })) => match self.passwords.get(login) {
                Some(password) if password == secret => Ok(login.clone()),
                Some(_) => Err(Denial::WrongSecret),
                None => Err(Denial::UnknownLogin),
            },
        }
    }

    /// Everybody may see their own account, and nobody another's.
    fn resolve(&self, user: Option<&str>, named: &AccountName) -> Resolution {
        let known = self.passwords.keys().find(|name| is_named(name, named));
        let standing = match known {
            None => Standing::Unknown,
            Some(name) if Some(&**name) == user => Standing::Itself,
            Some(_) => Standing::Forbidden,
        };
        Resolution { account: known.map(|name| account(name)), standing }
    }
}

fn is_named(name: &str, named: &AccountName) -> bool {
    match named {
        AccountName::Id(id) => *id == account(name).id,
        AccountName::Name(given) | AccountName::Address(given) => given == name || *given == account(name).name,
        AccountName::PrincipalName(_) | AccountName::Sid(_) => false,
    }
}

fn account(user: &str) -> Account {
    Account::new(format!("id-{user}"), format!("{user}@example.org"))
}

fn granted(user: &str, placeholder: Option<&str>) -> Access {
    Access::Granted(Grant {
        token_placeholder: placeholder.map(str::to_owned),
        token_lifetime_ms: if placeholder.is_some() { 3_600_000 } else { 0 },
        ..Grant::to(account(user))
    })
}

/// The body as it may be journaled. A span beyond it would be the plugin's fault; it hides nothing then.
fn without_secrets(body: &Bytes, claims: &Claims) -> Bytes {
    let mut bytes = body.to_vec();
    for Span { start, length } in &claims.secrets {
        let (start, end) = (*start as usize, *start as usize + *length as usize);
        if let Some(secret) = bytes.get_mut(start..end) {
            secret.fill(b'*');
        }
    }
    bytes.into()
}

/// Logs alice in as a client of Zimbra does, and asks once more with the token that she got.
pub async fn run(host: &Host) -> Result<(u16, u16, u16), Box<dyn Error>> {
    let plugin = host.load(postbell::plugin::bundled())?;
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
    let mut users = Users::new(&[("alice", "correct horse"), ("bob", "battery staple")]);
    let head = RequestHead::new("POST", "/service/soap", "application/soap+xml");
    let login = |password: &str| {
        let login = format!("<account by=\"name\">alice</account><password>{password}</password>");
        envelope("", &format!("<AuthRequest xmlns=\"urn:zimbraAccount\">{login}</AuthRequest>"))
    };
    let (refused, _) = users.ask(&tenant, &head, &login("wrong horse")).await?;
    let (accepted, answer) = users.ask(&tenant, &head, &login("correct horse")).await?;
    let token = answer.split("authToken>").nth(1).and_then(|rest| rest.split("</").next()).ok_or("no token")?;
    let context = format!("<context xmlns=\"urn:zimbra\"><authToken>{token}</authToken></context>");
    let create = "<CreateWaitSetRequest xmlns=\"urn:zimbraMail\" defTypes=\"m\"><add><a id=\"id-alice\"/></add>\
         </CreateWaitSetRequest>";
    let (created, answer) = users.ask(&tenant, &head, &envelope(&context, create)).await?;
    println!("{answer}");
    tenant.close().await;
    Ok((refused, accepted, created))
}

fn envelope(header: &str, body: &str) -> String {
    format!(
        "<soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\"><soap:Header>{header}</soap:Header>\
         <soap:Body>{body}</soap:Body></soap:Envelope>"
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let (refused, accepted, created) = pollster::block_on(run(&Host::new(HostOptions::default())?))?;
    println!("wrong password: {refused}; right one: {accepted}; a WaitSet with the token: {created}");
    Ok(())
}
