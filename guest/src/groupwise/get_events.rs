//! getEventsRequest: the records of a key, oldest first, and with `remove` their end once the client has them.
//!
//! With `notify` the key is on the notification list again. Where records stay that this answer does not have, its
//! application hears of them at once, if the client got on by this answer: it removed some, or saw some for the first
//! time. One that does neither would hear of the same records without end.

use super::asked::Asked;
use super::events::occurrence::shown;
use super::events::{Key, KeyNo, Log, Occurrence, Uid, times};
use super::status::Status;
use super::{Answer, Call};
use crate::contract::Instant;
use crate::mailboxes::MailboxNo;
use crate::reply::Text;
use crate::settings::Settings;
use crate::turn::MAX_ANSWER;

/// The room that is left for what stands around the records.
const ROOM: usize = 4096;

/// Which records are meant.
pub struct Range {
    from: Option<Instant>,
    until: Option<Instant>,
    uid: Option<u32>,
}

impl Range {
    /// What a request says; dates as far as clients see them, to the second.
    pub fn of(asked: &Asked<'_>) -> Result<Self, Status> {
        let moment = |name: &str| {
            let said = asked.text(name);
            said.map(|said| times::moment(said).ok_or(Status::BadParameter)).transpose()
        };
        let uid = asked.number("uid")?.map(|uid| u32::try_from(uid).map_err(|_| Status::BadParameter));
        Ok(Self { from: moment("from")?, until: moment("until")?, uid: uid.transpose()? })
    }

    /// Whether a record is one of them: with `uid`, that one and those after it.
    pub fn holds(&self, uid: Uid, occurrence: &Occurrence) -> bool {
        let at = occurrence.at / 1000;
        let late_enough = self.from.is_none_or(|from| at >= from);
        let early_enough = self.until.is_none_or(|until| at <= until);
        late_enough && early_enough && self.uid.is_none_or(|from| shown(uid) >= from)
    }
}

/// What a request wants.
struct Wanted {
    range: Range,
    count: usize,
    remove: bool,
    notify: bool,
}

impl Wanted {
    fn of(asked: &Asked<'_>, settings: &Settings) -> Result<Self, Status> {
        let most = u64::from(settings.events_per_answer);
        Ok(Self {
            range: Range::of(asked)?,
            count: asked.count()?.unwrap_or(most).min(most) as usize,
            remove: asked.flag("remove", false)?,
            notify: asked.flag("notify", false)?,
        })
    }

    /// The records in order, as many as are wanted, or as fit into one answer.
    fn read(&self, out: &mut Vec<u8>, key: &Key, log: &Log) -> Vec<Uid> {
        let mut given = Vec::new();
        let records = key.records.iter().copied().map(|uid| (uid, log.get(uid)));
        for (uid, occurrence) in records.filter(|(uid, it)| self.range.holds(*uid, it)).take(self.count) {
            let before = out.len();
            occurrence.write(out, &key.name, uid);
            if out.len() > MAX_ANSWER - ROOM {
                out.truncate(before);
                break;
            }
            given.push(uid);
        }
        given
    }
}

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    let wanted = Wanted::of(call.asked, &call.state.settings)?;
    let (mailbox, number) = call.key()?;
    let Call { state, turn, asked, .. } = call;
    let events = &mut state.events;
    if events.reads_of(mailbox) >= state.settings.event_reads_per_account {
        events.counts.reads_refused += 1;
        turn.changed = true;
        return Err(Status::TooManyReads);
    }
    turn.changed |= events.touch(number, turn.at.now);
    let mut out = Vec::with_capacity(4096);
    out.raw("<e:events>");
    let key = events.get(number).ok_or(Status::NoSuchKey)?;
    let given = wanted.read(&mut out, key, events.log(mailbox));
    out.raw("</e:events>");
    let advanced = given.last().is_some_and(|last| *last > key.seen);
    let stays = key.records.len() > given.len();
    if !given.is_empty() {
        events.begin_read(asked.request.id, number, &given, wanted.remove);
        turn.changed = true;
    }
    if wanted.notify {
        let again = stays && (advanced || wanted.remove && !given.is_empty());
        turn.changed |= events.with_key(number, |key| arm(key, again)) == Some(true);
    }
    Ok(out)
}

/// Whether that altered anything.
fn arm(key: &mut Key, again: bool) -> bool {
    let before = (key.armed, key.owed);
    key.arm();
    key.owed = key.armed && again;
    before != (key.armed, key.owed)
}

/// A key that is there, for the operations that need one.
impl Call<'_> {
    /// The key that is asked for, and its mailbox.
    pub(super) fn key(&self) -> Result<(MailboxNo, KeyNo), Status> {
        let name = self.asked.text("key").ok_or(Status::BadParameter)?;
        let mailbox = self.mailbox()?.ok_or(Status::NoSuchKey)?;
        let number = self.state.events.find(mailbox, name).ok_or(Status::NoSuchKey)?;
        match self.state.events.get(number) {
            Some(key) if !key.lost => Ok((mailbox, number)),
            _ => Err(Status::NoSuchKey),
        }
    }
}
