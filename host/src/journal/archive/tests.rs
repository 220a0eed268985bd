use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::journal::{Append, Chain, Digest, Input, Journal, MemoryJournal, SeatFacts, records};

fn seat(tenant: &str) -> Seat {
    Seat { tenant: tenant.into(), plugin: "notify".into(), partition: 0 }
}

fn record(sequence: u64) -> Record {
    let digest = Digest { component: 1, reaction: sequence };
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let input = if sequence == 1 { Input::Open { seed: vec![7; 32], settings } } else { Input::Tick };
    Record { sequence, now: 1_000 * sequence, digest, input: input.into() }
}

fn snapshot(sequence: u64) -> Snapshot {
    Snapshot {
        sequence,
        now: 1_000 * sequence,
        format: "state/1".into(),
        parts: vec![vec![1, 2, 3], vec![4]],
        offsets: [("imap-1".into(), sequence)].into(),
        settings: vec![("domains".into(), "example.org".into())],
        history_bytes: 0,
        tenure: None,
    }
}

/// Seat `a` has the records 3 to 5 and snapshots at 2 and 4; seat `b` the records 1 to 3.
fn journal() -> MemoryJournal {
    let journal = MemoryJournal::default();
    for (tenant, last) in [("a", 5), ("b", 3)] {
        let append = Append {
            seat: seat(tenant),
            expected: 0,
            records: (1..=last).map(record).collect(),
            chain: Chain::default(),
        };
        assert_eq!(journal.append(&[append]), [Ok(())]);
    }
    journal.put_snapshot(&seat("a"), &snapshot(2)).unwrap();
    journal.put_snapshot(&seat("a"), &snapshot(4)).unwrap();
    journal.cut(&seat("a"), 2).unwrap();
    journal
}

fn written(journal: &dyn Journal) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(journal, &journal.seats().unwrap(), &mut bytes).unwrap();
    bytes
}

fn items(bytes: &[u8], tenant: Option<&str>) -> Result<Vec<String>, ArchiveError> {
    Reader::new(bytes)?.only(tenant).map(|item| Ok(shown(&item?))).collect()
}

fn shown(item: &Item) -> String {
    match item {
        Item::Seat(seat) => (*seat.tenant).to_owned(),
        Item::Snapshot { snapshot, horizon: true } => format!("horizon {}", snapshot.sequence),
        Item::Snapshot { snapshot, horizon: false } => format!("snapshot {}", snapshot.sequence),
        Item::Record(record) => record.sequence.to_string(),
        Item::Damage(damage) => format!("damage {} {}", damage.sequence, damage.what),
    }
}

fn restored(bytes: &[u8]) -> Result<MemoryJournal, ArchiveError> {
    let journal = MemoryJournal::default();
    restore(&mut Reader::new(bytes)?, &journal)?;
    Ok(journal)
}

/// Everything that a journal has.
type Content = Vec<(Seat, SeatFacts, Vec<Arc<Snapshot>>, Vec<Record>)>;

fn content(journal: &MemoryJournal) -> Content {
    let of = |seat: Seat| {
        let facts = journal.facts(&seat).unwrap().unwrap();
        let snapshots = facts.snapshots.iter().map(|it| journal.snapshot(&seat, it.sequence).unwrap().unwrap());
        let records = records(journal, &seat, facts.first, u64::MAX).map(Result::unwrap).collect();
        (seat.clone(), facts.clone(), snapshots.collect(), records)
    };
    journal.seats().unwrap().into_iter().map(of).collect()
}

#[test]
fn what_is_written_is_restored() {
    let journal = journal();
    let bytes = written(&journal);
    assert_eq!(items(&bytes, None).unwrap(), ["a", "horizon 2", "3", "4", "snapshot 4", "5", "b", "1", "2", "3"]);
    assert_eq!(items(&bytes, Some("b")).unwrap(), ["b", "1", "2", "3"]);
    assert_eq!(content(&restored(&bytes).unwrap()), content(&journal));

    let mut reader = Reader::new(&*bytes).unwrap();
    let mut survey = Survey::default();
    reader.by_ref().for_each(|item| survey.note(&item.unwrap()));
    assert_eq!(reader.counts(), Counts { seats: 2, snapshots: 2, records: 6, damages: 0 });
    let facts = |tenant| (seat(tenant), journal.facts(&seat(tenant)).unwrap().unwrap());
    assert_eq!(survey.seats, [facts("a"), facts("b")]);
}

#[test]
fn a_journal_of_nothing_is_an_archive_too() {
    let bytes = written(&MemoryJournal::default());
    assert!(items(&bytes, None).unwrap().is_empty());
}

#[test]
fn what_is_torn_is_not_taken_for_whole() {
    let bytes = written(&journal());
    for length in 0..bytes.len() {
        let error = restored(&bytes[..length]).expect_err("it is torn");
        let expected = length < WORDS.len();
        assert!(matches!(error, ArchiveError::Foreign) == expected, "{length}: {error}");
        assert!(matches!(error, ArchiveError::Torn(at) if at <= length as u64) != expected, "{length}: {error}");
    }
    let more = [&*bytes, b"x"].concat();
    assert!(matches!(restored(&more), Err(ArchiveError::Altered { .. })));
}

#[test]
fn what_is_altered_is_not_taken_for_whole() {
    let bytes = written(&journal());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            assert!(restored(&altered).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn frames_that_are_lost_doubled_or_moved_show() {
    let bytes = written(&journal());
    let mut starts = vec![WORDS.len() + VERSION.len()];
    while let Some(length) = bytes.get(starts[starts.len() - 1] + 1..).and_then(|rest| rest.first_chunk()) {
        starts.push(starts[starts.len() - 1] + 13 + u32::from_le_bytes(*length) as usize);
    }
    let frames: Vec<&[u8]> = starts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
    let whole = |frames: &[&[u8]]| restored(&[&bytes[..starts[0]], &frames.concat()].concat()).is_ok();
    assert!(whole(&frames));
    for at in 0..frames.len() - 1 {
        let without = [&frames[..at], &frames[at + 1..]].concat();
        let doubled = [&frames[..=at], &frames[at..]].concat();
        let mut moved = frames.clone();
        moved.swap(at, at + 1);
        assert!(!whole(&without) && !whole(&doubled) && !whole(&moved), "frame {at}");
    }
}

#[test]
fn another_version_is_named() {
    let error = Reader::new(&b"postbell archive 2\n..."[..]).err().expect("another version");
    assert!(matches!(&error, ArchiveError::OtherVersion(found) if found == "2"), "{error}");
    assert!(matches!(Reader::new(&b"PK\x03\x04 and some more text"[..]), Err(ArchiveError::Foreign)));
}

/// A journal in which some sequences cannot be read, and which may be cut while it is read.
#[derive(Default)]
struct Troubled {
    journal: MemoryJournal,
    damaged: BTreeSet<u64>,
    /// Once records from the one are asked for, a cut at the other comes first.
    cut: Option<(u64, u64)>,
    /// A cut has left so many records before the horizon.
    left: u64,
}

impl Troubled {
    fn check(&self, sequence: u64) -> Result<(), JournalError> {
        if self.damaged.contains(&sequence) { Err(JournalError::Damaged("bad checksum".into())) } else { Ok(()) }
    }
}

impl Journal for Troubled {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        self.journal.append(appends)
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        if let Some((at, horizon)) = self.cut
            && at == from
        {
            self.journal.cut(seat, horizon)?;
        }
        self.check(from)?;
        Ok(self.journal.read(seat, from)?.into_iter().take(1).collect())
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        let facts = self.journal.facts(seat)?;
        Ok(facts.map(|facts| SeatFacts { first: facts.first - self.left.min(facts.first - 1), ..facts }))
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        self.journal.seats()
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        self.journal.put_snapshot(seat, snapshot)
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        self.check(sequence)?;
        self.journal.snapshot(seat, sequence)
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        self.journal.cut(seat, horizon)
    }

    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        self.journal.remove(seat)
    }
}

#[test]
fn damage_is_named_and_the_rest_goes_on() {
    let bytes = written(&Troubled { journal: journal(), damaged: [2, 3].into(), ..Troubled::default() });
    let whole = ["a", "damage 2 bad checksum", "damage 3 bad checksum", "4", "snapshot 4", "5"];
    assert_eq!(items(&bytes, Some("a")).unwrap(), whole);
    assert_eq!(items(&bytes, Some("b")).unwrap(), ["b", "1", "damage 2 bad checksum", "damage 3 bad checksum"]);
    let error = restored(&bytes).expect_err("it is incomplete");
    assert_eq!(error.to_string(), "it was made from a damaged journal: a/notify/0 at 2: bad checksum");
}

#[test]
fn what_is_cut_meanwhile_is_void() {
    let journal = Troubled { journal: journal(), cut: Some((4, 4)), ..Troubled::default() };
    let bytes = written(&journal);
    assert_eq!(items(&bytes, Some("a")).unwrap(), ["a", "horizon 2", "3", "horizon 4", "5"]);
    assert_eq!(content(&restored(&bytes).unwrap()), content(&journal.journal));
}

#[test]
fn what_a_cut_has_left_is_not_taken_along() {
    let journal = Troubled { journal: journal(), left: 1, ..Troubled::default() };
    assert_eq!(journal.facts(&seat("a")).unwrap().unwrap().first, 2);
    assert_eq!(items(&written(&journal), Some("a")).unwrap(), ["a", "horizon 2", "3", "4", "snapshot 4", "5"]);
}

#[test]
fn a_journal_that_grows_gives_what_it_had() {
    let journal = journal();
    let mut bytes = Vec::new();
    let seats = [seat("a"), seat("nobody")];
    write(&journal, &seats, Growing { journal: &journal, bytes: &mut bytes }).unwrap();
    assert_eq!(items(&bytes, None).unwrap().last().unwrap(), "5");
    assert_eq!(journal.facts(&seat("a")).unwrap().unwrap().last, 6);
}

/// Appends a record to seat `a` at the first byte that is written.
struct Growing<'a> {
    journal: &'a MemoryJournal,
    bytes: &'a mut Vec<u8>,
}

impl io::Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (last, more) = (self.journal.facts(&seat("a")).unwrap().unwrap().last, record(6));
        if last == 5 && self.bytes.len() > WORDS.len() + VERSION.len() {
            self.journal.append(&[Append {
                seat: seat("a"),
                expected: 5,
                records: vec![more],
                chain: Chain::default(),
            }]);
        }
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
