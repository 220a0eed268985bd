//! The whole state as bytes, and back.
//!
//! A snapshot is a stream of records, cut into parts of at most 1 MiB wherever they end: the format's name once, then
//! each record as its length (four bytes, little-endian) and its value in postcard's encoding. Only what cannot be made
//! from the rest is saved; indices, timers and waiting work are made anew.

mod events;
mod first;
mod groupwise;

use serde::{Deserialize, Serialize};

use crate::contract::{CallId, Instant, LoadError, RequestId};
use crate::ews::streams::Stream;
use crate::ids::Keys;
use crate::mailboxes::{Mailbox, MailboxNo, Numbers};
use crate::settings::Settings;
use crate::state::{Refused, State};
use crate::subscriptions::{Subscription, SubscriptionNo};
use crate::zimbra::{Member, Place as Commit, SetNo, WaitSet};

/// The format that is written. Its number grows with every change of what is saved.
pub const FORMAT: &str = "postbell-notify/2";

/// The format before, which is still read.
pub const FIRST_FORMAT: &str = "postbell-notify/1";

/// The largest part.
const PART: usize = 1 << 20;

/// What is said once.
#[derive(Serialize, Deserialize)]
struct Head {
    keys: Keys,
    settings: Settings,
    next_subscription: SubscriptionNo,
    book_changes: u64,
    backlog_since: Option<Instant>,
    served: RequestId,
    pushed: SubscriptionNo,
    last_call: CallId,
    pushes_failed: u64,
    pushes_refused: u64,
    refused: Refused,
    zimbra: ZimbraHead,
}

/// What is said once of WaitSets.
#[derive(Default, Serialize, Deserialize)]
struct ZimbraHead {
    next: SetNo,
    served: SetNo,
    evicted: u64,
    expired: u64,
    refused: u64,
    floor: Option<Commit>,
    last: Commit,
}

/// One record as it is written; as [`Read`], but borrowed.
#[derive(Serialize)]
enum Written<'s> {
    Head(Box<Head>),
    Mailbox(MailboxNo, &'s Mailbox),
    Subscription(SubscriptionNo, &'s Subscription),
    Stream(RequestId, &'s Stream),
    Numbers(MailboxNo, &'s Numbers),
    WaitSet(SetNo, &'s WaitSet),
    Member(SetNo, MailboxNo, &'s Member),
    Commit(MailboxNo, u8, Commit),
    GroupWise(groupwise::Written<'s>),
    Events(events::Written<'s>),
    End,
}

#[derive(Deserialize)]
enum Read {
    Head(Head),
    Mailbox(MailboxNo, Mailbox),
    Subscription(SubscriptionNo, Subscription),
    Stream(RequestId, Stream),
    Numbers(MailboxNo, Numbers),
    WaitSet(SetNo, WaitSet),
    Member(SetNo, MailboxNo, Member),
    Commit(MailboxNo, u8, Commit),
    GroupWise(groupwise::Read),
    Events(events::Read),
    End,
}

/// A snapshot being written, part by part.
#[derive(Debug, Default)]
pub struct Saving {
    next_part: u32,
    place: Place,
    left: Vec<u8>,
}

/// The record to be written next.
#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Head,
    Mailbox(MailboxNo),
    Subscription(SubscriptionNo),
    Stream(RequestId),
    Numbers(MailboxNo),
    WaitSet(SetNo),
    Member(SetNo, MailboxNo),
    Commit(MailboxNo, u8),
    GroupWise(groupwise::Place),
    Events(events::Place),
    End,
    Done,
}

impl Saving {
    /// Part `part` of the state's snapshot; none after the last. Parts are asked for from 0 on, without other calls in
    /// between; asked out of order, they are counted from the start again.
    pub fn part(&mut self, state: &State, part: u32) -> Option<Vec<u8>> {
        if part != self.next_part || part == 0 {
            *self = Self { left: FORMAT.as_bytes().to_vec(), ..Self::default() };
        }
        while self.next_part < part {
            self.next(state)?;
        }
        self.next(state)
    }

    fn next(&mut self, state: &State) -> Option<Vec<u8>> {
        while self.left.len() < PART && !matches!(self.place, Place::Done) {
            self.write(state);
        }
        if self.left.is_empty() {
            *self = Self::default();
            return None;
        }
        self.next_part += 1;
        let rest = self.left.split_off(self.left.len().min(PART));
        Some(std::mem::replace(&mut self.left, rest))
    }

    /// Writes the record at the place, if there is one, and goes on to the next.
    fn write(&mut self, state: &State) {
        match self.place.clone() {
            Place::Head => {
                self.record(&Written::Head(Box::new(head(state))));
                self.place = Place::Mailbox(0);
            }
            Place::Mailbox(number) if state.mailboxes.contains(number) => {
                self.record(&Written::Mailbox(number, state.mailboxes.get(number)));
                self.place = Place::Mailbox(number + 1);
            }
            Place::Mailbox(_) => self.place = Place::Subscription(0),
            Place::Subscription(from) => match state.subscriptions.next_from(from) {
                Some((number, subscription)) => {
                    self.record(&Written::Subscription(number, subscription));
                    self.place = Place::Subscription(number + 1);
                }
                None => self.place = Place::Stream(0),
            },
            Place::Stream(from) => match state.streams.range(from..).next() {
                Some((request, stream)) => {
                    self.record(&Written::Stream(*request, stream));
                    self.place = request.checked_add(1).map_or(Place::Numbers(0), Place::Stream);
                }
                None => self.place = Place::Numbers(0),
            },
            Place::Numbers(number) if state.mailboxes.contains(number) => {
                let numbers = &state.mailboxes.get(number).numbers;
                if *numbers != Numbers::default() {
                    self.record(&Written::Numbers(number, numbers));
                }
                self.place = Place::Numbers(number + 1);
            }
            Place::Numbers(_) => self.place = Place::WaitSet(0),
            Place::WaitSet(from) => match state.waitsets.next_from(from) {
                Some((number, set)) => {
                    self.record(&Written::WaitSet(number, set));
                    self.place = Place::WaitSet(number + 1);
                }
                None => self.place = Place::Member(0, 0),
            },
            Place::Member(set, mailbox) => match state.waitsets.next_member_from((set, mailbox)) {
                Some(((set, mailbox), member)) => {
                    self.record(&Written::Member(set, mailbox, member));
                    self.place = Place::Member(set, mailbox + 1);
                }
                None => self.place = Place::Commit(0, 0),
            },
            Place::Commit(mailbox, bit) => match state.waitsets.commits.next_from((mailbox, bit)) {
                Some(((mailbox, bit), commit)) => {
                    self.record(&Written::Commit(mailbox, bit, commit));
                    self.place = Place::Commit(mailbox, bit + 1);
                }
                None => self.place = Place::GroupWise(groupwise::Place::Head),
            },
            Place::GroupWise(place) => {
                let (record, next) = place.record(state);
                record.into_iter().for_each(|record| self.record(&Written::GroupWise(record)));
                self.place = next.map_or(Place::Events(events::Place::Head), Place::GroupWise);
            }
            Place::Events(place) => {
                let (record, next) = place.record(state);
                record.into_iter().for_each(|record| self.record(&Written::Events(record)));
                self.place = next.map_or(Place::End, Place::Events);
            }
            Place::End => {
                self.record(&Written::End);
                self.place = Place::Done;
            }
            Place::Done => {}
        }
    }

    fn record(&mut self, record: &Written<'_>) {
        let start = self.left.len();
        self.left.extend_from_slice(&[0; 4]);
        let left = std::mem::take(&mut self.left);
        self.left = postcard::to_extend(record, left).expect("writing to memory succeeds");
        let length = (self.left.len() - start - 4) as u32;
        self.left[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

fn head(state: &State) -> Head {
    Head {
        keys: state.keys.clone(),
        settings: state.settings.clone(),
        next_subscription: state.subscriptions.next(),
        book_changes: state.book_changes,
        backlog_since: state.backlog_since,
        served: state.served,
        pushed: state.pushed,
        last_call: state.last_call,
        pushes_failed: state.pushes_failed,
        pushes_refused: state.pushes_refused,
        refused: state.refused,
        zimbra: ZimbraHead {
            next: state.waitsets.next,
            served: state.waitsets.served,
            evicted: state.waitsets.evicted,
            expired: state.waitsets.expired,
            refused: state.waitsets.refused,
            floor: state.waitsets.commits.floor,
            last: state.waitsets.commits.last,
        },
    }
}

/// A snapshot being read, part by part.
#[derive(Debug, Default)]
pub struct Loading {
    state: State,
    left: Vec<u8>,
    named: bool,
    begun: bool,
    ended: bool,
}

impl Loading {
    /// Takes a part; with the last one (`more` false), gives the state.
    pub fn part(&mut self, format: &str, part: &[u8], more: bool) -> Result<Option<State>, LoadError> {
        if ![FORMAT, FIRST_FORMAT].contains(&format) {
            return Err(LoadError::UnknownFormat(format.to_owned()));
        }
        self.left.extend_from_slice(part);
        self.records(format)?;
        if more {
            return Ok(None);
        }
        if !self.ended || !self.left.is_empty() {
            return Err(corrupt("it is cut short"));
        }
        let mut state = std::mem::take(&mut self.state);
        if format == FIRST_FORMAT {
            state.weigh_queues();
            state.mailboxes.settle_numbers();
        }
        state.index();
        Ok(Some(state))
    }

    fn records(&mut self, format: &str) -> Result<(), LoadError> {
        let left = std::mem::take(&mut self.left);
        let mut rest = left.as_slice();
        if !self.named && rest.len() >= format.len() {
            rest = rest.strip_prefix(format.as_bytes()).ok_or_else(|| corrupt("it does not begin with its format"))?;
            self.named = true;
        }
        while self.named
            && let Some((length, behind)) = rest.split_first_chunk::<4>()
            && let Some((record, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            let read = match format {
                FIRST_FORMAT => postcard::take_from_bytes::<first::Read>(record).map(|(it, left)| (it.into(), left)),
                _ => postcard::take_from_bytes(record),
            };
            let (record, unread) = read.map_err(|_| corrupt("a record is damaged"))?;
            if !unread.is_empty() {
                return Err(corrupt("a record is longer than it says"));
            }
            self.take(record)?;
            rest = behind;
        }
        self.left = rest.to_vec();
        Ok(())
    }

    fn take(&mut self, record: Read) -> Result<(), LoadError> {
        if self.ended || self.begun == matches!(record, Read::Head(_)) {
            return Err(corrupt("its records are out of order"));
        }
        let state = &mut self.state;
        match record {
            Read::Head(head) => {
                self.begun = true;
                state.keys = head.keys;
                state.settings = head.settings;
                state.subscriptions.set_next(head.next_subscription);
                state.book_changes = head.book_changes;
                state.backlog_since = head.backlog_since;
                state.served = head.served;
                state.pushed = head.pushed;
                state.last_call = head.last_call;
                state.pushes_failed = head.pushes_failed;
                state.pushes_refused = head.pushes_refused;
                state.refused = head.refused;
                state.waitsets.next = head.zimbra.next;
                state.waitsets.served = head.zimbra.served;
                state.waitsets.evicted = head.zimbra.evicted;
                state.waitsets.expired = head.zimbra.expired;
                state.waitsets.refused = head.zimbra.refused;
                state.waitsets.commits.floor = head.zimbra.floor;
                state.waitsets.commits.last = head.zimbra.last;
            }
            Read::Mailbox(number, _) if number as usize != state.mailboxes.count() => {
                return Err(corrupt("its mailboxes are not in their order"));
            }
            Read::Mailbox(_, mailbox) if mailbox.is_sound() => state.mailboxes.push(mailbox),
            Read::Mailbox(..) => return Err(corrupt("a mailbox has no root folder")),
            Read::Subscription(number, subscription) => {
                if !state.mailboxes.contains(subscription.mailbox) {
                    return Err(corrupt("a subscription is to no mailbox"));
                }
                state.subscriptions.insert(number, subscription);
            }
            Read::Stream(request, stream) => drop(state.streams.insert(request, stream)),
            Read::Numbers(number, numbers) if state.mailboxes.contains(number) => {
                state.mailboxes.get_mut(number).numbers = numbers;
            }
            Read::WaitSet(number, set) if set.is_sound() => state.waitsets.insert(number, set),
            Read::Member(set, mailbox, member)
                if state.mailboxes.contains(mailbox) && state.waitsets.get(set).is_some() =>
            {
                state.waitsets.insert_member(set, mailbox, member);
            }
            Read::Commit(mailbox, bit, commit) if state.mailboxes.contains(mailbox) => {
                state.waitsets.commits.insert(mailbox, bit, commit);
            }
            Read::Numbers(..) | Read::WaitSet(..) | Read::Member(..) | Read::Commit(..) => {
                return Err(corrupt("a record of a WaitSet belongs to nothing"));
            }
            Read::GroupWise(record) => record.take(state).map_err(corrupt)?,
            Read::Events(record) => record.take(state).map_err(corrupt)?,
            Read::End => self.ended = true,
        }
        Ok(())
    }
}

fn corrupt(why: &str) -> LoadError {
    LoadError::Corrupt(why.to_owned())
}
