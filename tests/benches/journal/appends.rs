//! Acknowledged changes per second, beside the same appends in the same groups into the same store without anything
//! above it: what the store allows at most.

use std::sync::{Arc, Mutex};

use postbell::contract::changes::{AccountChanges, Batch};
use postbell::journal::{
    Append, Chain, DatabaseJournal, Journal, JournalError, Record, Seat, SeatFacts, Snapshot, SyncMode,
};
use postbell::tenant::Tenant;
use postbell_tests::figures::{Figure, Table, Unit};
use postbell_tests::histories::delivery;
use postbell_tests::scale::scaled;
use tokio::task::JoinSet;

use crate::scene::{self, folder, runtime, span, timed};

fn rounds() -> usize {
    scaled(5, 1)
}

/// For how many batches in all one measurement lasts.
fn all_batches() -> usize {
    scaled(1_000, 20)
}

pub fn run() {
    let columns = [("postbell", Unit::Rate), ("the store alone", Unit::Rate), ("ratio", Unit::Ratio)];
    let table =
        Table::begin("Acknowledged changes per second, synced always, in turn with the store alone", "", &columns);
    for sources in [1, 10, 100] {
        for size in [1, 100] {
            row(&table, sources, size);
        }
    }
}

fn row(table: &Table, sources: usize, size: usize) {
    let rounds: Vec<(f64, f64)> = (0..rounds()).map(|_| round(sources, size)).collect();
    let whole = Figure::of(rounds.iter().map(|round| round.0)).alone();
    let store = Figure::of(rounds.iter().map(|round| round.1)).alone();
    let ratio = Figure::of(rounds.iter().map(|round| round.0 / round.1));
    table.row(&format!("{sources} sources, batches of {size}"), &[whole, store, ratio].map(Some));
}

/// Changes per second with everything, and of the store alone.
fn round(sources: usize, size: usize) -> (f64, f64) {
    let folder = folder();
    let recording = Arc::new(Recording::new(scene::database(&folder, "whole", SyncMode::Always)));
    let (host, plugin) = scene::host(recording.clone());
    let tenant = scene::tenant(&host, &plugin, "example.org");
    recording.groups.lock().expect("no panic").clear();
    let batches = all_batches().max(sources) / sources;
    let prepared: Vec<Vec<Batch>> =
        (0..sources).map(|source| (0..batches).map(|number| batch(source, number, size)).collect()).collect();
    let ((), whole) = timed(|| runtime().block_on(send_all(&tenant, prepared)));
    let groups = std::mem::take(&mut *recording.groups.lock().expect("no panic"));
    drop((tenant, host));

    let store = scene::database(&folder, "store", SyncMode::Always);
    let first = &groups[0][0];
    // The bare store begins where the recorded appends begin.
    let before = (1..=first.expected).map(|sequence| Record { sequence, ..first.records[0].clone() }).collect();
    store.append(&[Append { seat: first.seat.clone(), expected: 0, records: before, chain: Chain::default() }]);
    let ((), bare) = timed(|| {
        for group in &groups {
            store.append(group).into_iter().for_each(|appended| appended.expect("it is appended"));
        }
    });
    let changes = (sources * batches * size) as f64;
    (changes / whole.as_secs_f64(), changes / bare.as_secs_f64())
}

fn batch(source: usize, number: usize, size: usize) -> Batch {
    let account = format!("user{source}@example.org");
    let changes = (0..size).flat_map(|change| {
        delivery(&account, &format!("m{number}-{change}"), number as u64).accounts.remove(0).changes
    });
    let changes = changes.collect();
    Batch { accounts: vec![AccountChanges { account: account.clone(), changes }], book: vec![] }
}

/// Every source sends its next batch when the last is acknowledged.
async fn send_all(tenant: &Tenant, prepared: Vec<Vec<Batch>>) {
    let mut sources = JoinSet::new();
    for (source, batches) in prepared.into_iter().enumerate() {
        let tenant = tenant.clone();
        sources.spawn(async move {
            let mut offset = 0;
            for batch in batches {
                let length = batch.accounts[0].changes.len();
                tenant.ingest(batch, span(source, offset, length)).await.expect("it is applied");
                offset += length as u64;
            }
        });
    }
    while let Some(sent) = sources.join_next().await {
        sent.expect("no source fails");
    }
}

/// A journal that remembers what was appended in one go.
struct Recording {
    journal: Arc<DatabaseJournal>,
    groups: Mutex<Vec<Vec<Append>>>,
}

impl Recording {
    fn new(journal: Arc<DatabaseJournal>) -> Recording {
        Recording { journal, groups: Mutex::default() }
    }
}

impl Journal for Recording {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        self.groups.lock().expect("no panic").push(appends.to_vec());
        self.journal.append(appends)
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        self.journal.read(seat, from)
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        self.journal.facts(seat)
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        self.journal.seats()
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        self.journal.put_snapshot(seat, snapshot)
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        self.journal.snapshot(seat, sequence)
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        self.journal.cut(seat, horizon)
    }

    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        self.journal.remove(seat)
    }
}
