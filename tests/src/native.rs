//! The notification logic natively, behind the host's types: so that tests and benches give the crate and the component
//! the very same inputs and compare what comes out.

use postbell::contract as host;
use postbell::journal::Input;
pub use postbell_contest::save;
use postbell_notify::{Notify, contract as guest};

/// The same value in the other crate's type of the same shape.
pub trait Convert<T> {
    /// Converts by move.
    fn convert(self) -> T;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Convert<$type> for $type {
            fn convert(self) -> $type {
                self
            }
        }
    )*};
}

plain!(u8, u16, u32, u64, bool, String, (String, String), (u32, u32));

impl<A: Convert<B>, B> Convert<Vec<B>> for Vec<A> {
    fn convert(self) -> Vec<B> {
        self.into_iter().map(Convert::convert).collect()
    }
}

impl<A: Convert<B>, B> Convert<Option<B>> for Option<A> {
    fn convert(self) -> Option<B> {
        self.map(Convert::convert)
    }
}

macro_rules! records {
    ($($from:ty => $to:ident :: $name:ident { $($field:ident),* })*) => {$(
        impl Convert<$to::$name> for $from {
            fn convert(self) -> $to::$name {
                let Self { $($field),* } = self;
                $to::$name { $($field: $field.convert()),* }
            }
        }
    )*};
}

macro_rules! variants {
    ($($from:ty => $to:path { $($case:ident $(($payload:ident))?),* })*) => {$(
        impl Convert<$to> for $from {
            fn convert(self) -> $to {
                type To = $to;
                match self {
                    $(Self::$case $(($payload))? => To::$case $(($payload.convert()))?),*
                }
            }
        }
    )*};
}

use host::{changes, lifecycle, outbound, requests, types};

records! {
    types::Moment => guest::Moment { now, sequence }
    lifecycle::Restart => guest::Restart { down_ms, regressed }
    changes::Item => guest::Item { kind, id, folder, number, imap_uid, revision, flags, tags }
    changes::ItemAlteration => guest::ItemAlteration { item, flags_before, tags_before, fields }
    changes::ItemRelocation => guest::ItemRelocation { before, after }
    changes::Folder => guest::Folder { id, parent, name, role, holds, number, revision, unread, total }
    changes::FolderAlteration => guest::FolderAlteration { folder, fields }
    changes::FolderRelocation => guest::FolderRelocation { before, after }
    changes::FolderCounts => guest::FolderCounts { folder, unread, total, revision }
    changes::Account => guest::Account { id, name, aliases }
    changes::Tag => guest::Tag { id, name }
    changes::Visit => guest::Visit { kind, by }
    changes::AccessChange => guest::AccessChange { kind, who }
    changes::Change => guest::Change { number, at, origin, counts, what }
    changes::AccountChanges => guest::AccountChanges { account, changes }
    changes::Entry => guest::Entry { id, uuid, kind, fields, members }
    changes::Field => guest::Field { name, label, value }
    changes::Member => guest::Member { id, name, email, kind }
    changes::Batch => guest::Batch { accounts, book }
    requests::RequestHead => guest::RequestHead { method, path, query, content_type, headers, secure }
    requests::Grant => guest::Grant { account, rank, visit, token_placeholder, token_lifetime_ms }
    requests::Resolution => guest::Resolution { account, standing }
    requests::Request => guest::Request { id, head, body, access, act_as, accounts }
    requests::Settlement => guest::Settlement { request, parts, end }
    outbound::Response => guest::Response { status, body }
    guest::Reaction => types::Reaction { replies, calls, wake_at, rejections, logs, changed }
    guest::Reply => types::Reply { to, status, headers, body, more, confirm }
    guest::Call => types::Call { id, target, body }
    guest::HttpTarget => types::HttpTarget { url, headers }
    guest::TcpTarget => types::TcpTarget { address, port }
    guest::Rejection => types::Rejection { place, reason }
    guest::LogLine => types::LogLine { level, message }
    guest::Pending => lifecycle::Pending { requests, calls, wake_at }
}

variants! {
    changes::Happening => guest::Happening {
        Baseline(folders), MessageDelivered(item), ItemCreated(item), ItemModified(item), ItemDeleted(item),
        ItemMoved(items), ItemCopied(items), FolderCreated(folder), FolderModified(folder), FolderDeleted(folder),
        FolderMoved(folders), FolderCopied(folders), FreeBusyChanged(item), TagCreated(tag), TagModified(tag),
        TagDeleted(tag), Hinted(kinds), Gap, AccountOpened(account), AccountModified(account), AccountClosed,
        AccountUnavailable(why), AccountAvailable, AccessChanged(access), VisitBegan(visit), VisitEnded(visit)
    }
    changes::Absence => guest::Absence { Maintenance, Moved(to) }
    changes::BookChange => guest::BookChange {
        Added(entry), Modified(entry), Deleted(id), Gap, RebuildStarted, RebuildFinished
    }
    requests::Access => guest::Access { Granted(grant), Denied(denial) }
    requests::Rank => guest::Rank { User, DelegatedAdministrator, Administrator }
    requests::Denial => guest::Denial {
        Missing, Malformed, UnknownLogin, WrongSecret, UnknownToken, Expired, Inactive, NotPermitted, Throttled,
        Unavailable
    }
    requests::Standing => guest::Standing { Itself, Permitted, Forbidden, Unknown, Unavailable, Elsewhere }
    requests::End => guest::End { Complete, Gone, ClosedByHost }
    outbound::Outcome => guest::Outcome { Answered(response), Failed(why), Refused(why) }
    guest::CallTarget => types::CallTarget { HttpPost(target), Tcp(target) }
    guest::Place => types::Place { Change(place), Book(place) }
    guest::LogLevel => types::LogLevel { Debug, Info, Warn, Error }
}

/// What an input gives; the inner error is a refusal of settings.
pub type Fed = Result<types::Reaction, String>;

/// Gives the native logic one input.
pub fn feed(notify: &mut Notify, at: types::Moment, input: Input) -> Fed {
    let at = at.convert();
    let reaction = match input {
        Input::Open { seed, settings } => notify
            .open(at, &seed, &settings)
            .map(|()| guest::Reaction { changed: true, ..guest::Reaction::default() })?,
        Input::Configure { settings } => notify.configure(at, &settings)?,
        Input::Tick => notify.tick(at),
        Input::Restarted(how) => notify.restarted(at, how.convert()),
        Input::Drain => notify.drain(at),
        Input::Ingest { batch, .. } => notify.ingest(at, batch.convert()),
        Input::Answer(request) => notify.answer(at, &(*request).convert()),
        Input::Settled(settlements) => notify.settled(at, &Convert::<Vec<guest::Settlement>>::convert(settlements)),
        Input::Finished { call, outcome } => notify.finished(at, call, outcome.convert()),
        Input::Swapped(_) => guest::Reaction::default(),
    };
    Ok(reaction.convert())
}
