//! How far a source has told of each mailbox: what comes behind is found by asking IMAP, after events were lost.
//!
//! A file of JSON lines, one for each mailbox that was told of; of several of one mailbox the last counts. It is written
//! after what it tells of is in the spool, so an end that is lost means only that something is found again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::imap::Reached;

/// The file is written anew when it has so many lines more than twice those that count.
const SPARE_LINES: usize = 1_000;

/// The mailboxes of one user, by their paths.
pub type Marked = BTreeMap<String, Mark>;

/// How far one mailbox was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its UIDVALIDITY; 0: it was empty and had none yet that is known.
    pub validity: u32,
    /// Messages from this UID on were not told of.
    pub next: u32,
    /// Changes behind this modification sequence were not told of.
    pub modseq: u64,
}

impl From<Reached> for Mark {
    fn from(reached: Reached) -> Mark {
        Mark { validity: reached.validity, next: reached.next, modseq: reached.modseq }
    }
}

/// The marks of all users.
#[derive(Debug)]
pub struct Marks {
    path: PathBuf,
    file: File,
    lines: usize,
    users: BTreeMap<String, Marked>,
    /// What is not in the file yet.
    unwritten: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Line<'l> {
    user: std::borrow::Cow<'l, str>,
    mailbox: std::borrow::Cow<'l, str>,
    /// None: it is gone.
    mark: Option<Mark>,
}

/// What of an event moves a mark.
#[derive(Deserialize)]
struct Event {
    name: String,
    user: String,
    mailbox: String,
    mailbox_old: Option<String>,
    uid: Option<u32>,
    uid_validity: Option<u32>,
    modseq: Option<u64>,
}

impl Marks {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> anyhow::Result<Marks> {
        let place = || format!("the marks {}", path.display());
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(place)?,
        };
        let mut users = BTreeMap::new();
        // The last one may be torn.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let Line { user, mailbox, mark } = serde_json::from_str(line).with_context(place)?;
            put(&mut users, &user, &mailbox, mark);
        }
        let mut marks =
            Marks { path: path.to_owned(), file: new_file(path, &users)?, lines: 0, users, unwritten: vec![] };
        marks.lines = marks.count();
        Ok(marks)
    }

    /// The users that are known.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// What is known of a user.
    pub fn of(&self, user: &str) -> Option<&Marked> {
        self.users.get(user)
    }

    /// What was told of a user, as a whole.
    pub fn replace(&mut self, user: &str, marked: Marked) {
        let gone =
            self.users.get(user).into_iter().flat_map(Marked::keys).filter(|mailbox| !marked.contains_key(*mailbox));
        for mailbox in gone.cloned().collect::<Vec<_>>() {
            self.set(user, &mailbox, None);
        }
        for (mailbox, mark) in marked {
            self.set(user, &mailbox, Some(mark));
        }
        // Also one without mailboxes is known.
        self.users.entry(user.to_owned()).or_default();
    }

    /// An event was told of a user that is known.
    pub fn told(&mut self, line: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return };
        let Some(marked) = self.users.get(&event.user) else { return };
        let (user, mailbox) = (&event.user, &event.mailbox);
        match (event.name.as_str(), event.mailbox_old) {
            ("MailboxCreate", _) => self.set(user, mailbox, Some(Mark { validity: 0, next: 1, modseq: 0 })),
            ("MailboxDelete", _) => self.set(user, mailbox, None),
            ("MailboxRename", Some(old)) => {
                let below = |path: &str| path.strip_prefix(&*old).map(|rest| format!("{mailbox}{rest}"));
                let renamed = |path: &String| {
                    below(path).filter(|_| path[old.len()..].is_empty() || path[old.len()..].starts_with('/'))
                };
                let renamed: Vec<_> =
                    marked.iter().filter_map(|(path, mark)| Some((path.clone(), renamed(path)?, *mark))).collect();
                for (before, after, mark) in renamed {
                    self.set(user, &before, None);
                    self.set(user, &after, Some(mark));
                }
            }
            _ => {
                let (Some(uid), Some(validity), Some(modseq)) = (event.uid, event.uid_validity, event.modseq) else {
                    return;
                };
                let known = marked.get(mailbox).filter(|mark| mark.validity == validity);
                let (next, former) = known.map_or((1, 0), |mark| (mark.next, mark.modseq));
                let mark = Mark { validity, next: next.max(uid.saturating_add(1)), modseq: former.max(modseq) };
                self.set(user, mailbox, Some(mark));
            }
        }
    }

    fn set(&mut self, user: &str, mailbox: &str, mark: Option<Mark>) {
        let known = self.users.get(user).and_then(|marked| marked.get(mailbox)).copied();
        if known == mark {
            return;
        }
        put(&mut self.users, user, mailbox, mark);
        write(&mut self.unwritten, user, mailbox, mark);
        self.lines += 1;
    }

    /// Writes what was set since.
    pub fn keep(&mut self) -> anyhow::Result<()> {
        let place = || format!("the marks {}", self.path.display());
        if self.lines > 2 * self.count() + SPARE_LINES {
            self.file = new_file(&self.path, &self.users)?;
            self.lines = self.count();
        } else {
            self.file.write_all(&self.unwritten).with_context(place)?;
        }
        self.unwritten.clear();
        Ok(())
    }

    fn count(&self) -> usize {
        self.users.values().map(Marked::len).sum()
    }
}

fn put(users: &mut BTreeMap<String, Marked>, user: &str, mailbox: &str, mark: Option<Mark>) {
    let marked = users.entry(user.to_owned()).or_default();
    match mark {
        Some(mark) => drop(marked.insert(mailbox.to_owned(), mark)),
        None => drop(marked.remove(mailbox)),
    }
}

fn write(lines: &mut Vec<u8>, user: &str, mailbox: &str, mark: Option<Mark>) {
    let line = Line { user: user.into(), mailbox: mailbox.into(), mark };
    serde_json::to_writer(&mut *lines, &line).expect("a mark is made of numbers and text");
    lines.push(b'\n');
}

/// The file with nothing in it but what counts, open to append.
fn new_file(path: &Path, users: &BTreeMap<String, Marked>) -> anyhow::Result<File> {
    let new = path.with_extension("new");
    let mut lines = Vec::new();
    for (user, marked) in users {
        marked.iter().for_each(|(mailbox, mark)| write(&mut lines, user, mailbox, Some(*mark)));
    }
    let written = || {
        fs::write(&new, &lines)?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)?;
        OpenOptions::new().append(true).open(path)
    };
    written().with_context(|| format!("the marks {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mark(validity: u32, next: u32, modseq: u64) -> Mark {
        Mark { validity, next, modseq }
    }

    fn told(marks: &mut Marks, event: &serde_json::Value) {
        marks.told(format!("{event}\n").as_bytes());
    }

    #[test]
    fn marks_follow_what_is_told_and_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let mut marks = Marks::open(&path).unwrap();
        let new = |uid: u32, modseq: u64| json!({"name": "MessageNew", "user": "ann", "mailbox": "INBOX", "uid": uid, "uid_validity": 7, "modseq": modseq});
        told(&mut marks, &new(1, 1));
        assert_eq!(marks.of("ann"), None, "nobody has asked for her mailboxes yet");
        let known = [("INBOX", mark(7, 1, 1)), ("A", mark(8, 5, 9)), ("A/B", mark(9, 1, 1)), ("AB", mark(10, 1, 1))];
        marks.replace("ann", known.into_iter().map(|(mailbox, mark)| (mailbox.to_owned(), mark)).collect());
        told(&mut marks, &new(3, 6));
        told(&mut marks, &new(2, 5));
        told(&mut marks, &json!({"name": "MailboxRename", "user": "ann", "mailbox": "C", "mailbox_old": "A"}));
        told(&mut marks, &json!({"name": "MailboxDelete", "user": "ann", "mailbox": "AB"}));
        told(&mut marks, &json!({"name": "MailboxCreate", "user": "ann", "mailbox": "D"}));
        let expected = [("C", mark(8, 5, 9)), ("C/B", mark(9, 1, 1)), ("D", mark(0, 1, 0)), ("INBOX", mark(7, 4, 6))];
        let expected: Marked = expected.into_iter().map(|(mailbox, mark)| (mailbox.to_owned(), mark)).collect();
        assert_eq!(marks.of("ann"), Some(&expected));
        marks.keep().unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"user\":\"torn").unwrap();
        assert_eq!(Marks::open(&path).unwrap().of("ann"), Some(&expected));
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let mut marks = Marks::open(&path).unwrap();
        for modseq in 1..3_000 {
            marks.replace("ann", Marked::from([("INBOX".to_owned(), mark(1, 1, modseq))]));
            marks.keep().unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap().lines().count() <= SPARE_LINES + 2);
        assert_eq!(Marks::open(&path).unwrap().of("ann").unwrap()["INBOX"].modseq, 2_999);
    }
}
