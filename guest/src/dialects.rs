//! The protocols that are served, told apart by the path of a request: one line for each in every match.

use crate::contract::{Claims, Refusal, Reply, Request, RequestHead, Route};
use crate::ews;
use crate::groupwise;
use crate::state::State;
use crate::turn::Turn;
use crate::zimbra::{self, Service};

/// A protocol of mail clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Exchange Web Services.
    Ews,
    /// Zimbra's SOAP, at one of its two services.
    Zimbra(Service),
    /// GroupWise Web Services.
    GroupWise,
}

/// The routes of all protocols.
pub fn routes() -> Vec<Route> {
    [ews::route()].into_iter().chain(zimbra::routes()).chain([groupwise::route()]).collect()
}

/// What a request says of itself.
pub fn identify(head: &RequestHead, body: &[u8]) -> Claims {
    match Dialect::of(head) {
        Dialect::Ews => ews::identify(body),
        Dialect::Zimbra(service) => zimbra::identify(service, head, body),
        Dialect::GroupWise => groupwise::identify(body),
    }
}

/// Refuses a request for the host.
pub fn refuse(head: &RequestHead, body: &[u8], why: Refusal) -> Reply {
    match Dialect::of(head) {
        Dialect::Ews => ews::refuse(why),
        Dialect::Zimbra(_) => zimbra::refuse(body, why),
        Dialect::GroupWise => groupwise::refuse(why),
    }
}

/// Answers a request, or parks it.
pub fn answer(state: &mut State, turn: &mut Turn, request: &Request) {
    match Dialect::of(&request.head) {
        Dialect::Ews => ews::answer(state, turn, request),
        Dialect::Zimbra(service) => zimbra::answer(service, state, turn, request),
        Dialect::GroupWise => groupwise::answer(state, turn, request),
    }
}

impl Dialect {
    /// The protocol of a request's route: the host hands over none that no route matches.
    fn of(head: &RequestHead) -> Dialect {
        if let Some(service) = Service::of(head) {
            Dialect::Zimbra(service)
        } else if groupwise::serves(&head.path) {
            Dialect::GroupWise
        } else {
            Dialect::Ews
        }
    }
}
