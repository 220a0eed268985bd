//! What happened in mailboxes while nobody could be told: IMAP's state beside the marks of what was told.
//!
//! It is told as events in Dovecot's form, some of them ours: `MailboxKnown` (a mailbox that was there before anything was
//! told, with its special use and counts) and `MessageFlags` (the flags that a message has now). Of what came and went in
//! between nothing is left to tell, and a mailbox with another name is a new one beside one that is gone.

use std::net::SocketAddr;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::imap::{Imap, Listed, Reached};
use super::marks::{Mark, Marked, Marks};

/// Who asks IMAP.
pub struct Resync {
    address: SocketAddr,
    /// `{user}` stands for the user.
    login: String,
    password: String,
    /// How far each mailbox was told of.
    pub marks: Marks,
}

impl Resync {
    pub fn new(address: SocketAddr, login: String, password: String, marks: Marks) -> Resync {
        Resync { address, login, password, marks }
    }

    /// What of a user was not told yet, and how far that goes. Of a user that is not known it is the mailboxes that there
    /// are.
    pub fn ask(&self, user: &str) -> anyhow::Result<(Vec<Vec<u8>>, Marked)> {
        let login = self.login.replace("{user}", user);
        let asked = || {
            let mut imap = Imap::login(self.address, &login, &self.password)?;
            match self.marks.of(user) {
                None => begin(&mut imap, user),
                Some(marked) => compare(&mut imap, user, marked),
            }
        };
        asked().with_context(|| format!("asking IMAP at {} as {login}", self.address))
    }
}

fn begin(imap: &mut Imap, user: &str) -> anyhow::Result<(Vec<Vec<u8>>, Marked)> {
    let (mut lines, mut marked) = (Vec::new(), Marked::new());
    for mailbox in imap.mailboxes()? {
        let reached = imap.select(&mailbox)?;
        lines.push(line(of_mailbox("MailboxKnown", user, &mailbox, true)));
        marked.insert(mailbox.path, reached.into());
    }
    Ok((lines, marked))
}

fn compare(imap: &mut Imap, user: &str, known: &Marked) -> anyhow::Result<(Vec<Vec<u8>>, Marked)> {
    let (mut lines, mut marked) = (Vec::new(), Marked::new());
    let listed = imap.mailboxes()?;
    for gone in known.keys().filter(|path| !listed.iter().any(|mailbox| mailbox.path == **path)) {
        lines.push(line(deleted(user, gone)));
    }
    for mailbox in listed {
        let reached = imap.select(&mailbox)?;
        lines.extend(changed(imap, user, &mailbox, reached, known.get(&mailbox.path))?.into_iter().map(line));
        marked.insert(mailbox.path, reached.into());
    }
    Ok((lines, marked))
}

type Event = Map<String, Value>;

/// What happened in one mailbox, which is open, since its mark.
fn changed(
    imap: &mut Imap,
    user: &str,
    mailbox: &Listed,
    reached: Reached,
    mark: Option<&Mark>,
) -> anyhow::Result<Vec<Event>> {
    let mark = mark.copied();
    let same = mark.filter(|mark| mark.validity == reached.validity || mark.validity == 0);
    if same.is_some_and(|mark| mark.next == reached.next && mark.modseq == reached.modseq) {
        return Ok(Vec::new());
    }
    let mut events = Vec::new();
    if mark.is_some() && same.is_none() {
        events.push(deleted(user, &mailbox.path));
    }
    if same.is_none() {
        events.push(of_mailbox("MailboxCreate", user, mailbox, false));
    }
    let first_new = same.map_or(1, |mark| mark.next);
    let since = imap.since(same.map(|mark| mark.modseq).filter(|modseq| *modseq > 0))?;
    let message = |name: &str, uid: u32, flags: &[String]| {
        let mut event = of_mailbox(name, user, mailbox, false);
        event.remove("special_use");
        event.insert("uid".into(), json!(uid));
        event.insert("uid_validity".into(), json!(reached.validity));
        event.insert("flags".into(), json!(flags));
        event
    };
    // Ranges may reach beyond what ever was.
    let vanished = since.vanished.into_iter().flat_map(|uids| *uids.start()..=(*uids.end()).min(first_new - 1));
    events.extend(vanished.map(|uid| message("MessageExpunge", uid, &[])));
    let came = if mailbox.path.eq_ignore_ascii_case("INBOX") { "MessageNew" } else { "MessageAppend" };
    let mut there = since.changed;
    there.sort_unstable_by_key(|(uid, _)| *uid);
    let there = there.iter().map(|(uid, flags)| {
        let name = if *uid >= first_new { came } else { "MessageFlags" };
        message(name, *uid, flags)
    });
    events.extend(there);
    if let Some((event, (messages, unread))) = events.last_mut().zip(mailbox.counts) {
        event.insert("messages".into(), json!(messages));
        event.insert("unread".into(), json!(unread));
    }
    Ok(events)
}

fn deleted(user: &str, path: &str) -> Event {
    let event = json!({ "name": "MailboxDelete", "user": user, "mailbox": path });
    event.as_object().cloned().expect("an object")
}

fn of_mailbox(name: &str, user: &str, mailbox: &Listed, counts: bool) -> Event {
    let mut event = json!({ "name": name, "user": user, "mailbox": mailbox.path });
    if let Some(special_use) = mailbox.special_use {
        event["special_use"] = json!(special_use);
    }
    if let Some((messages, unread)) = mailbox.counts.filter(|_| counts) {
        (event["messages"], event["unread"]) = (json!(messages), json!(unread));
    }
    event.as_object().cloned().expect("an object")
}

fn line(event: Event) -> Vec<u8> {
    let mut line = Value::Object(event).to_string().into_bytes();
    line.push(b'\n');
    line
}
