//! loginRequest: a name and a password for a session.
//!
//! `version` changes nothing: answers are those of GroupWise 2012. Logins for somebody else (Proxy) and by trusted
//! applications are not offered.

use super::Answer;
use super::asked::{Asked, text_of};
use super::sessions::Program;
use super::status::Status;
use crate::contract::{Access, Account, Credential, Password};
use crate::mailboxes::{Condition, MailboxNo};
use crate::reply::Text;
use crate::soap::{Document, Node};
use crate::state::State;
use crate::turn::Turn;

/// GroupWise 2012 SP1.
const VERSION: &str = "12.0.1";

/// What stands for the post office of every account: there is but one.
const POST_OFFICE: &str = "Postbell";

/// The login in the request; none if there is none, or not of the kind that is offered.
pub fn credential(document: &Document<'_>, operation: Node) -> Option<Credential> {
    let auth = document.child(operation, "auth").filter(|auth| is_plain(document, *auth))?;
    let login = text_of(document, auth, "username")?.to_owned();
    let secret = document.child(auth, "password").map_or("", |password| document.whole_text(password)).to_owned();
    Some(Credential::Password(Password { login, secret, administrator: false }))
}

/// Whether a login is by name and password. Clients write its type with and without namespaces, or leave it out.
fn is_plain(document: &Document<'_>, auth: Node) -> bool {
    match document.attribute(auth, "type") {
        Some(name) => name.trim().rsplit(':').next() == Some("PlainText"),
        None => ["proxy", "key"].iter().all(|other| document.child(auth, other).is_none()),
    }
}

/// Answers the operation.
pub fn answer(state: &mut State, turn: &mut Turn, asked: &Asked<'_>) -> Answer {
    let with_userid = asked.flag("userid", false)?;
    if credential(asked.document, asked.operation).is_none() {
        return Err(Status::BadParameter);
    }
    let Access::Granted(grant) = &asked.request.access else {
        return Err(Status::InvalidPassword);
    };
    let token = grant.token_placeholder.as_deref().ok_or(Status::InvalidPassword)?;
    if state.mailboxes.find_id(&grant.account.id).is_some_and(|number| is_closed(state, number)) {
        return Err(Status::InvalidPassword);
    }
    let program = Program::of(&grant.account.id, asked.text("application").unwrap_or(""));
    state.sessions.begin(grant.visit.clone(), program, turn.at.now, &state.settings);
    state.cut_sessions(state.sessions.find(&grant.visit), turn.at.now);
    turn.changed = true;
    let mut out = Vec::with_capacity(700);
    out.raw("<m:session>");
    out.raw(token);
    out.raw("</m:session>");
    user_info(&mut out, &grant.account, with_userid);
    for (name, value) in [("gwVersion", VERSION), ("build", env!("CARGO_PKG_VERSION"))] {
        element(&mut out, "m:", name, value);
    }
    out.raw("<m:serverUTCTime>");
    out.date(turn.at.now);
    out.raw("</m:serverUTCTime>");
    Ok(out)
}

fn is_closed(state: &State, number: MailboxNo) -> bool {
    state.mailboxes.get(number).condition == Condition::Closed
}

/// What GroupWise calls an account: the part of its address before the domain.
pub fn userid(name: &str) -> &str {
    name.split_once('@').map_or(name, |(local, _)| local)
}

fn user_info(out: &mut Vec<u8>, account: &Account, with_userid: bool) {
    let local = userid(&account.name);
    let domain = account.name.split_once('@').map_or("", |(_, domain)| domain);
    out.raw("<m:userinfo>");
    for (name, value) in [("name", local), ("email", &account.name), ("uuid", &account.id)] {
        element(out, "", name, value);
    }
    if with_userid {
        for (name, value) in [("userid", local), ("domain", domain), ("postOffice", POST_OFFICE)] {
            element(out, "", name, value);
        }
    }
    out.raw("</m:userinfo>");
}

fn element(out: &mut Vec<u8>, prefix: &str, name: &str, text: &str) {
    out.raw("<");
    out.raw(prefix);
    out.raw(name);
    out.raw(">");
    out.text(text);
    out.raw("</");
    out.raw(prefix);
    out.raw(name);
    out.raw(">");
}
