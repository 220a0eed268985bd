//! GroupWise Web Services: logins, the system address book with its deltas, and events.
//!
//! Requests are dispatched on the local name of the element in the SOAP body, whatever its namespace: real clients bind
//! old ones, or none. What fails is answered as the operation's own response with a status (HTTP 200), as GroupWise
//! does; only what is no such request at all gets a SOAP fault. Specification: the schema of GroupWise 2012, and what
//! its clients do where that says something else.

mod asked;
mod clean_event_configuration;
mod configure_events;
mod create_cursor;
mod cursors;
mod delta_info;
mod destroy_cursor;
mod envelope;
pub mod events;
mod fields;
mod filter;
mod get_address_book_list;
mod get_delta_info;
mod get_deltas;
mod get_event_configuration;
mod get_events;
mod get_item;
mod get_items;
mod get_timestamp;
mod ids;
mod items;
mod login;
mod logout;
mod position_cursor;
mod read_cursor;
mod remove_event_configuration;
mod remove_events;
mod sessions;
mod status;
mod view;

use crate::contract::{Access, Claims, Credential, Denial, Refusal, Reply, Request, Route, Span};
use crate::mailboxes::MailboxNo;
use crate::soap::Document;
use crate::state::State;
use crate::turn::Turn;

use asked::Asked;
use cursors::CursorNo;
use envelope::Namespace;
use status::Status;

pub use sessions::{Program, Session, SessionNo, Sessions};

/// Nothing is parked; this lets a large answer leave.
const PARK_MS: u64 = 60_000;

/// The longest name of an operation that is repeated in an answer, in bytes; those of the schema are shorter.
const MAX_OPERATION: usize = 64;

/// A request of a session: what it may look at and alter.
pub struct Call<'c> {
    /// The tenant.
    pub state: &'c mut State,
    /// The input.
    pub turn: &'c mut Turn,
    /// What is asked.
    pub asked: &'c Asked<'c>,
    /// Whose session it is.
    pub session: SessionNo,
}

impl Call<'_> {
    /// Refuses every container but the system address book.
    fn must_be_the_book(&self) -> Result<(), Status> {
        let container = self.asked.text("container").ok_or(Status::BadParameter)?;
        if ids::is_book(container) { Ok(()) } else { Err(Status::WrongContainer) }
    }

    /// The client has read the whole address book: nothing that it skipped before matters any more.
    fn has_read_all(self) {
        let skipped = self.state.sessions.get_mut(self.session).and_then(|session| session.skipped.take());
        self.turn.changed |= skipped.is_some();
    }

    /// The mailbox of the session's account; none: nothing was heard of it.
    fn mailbox(&self) -> Result<Option<MailboxNo>, Status> {
        Ok(self.state.mailboxes.find_account(self.asked.account()?))
    }

    /// The cursor that is asked for.
    fn cursor(&self) -> Result<CursorNo, Status> {
        let number = self.asked.number("cursor")?.ok_or(Status::BadParameter)?;
        CursorNo::try_from(number).map_err(|_| Status::InvalidCursor)
    }
}

/// What an operation answers: the content of its response, or what is wrong.
type Answer = Result<Vec<u8>, Status>;

/// Where the service is.
const PATH: &str = "/soap";

/// The route of GroupWise.
pub fn route() -> Route {
    Route {
        prefix: PATH.into(),
        methods: vec!["POST".into()],
        headers: Vec::new(),
        schemes: Vec::new(),
        park_ms: PARK_MS,
    }
}

/// Whether a request's path is on that route.
pub fn serves(path: &str) -> bool {
    let (path, prefix) = (path.as_bytes(), PATH.as_bytes());
    let begins = path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    begins && matches!(path.get(prefix.len()), None | Some(b'/'))
}

/// What a request says of itself.
pub fn identify(body: &[u8]) -> Claims {
    let Ok(document) = Document::parse(body) else {
        return Claims { secrets: everything(body), ..Claims::default() };
    };
    let secrets = envelope::secrets(&document);
    let Some(operation) = envelope::operation(&document) else {
        return Claims { secrets, ..Claims::default() };
    };
    if document.name(operation) == "loginRequest" {
        let credential = login::credential(&document, operation);
        return Claims { wants_token: credential.is_some(), credential, secrets, ..Claims::default() };
    }
    let session = envelope::session(&document).map(|session| document.text(session).to_owned());
    let ends_login = document.name(operation) == "logoutRequest";
    Claims { credential: session.map(Credential::Token), ends_login, secrets, ..Claims::default() }
}

/// A body that cannot be read may hold secrets anywhere behind its first tag.
fn everything(body: &[u8]) -> Vec<Span> {
    let start = body.iter().position(|byte| *byte == b'<').map_or(0, |first| first + 1);
    let length = body.len() - start;
    if length == 0 { Vec::new() } else { vec![Span { start: start as u32, length: length as u32 }] }
}

/// Refuses a request for the host.
pub fn refuse(why: Refusal) -> Reply {
    match why {
        Refusal::TooLarge => envelope::fault(413, "Client", &["The request is too large."]),
        Refusal::Busy => envelope::fault(503, "Server", &["The server is busy; try again soon."]),
        Refusal::Throttled => envelope::fault(503, "Server", &["Too many requests; try again later."]),
        Refusal::Stopping => envelope::fault(503, "Server", &["The server is about to stop; try again soon."]),
        Refusal::Fault => envelope::fault(500, "Server", &["The request could not be worked on."]),
        Refusal::Moved => envelope::fault(503, "Server", &["The post office has moved; try again soon."]),
    }
}

/// Answers a request; GroupWise parks none.
pub fn answer(state: &mut State, turn: &mut Turn, request: &Request) {
    let reply = reply(state, turn, request);
    let confirm = state.events.is_reading(request.id);
    turn.answer(request.id, Reply { confirm, ..reply });
}

fn reply(state: &mut State, turn: &mut Turn, request: &Request) -> Reply {
    let document = match Document::parse(&request.body) {
        Ok(document) => document,
        Err(malformed) => return envelope::malformed(&request.body, malformed),
    };
    let Some(operation) = envelope::operation(&document) else {
        return envelope::fault(500, "Client", &["The request is no SOAP envelope with an operation in its body."]);
    };
    let Some(name) = document.name(operation).strip_suffix("Request").filter(|name| is_name(name)) else {
        return envelope::fault(500, "Client", &["The element in the body is no request of GroupWise."]);
    };
    let asked = Asked { request, document: &document, operation };
    let answer = match name {
        "login" => match request.access {
            Access::Denied(Denial::Throttled) => return refuse(Refusal::Throttled),
            Access::Denied(Denial::Unavailable) => return refuse(Refusal::Busy),
            _ => login::answer(state, turn, &asked),
        },
        _ => in_session(state, turn, &asked, name),
    };
    if matches!(answer, Err(Status::SearchTooLarge)) {
        state.sessions.searches_refused += 1;
        turn.changed = true;
    }
    let namespace = Namespace::of(name);
    match answer {
        Ok(content) => envelope::answer(name, namespace, &content, None),
        Err(status) => envelope::answer(name, namespace, &[], Some(status)),
    }
}

/// A name that may be repeated in an answer.
fn is_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphabetic());
    letters && !name.is_empty() && name.len() <= MAX_OPERATION
}

fn in_session(state: &mut State, turn: &mut Turn, asked: &Asked<'_>, name: &str) -> Answer {
    let session = match &asked.request.access {
        Access::Granted(grant) => state.sessions.find(&grant.visit).ok_or(Status::InvalidSession)?,
        Access::Denied(Denial::Missing) => return Err(Status::MissingSession),
        Access::Denied(_) => return Err(Status::InvalidSession),
    };
    turn.changed |= state.sessions.keep_alive(session, turn.at.now, &state.settings);
    turn.changed |= state.book.cut(turn.at.now, &state.settings);
    let call = Call { state, turn, asked, session };
    match name {
        "logout" => logout::answer(call),
        "getTimestamp" => get_timestamp::answer(call),
        "getAddressBookList" => get_address_book_list::answer(call),
        "getDeltaInfo" => get_delta_info::answer(call),
        "getDeltas" => get_deltas::answer(call),
        "getItem" => get_item::answer(call),
        "getItems" => get_items::answer(call),
        "createCursor" => create_cursor::answer(call),
        "positionCursor" => position_cursor::answer(call),
        "readCursor" => read_cursor::answer(call),
        "destroyCursor" => destroy_cursor::answer(call),
        "configureEvents" => configure_events::answer(call),
        "getEventConfiguration" => get_event_configuration::answer(call),
        "getEvents" => get_events::answer(call),
        "removeEvents" => remove_events::answer(call),
        "removeEventConfiguration" => remove_event_configuration::answer(call),
        "cleanEventConfiguration" => clean_event_configuration::answer(call),
        _ => Err(Status::BadParameter),
    }
}
