//! The component: the only module that knows WebAssembly Interface Types.
//!
//! The bindings use the types of [`contract`](crate::contract) in place of generated ones, so values cross the border
//! by move and nothing is converted by hand. One instance holds one tenant, so the state is one per thread (and an
//! instance has one thread).

wit_bindgen::generate!({
    path: "../wit",
    world: "notifier",
    with: {
        "postbell:notify/types@0.1.0/moment": crate::contract::Moment,
        "postbell:notify/types@0.1.0/reaction": crate::contract::Reaction,
        "postbell:notify/types@0.1.0/reply": crate::contract::Reply,
        "postbell:notify/types@0.1.0/call": crate::contract::Call,
        "postbell:notify/types@0.1.0/call-target": crate::contract::CallTarget,
        "postbell:notify/types@0.1.0/http-target": crate::contract::HttpTarget,
        "postbell:notify/types@0.1.0/tcp-target": crate::contract::TcpTarget,
        "postbell:notify/types@0.1.0/rejection": crate::contract::Rejection,
        "postbell:notify/types@0.1.0/place": crate::contract::Place,
        "postbell:notify/types@0.1.0/log-line": crate::contract::LogLine,
        "postbell:notify/types@0.1.0/log-level": crate::contract::LogLevel,
        "postbell:notify/lifecycle@0.1.0/manifest": crate::contract::Manifest,
        "postbell:notify/lifecycle@0.1.0/route": crate::contract::Route,
        "postbell:notify/lifecycle@0.1.0/load-error": crate::contract::LoadError,
        "postbell:notify/lifecycle@0.1.0/restart": crate::contract::Restart,
        "postbell:notify/lifecycle@0.1.0/pending": crate::contract::Pending,
        "postbell:notify/lifecycle@0.1.0/gauge": crate::contract::Gauge,
        "postbell:notify/changes@0.1.0/item": crate::contract::Item,
        "postbell:notify/changes@0.1.0/item-alteration": crate::contract::ItemAlteration,
        "postbell:notify/changes@0.1.0/folder": crate::contract::Folder,
        "postbell:notify/changes@0.1.0/folder-alteration": crate::contract::FolderAlteration,
        "postbell:notify/changes@0.1.0/item-relocation": crate::contract::ItemRelocation,
        "postbell:notify/changes@0.1.0/folder-relocation": crate::contract::FolderRelocation,
        "postbell:notify/changes@0.1.0/folder-counts": crate::contract::FolderCounts,
        "postbell:notify/changes@0.1.0/account": crate::contract::Account,
        "postbell:notify/changes@0.1.0/tag": crate::contract::Tag,
        "postbell:notify/changes@0.1.0/visit": crate::contract::Visit,
        "postbell:notify/changes@0.1.0/access-change": crate::contract::AccessChange,
        "postbell:notify/changes@0.1.0/absence": crate::contract::Absence,
        "postbell:notify/changes@0.1.0/happening": crate::contract::Happening,
        "postbell:notify/changes@0.1.0/change": crate::contract::Change,
        "postbell:notify/changes@0.1.0/account-changes": crate::contract::AccountChanges,
        "postbell:notify/changes@0.1.0/entry": crate::contract::Entry,
        "postbell:notify/changes@0.1.0/field": crate::contract::Field,
        "postbell:notify/changes@0.1.0/member": crate::contract::Member,
        "postbell:notify/changes@0.1.0/book-change": crate::contract::BookChange,
        "postbell:notify/changes@0.1.0/batch": crate::contract::Batch,
        "postbell:notify/requests@0.1.0/request-head": crate::contract::RequestHead,
        "postbell:notify/requests@0.1.0/claims": crate::contract::Claims,
        "postbell:notify/requests@0.1.0/span": crate::contract::Span,
        "postbell:notify/requests@0.1.0/account-name": crate::contract::AccountName,
        "postbell:notify/requests@0.1.0/credential": crate::contract::Credential,
        "postbell:notify/requests@0.1.0/password": crate::contract::Password,
        "postbell:notify/requests@0.1.0/preauth": crate::contract::Preauth,
        "postbell:notify/requests@0.1.0/access": crate::contract::Access,
        "postbell:notify/requests@0.1.0/grant": crate::contract::Grant,
        "postbell:notify/requests@0.1.0/rank": crate::contract::Rank,
        "postbell:notify/requests@0.1.0/denial": crate::contract::Denial,
        "postbell:notify/requests@0.1.0/resolution": crate::contract::Resolution,
        "postbell:notify/requests@0.1.0/standing": crate::contract::Standing,
        "postbell:notify/requests@0.1.0/request": crate::contract::Request,
        "postbell:notify/requests@0.1.0/refusal": crate::contract::Refusal,
        "postbell:notify/requests@0.1.0/settlement": crate::contract::Settlement,
        "postbell:notify/requests@0.1.0/end": crate::contract::End,
        "postbell:notify/outbound@0.1.0/response": crate::contract::Response,
        "postbell:notify/outbound@0.1.0/outcome": crate::contract::Outcome,
    },
});

use std::cell::RefCell;

use exports::postbell::notify::{changes, lifecycle, outbound, requests};

use crate::contract::{
    Batch, CallId, Claims, Gauge, LoadError, Manifest, Moment, Outcome, Pending, Reaction, Refusal, Reply, Request,
    RequestHead, Restart, Settlement,
};
use crate::notify::{self, Notify};

thread_local! {
    static NOTIFY: RefCell<Notify> = RefCell::default();
}

fn with<T>(call: impl FnOnce(&mut Notify) -> T) -> T {
    NOTIFY.with_borrow_mut(call)
}

/// What the component exports.
struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> Manifest {
        notify::describe()
    }

    fn open(at: Moment, seed: Vec<u8>, settings: Vec<(String, String)>) -> Result<(), String> {
        with(|notify| notify.open(at, &seed, &settings))
    }

    fn configure(at: Moment, settings: Vec<(String, String)>) -> Result<Reaction, String> {
        with(|notify| notify.configure(at, &settings))
    }

    fn tick(at: Moment) -> Reaction {
        with(|notify| notify.tick(at))
    }

    fn restarted(at: Moment, how: Restart) -> Reaction {
        with(|notify| notify.restarted(at, how))
    }

    fn drain(at: Moment) -> Reaction {
        with(|notify| notify.drain(at))
    }

    fn outstanding() -> Pending {
        with(|notify| notify.outstanding())
    }

    fn save(part: u32) -> Option<Vec<u8>> {
        with(|notify| notify.save(part))
    }

    fn load(format: String, part: Vec<u8>, more: bool) -> Result<(), LoadError> {
        with(|notify| notify.load(&format, &part, more))
    }

    fn inspect() -> Vec<Gauge> {
        with(|notify| notify.inspect())
    }
}

impl changes::Guest for Component {
    fn ingest(at: Moment, batch: Batch) -> Reaction {
        with(|notify| notify.ingest(at, batch))
    }
}

impl requests::Guest for Component {
    fn identify(head: RequestHead, body: Vec<u8>) -> Claims {
        notify::identify(&head, &body)
    }

    fn refuse(head: RequestHead, body: Vec<u8>, why: Refusal) -> Reply {
        notify::refuse(&head, &body, why)
    }

    fn answer(at: Moment, request: Request) -> Reaction {
        with(|notify| notify.answer(at, &request))
    }

    fn settled(at: Moment, settlements: Vec<Settlement>) -> Reaction {
        with(|notify| notify.settled(at, &settlements))
    }
}

impl outbound::Guest for Component {
    fn finished(at: Moment, call: CallId, outcome: Outcome) -> Reaction {
        with(|notify| notify.finished(at, call, outcome))
    }
}

#[cfg(target_arch = "wasm32")]
export!(Component);

/// The generated code makes an enum of its discriminant by `_lift`.
macro_rules! lifted {
    ($name:ident: $($case:ident),+) => {
        impl crate::contract::$name {
            /// The case with this discriminant. The canonical ABI has checked it, so the last stands for the rest.
            fn _lift(discriminant: u8) -> Self {
                const CASES: &[crate::contract::$name] = &[$(crate::contract::$name::$case),+];
                CASES[usize::from(discriminant).min(CASES.len() - 1)]
            }
        }
    };
}

lifted!(Rank: User, DelegatedAdministrator, Administrator);
lifted!(
    Denial: Missing, Malformed, UnknownLogin, WrongSecret, UnknownToken, Expired, Inactive, NotPermitted, Throttled,
    Unavailable
);
lifted!(Standing: Itself, Permitted, Forbidden, Unknown, Unavailable, Elsewhere);
lifted!(Refusal: TooLarge, Busy, Fault, Stopping, Moved, Throttled);
lifted!(End: Complete, Gone, ClosedByHost);
