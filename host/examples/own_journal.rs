//! A journal of one's own: where the mail server keeps what it must not lose, inputs of plugins are kept too. Here that is
//! a file for each seat; a second start finds what the first one left.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use postbell::contract::changes::{Batch, Change, Happening};
use postbell::journal::{Append, Input, Journal, JournalError, Record, Seat, SeatFacts, Snapshot};
use postbell::tenant::SourceSpan;
use postbell::{Host, HostOptions, TenantOptions};

/// Files of records, which only grow, and snapshots beside them: so every history reaches back to its beginning.
pub struct FileJournal {
    folder: PathBuf,
    seats: Mutex<BTreeMap<Seat, SeatFile>>,
}

struct SeatFile {
    file: File,
    records: Vec<Record>,
    snapshots: BTreeMap<u64, Arc<Snapshot>>,
}

impl FileJournal {
    /// The journal in this folder.
    pub fn open(folder: &Path) -> io::Result<FileJournal> {
        std::fs::create_dir_all(folder)?;
        let mut seats = BTreeMap::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some((tenant, plugin)) = name.strip_suffix(".records").and_then(|seat| seat.split_once('+')) else {
                continue;
            };
            let seat = Seat { tenant: tenant.into(), plugin: plugin.into(), partition: 0 };
            seats.insert(seat, SeatFile::open(&folder.join(&name))?);
        }
        let mut journal = FileJournal { folder: folder.to_owned(), seats: Mutex::new(seats) };
        journal.read_snapshots()?;
        Ok(journal)
    }

    fn read_snapshots(&mut self) -> io::Result<()> {
        for (seat, file) in self.seats.get_mut().expect("nothing panics while this lock is held") {
            for entry in std::fs::read_dir(&self.folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let sequence = name.strip_prefix(&*file_name(seat, "")).and_then(|number| number.parse().ok());
                let Some(sequence) = sequence else { continue };
                let snapshot = Snapshot::from_bytes(sequence, &std::fs::read(&path)?).map_err(io::Error::other)?;
                file.snapshots.insert(sequence, Arc::new(snapshot));
            }
        }
        Ok(())
    }

    fn with<T>(&self, seat: &Seat, look: impl FnOnce(&SeatFile) -> T) -> Option<T> {
        self.seats.lock().expect("nothing panics while this lock is held").get(seat).map(look)
    }
}

fn file_name(seat: &Seat, end: &str) -> String {
    format!("{}+{}.{end}", seat.tenant, seat.plugin)
}

impl SeatFile {
    /// Reads what is there. What was written half is left out, and overwritten.
    fn open(path: &Path) -> io::Result<SeatFile> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let (mut bytes, mut records, mut whole) = (Vec::new(), Vec::new(), 0);
        file.read_to_end(&mut bytes)?;
        while let Some((length, rest)) = bytes[whole..].split_first_chunk::<4>() {
            let Some(record) = rest.get(..u32::from_le_bytes(*length) as usize) else { break };
            let sequence = records.len() as u64 + 1;
            records.push(Record::from_bytes(sequence, record).map_err(io::Error::other)?);
            whole += 4 + record.len();
        }
        file.set_len(whole as u64)?;
        Ok(SeatFile { file, records, snapshots: BTreeMap::new() })
    }

    /// Appends all records or none, and returns once they are on the disk.
    fn append(&mut self, append: &Append) -> Result<(), JournalError> {
        let found = self.records.len() as u64;
        if let Some(refusal) = append.refusal(found) {
            return Err(refusal);
        }
        let mut bytes = Vec::new();
        for record in &append.records {
            let record = record.to_bytes();
            bytes.extend((record.len() as u32).to_le_bytes());
            bytes.extend(record);
        }
        let end = self.file.metadata().map_err(store)?.len();
        if let Err(error) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            // What is there of it must not be read as if it had been appended.
            self.file.set_len(end).map_err(store)?;
            return Err(store(error));
        }
        self.records.extend(append.records.iter().cloned());
        Ok(())
    }
}

fn store(error: io::Error) -> JournalError {
    JournalError::Store(error.to_string())
}

impl Journal for FileJournal {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        let mut seats = self.seats.lock().expect("nothing panics while this lock is held");
        let mut one = |append: &Append| {
            if !seats.contains_key(&append.seat) {
                let path = self.folder.join(file_name(&append.seat, "records"));
                seats.insert(append.seat.clone(), SeatFile::open(&path).map_err(store)?);
            }
            seats.get_mut(&append.seat).expect("it was just put there").append(append)
        };
        appends.iter().map(&mut one).collect()
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        Ok(self.with(seat, |file| file.records.iter().skip(from as usize - 1).cloned().collect()).unwrap_or_default())
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        Ok(self.with(seat, |file| {
            let swap = file.records.iter().rfind(|record| matches!(*record.input, Input::Swapped(_)));
            let swap = swap.map_or(0, |record| record.sequence);
            let now = file.records.last().map_or(0, |record| record.now);
            let last = file.records.len() as u64;
            let snapshots = file.snapshots.values().map(|snapshot| snapshot.facts()).collect();
            SeatFacts { last, now, first: 1, snapshots, regressed: false, swap }
        }))
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        Ok(self.seats.lock().expect("nothing panics while this lock is held").keys().cloned().collect())
    }

    /// Under its name only once it is whole.
    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        let path = self.folder.join(file_name(seat, &snapshot.sequence.to_string()));
        let unfinished = path.with_added_extension("unfinished");
        let mut file = File::create(&unfinished).map_err(store)?;
        file.write_all(&snapshot.to_bytes()).and_then(|()| file.sync_data()).map_err(store)?;
        std::fs::rename(&unfinished, &path).map_err(store)?;
        let mut seats = self.seats.lock().expect("nothing panics while this lock is held");
        if let Some(file) = seats.get_mut(seat) {
            file.snapshots.insert(snapshot.sequence, Arc::new(snapshot.clone()));
        }
        Ok(())
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        Ok(self.with(seat, |file| file.snapshots.get(&sequence).cloned()).flatten())
    }

    fn cut(&self, _seat: &Seat, _horizon: u64) -> Result<(), JournalError> {
        Ok(())
    }

    /// The records last: as long as they are there, so is the seat.
    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        let mut seats = self.seats.lock().expect("nothing panics while this lock is held");
        let Some(file) = seats.get(seat) else { return Ok(()) };
        let snapshots = file.snapshots.keys().map(|sequence| file_name(seat, &sequence.to_string()));
        for name in snapshots.chain([file_name(seat, "records")]) {
            std::fs::remove_file(self.folder.join(name)).map_err(store)?;
        }
        seats.remove(seat);
        Ok(())
    }
}

/// Opens a tenant on the journal in this folder, and sends it what a source may have sent before: it is applied once. Gives
/// the tenant's position.
pub async fn run(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let host = Host::new(HostOptions { journal: Arc::new(FileJournal::open(folder)?), ..HostOptions::default() })?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
    let batch = Batch::of("alice@example.org", vec![Change::new(tenant.now(), Happening::Gap)]);
    let span = SourceSpan { source: "the-mail-server".into(), offset: 0, length: 1 };
    let ingested = tenant.ingest(batch, Some(span)).await?;
    println!("at {}{}", ingested.sequence, if ingested.repeated { ", known from an earlier start" } else { "" });
    tenant.close().await;
    Ok(ingested.sequence)
}

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(run(Path::new("own-journal"))).map(drop)
}
