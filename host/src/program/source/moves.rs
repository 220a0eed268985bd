//! Moves, which Dovecot does not tell: it tells of an append and, shortly after, of an expunge.
//!
//! They are one move if the message that is gone had the Message-ID of the one that came. What Message-ID it had is known
//! of messages that came while this ran; of others, and when the expunge comes too late, clients hear of a new item and of a
//! deleted one, which is true as well. Events of one user keep their order, so those after an append wait with it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Of how many messages the Message-ID is remembered.
const REMEMBERED: usize = 100_000;

/// Events in the order in which they came, and those that wait for one that belongs to them.
#[derive(Debug)]
pub struct Moves {
    window_ms: u64,
    users: BTreeMap<String, VecDeque<Held>>,
    ids: HashMap<Message, String>,
    oldest: VecDeque<Message>,
}

/// A message by its user, mailbox, UIDVALIDITY and UID.
type Message = (String, String, u32, u32);

#[derive(Debug)]
struct Held {
    line: Vec<u8>,
    /// Where it stands in what was read.
    position: u64,
    /// An append that may turn out to be a move.
    append: Option<Append>,
}

#[derive(Debug)]
struct Append {
    message_id: String,
    due: u64,
}

/// What of an event decides.
#[derive(Deserialize)]
struct Event {
    name: String,
    user: String,
    mailbox: String,
    uid: Option<u32>,
    uid_validity: Option<u32>,
    #[serde(default)]
    message_id: String,
}

impl Event {
    fn message(&self) -> Option<Message> {
        Some((self.user.clone(), self.mailbox.clone(), self.uid_validity?, self.uid?))
    }
}

impl Moves {
    /// An append waits so many milliseconds for its expunge.
    pub fn new(window_ms: u64) -> Moves {
        Moves { window_ms, users: BTreeMap::new(), ids: HashMap::new(), oldest: VecDeque::new() }
    }

    /// Takes a line, with its line break, that stands at `position` of what was read and was read at `now`.
    pub fn take(&mut self, line: &[u8], position: u64, now: u64) -> Vec<Vec<u8>> {
        // The server says what is wrong with a line that is not understood.
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return vec![line.to_vec()] };
        let mut append = None;
        match event.name.as_str() {
            "MessageNew" => self.remember(&event),
            "MessageAppend" => {
                self.remember(&event);
                append = (!event.message_id.is_empty() && self.window_ms > 0)
                    .then(|| Append { message_id: event.message_id.clone(), due: now + self.window_ms });
            }
            "MessageExpunge" => self.join(&event),
            _ => {}
        }
        let held = Held { line: line.to_vec(), position, append };
        self.users.entry(event.user.clone()).or_default().push_back(held);
        self.released(&event.user, now)
    }

    /// The lines that waited long enough.
    pub fn due(&mut self, now: u64) -> Vec<Vec<u8>> {
        let users: Vec<String> = self.users.keys().cloned().collect();
        users.iter().flat_map(|user| self.released(user, now)).collect()
    }

    /// When the next one has waited long enough.
    pub fn next_due(&self) -> Option<u64> {
        self.users.values().filter_map(|held| held.front()?.append.as_ref()).map(|append| append.due).min()
    }

    /// Where the first line stands that still waits.
    pub fn position(&self) -> Option<u64> {
        self.users.values().filter_map(|held| held.front()).map(|held| held.position).min()
    }

    fn remember(&mut self, event: &Event) {
        let Some(message) = event.message().filter(|_| !event.message_id.is_empty()) else { return };
        if self.ids.insert(message.clone(), event.message_id.clone()).is_none() {
            self.oldest.push_back(message);
        }
        if self.oldest.len() > REMEMBERED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// An expunge makes a move of the first append of its message that waits. It is told itself as well: it has the counts
    /// of where the message was.
    fn join(&mut self, gone: &Event) {
        let Some(message) = gone.message() else { return };
        let Some(id) = self.ids.remove(&message) else { return };
        let waiting = self.users.get_mut(&gone.user).into_iter().flatten();
        let mut same = waiting.filter(|held| held.append.as_ref().is_some_and(|append| append.message_id == id));
        if let Some(came) = same.find(|held| !is(&held.line, gone)) {
            came.line = moved(&came.line, gone);
            came.append = None;
        }
    }

    fn released(&mut self, user: &str, now: u64) -> Vec<Vec<u8>> {
        let Some(held) = self.users.get_mut(user) else { return Vec::new() };
        let mut lines = Vec::new();
        while let Some(first) = held.pop_front_if(|held| held.append.as_ref().is_none_or(|append| append.due <= now)) {
            lines.push(first.line);
        }
        if held.is_empty() {
            self.users.remove(user);
        }
        lines
    }
}

/// Whether an event is of the very message that is gone.
fn is(line: &[u8], gone: &Event) -> bool {
    serde_json::from_slice::<Event>(line).is_ok_and(|came| came.message() == gone.message())
}

/// The append as a move from where the message was.
fn moved(line: &[u8], gone: &Event) -> Vec<u8> {
    let mut event: Map<String, Value> = serde_json::from_slice(line).expect("it was read as an event before");
    event.insert("name".into(), json!("MessageMove"));
    event.insert("mailbox_old".into(), json!(gone.mailbox));
    event.insert("uid_validity_old".into(), json!(gone.uid_validity));
    event.insert("uid_old".into(), json!(gone.uid));
    let mut line = Value::Object(event).to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, user: &str, mailbox: &str, uid: u32, id: &str) -> Vec<u8> {
        let event =
            json!({"name": name, "user": user, "mailbox": mailbox, "uid_validity": 1, "uid": uid, "message_id": id});
        format!("{event}\n").into_bytes()
    }

    fn told(lines: &[Vec<u8>]) -> Vec<String> {
        let told = |line: &Vec<u8>| {
            let event: Value = serde_json::from_slice(line).unwrap();
            let from = event["uid_old"].as_u64().map(|uid| format!(" from {} {uid}", event["mailbox_old"]));
            format!("{} {} {}{}", event["name"], event["mailbox"], event["uid"], from.unwrap_or_default())
                .replace('"', "")
        };
        lines.iter().map(told).collect()
    }

    #[test]
    fn an_append_and_the_expunge_of_the_same_message_are_a_move() {
        let mut moves = Moves::new(500);
        assert_eq!(told(&moves.take(&event("MessageNew", "ann", "INBOX", 1, "a"), 0, 0)), ["MessageNew INBOX 1"]);
        assert!(moves.take(&event("MessageAppend", "ann", "B", 7, "a"), 10, 100).is_empty());
        assert_eq!((moves.position(), moves.next_due()), (Some(10), Some(600)));
        let lines = moves.take(&event("MessageExpunge", "ann", "INBOX", 1, ""), 20, 200);
        assert_eq!(told(&lines), ["MessageMove B 7 from INBOX 1", "MessageExpunge INBOX 1"]);
        assert_eq!((moves.position(), moves.next_due()), (None, None));
    }

    #[test]
    fn several_are_paired_each_with_its_own() {
        let mut moves = Moves::new(500);
        for (uid, id) in [(1, "a"), (2, "b")] {
            moves.take(&event("MessageNew", "ann", "INBOX", uid, id), 0, 0);
        }
        for (uid, id) in [(8, "a"), (9, "b")] {
            assert!(moves.take(&event("MessageAppend", "ann", "B", uid, id), 0, 0).is_empty());
        }
        assert!(moves.take(&event("MessageExpunge", "ann", "INBOX", 2, ""), 0, 0).is_empty(), "the first still waits");
        let lines = moves.take(&event("MessageExpunge", "ann", "INBOX", 1, ""), 0, 0);
        let expected = ["MessageMove B 8 from INBOX 1", "MessageMove B 9 from INBOX 2"];
        assert_eq!(told(&lines)[..2], expected);
    }

    #[test]
    fn what_is_no_move_stays_what_it_is() {
        let mut moves = Moves::new(500);
        moves.take(&event("MessageNew", "ann", "INBOX", 1, "a"), 0, 0);
        // Another message, another user, the message itself.
        assert!(moves.take(&event("MessageAppend", "ann", "B", 7, "a"), 0, 0).is_empty());
        assert_eq!(
            told(&moves.take(&event("MessageExpunge", "bob", "INBOX", 1, ""), 0, 0)),
            ["MessageExpunge INBOX 1"]
        );
        assert!(moves.take(&event("MessageExpunge", "ann", "INBOX", 2, ""), 0, 0).is_empty());
        assert!(moves.take(&event("MessageExpunge", "ann", "B", 7, ""), 0, 0).is_empty());
        let lines = moves.due(500);
        assert_eq!(told(&lines), ["MessageAppend B 7", "MessageExpunge INBOX 2", "MessageExpunge B 7"]);
    }

    #[test]
    fn too_late_is_a_new_item_and_a_deleted_one() {
        let mut moves = Moves::new(500);
        moves.take(&event("MessageNew", "ann", "INBOX", 1, "a"), 0, 0);
        assert!(moves.take(&event("MessageAppend", "ann", "B", 7, "a"), 0, 0).is_empty());
        assert!(moves.due(499).is_empty());
        assert_eq!(told(&moves.due(500)), ["MessageAppend B 7"]);
        let lines = moves.take(&event("MessageExpunge", "ann", "INBOX", 1, ""), 0, 501);
        assert_eq!(told(&lines), ["MessageExpunge INBOX 1"]);
    }

    #[test]
    fn nobody_waits_for_another_user() {
        let mut moves = Moves::new(500);
        assert!(moves.take(&event("MessageAppend", "ann", "B", 7, "a"), 0, 0).is_empty());
        assert_eq!(told(&moves.take(&event("MessageNew", "bob", "INBOX", 1, "b"), 0, 0)), ["MessageNew INBOX 1"]);
        assert_eq!(moves.take(b"odd\n", 0, 0), [b"odd\n"]);
    }
}
