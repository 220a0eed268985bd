//! The first format, `postbell-notify/1`, read only: before there was push, and queues were bounded in bytes.

use serde::Deserialize;

use super::Head;
use crate::contract::{Instant, RequestId};
use crate::ews::streams::Stream;
use crate::history::Position;
use crate::ids::Keys;
use crate::mailboxes::{FolderNo, Mailbox, MailboxNo};
use crate::settings::Settings;
use crate::state::Refused;
use crate::subscriptions::{Method, Subscription, SubscriptionId, SubscriptionNo};

/// One record.
#[derive(Deserialize)]
pub(super) enum Read {
    Head(FirstHead),
    Mailbox(MailboxNo, Mailbox),
    Subscription(SubscriptionNo, FirstSubscription),
    Stream(RequestId, Stream),
    End,
}

#[derive(Deserialize)]
pub(super) struct FirstHead {
    keys: Keys,
    settings: FirstSettings,
    next_subscription: SubscriptionNo,
    book_changes: u64,
    backlog_since: Option<Instant>,
    served: RequestId,
}

#[derive(Deserialize)]
struct FirstSettings {
    domains: Vec<String>,
    heartbeat_seconds: u32,
    streaming_idle_minutes: u32,
    subscriptions_per_account: u32,
    streams_per_account: u32,
    ids_per_stream: u32,
    queue_events: u32,
    history_events: u32,
    history_bytes: u64,
    history_hours: u32,
    history_total_bytes: u64,
}

#[derive(Deserialize)]
pub(super) struct FirstSubscription {
    id: SubscriptionId,
    owner: String,
    mailbox: MailboxNo,
    folders: Option<Vec<FolderNo>>,
    kinds: u8,
    method: Method,
    idle_ms: u64,
    deadline: Option<Instant>,
    acknowledged: Position,
    oldest: Option<Position>,
    pending: u32,
    missed: u32,
}

impl From<Read> for super::Read {
    fn from(read: Read) -> Self {
        match read {
            Read::Head(head) => Self::Head(head.into()),
            Read::Mailbox(number, mailbox) => Self::Mailbox(number, mailbox),
            Read::Subscription(number, subscription) => Self::Subscription(number, subscription.into()),
            Read::Stream(request, stream) => Self::Stream(request, stream),
            Read::End => Self::End,
        }
    }
}

impl From<FirstHead> for Head {
    fn from(head: FirstHead) -> Self {
        let FirstHead { keys, settings, next_subscription, book_changes, backlog_since, served } = head;
        Self {
            keys,
            settings: settings.into(),
            next_subscription,
            book_changes,
            backlog_since,
            served,
            pushed: 0,
            last_call: 0,
            pushes_failed: 0,
            pushes_refused: 0,
            refused: Refused::default(),
            zimbra: super::ZimbraHead::default(),
        }
    }
}

impl From<FirstSettings> for Settings {
    fn from(first: FirstSettings) -> Self {
        Self {
            domains: first.domains,
            heartbeat_seconds: first.heartbeat_seconds,
            streaming_idle_minutes: first.streaming_idle_minutes,
            subscriptions_per_account: first.subscriptions_per_account,
            streams_per_account: first.streams_per_account,
            ids_per_stream: first.ids_per_stream,
            queue_events: first.queue_events,
            history_events: first.history_events,
            history_bytes: first.history_bytes,
            history_hours: first.history_hours,
            history_total_bytes: first.history_total_bytes,
            ..Self::default()
        }
    }
}

/// What its pending events count for is made when the mailboxes are there.
impl From<FirstSubscription> for Subscription {
    fn from(first: FirstSubscription) -> Self {
        Self {
            id: first.id,
            owner: first.owner,
            mailbox: first.mailbox,
            folders: first.folders,
            kinds: first.kinds,
            method: first.method,
            idle_ms: first.idle_ms,
            deadline: first.deadline,
            acknowledged: first.acknowledged,
            oldest: first.oldest,
            pending: first.pending,
            pending_bytes: 0,
            missed: first.missed,
        }
    }
}
