//! Lines that the server has not acknowledged yet, in files that survive everything but the disk.
//!
//! A segment `NUMBER.lines` begins with the line of that number, counted from 0 since the spool was made; so the server's
//! count says where to go on. `source` holds the name under which the server counts: a new spool has a new name, so that
//! one that was lost is not taken for it. Only the end of the last segment can be torn; what is, was never told of.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::clock::{Clock, SystemClock};

/// A segment ends at so many bytes.
const SEGMENT_BYTES: u64 = 8 << 20;

/// A batch for the server ends at so many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// The spool, shared by who fills it and who empties it.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    source: String,
    most_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Held for as long as this lives: one process at a time.
    _lock: File,
}

#[derive(Debug)]
struct State {
    /// By the number of their first line; never empty.
    segments: BTreeMap<u64, Segment>,
    /// The last segment, open to append.
    last: File,
    /// How many lines were written in all.
    end: u64,
    closed: bool,
    /// A write that may be half done: nothing goes after it.
    broken: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    lines: u64,
    bytes: u64,
}

impl Spool {
    /// Opens it, or makes it. `kind` begins the name of a new one.
    pub fn open(folder: &Path, kind: &str, most_bytes: u64) -> anyhow::Result<Spool> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        ensure!(lock.try_lock().is_ok(), "another process uses it");
        let source = name(folder, kind)?;
        let mut segments = survey(folder)?;
        if segments.is_empty() {
            File::create(path(folder, 0))?.sync_all()?;
            sync_folder(folder)?;
            segments.insert(0, Segment::default());
        }
        let mut end = *segments.keys().next().expect("there is a segment");
        for (first, segment) in &segments {
            ensure!(*first == end, "lines {end} to {first} are not there");
            end += segment.lines;
        }
        let (first, segment) = segments.last_key_value().expect("there is a segment");
        let last = OpenOptions::new().append(true).open(path(folder, *first))?;
        // A torn end was never told of.
        last.set_len(segment.bytes)?;
        let state = Mutex::new(State { segments, last, end, closed: false, broken: false });
        let (folder, changed) = (folder.to_owned(), Condvar::new());
        Ok(Spool { folder, source, most_bytes, state, changed, _lock: lock })
    }

    /// The name under which the server counts its lines.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Appends lines, each with its line break, once there is room. When this returns, they are on the disk. False: it
    /// was closed meanwhile, and they are not in it.
    pub fn push(&self, lines: &[Vec<u8>]) -> anyhow::Result<bool> {
        let bytes = lines.concat();
        let mut state = self.lock();
        let is_full = |state: &State| !state.closed && state.bytes() >= self.most_bytes;
        if is_full(&state) {
            tracing::warn!(bytes = state.bytes(), "the spool is full: no more is read until the server has taken some");
            state = self.changed.wait_while(state, |state| is_full(state)).expect("no holder of this lock panics");
        }
        if state.closed {
            return Ok(false);
        }
        ensure!(!state.broken, "a write to the spool has failed: restart");
        state.broken = true;
        self.begin_segment(&mut state)?;
        state.last.write_all(&bytes).and_then(|()| state.last.sync_data()).context("writing to the spool")?;
        state.broken = false;
        let written = lines.len() as u64;
        state.end += written;
        let segment = state.segments.last_entry().expect("there is a segment").into_mut();
        segment.lines += written;
        segment.bytes += bytes.len() as u64;
        drop(state);
        self.changed.notify_all();
        Ok(true)
    }

    /// Lines from that number on, at most so many; waits until there is one. None: it is closed.
    pub fn wait(&self, from: u64, most: usize) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
        let mut state = self.lock();
        while !state.closed && state.end == from {
            state = self.changed.wait(state).expect("no holder of this lock panics");
        }
        if state.closed {
            return Ok(None);
        }
        let (first, segment) = match state.segments.range(..=from).next_back() {
            Some((first, segment)) if from < state.end => (*first, *segment),
            _ => bail!(
                "the server has {from} lines of source `{}`, the spool those from {} to {}: was one of them restored, or \
                 does another source use the name? A new folder for the spool begins anew",
                self.source,
                state.segments.keys().next().expect("there is a segment"),
                state.end
            ),
        };
        drop(state);
        read(&path(&self.folder, first), segment.bytes, from - first, most).map(Some)
    }

    /// The server has all lines before that number for good.
    pub fn acknowledge(&self, before: u64) -> anyhow::Result<()> {
        let mut state = self.lock();
        // The last stays: its number is the count.
        while let Some((&first, segment)) = state.segments.first_key_value()
            && state.segments.len() > 1
            && first + segment.lines <= before
        {
            fs::remove_file(path(&self.folder, first))?;
            state.segments.pop_first();
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Whoever waits returns, and no more is taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits so long, and says whether it was closed meanwhile.
    pub fn closes_within(&self, time: Duration) -> bool {
        let open = |state: &mut State| !state.closed;
        let (state, _) =
            self.changed.wait_timeout_while(self.lock(), time, open).expect("no holder of this lock panics");
        state.closed
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Another segment, if the last is long enough.
    fn begin_segment(&self, state: &mut State) -> std::io::Result<()> {
        let bytes = state.segments.last_key_value().map_or(0, |(_, segment)| segment.bytes);
        if bytes >= SEGMENT_BYTES {
            state.last = OpenOptions::new().create_new(true).append(true).open(path(&self.folder, state.end))?;
            sync_folder(&self.folder)?;
            state.segments.insert(state.end, Segment::default());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }
}

fn path(folder: &Path, first: u64) -> PathBuf {
    // As many digits as every number has, so that a listing is in order.
    folder.join(format!("{first:020}.lines"))
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn name(folder: &Path, kind: &str) -> anyhow::Result<String> {
    let file = folder.join("source");
    match fs::read_to_string(&file) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Milliseconds are apart enough for spools that an operator makes.
    let name = format!("{kind}-{}", SystemClock::default().wall());
    let mut written = File::create(&file)?;
    written.write_all(name.as_bytes())?;
    written.sync_all()?;
    sync_folder(folder)?;
    Ok(name)
}

fn survey(folder: &Path) -> anyhow::Result<BTreeMap<u64, Segment>> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let number = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".lines")?.parse().ok());
        let Some(first) = number else { continue };
        segments.insert(first, count(&file).with_context(|| format!("{}", file.display()))?);
    }
    Ok(segments)
}

/// How many whole lines there are, and their bytes.
fn count(file: &Path) -> std::io::Result<Segment> {
    let (mut segment, mut line) = (Segment::default(), Vec::new());
    let mut reader = BufReader::new(File::open(file)?);
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.ends_with(b"\n") {
            segment.lines += 1;
            segment.bytes += line.len() as u64;
        }
        line.clear();
    }
    Ok(segment)
}

/// Lines of a segment's first `bytes`, from its line `skipped` on.
fn read(file: &Path, bytes: u64, skipped: u64, most: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file.take(bytes));
    for _ in 0..skipped {
        reader.skip_until(b'\n')?;
    }
    let (mut lines, mut size) = (Vec::new(), 0);
    while lines.len() < most && size < BATCH_BYTES {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        size += line.len();
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1 << 20;

    fn lines(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| format!("{text}\n").into_bytes()).collect()
    }

    #[test]
    fn lines_stay_until_they_are_acknowledged_and_after() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), "test", MOST).unwrap();
        let source = spool.source().to_owned();
        assert!(source.starts_with("test-") && spool.push(&lines(&["a", "b", "c"])).unwrap());
        assert_eq!(spool.wait(1, 9).unwrap().unwrap(), lines(&["b", "c"]));
        spool.acknowledge(2).unwrap();
        drop(spool);
        let spool = Spool::open(folder.path(), "test", MOST).unwrap();
        assert_eq!((spool.source(), spool.wait(2, 9).unwrap().unwrap()), (&*source, lines(&["c"])));
        assert!(spool.push(&lines(&["d"])).unwrap());
        assert_eq!(spool.wait(2, 1).unwrap().unwrap(), lines(&["c"]));
        assert_eq!(spool.wait(3, 1).unwrap().unwrap(), lines(&["d"]));
    }

    #[test]
    fn a_torn_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path(), 0), "a\nb\nto").unwrap();
        let spool = Spool::open(folder.path(), "test", MOST).unwrap();
        assert!(spool.push(&lines(&["c"])).unwrap());
        assert_eq!(spool.wait(0, 9).unwrap().unwrap(), lines(&["a", "b", "c"]));
    }

    #[test]
    fn segments_go_when_all_of_them_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), "test", 4 * SEGMENT_BYTES).unwrap();
        let long = "x".repeat(usize::try_from(SEGMENT_BYTES).unwrap());
        for _ in 0..3 {
            assert!(spool.push(&lines(&[&long])).unwrap());
        }
        spool.acknowledge(2).unwrap();
        assert_eq!(survey(folder.path()).unwrap().into_keys().collect::<Vec<_>>(), [2]);
        assert!(spool.wait(1, 9).unwrap_err().to_string().contains("the spool those from 2 to 3"));
        assert!(spool.wait(4, 9).unwrap_err().to_string().contains("the server has 4 lines"));
        spool.acknowledge(3).unwrap();
        drop(spool);
        let spool = Spool::open(folder.path(), "test", MOST).unwrap();
        assert_eq!(spool.lock().end, 3, "the count stays");
    }

    #[test]
    fn a_full_spool_takes_no_more_until_it_is_emptied_or_closed() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), "test", 1).unwrap();
        assert!(spool.push(&lines(&["a"])).unwrap());
        std::thread::scope(|scope| {
            let pushed = scope.spawn(|| spool.push(&lines(&["b"])).unwrap());
            spool.close();
            assert!(!pushed.join().unwrap());
        });
        assert!(spool.wait(0, 9).unwrap().is_none());
    }

    #[test]
    fn one_process_at_a_time_and_no_line_between_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), "test", MOST).unwrap();
        assert!(Spool::open(folder.path(), "test", MOST).unwrap_err().to_string().contains("another process"));
        drop(spool);
        fs::write(path(folder.path(), 5), "a\n").unwrap();
        let error = Spool::open(folder.path(), "test", MOST).unwrap_err().to_string();
        assert!(error.contains("lines 0 to 5 are not there"), "{error}");
    }
}
