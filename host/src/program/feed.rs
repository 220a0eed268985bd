//! `postbell feed`: sends a file of changes, line by line, and goes on where it stopped when it is run again.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use super::counted::{Counted, Destination, Reading, Receipt, Rejected};

/// Exit codes of `feed` besides 1, which is every error.
const DONE: u8 = 0;
const WITH_REJECTIONS: u8 = 5;

/// A batch ends at so many bytes, even if it has fewer lines than it may.
const BATCH_BYTES: u64 = 4 << 20;

/// Send a file of changes to a server, in batches
///
/// Every line is one change. Run again, it goes on after the last line that the server acknowledged. Rejected lines are
/// named on stderr, and the exit code is then 5.
#[derive(Debug, clap::Args)]
pub struct FeedArgs {
    /// File of changes, one JSON object a line
    file: PathBuf,
    /// What the lines are
    #[arg(long, value_enum, default_value_t = FileFormat::Postbell)]
    format: FileFormat,
    #[command(flatten)]
    destination: Destination,
    /// Name under which the server keeps count of what it has of this file [default: the file's name]
    #[arg(long)]
    source: Option<String>,
    /// The most lines of a batch
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
}

/// Formats of files.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FileFormat {
    /// Changes as the HTTP interface takes them, or {"book": change}
    Postbell,
    /// What Cyrus IMAP writes to its notify socket
    Cyrus,
    /// What Dovecot hands to the Lua driver of its push notifications
    Dovecot,
}

impl FileFormat {
    fn name(self) -> &'static str {
        match self {
            FileFormat::Postbell => "postbell",
            FileFormat::Cyrus => "cyrus",
            FileFormat::Dovecot => "dovecot",
        }
    }
}

/// Sends the file. Blocks. Gives the exit code.
///
/// # Errors
///
/// There is no key, the file cannot be read, or the server cannot be asked.
pub fn run(args: &FeedArgs) -> Result<u8, Failure> {
    let key = args.destination.key()?;
    Ok(feed(args, &key)?)
}

fn feed(args: &FeedArgs, key: &str) -> anyhow::Result<u8> {
    let Destination { url, tenant, map, .. } = &args.destination;
    let mut lines = Lines::open(&args.file).with_context(|| format!("{}", args.file.display()))?;
    let file_name = || args.file.file_name().map(|name| name.to_string_lossy().into_owned());
    let source = args.source.clone().or_else(file_name).ok_or_else(|| anyhow!("--source is needed"))?;
    let reading = Reading { format: args.format.name(), maps: map };
    let server = Counted::new(url, key, tenant, &source, reading);
    let known = server.offset()?;
    let progress = Progress::new(lines.bytes);
    lines.skip(known).with_context(|| format!("source `{}`", server.source))?;
    let (mut sent, mut rejected) = (0, 0);
    loop {
        progress.at(lines.position);
        let first = lines.number;
        let batch = lines.batch(args.batch).with_context(|| format!("{}", args.file.display()))?;
        if batch.is_empty() {
            break;
        }
        let receipt = send(&server, first, &batch)?;
        for Rejected { position, reason } in &receipt.rejected {
            progress.line(&format!("line {}: {reason}", first + position + 1));
        }
        rejected += lines.number - first - receipt.accepted.min(lines.number - first);
        sent = lines.number - known;
    }
    progress.end();
    println!("{sent} lines sent, {rejected} of them rejected; {known} were sent before");
    Ok(if rejected == 0 { DONE } else { WITH_REJECTIONS })
}

/// Sends lines of which `first` came before; in halves if they are too much for one request.
fn send(server: &Counted, first: u64, lines: &[Vec<u8>]) -> anyhow::Result<Receipt> {
    let last = first + lines.len() as u64;
    if let Some(receipt) =
        server.send(first, lines.concat()).with_context(|| format!("lines {} to {last}", first + 1))?
    {
        return Ok(receipt);
    }
    if lines.len() == 1 {
        bail!("line {last} is too large for the server");
    }
    let (front, back) = lines.split_at(lines.len() / 2);
    let Receipt { mut accepted, mut rejected } = send(server, first, front)?;
    let rest = send(server, first + front.len() as u64, back)?;
    accepted += rest.accepted;
    rejected.extend(rest.rejected.into_iter().map(|it| Rejected { position: it.position + front.len() as u64, ..it }));
    Ok(Receipt { accepted, rejected })
}

/// The lines of the file, in order.
struct Lines {
    reader: BufReader<File>,
    /// How many were read.
    number: u64,
    /// How many bytes those are.
    position: u64,
    /// The bytes of the whole file.
    bytes: u64,
}

impl Lines {
    fn open(path: &PathBuf) -> std::io::Result<Lines> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Lines { reader: BufReader::new(file), number: 0, position: 0, bytes })
    }

    /// The next line, with a line break; none at the end of the file.
    fn read(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        self.number += 1;
        self.position += read as u64;
        Ok(Some(line))
    }

    fn skip(&mut self, known: u64) -> anyhow::Result<()> {
        while self.number < known {
            if self.read()?.is_none() {
                bail!(
                    "the server has {known} lines of it, this file only {}: give another file another --source",
                    self.number
                );
            }
        }
        Ok(())
    }

    fn batch(&mut self, most: u32) -> std::io::Result<Vec<Vec<u8>>> {
        let (mut batch, start) = (Vec::new(), self.position);
        while batch.len() < most as usize && self.position - start < BATCH_BYTES {
            match self.read()? {
                Some(line) => batch.push(line),
                None => break,
            }
        }
        Ok(batch)
    }
}

/// A bar on stderr, if that is a terminal.
struct Progress(ProgressBar);

impl Progress {
    fn new(bytes: u64) -> Progress {
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}, {eta} left")
            .expect("the template is well-formed");
        Progress(ProgressBar::new(bytes).with_style(style))
    }

    fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    fn line(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(text: &str) -> (tempfile::NamedTempFile, Lines) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let lines = Lines::open(&file.path().to_owned()).unwrap();
        (file, lines)
    }

    #[test]
    fn batches_have_so_many_lines() {
        let (_file, mut lines) = lines("a\nb\n\nd");
        assert_eq!(lines.batch(3).unwrap(), [&b"a\n"[..], b"b\n", b"\n"]);
        assert_eq!((lines.number, lines.position), (3, 5));
        assert_eq!(lines.batch(3).unwrap(), [b"d\n"]);
        assert_eq!((lines.number, lines.position), (4, lines.bytes));
        assert!(lines.batch(3).unwrap().is_empty());
    }

    #[test]
    fn what_is_known_is_skipped() {
        let (_file, mut known) = lines("a\nb\nc\n");
        known.skip(2).unwrap();
        assert_eq!(known.batch(9).unwrap(), [b"c\n"]);
        let (_file, mut short) = lines("a\n");
        let error = short.skip(2).unwrap_err().to_string();
        assert!(error.contains("has 2 lines of it, this file only 1"), "{error}");
    }
}
