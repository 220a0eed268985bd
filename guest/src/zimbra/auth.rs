//! AuthRequest, of users (urn:zimbraAccount) and of administrators (urn:zimbraAdmin): a login for a token.

use super::call::{self, Service};
use super::fault::Fault;
use super::said;
use super::wire::{self, Element, Incoming, Node, named};
use crate::contract::{Access, AccountName, Credential, Denial, Password, Preauth, Reply, Request};
use crate::state::State;

/// Whether an operation is this one.
pub fn is_auth(operation: &Element<'_>) -> bool {
    operation.name == "AuthRequest" && matches!(&*operation.namespace, "urn:zimbraAccount" | "urn:zimbraAdmin")
}

/// The login that the request brings, in the first of these ways: preauth, password, an earlier token.
pub fn credential(operation: &Element<'_>) -> Option<Credential> {
    let administrator = operation.namespace == "urn:zimbraAdmin";
    if let (Some(preauth), Some(account)) = (operation.child("preauth"), account(operation)) {
        let number = |name| preauth.value(name).map_or(Some(0), |text| text.trim().parse::<u64>().ok());
        let (timestamp, expires) = (number("timestamp")?, number("expires")?);
        let digest = preauth.text.value.to_string();
        return Some(Credential::Preauth(Preauth { account, timestamp, expires, digest, administrator }));
    }
    if let (Some(secret), Some(account)) = (operation.value("password"), account(operation)) {
        let login = said(&account).to_owned();
        return Some(Credential::Password(Password { login, secret: secret.to_owned(), administrator }));
    }
    let token = operation.value("authToken").filter(|token| !token.is_empty());
    token.map(|token| Credential::Token(token.to_owned()))
}

/// Who logs in: `account`, or `name` as administrators' clients write it.
fn account(operation: &Element<'_>) -> Option<AccountName> {
    let by_element = operation.child("account").and_then(named);
    let plain = || operation.value("account").or_else(|| operation.value("name")).filter(|text| !text.is_empty());
    by_element.or_else(|| plain().map(|name| AccountName::Name(name.to_owned())))
}

/// Answers the operation.
pub fn answer(
    service: Service,
    state: &State,
    request: &Request,
    incoming: &Incoming<'_>,
    operation: &Element<'_>,
) -> Result<Reply, Fault> {
    let admin = operation.namespace == "urn:zimbraAdmin";
    if admin && service != Service::Admin {
        return Err(Fault::unknown_document(&operation.name));
    }
    let grant = match &request.access {
        Access::Granted(grant) => grant,
        Access::Denied(denial) => return Err(refused(*denial, admin, operation)),
    };
    let Some(token) = &grant.token_placeholder else {
        return Err(Fault::unavailable());
    };
    let (namespace, cookie) = if admin {
        ("urn:zimbraAdmin", Service::Admin.cookie())
    } else {
        ("urn:zimbraAccount", Service::User.cookie())
    };
    let node = Node::of("AuthResponse", namespace).many([Node::new("authToken").text(token.as_str())]);
    let node = call::with_request_id(node.holding("lifetime", grant.token_lifetime_ms), operation);
    let session = call::session(request, &incoming.context);
    let header = call::header(&state.mailboxes, &grant.account.id, session.as_deref());
    let mut reply = wire::reply(incoming.format, 200, header, node);
    let mut value = [cookie, "=", token, "; Path=/; HttpOnly; SameSite=Lax"].concat();
    if call::truth(operation, "persistAuthTokenCookie")? {
        value.push_str("; Max-Age=");
        value.push_str(&(grant.token_lifetime_ms / 1000).to_string());
    }
    if request.head.secure {
        value.push_str("; Secure");
    }
    reply.headers.push(("Set-Cookie".into(), value));
    Ok(reply)
}

fn refused(denial: Denial, admin: bool, operation: &Element<'_>) -> Fault {
    match denial {
        Denial::Missing => Fault::invalid(&["no login: an account with a password, a preauth or an authToken"]),
        Denial::NotPermitted if admin => Fault::of_denial(denial),
        Denial::UnknownToken => Fault::of_denial(denial),
        Denial::Expired if operation.child("preauth").is_none() => Fault::of_denial(denial),
        Denial::Inactive | Denial::Throttled | Denial::Unavailable => Fault::of_denial(denial),
        _ => Fault::auth_failed(account(operation).as_ref().map_or("", said)),
    }
}
