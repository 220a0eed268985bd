//! The file that postbell.lua appends to, as it grows.
//!
//! Dovecot never stops writing to it, so it is never replaced: what was read is given back to the disk as a hole, and only
//! the count of its bytes stays. The place to go on from is noted after what was read is in the spool, so a crash between
//! the two tells something twice, and nothing not at all.
//!
//! Where the file or the spool was lost, and IMAP may be asked, what was in it is found there (see `resync`): the file is
//! followed from where it ended before IMAP was asked. What it has of what was found already is passed over by its
//! modification sequence: that of an event is its mailbox's at the end of the event's transaction, and perhaps of a later
//! one, so one that is not above what IMAP told is part of that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FallocateFlags, fallocate};
use serde::Deserialize;

use super::marks::Marks;
use super::moves::Moves;
use super::resync::Resync;
use super::spool::Spool;
use super::{Reader, TargetArgs};
use crate::clock::{Clock, SystemClock};
use crate::program::Failure;

/// How often it looks whether it is to end.
const LOOK_MS: u64 = 200;

/// How long it waits before it asks IMAP again.
const AGAIN: Duration = Duration::from_secs(5);

/// So much is read at a time.
const READ_BYTES: u64 = 4 << 20;

/// What was read is given back to the disk in steps of so many bytes.
const HOLE_BYTES: u64 = 1 << 20;

/// `source dovecot`
#[derive(Args, Debug)]
pub struct DovecotArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The file that postbell.lua appends to (`postbell_events`)
    #[arg(long, default_value = "/var/spool/postbell/events")]
    events: PathBuf,
    /// How long an append waits for the expunge that makes a move of it; 0: moves are not recognised
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(..=60_000))]
    move_window_ms: u64,
    /// Dovecot's IMAP on this machine, without TLS: asked for each user's mailboxes at first, and for what happened after
    /// the file or the spool was lost
    #[arg(long, value_name = "ADDRESS", value_parser = loopback, requires = "marks")]
    imap: Option<SocketAddr>,
    /// How to log in there, with the password in the environment variable POSTBELL_IMAP_PASSWORD; {user} stands for the user
    #[arg(long, value_name = "NAME", default_value = "{user}*postbell", requires = "imap")]
    imap_login: String,
    /// File that says how far each mailbox was told of; best not on the disk of the spool
    #[arg(long, value_name = "FILE", requires = "imap")]
    marks: Option<PathBuf>,
    /// Ask IMAP what happened also where nothing is known to be lost
    #[arg(long, requires = "imap")]
    resync: bool,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}"))?;
    if address.ip().is_loopback() { Ok(address) } else { Err("expected an address of this machine's loopback".into()) }
}

impl DovecotArgs {
    pub(super) fn parts(self) -> Result<(TargetArgs, Tail), Failure> {
        let note = self.target.spool.join("position");
        let asked = match self.imap.zip(self.marks) {
            None => None,
            Some((address, marks)) => {
                let password = std::env::var("POSTBELL_IMAP_PASSWORD").ok().filter(|password| !password.is_empty());
                let missing = || Failure::Usage("the environment variable POSTBELL_IMAP_PASSWORD is needed".to_owned());
                Some(Resync::new(address, self.imap_login, password.ok_or_else(missing)?, Marks::open(&marks)?))
            }
        };
        let Self { target, events, move_window_ms, resync, .. } = self;
        Ok((target, Tail { events, note, move_window_ms, asked, resync }))
    }
}

/// What is followed, and how.
pub struct Tail {
    events: PathBuf,
    /// Where the place to go on from is noted.
    note: PathBuf,
    move_window_ms: u64,
    asked: Option<Resync>,
    resync: bool,
}

/// Opens the file; makes it where Dovecot has not yet.
pub fn open(tail: Tail) -> anyhow::Result<Reader> {
    let place = || format!("the file {}", tail.events.display());
    let file = match OpenOptions::new().read(true).write(true).open(&tail.events) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(&tail.events),
        opened => opened,
    };
    let file = file.with_context(place)?;
    let length = file.metadata().with_context(place)?.len();
    let lost = match (noted(&tail.note)?, &tail.asked) {
        (Some(position), None) => {
            ensure!(
                position <= length,
                "{} has {length} bytes, of which {position} were read before: is it another file? Then remove {}",
                tail.events.display(),
                tail.note.display()
            );
            None
        }
        (Some(position), Some(_)) if position > length => Some("it is another file than the one that was read before"),
        (None, Some(asked)) if asked.marks.users().next().is_some() => Some("the spool is another one"),
        _ => tail.resync.then_some("it was asked for"),
    };
    let position = match lost {
        None => noted(&tail.note)?.unwrap_or(0),
        Some(why) => {
            tracing::warn!(why, "what was lost of {} is looked for by IMAP", tail.events.display());
            length
        }
    };
    let grown = watch(&tail.events).with_context(place)?;
    let moves = Moves::new(tail.move_window_ms);
    let (note, asked, found) = (tail.note, tail.asked, BTreeMap::new());
    let (noted, clock) = (lost.is_none().then_some(position), SystemClock::default());
    let follower = Follower { file, position, noted, moves, note, asked, found, clock };
    Ok(Box::new(move |spool| follower.follow(&grown, &spool)))
}

/// Dovecot may deliver as many users.
fn make(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o622).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o622))?;
    Ok(file)
}

/// Says when the file has grown, as inotify(7) does.
fn watch(path: &Path) -> std::io::Result<Receiver<()>> {
    let watch = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, path, WatchFlags::MODIFY)?;
    let (sender, receiver) = sync_channel(1);
    let mut watch = File::from(watch);
    // Ends with the process. What it reads only says that there is something; reading the file says what.
    thread::spawn(move || {
        let mut events = [0; 4096];
        while watch.read(&mut events).is_ok() {
            // One that nobody has taken yet says the same.
            let _ = sender.try_send(());
        }
    });
    Ok(receiver)
}

fn noted(note: &Path) -> anyhow::Result<Option<u64>> {
    match std::fs::read_to_string(note) {
        Ok(text) => text.trim().parse().map(Some).with_context(|| format!("{} is not a number", note.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}", note.display())),
    }
}

struct Follower {
    file: File,
    /// How far it was read.
    position: u64,
    /// What is noted of that; none: nothing, or nothing that still holds.
    noted: Option<u64>,
    moves: Moves,
    note: PathBuf,
    asked: Option<Resync>,
    /// How far mailboxes were asked for by IMAP after something was lost: user and path, UIDVALIDITY and modification
    /// sequence.
    found: BTreeMap<(String, String), (u32, u64)>,
    clock: SystemClock,
}

/// What of an event says whether it was found already, and whose it is.
#[derive(Deserialize)]
struct Event {
    user: String,
    mailbox: String,
    uid_validity: Option<u32>,
    modseq: Option<u64>,
}

impl Follower {
    fn follow(mut self, grown: &Receiver<()>, spool: &Spool) -> anyhow::Result<()> {
        if self.noted.is_none() && !self.find(spool)? {
            return Ok(());
        }
        while !spool.is_closed() {
            let lines = self.read()?;
            let more = !lines.is_empty();
            let mut told = self.moves.due(self.clock.monotonic());
            for (position, line) in lines {
                if !self.was_found(&line) {
                    told.extend(self.moves.take(&line, position, self.clock.monotonic()));
                }
            }
            if !self.tell(told, spool)? {
                break;
            }
            self.note()?;
            if !more && grown.recv_timeout(self.patience()) == Err(RecvTimeoutError::Disconnected) {
                bail!("inotify has ended");
            }
        }
        Ok(())
    }

    /// Tells what was lost of the users that are known; false: it is to end.
    fn find(&mut self, spool: &Spool) -> anyhow::Result<bool> {
        let Some(asked) = &mut self.asked else { return Ok(true) };
        let users: Vec<String> = asked.marks.users().map(str::to_owned).collect();
        for user in users {
            let (lines, marked) = loop {
                match asked.ask(&user) {
                    Ok(answer) => break answer,
                    Err(error) if spool.is_closed() => return Err(error),
                    Err(error) => tracing::warn!("it is tried again: {error:#}"),
                }
                if spool.closes_within(AGAIN) {
                    return Ok(false);
                }
            };
            tracing::info!(user, changes = lines.len(), "found by IMAP");
            if !lines.is_empty() && !spool.push(&lines)? {
                return Ok(false);
            }
            let found = marked.iter().map(|(path, mark)| ((user.clone(), path.clone()), (mark.validity, mark.modseq)));
            self.found.extend(found);
            asked.marks.replace(&user, marked);
            asked.marks.keep()?;
        }
        Ok(true)
    }

    /// Whether IMAP told of it already.
    fn was_found(&self, line: &[u8]) -> bool {
        if self.found.is_empty() {
            return false;
        }
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return false };
        let found = self.found.get(&(event.user, event.mailbox));
        found
            .zip(event.uid_validity.zip(event.modseq))
            .is_some_and(|((validity, found), (of, modseq))| *validity == of && modseq <= *found)
    }

    /// Puts lines into the spool, those of users that are not known yet behind what is known of their mailboxes; false: it is
    /// to end.
    fn tell(&mut self, told: Vec<Vec<u8>>, spool: &Spool) -> anyhow::Result<bool> {
        if told.is_empty() {
            return Ok(true);
        }
        let Some(asked) = &mut self.asked else { return spool.push(&told) };
        let users = told.iter().filter_map(|line| serde_json::from_slice::<Event>(line).ok()).map(|event| event.user);
        let users: BTreeSet<String> = users.filter(|user| asked.marks.of(user).is_none()).collect();
        for user in users {
            match asked.ask(&user) {
                Ok((lines, marked)) => {
                    if !lines.is_empty() && !spool.push(&lines)? {
                        return Ok(false);
                    }
                    asked.marks.replace(&user, marked);
                }
                // Nobody waits for it: what is lost of this user would only not be found.
                Err(error) => tracing::warn!("the mailboxes of {user} are not known: {error:#}"),
            }
        }
        if !spool.push(&told)? {
            return Ok(false);
        }
        told.iter().for_each(|line| asked.marks.told(line));
        asked.marks.keep()?;
        Ok(true)
    }

    /// Whole lines that were not read yet, each with its place; none if there is none.
    fn read(&mut self) -> anyhow::Result<Vec<(u64, Vec<u8>)>> {
        self.file.seek(SeekFrom::Start(self.position))?;
        let mut reader = BufReader::new((&self.file).take(READ_BYTES));
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let length = reader.read_until(b'\n', &mut line)? as u64;
            if !line.ends_with(b"\n") {
                ensure!(length < READ_BYTES, "a line of the events is longer than {READ_BYTES} bytes");
                return Ok(lines);
            }
            lines.push((self.position, line));
            self.position += length;
        }
    }

    fn patience(&self) -> Duration {
        let due = self.moves.next_due().map_or(LOOK_MS, |due| due.saturating_sub(self.clock.monotonic()));
        Duration::from_millis(due.min(LOOK_MS))
    }

    /// Notes where to go on from, and gives back what lies before.
    fn note(&mut self) -> anyhow::Result<()> {
        let position = self.moves.position().unwrap_or(self.position);
        if self.noted == Some(position) {
            return Ok(());
        }
        let new = self.note.with_extension("new");
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(position.to_string().as_bytes())?;
            file.sync_data()?;
            std::fs::rename(&new, &self.note)
        };
        write().with_context(|| format!("noting the position in {}", self.note.display()))?;
        if position / HOLE_BYTES > self.noted.unwrap_or(0) / HOLE_BYTES {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = fallocate(&self.file, hole, 0, position / HOLE_BYTES * HOLE_BYTES) {
                tracing::warn!("the file of events grows: this filesystem makes no holes: {error}");
            }
        }
        self.noted = Some(position);
        Ok(())
    }
}
