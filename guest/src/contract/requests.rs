//! Interface `requests`: requests of clients, who they come from, and what became of their answers.

use super::{Account, RequestId};

/// A request without its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RequestHead {
    /// HTTP method.
    pub method: String,
    /// Path, without query.
    pub path: String,
    /// Query, without the question mark.
    pub query: String,
    /// Content-Type, as sent.
    pub content_type: String,
    /// The headers that the route asked for.
    pub headers: Vec<(String, String)>,
    /// Whether it came over TLS.
    pub secure: bool,
}

/// What a request says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Claims {
    /// The login that its body carries.
    pub credential: Option<Credential>,
    /// Whether the answer is to carry a token.
    pub wants_token: bool,
    /// Whom the caller wants to act as.
    pub act_as: Option<AccountName>,
    /// Other accounts that it names, in its order.
    pub accounts: Vec<AccountName>,
    /// Whether the caller logs out.
    pub ends_login: bool,
    /// Where in the body secrets stand, ascending.
    pub secrets: Vec<Span>,
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub length: u32,
}

/// How a request names an account.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum AccountName {
    Name(String),
    Id(String),
    Address(String),
    PrincipalName(String),
    Sid(String),
}

/// A login that travels in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Credential {
    /// Name and password.
    Password(Password),
    /// A token that the host once issued.
    Token(String),
    /// A keyed digest over account and time.
    Preauth(Preauth),
}

/// Name and password.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Password {
    pub login: String,
    pub secret: String,
    pub administrator: bool,
}

/// A keyed digest over account and time.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Preauth {
    pub account: AccountName,
    pub timestamp: u64,
    pub expires: u64,
    pub digest: String,
    pub administrator: bool,
}

/// What the host found about the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Access {
    /// The login is good.
    Granted(Grant),
    /// It is not.
    Denied(Denial),
}

/// A good login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Grant {
    /// Whose.
    pub account: Account,
    /// What it may do.
    pub rank: Rank,
    /// Names the login without being a secret.
    pub visit: String,
    /// Stands for the token in the answer.
    pub token_placeholder: Option<String>,
    /// How long a token lives, in milliseconds.
    pub token_lifetime_ms: u64,
}

/// What a login may do.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Rank {
    User,
    DelegatedAdministrator,
    Administrator,
}

/// Why a login is not good.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Denial {
    Missing,
    Malformed,
    UnknownLogin,
    WrongSecret,
    UnknownToken,
    Expired,
    Inactive,
    NotPermitted,
    Throttled,
    Unavailable,
}

/// How the caller stands to one account that its claims named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Resolution {
    /// The account, if there is one.
    pub account: Option<Account>,
    /// How the caller stands to it.
    pub standing: Standing,
}

/// How a caller stands to an account.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Standing {
    Itself,
    Permitted,
    Forbidden,
    Unknown,
    Unavailable,
    Elsewhere,
}

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Request {
    /// The host's number of it.
    pub id: RequestId,
    /// Everything but the body.
    pub head: RequestHead,
    /// The body, secrets overwritten.
    pub body: Vec<u8>,
    /// Who it comes from.
    pub access: Access,
    /// The resolution of `claims.act-as`.
    pub act_as: Option<Resolution>,
    /// The resolutions of `claims.accounts`, in their order.
    pub accounts: Vec<Resolution>,
}

/// Why the host itself refuses a request.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    TooLarge,
    Busy,
    Fault,
    Stopping,
    Moved,
    Throttled,
}

/// What became of the confirmed parts of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Settlement {
    /// The request that was answered.
    pub request: RequestId,
    /// How many confirmed parts, from the first, have been acknowledged.
    pub parts: u32,
    /// Given once nothing more will come.
    pub end: Option<End>,
}

/// How an answer ended.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum End {
    Complete,
    Gone,
    ClosedByHost,
}
