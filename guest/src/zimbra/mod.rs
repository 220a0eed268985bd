//! Zimbra: WaitSets, and what clients call around them.
//!
//! Requests are SOAP in XML or JSON, dispatched on the name and namespace of the operation; their path says only whether
//! it is the administrators' service. Specification: Zimbra's `soap-waitset.txt`, and what its server does where that
//! says something else.

mod accounts;
mod auth;
mod batch;
mod call;
mod commits;
mod create_wait_set;
mod destroy_wait_set;
mod end_session;
mod fault;
mod get_info;
mod mods;
pub mod news;
mod no_op;
mod query_wait_set;
mod sets;
mod sync_token;
mod types;
mod wait_set;
pub mod waiters;
mod wire;

use crate::contract::{Access, AccountName, Claims, Credential, Refusal, Reply, Request, RequestHead, Route};
use crate::state::State;
use crate::turn::Turn;

use call::{Call, Outcome};
use fault::Fault;
use wire::{Element, Incoming};

pub use call::Service;
pub use commits::Place;
pub use sets::{Member, SetNo, Sets, WaitSet};

/// The longest that a WaitSetRequest may be allowed to wait is a day; a minute more lets the answer leave.
const PARK_MS: u64 = (86_400 + 60) * 1000;

/// The routes of the users' service and of the administrators'.
pub fn routes() -> [Route; 2] {
    [Service::User, Service::Admin].map(|service| Route {
        prefix: service.path().into(),
        methods: vec!["POST".into()],
        headers: vec!["cookie".into()],
        schemes: Vec::new(),
        park_ms: PARK_MS,
    })
}

/// What a request says of itself.
pub fn identify(service: Service, head: &RequestHead, body: &[u8]) -> Claims {
    let incoming = wire::open(body);
    let secrets = wire::secrets(body, &incoming);
    let Ok(Incoming { context, operation: Some(operation), .. }) = incoming else {
        return Claims { secrets, ..Claims::default() };
    };
    if auth::is_auth(&operation) {
        let credential = auth::credential(&operation);
        return Claims { credential, wants_token: true, secrets, ..Claims::default() };
    }
    let token = context.token.or_else(|| cookie(head, service.cookie()));
    let operations = batch::operations(&operation);
    Claims {
        credential: token.map(Credential::Token),
        wants_token: false,
        act_as: context.account,
        accounts: accounts::names(&operations),
        ends_login: operations.iter().any(|operation| end_session::ends_login(operation)),
        secrets,
    }
}

/// A cookie's value.
fn cookie(head: &RequestHead, name: &str) -> Option<String> {
    let cookies = head.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case("cookie"));
    let mut pairs = cookies.flat_map(|(_, value)| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'));
    found.filter(|value| !value.is_empty()).map(str::to_owned)
}

/// Refuses a request for the host, written as the request is.
pub fn refuse(body: &[u8], why: Refusal) -> Reply {
    fault::refuse(why, wire::sniff(body))
}

/// Answers a request, or parks it.
pub fn answer(service: Service, state: &mut State, turn: &mut Turn, request: &Request) {
    let trace = state.keys.trace(request.id);
    let incoming = match wire::open(&request.body) {
        Ok(incoming) => incoming,
        Err(why) => {
            let why = if request.body.is_empty() { "empty request payload" } else { why };
            let fault = Fault::unreadable(why);
            return turn.answer(request.id, fault.reply(wire::sniff(&request.body), wire::header(None, None), &trace));
        }
    };
    let format = incoming.format;
    let Some(operation) = &incoming.operation else {
        let fault = Fault::unreadable("empty request payload");
        return turn.answer(request.id, fault.reply(format, wire::header(None, None), &trace));
    };
    let outcome = dispatch(service, state, turn, request, &incoming, operation);
    match outcome {
        Ok(Outcome::Reply(reply)) => turn.answer(request.id, reply),
        Ok(Outcome::Parked) => {}
        Err(fault) => turn.answer(request.id, fault.reply(format, wire::header(None, None), &trace)),
    }
}

fn dispatch(
    service: Service,
    state: &mut State,
    turn: &mut Turn,
    request: &Request,
    incoming: &Incoming<'_>,
    operation: &Element<'_>,
) -> Result<Outcome, Fault> {
    if auth::is_auth(operation) {
        return auth::answer(service, state, request, incoming, operation).map(Outcome::Reply);
    }
    let grant = match &request.access {
        Access::Granted(grant) => grant,
        Access::Denied(denial) => return Err(Fault::of_denial(*denial)),
    };
    let caller = call::caller(grant, request, incoming.context.account.as_ref())?;
    let operations = batch::operations(operation);
    if accounts::names(&operations).len() > accounts::MAX_NAMED {
        return Err(Fault::invalid(&["it names too many accounts"]));
    }
    let named = accounts::Named::of(&operations, &request.accounts);
    let mut call = Call {
        service,
        state,
        turn,
        request,
        caller: &caller,
        named: &named,
        format: incoming.format,
        session: call::session(request, &incoming.context),
        index: 0,
        alone: true,
    };
    call.answer(operation)
}

/// How a client names an account where a fault is to say it.
fn said(name: &AccountName) -> &str {
    let (AccountName::Name(text)
    | AccountName::Id(text)
    | AccountName::Address(text)
    | AccountName::PrincipalName(text)
    | AccountName::Sid(text)) = name;
    text
}
