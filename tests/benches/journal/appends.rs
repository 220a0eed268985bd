//! Acknowledged changes per second, beside the same appends in the same groups into the same store without anything
//! above it: what the store allows at most.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use postbell::contract::changes::{AccountChanges, Batch};
use postbell::journal::{
    Append, Chain, DatabaseJournal, Journal, JournalError, Record, Seat, SeatFacts, Snapshot, SyncMode, records,
};
use postbell::tenant::{IngestError, Ingested, Tenant};
use postbell_tests::figures::{Figure, Table, Unit};
use postbell_tests::histories::delivery;
use postbell_tests::scale::scaled;
use tokio::task::{JoinHandle, JoinSet};

use crate::scene::{self, folder, runtime, span, timed};

fn rounds() -> usize {
    scaled(5, 1)
}

/// How many changes of one row are on their way.
#[derive(Clone, Copy)]
struct Load {
    sources: usize,
    /// How many batches of a source may be unacknowledged at a time.
    ahead: usize,
    /// Changes in a batch.
    size: usize,
}

impl Load {
    /// How many batches each source sends: so many that what a tenant does once for an account weighs little.
    fn batches(self) -> usize {
        let all = if self.size == 1 { scaled(5_000, 20) } else { scaled(1_000, 20) };
        all.max(self.sources) / self.sources
    }

    fn title(self) -> String {
        let Load { sources, ahead, size } = self;
        let plural = if sources == 1 { "" } else { "s" };
        let two = if ahead == 2 { ", two on their way" } else { "" };
        format!("{sources} source{plural}, batches of {size}{two}")
    }
}

pub fn run() {
    let columns = [("postbell", Unit::Rate), ("the store alone", Unit::Rate), ("ratio", Unit::Ratio)];
    let table =
        Table::begin("Acknowledged changes per second, synced always, in turn with the store alone", "", &columns);
    for (sources, ahead) in [(1, 1), (1, 2), (10, 1), (100, 1)] {
        for size in [1, 100] {
            row(&table, Load { sources, ahead, size });
        }
    }
}

fn row(table: &Table, load: Load) {
    let rounds: Vec<(f64, f64)> = (0..rounds()).map(|_| round(load)).collect();
    let whole = Figure::of(rounds.iter().map(|round| round.0)).alone();
    let store = Figure::of(rounds.iter().map(|round| round.1)).alone();
    let ratio = Figure::of(rounds.iter().map(|round| round.0 / round.1));
    table.row(&load.title(), &[whole, store, ratio].map(Some));
}

/// Changes per second with everything, and of the store alone.
fn round(load: Load) -> (f64, f64) {
    let folder = folder();
    let recording = Arc::new(Recording::new(scene::database(&folder, "whole", SyncMode::Always)));
    let (host, plugin) = scene::host(recording.clone());
    let tenant = scene::tenant(&host, &plugin, "example.org");
    recording.groups.lock().expect("no panic").clear();
    let (Load { sources, ahead, size }, batches) = (load, load.batches());
    let prepared: Vec<Vec<Batch>> =
        (0..sources).map(|source| (0..batches).map(|number| batch(source, number, size)).collect()).collect();
    let ((), whole) = timed(|| runtime().block_on(send_all(&tenant, ahead, prepared)));
    let groups = std::mem::take(&mut *recording.groups.lock().expect("no panic"));
    drop((tenant, host));

    let seat = recording.seats().expect("it can be read").remove(0);
    let mut records = records(&*recording, &seat, 1, u64::MAX).map(|record| record.expect("it can be read"));
    let mut append = |expected, count| {
        let records = records.by_ref().take(count).collect();
        Append { seat: seat.clone(), expected, records, chain: Chain::default() }
    };
    let store = scene::database(&folder, "store", SyncMode::Always);
    // The bare store begins where the recorded appends begin.
    let before = append(0, groups[0][0].expected as usize);
    let groups: Vec<Vec<Append>> = groups
        .iter()
        .map(|group| group.iter().map(|appended| append(appended.expected, appended.count)).collect())
        .collect();
    store.append(&[before]);
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

/// Every source sends its next batch while less than `ahead` are unacknowledged.
async fn send_all(tenant: &Tenant, ahead: usize, prepared: Vec<Vec<Batch>>) {
    let mut sources = JoinSet::new();
    for (source, batches) in prepared.into_iter().enumerate() {
        let tenant = tenant.clone();
        sources.spawn(async move {
            let (mut offset, mut on_their_way) = (0, VecDeque::new());
            for batch in batches {
                if on_their_way.len() == ahead {
                    acknowledged(on_their_way.pop_front()).await;
                }
                let (tenant, length) = (tenant.clone(), batch.accounts[0].changes.len());
                let span = span(source, offset, length);
                on_their_way.push_back(tokio::spawn(async move { tenant.ingest(batch, span).await }));
                offset += length as u64;
            }
            while !on_their_way.is_empty() {
                acknowledged(on_their_way.pop_front()).await;
            }
        });
    }
    while let Some(sent) = sources.join_next().await {
        sent.expect("no source fails");
    }
}

async fn acknowledged(batch: Option<JoinHandle<Result<Ingested, IngestError>>>) {
    if let Some(batch) = batch {
        batch.await.expect("it does not panic").expect("it is applied");
    }
}

/// How many records were appended to the only seat, behind which.
struct Appended {
    expected: u64,
    count: usize,
}

/// A journal that remembers what was appended in one go.
struct Recording {
    journal: Arc<DatabaseJournal>,
    groups: Mutex<Vec<Vec<Appended>>>,
}

impl Recording {
    fn new(journal: Arc<DatabaseJournal>) -> Recording {
        Recording { journal, groups: Mutex::default() }
    }
}

impl Journal for Recording {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        let group = appends.iter().map(|append| Appended { expected: append.expected, count: append.records.len() });
        self.groups.lock().expect("no panic").push(group.collect());
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
