//! The file that postbell.lua appends to, as it grows.
//!
//! Dovecot never stops writing to it, so it is never replaced: what was read is given back to the disk as a hole, and only
//! the count of its bytes stays. The place to go on from is noted after what was read is in the spool, so a crash between
//! the two tells something twice, and nothing not at all.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FallocateFlags, fallocate};

use super::moves::Moves;
use super::spool::Spool;
use super::{Reader, TargetArgs};
use crate::clock::{Clock, SystemClock};

/// How often it looks whether it is to end.
const LOOK_MS: u64 = 200;

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
}

impl DovecotArgs {
    pub(super) fn parts(self) -> (TargetArgs, Tail) {
        let note = self.target.spool.join("position");
        (self.target, Tail { events: self.events, note, move_window_ms: self.move_window_ms })
    }
}

/// What is followed, and how.
#[derive(Debug)]
pub struct Tail {
    events: PathBuf,
    /// Where the place to go on from is noted.
    note: PathBuf,
    move_window_ms: u64,
}

/// Opens the file; makes it where Dovecot has not yet.
pub fn open(tail: Tail) -> anyhow::Result<Reader> {
    let place = || format!("the file {}", tail.events.display());
    let file = match OpenOptions::new().read(true).write(true).open(&tail.events) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(&tail.events),
        opened => opened,
    };
    let file = file.with_context(place)?;
    let position = noted(&tail.note)?;
    let length = file.metadata().with_context(place)?.len();
    ensure!(
        position <= length,
        "{} has {length} bytes, of which {position} were read before: is it another file? Then remove {}",
        tail.events.display(),
        tail.note.display()
    );
    let grown = watch(&tail.events).with_context(place)?;
    let moves = Moves::new(tail.move_window_ms);
    let follower = Follower { file, position, noted: position, moves, note: tail.note, clock: SystemClock::default() };
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

fn noted(note: &Path) -> anyhow::Result<u64> {
    match std::fs::read_to_string(note) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} is not a number", note.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("{}", note.display())),
    }
}

struct Follower {
    file: File,
    /// How far it was read.
    position: u64,
    /// What is noted of that.
    noted: u64,
    moves: Moves,
    note: PathBuf,
    clock: SystemClock,
}

impl Follower {
    fn follow(mut self, grown: &Receiver<()>, spool: &Spool) -> anyhow::Result<()> {
        while !spool.is_closed() {
            let lines = self.read()?;
            let more = !lines.is_empty();
            let mut told = self.moves.due(self.clock.monotonic());
            for (position, line) in lines {
                told.extend(self.moves.take(&line, position, self.clock.monotonic()));
            }
            if !told.is_empty() && !spool.push(&told)? {
                break;
            }
            self.note()?;
            if !more && grown.recv_timeout(self.patience()) == Err(RecvTimeoutError::Disconnected) {
                bail!("inotify has ended");
            }
        }
        Ok(())
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
        if position == self.noted {
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
        if position / HOLE_BYTES > self.noted / HOLE_BYTES {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = fallocate(&self.file, hole, 0, position / HOLE_BYTES * HOLE_BYTES) {
                tracing::warn!("the file of events grows: this filesystem makes no holes: {error}");
            }
        }
        self.noted = position;
        Ok(())
    }
}
