//! Exchange Web Services: notifications.
//!
//! Requests are dispatched on the element in the SOAP body (clients send no SOAPAction), read strictly and answered in
//! the exact forms that the strictest clients accept. Specification: MS-OXWSNTIF; the schema is Microsoft's 15.2.

pub mod codes;
mod convert_id;
mod envelope;
mod events;
mod fault;
mod folder_ids;
mod get_events;
mod get_folder;
mod get_streaming_events;
mod item_ids;
pub mod push;
mod push_url;
pub mod streams;
mod subscribe;
mod unsubscribe;

use crate::contract::{Access, Account, AccountName, Claims, Refusal, Reply, Request, Route, Standing};
use crate::soap::Document;
use crate::state::State;
use crate::turn::Turn;

use codes::Code;
use envelope::Incoming;
use fault::Fault;

pub use envelope::Version;
pub use folder_ids::is_distinguished;

/// The longest that a stream stays open is half an hour; a minute more lets the last part leave.
const PARK_MS: u64 = 31 * 60_000;

/// The route of Exchange Web Services.
pub fn route() -> Route {
    Route {
        prefix: "/EWS/Exchange.asmx".into(),
        methods: vec!["POST".into()],
        headers: Vec::new(),
        schemes: vec!["basic".into()],
        park_ms: PARK_MS,
    }
}

/// What a request says of itself. Bodies carry no secrets here, so one that cannot be read claims nothing.
pub fn identify(body: &[u8]) -> Claims {
    let Ok(document) = Document::parse(body) else {
        return Claims::default();
    };
    let Ok(incoming) = envelope::open(&document) else {
        return Claims::default();
    };
    let accounts = match document.name(incoming.operation) {
        "Subscribe" => subscribe::accounts(&document, incoming.operation),
        "GetFolder" => get_folder::accounts(&document, incoming.operation),
        _ => Vec::new(),
    };
    Claims { act_as: incoming.act_as, accounts, ..Claims::default() }
}

/// Refuses a request for the host.
pub fn refuse(why: Refusal) -> Reply {
    match why {
        Refusal::TooLarge => Reply { status: 413, ..Fault::Code(Code::ErrorInvalidRequest).reply() },
        Refusal::Busy => Fault::Busy { back_off_ms: 1000 }.reply(),
        Refusal::Throttled => Fault::Busy { back_off_ms: 10_000 }.reply(),
        Refusal::Stopping => Fault::Busy { back_off_ms: 5000 }.reply(),
        Refusal::Fault => Fault::Code(Code::ErrorInternalServerError).reply(),
        Refusal::Moved => Fault::Code(Code::ErrorMailboxStoreUnavailable).reply(),
    }
}

/// Answers a request: at once, or, for a stream, by parts from now on.
pub fn answer(state: &mut State, turn: &mut Turn, request: &Request) {
    if let Err(fault) = dispatch(state, turn, request) {
        turn.answer(request.id, fault.reply());
    }
}

/// Who asks, and in whose name.
pub struct Caller<'r> {
    /// The account that logged in; it owns what it makes.
    pub login: &'r Account,
    /// Whose mailbox is meant where none is named: the login's, or the impersonated one.
    pub acting_as: &'r Account,
    /// The version of the schema that it speaks.
    pub version: Version,
}

fn dispatch(state: &mut State, turn: &mut Turn, request: &Request) -> Result<(), Fault> {
    let document = Document::parse(&request.body).map_err(|malformed| Fault::malformed(&request.body, malformed))?;
    let incoming = envelope::open(&document)?;
    let caller = caller(request, &incoming)?;
    let operation = incoming.operation;
    let reply = match document.name(operation) {
        "Subscribe" => subscribe::answer(state, turn, &document, operation, request, &caller)?,
        "Unsubscribe" => unsubscribe::answer(state, turn, &document, operation, &caller)?,
        "GetEvents" => get_events::answer(state, turn, &document, operation, &caller)?,
        "GetStreamingEvents" => {
            return get_streaming_events::answer(state, turn, &document, operation, request.id, &caller);
        }
        "GetFolder" => get_folder::answer(state, &document, operation, request, &caller)?,
        "ConvertId" => convert_id::answer(&document, operation)?,
        _ => return Err(Fault::Unsupported),
    };
    turn.answer(request.id, reply);
    Ok(())
}

fn caller<'r>(request: &'r Request, incoming: &Incoming) -> Result<Caller<'r>, Fault> {
    let Access::Granted(grant) = &request.access else {
        return Err(Fault::Code(Code::ErrorAccessDenied));
    };
    if incoming.act_as.is_none() {
        return Ok(Caller { login: &grant.account, acting_as: &grant.account, version: incoming.version });
    }
    let resolution = request.act_as.as_ref();
    match (resolution.map(|it| it.standing), resolution.and_then(|it| it.account.as_ref())) {
        (Some(Standing::Itself | Standing::Permitted), Some(account)) => {
            Ok(Caller { login: &grant.account, acting_as: account, version: incoming.version })
        }
        (Some(Standing::Forbidden), _) => Err(Fault::Code(Code::ErrorImpersonateUserDenied)),
        (Some(Standing::Unavailable | Standing::Elsewhere), _) => Err(Fault::Code(Code::ErrorMailboxStoreUnavailable)),
        _ => Err(Fault::Code(Code::ErrorNonExistentMailbox)),
    }
}

/// How requests name an account by a mail address.
fn address(address: &str) -> AccountName {
    AccountName::Address(address.to_owned())
}
