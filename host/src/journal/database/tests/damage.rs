//! What is damaged is found, or does no harm; and it never stops the process.

use redb::backends::InMemoryBackend;

use super::*;

/// A small journal that was closed in order, as bytes, and what is in it.
struct Sample {
    image: Vec<u8>,
    records: Vec<(Seat, Vec<Record>)>,
    snapshot: Snapshot,
}

impl Sample {
    fn new() -> Sample {
        let Filed { journal, folder } = Filed::new(SyncMode::Always);
        let long = |sequence| Input::Open { seed: vec![sequence as u8; 3_000], settings: vec![] };
        let appends = ["a", "b", "c"].map(|tenant| {
            let records = (1..=40).map(|sequence| record(sequence, long(sequence))).collect();
            Append { seat: seat(tenant), expected: 0, records, chain: Chain::default() }
        });
        for append in &appends {
            assert_eq!(journal.append(std::slice::from_ref(append)), [Ok(())]);
        }
        let snapshot = snapshot(10, &[100_000, 7]);
        journal.put_snapshot(&seat("b"), &snapshot).expect("it is well");
        journal.cut(&seat("b"), 10).expect("it is well");
        journal.finish().expect("it is well");
        let image = std::fs::read(path(&folder)).expect("the file can be read");
        let mut records = appends.map(|append| (append.seat, append.records));
        records[1].1.drain(..10);
        Sample { image, records: records.into(), snapshot }
    }

    /// Opens an altered journal and reads everything. What is given must be right; what is not, the check must tell of.
    fn hold(&self, altered: &[u8], what: &str) {
        let Ok(journal) = DatabaseJournal::on(memory(altered), DatabaseOptions::default()) else { return };
        let Ok(report) = journal.check() else { return };
        for (seat, records) in &self.records {
            let first = records[0].sequence;
            let read: Result<Vec<Record>, _> = crate::journal::records(&journal, seat, first, u64::MAX).collect();
            let Ok(read) = read else { continue };
            assert!(records.starts_with(&read), "{what}: what is read is right");
            assert!(
                read.len() == records.len() || report != well(),
                "{what}: something is missing, and all seems well"
            );
        }
        if let Ok(snapshot) = journal.snapshot(&seat("b"), 10) {
            let right = snapshot.as_deref() == Some(&self.snapshot);
            assert!(right || snapshot.is_none() && report != well(), "{what}: the snapshot");
        }
    }
}

fn well() -> CheckReport {
    CheckReport { seats: 3, records: 110, snapshots: 1, damages: vec![] }
}

fn memory(image: &[u8]) -> InMemoryBackend {
    let memory = InMemoryBackend::new();
    memory.set_len(image.len() as u64).expect("memory can be had");
    memory.write(0, image).expect("it is long enough");
    memory
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn a_journal_that_is_well_is_found_to_be() {
    let sample = Sample::new();
    let journal = DatabaseJournal::on(memory(&sample.image), DatabaseOptions::default()).expect("it is well");
    assert_eq!(journal.check(), Ok(well()));
}

/// The pages that hold something, by where they begin.
fn pages(image: &[u8]) -> impl Iterator<Item = usize> {
    (0..image.len()).step_by(4096).filter(|page| image[*page..][..4096].iter().any(|byte| *byte != 0))
}

#[test]
fn a_flipped_bit_does_no_harm() {
    let sample = Sample::new();
    let mut state = 1;
    for page in pages(&sample.image) {
        for flip in 0..6 {
            // The beginning of a page is what leads to others.
            let at = page + random(&mut state) as usize % if flip < 3 { 64 } else { 4096 };
            let bit = random(&mut state) % 8;
            let mut altered = sample.image.clone();
            altered[at] ^= 1 << bit;
            sample.hold(&altered, &format!("bit {bit} of byte {at}"));
        }
    }
}

#[test]
fn a_lost_sector_does_no_harm() {
    let sample = Sample::new();
    let mut state = 2;
    for page in pages(&sample.image) {
        let at = page + random(&mut state) as usize % 8 * 512;
        for with in [|_: &mut u64| 0, |state: &mut u64| random(state) as u8] {
            let mut altered = sample.image.clone();
            altered[at..at + 512].fill_with(|| with(&mut state));
            sample.hold(&altered, &format!("the sector at {at}"));
        }
    }
}

/// The store turns back to its last whole commit; what it can give is right all the same.
#[test]
fn damage_in_a_file_that_was_not_closed_in_order_does_no_harm() {
    let sample = Sample::new();
    let mut state = 3;
    let mut image = sample.image.clone();
    // Where redb notes that.
    image[9] |= 2;
    for page in pages(&image) {
        let at = page + random(&mut state) as usize % 4096;
        let mut altered = image.clone();
        altered[at] ^= 1 << (random(&mut state) % 8);
        sample.hold(&altered, &format!("byte {at}"));
    }
}

/// What is damaged was committed long ago, so that redb has nothing to turn back to.
#[test]
fn damage_in_what_a_killed_process_left_is_named() {
    let Filed { journal, folder } = Filed::new(SyncMode::Always);
    let long = |sequence| Input::Open { seed: vec![sequence as u8; 3_000], settings: vec![] };
    for tenant in ["a", "b"] {
        let records = (1..=20).map(|sequence| record(sequence, long(sequence))).collect();
        assert_eq!(
            journal.append(&[Append { seat: seat(tenant), expected: 0, records, chain: Chain::default() }]),
            [Ok(())]
        );
    }
    for sequence in 20..30 {
        assert_eq!(journal.append(&[ticks("c", sequence - 20, 1)]), [Ok(())]);
    }
    let image = std::fs::read(path(&folder)).expect("the file can be read");
    drop(journal);
    DatabaseJournal::on(memory(&image), DatabaseOptions::default()).expect("it is well");
    for sequence in [1, 13, 20] {
        let mut altered = image.clone();
        let run = [sequence; 2_000];
        while let Some(place) = altered.windows(run.len()).position(|bytes| bytes == run) {
            altered[place + 1_000] ^= 1;
        }
        let refused = DatabaseJournal::on(memory(&altered), DatabaseOptions::default()).expect_err("it is damaged");
        for tenant in ["a", "b"] {
            let named = format!("{}, sequence {sequence}: the record", seat(tenant));
            assert!(refused.to_string().contains(&named), "{refused}");
        }
    }
}
