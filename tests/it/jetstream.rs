//! The journal on NATS JetStream, against a server of each test's own.

use std::time::Duration;

use anyhow::{Context, Result};
use postbell::journal::{
    Append, Chain, Digest, Input, JetStreamError, JetStreamJournal, JetStreamOptions, Journal, JournalError, Record,
    Seat, SeatFacts, Snapshot, records,
};
use postbell_tests::PATIENCE;
use postbell_tests::nats::Nats;
use postbell_tests::until;

fn options(nats: &Nats) -> JetStreamOptions {
    let servers = vec![nats.url("")];
    JetStreamOptions { servers, replicas: 1, patience: PATIENCE, ..JetStreamOptions::default() }
}

fn connect(nats: &Nats) -> Result<JetStreamJournal> {
    Ok(JetStreamJournal::connect(options(nats))?)
}

fn seat(tenant: &str) -> Seat {
    Seat { tenant: tenant.into(), plugin: "notify".into(), partition: 0 }
}

fn record(sequence: u64, input: Input) -> Record {
    Record { sequence, now: 1_000 + sequence, digest: Digest { component: 7, reaction: sequence }, input: input.into() }
}

fn ticks(tenant: &str, expected: u64, count: u64) -> Append {
    let records = (expected + 1..=expected + count).map(|sequence| record(sequence, Input::Tick)).collect();
    Append { seat: seat(tenant), expected, records, chain: Chain::default() }
}

fn large(tenant: &str, expected: u64, bytes: usize) -> Append {
    let input = Input::Open { seed: (0..bytes).map(|at| at as u8).collect(), settings: vec![] };
    Append { seat: seat(tenant), expected, records: vec![record(expected + 1, input)], chain: Chain::default() }
}

fn snapshot(sequence: u64, parts: &[usize]) -> Snapshot {
    Snapshot {
        sequence,
        now: 1_000 + sequence,
        format: "x/1".into(),
        parts: parts.iter().map(|bytes| (0..*bytes).map(|at| at as u8).collect()).collect(),
        offsets: [("imap-1".into(), sequence)].into(),
        settings: vec![("domains".into(), "example.org".into())],
        history_bytes: 7,
        tenure: None,
    }
}

fn sequences(journal: &dyn Journal, tenant: &str, from: u64) -> Result<Vec<u64>> {
    Ok(records(journal, &seat(tenant), from, u64::MAX)
        .map(|record| Ok(record?.sequence))
        .collect::<Result<_, JournalError>>()?)
}

fn facts(journal: &dyn Journal, tenant: &str) -> Result<SeatFacts> {
    journal.facts(&seat(tenant))?.context("there is something of the seat")
}

#[test]
fn it_does_what_every_journal_does() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    let conflict = |expected, found| Err(JournalError::Conflict { expected, found });
    assert_eq!(
        journal.append(&[ticks("a", 0, 2), ticks("a", 2, 1), ticks("a", 1, 1)]),
        [Ok(()), Ok(()), conflict(1, 3)]
    );
    assert_eq!(journal.append(&[ticks("a", 1, 0), ticks("b", 5, 1)]), [conflict(1, 3), conflict(5, 0)]);
    assert_eq!(journal.append(&[ticks("a", 3, 0), ticks("b.c", 0, 1)]), [Ok(()), Ok(())]);
    assert_eq!(sequences(&journal, "a", 2)?, [2, 3]);
    assert_eq!(journal.read(&seat("a"), 4)?, []);
    assert_eq!(journal.read(&seat("unknown"), 1)?, []);
    assert_eq!(journal.facts(&seat("unknown"))?, None);
    assert_eq!(journal.seats()?, [seat("a"), seat("b.c")]);
    let facts = facts(&journal, "a")?;
    assert_eq!((facts.last, facts.now, facts.first, facts.regressed), (3, 1_003, 1, false));
    Ok(())
}

/// An owner that was stopped has appends on their way when it wakes: the first is refused, because another owner appended
/// meanwhile, and the next one expects the very sequence that the other's record has.
#[test]
fn what_builds_on_what_was_refused_is_refused() -> Result<()> {
    let nats = Nats::start()?;
    let (journal, other) = (connect(&nats)?, connect(&nats)?);
    let chain = Chain::default();
    let mine = |expected| Append { chain: chain.clone(), ..ticks("a", expected, 1) };
    assert_eq!(journal.append(&[mine(0)]), [Ok(())]);
    assert_eq!(other.append(&[ticks("a", 1, 1)]), [Ok(())]);
    let refused = || Err(JournalError::Conflict { expected: 1, found: 2 });
    assert_eq!(journal.append(&[mine(1), mine(2)]), [refused(), refused()]);
    assert_eq!(journal.append(&[mine(2)]), [refused()]);
    assert_eq!(sequences(&journal, "a", 1)?, [1, 2]);
    assert_eq!(journal.append(&[ticks("a", 2, 1)]), [Ok(())], "who knows better begins a chain of its own");
    Ok(())
}

#[test]
fn another_life_finds_what_the_one_before_appended() -> Result<()> {
    let nats = Nats::start()?;
    let before = connect(&nats)?;
    let input = Input::Open { seed: vec![1, 2, 3], settings: vec![("a".into(), "b".into())] };
    let append = Append { seat: seat("a"), expected: 0, records: vec![record(1, input)], chain: Chain::default() };
    assert_eq!(before.append(std::slice::from_ref(&append)), [Ok(())]);
    for expected in 1..40 {
        assert_eq!(before.append(&[ticks("a", expected, 1), ticks("b", expected - 1, 1)]), [Ok(()), Ok(())]);
    }
    drop(before);
    let journal = connect(&nats)?;
    assert_eq!(journal.read(&seat("a"), 1)?[0], append.records[0]);
    for from in [1, 2, 17, 39, 40] {
        assert_eq!(sequences(&journal, "a", from)?, (from..=40).collect::<Vec<_>>());
    }
    assert_eq!(journal.append(&[ticks("a", 40, 1)]), [Ok(())]);
    Ok(())
}

#[test]
fn an_append_above_the_payload_limit_is_stored_whole() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    let appends = [large("a", 0, 5 << 20), ticks("a", 1, 1), large("a", 2, 3 << 20)];
    assert_eq!(journal.append(&appends), [Ok(()), Ok(()), Ok(())]);
    assert_eq!(journal.append(&[ticks("a", 3, 1)]), [Ok(())]);
    assert_eq!(sequences(&journal, "a", 1)?, [1, 2, 3, 4]);
    assert_eq!(journal.read(&seat("a"), 1)?[0], appends[0].records[0]);
    assert_eq!(journal.read(&seat("a"), 3)?[0], appends[2].records[0]);
    Ok(())
}

#[test]
fn a_cut_leaves_the_snapshot_and_what_follows() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    for first in [0, 10, 20, 30] {
        assert_eq!(journal.append(&[ticks("a", first, 10)]), [Ok(())]);
    }
    for sequence in [15, 25] {
        journal.put_snapshot(&seat("a"), &snapshot(sequence, &[300_000, 0, 5]))?;
    }
    assert_eq!(facts(&journal, "a")?.first, 1);
    journal.cut(&seat("a"), 24)?;
    assert_eq!(facts(&journal, "a")?.snapshots.len(), 2, "there is no snapshot to cut at");
    journal.cut(&seat("a"), 25)?;
    let journal = connect(&nats)?;
    assert_eq!(journal.snapshot(&seat("a"), 15)?, None);
    assert_eq!(journal.snapshot(&seat("a"), 25)?.as_deref(), Some(&snapshot(25, &[300_000, 0, 5])));
    let kept = facts(&journal, "a")?;
    assert_eq!((kept.last, kept.first, kept.horizon(), kept.snapshots.len()), (40, 26, 25, 1));
    assert_eq!(sequences(&journal, "a", 26)?, (26..=40).collect::<Vec<_>>());
    assert!(journal.read(&seat("a"), 25).is_err(), "it is cut");
    Ok(())
}

#[test]
fn where_everything_is_cut_the_seat_is_still_known() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    assert_eq!(journal.append(&[ticks("a", 0, 3)]), [Ok(())]);
    for parts in [&[200_000][..], &[10], &[]] {
        journal.put_snapshot(&seat("a"), &snapshot(3, parts))?;
        assert_eq!(journal.snapshot(&seat("a"), 3)?.as_deref(), Some(&snapshot(3, parts)));
    }
    journal.cut(&seat("a"), 3)?;
    let kept = facts(&journal, "a")?;
    assert_eq!((kept.last, kept.now, kept.first, kept.snapshots.len()), (3, 1_003, 4, 1));
    let other = connect(&nats)?;
    assert_eq!(other.append(&[ticks("a", 0, 1)]), [Err(JournalError::Conflict { expected: 0, found: 3 })]);
    assert_eq!(other.append(&[ticks("a", 3, 1)]), [Ok(())]);
    assert_eq!(sequences(&other, "a", 4)?, [4]);
    Ok(())
}

#[test]
fn what_is_removed_leaves_nothing_and_takes_nothing_else() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    assert_eq!(journal.append(&[ticks("a", 0, 3), ticks("b", 0, 2)]), [Ok(()), Ok(())]);
    journal.put_snapshot(&seat("b"), &snapshot(1, &[70_000]))?;
    journal.remove(&seat("b"))?;
    journal.remove(&seat("b"))?;
    assert_eq!((journal.facts(&seat("b")), journal.seats()), (Ok(None), Ok(vec![seat("a")])));
    assert_eq!(sequences(&journal, "a", 1)?, [1, 2, 3]);
    assert_eq!(journal.append(&[ticks("b", 0, 1), ticks("a", 3, 1)]), [Ok(()), Ok(())]);
    assert_eq!((sequences(&journal, "b", 1)?, journal.snapshot(&seat("b"), 1)), (vec![1], Ok(None)));
    Ok(())
}

#[test]
fn a_seat_can_begin_with_a_snapshot() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    journal.put_snapshot(&seat("a"), &snapshot(10, &[]))?;
    let begun = facts(&journal, "a")?;
    assert_eq!((begun.last, begun.now, begun.regressed), (10, 1_010, false));
    assert_eq!(journal.append(&[ticks("a", 10, 2)]), [Ok(())]);
    assert_eq!(sequences(&journal, "a", 11)?, [11, 12]);
    assert_eq!(journal.seats()?, [seat("a")]);
    Ok(())
}

#[test]
fn an_owner_that_lost_its_seat_appends_nothing() -> Result<()> {
    let nats = Nats::start()?;
    let (old, new) = (connect(&nats)?, connect(&nats)?);
    assert_eq!(old.append(&[ticks("a", 0, 2), ticks("b", 0, 1)]), [Ok(()), Ok(())]);
    assert_eq!(new.append(&[ticks("a", 2, 1)]), [Ok(())]);
    let lost = JournalError::Conflict { expected: 2, found: 3 };
    assert_eq!(old.append(&[ticks("a", 2, 0)]), [Err(lost.clone())], "who asks is told");
    assert_eq!(old.append(&[ticks("a", 2, 1)]), [Err(lost)]);
    assert_eq!(sequences(&new, "a", 1)?, [1, 2, 3]);
    assert_eq!(old.append(&[ticks("b", 1, 1)]), [Ok(())], "another seat is still its own");

    assert_eq!(new.append(&[ticks("b", 2, 1)]), [Ok(())]);
    assert_eq!(old.append(&[ticks("b", 2, 1)]), [Err(JournalError::Conflict { expected: 2, found: 3 })]);
    Ok(())
}

#[test]
fn nothing_is_acknowledged_while_the_server_is_down_and_it_goes_on_by_itself() -> Result<()> {
    let mut nats = Nats::start()?;
    let journal = JetStreamJournal::connect(JetStreamOptions { patience: Duration::from_secs(1), ..options(&nats) })?;
    assert_eq!(journal.append(&[ticks("a", 0, 1)]), [Ok(())]);
    nats.kill();
    let refused = journal.append(&[ticks("a", 1, 1)]);
    assert!(
        matches!(&refused[..], [Err(JournalError::Store(why))] if why.contains("goes on by itself")),
        "{refused:?}"
    );
    assert!(matches!(journal.facts(&seat("a")), Err(JournalError::Store(_))));
    nats.again()?;
    let last = appended(&journal)?;
    assert_eq!(sequences(&journal, "a", 1)?, (1..=last).collect::<Vec<_>>());
    Ok(())
}

/// What is known of its end from before does not count then.
#[test]
fn a_seat_that_comes_back_from_another_owner_goes_on() -> Result<()> {
    let nats = Nats::start()?;
    let (one, other) = (connect(&nats)?, connect(&nats)?);
    for (owner, before) in [(&one, 0), (&other, 2), (&one, 4), (&other, 6)] {
        assert_eq!(owner.append(&[ticks("a", before, 2)]), [Ok(())], "after {before}");
    }
    Ok(())
}

#[test]
fn an_append_that_was_given_up_and_stored_late_is_no_loss_of_the_seat() -> Result<()> {
    let nats = Nats::start()?;
    let journal = JetStreamJournal::connect(JetStreamOptions { patience: Duration::from_secs(1), ..options(&nats) })?;
    let first = appended(&journal)?;
    nats.pause()?;
    assert!(matches!(journal.append(&[ticks("a", first, 1)])[..], [Err(JournalError::Store(_))]));
    nats.resume()?;
    until(|| Ok(connect(&nats)?.facts(&seat("a"))?.is_some_and(|facts| facts.last == first + 1)))?;
    // A server that has just woken may again take longer than this journal waits: only then it is asked again.
    until(|| {
        let late = journal.append(&[ticks("a", first, 1)]);
        assert!(matches!(&late[..], [Err(JournalError::Store(_))]), "{late:?}");
        Ok(matches!(&late[..], [Err(JournalError::Store(why))] if why.contains("stored after all")))
    })?;
    let last = appended(&journal)?;
    assert_eq!(sequences(&connect(&nats)?, "a", 1)?, Vec::from_iter(1..=last));
    Ok(())
}

#[test]
fn servers_that_cannot_be_used_are_refused_with_the_reason() -> Result<()> {
    let mut gone = Nats::start()?;
    gone.kill();
    let refused = |options| JetStreamJournal::connect(options).expect_err("it cannot be used");
    assert!(matches!(refused(options(&gone)), JetStreamError::Unreachable(_)));

    let closed = Nats::configured("jetstream { store_dir: \"{folder}\" }\nauthorization { user: a, password: b }")?;
    let login = |login: &str| JetStreamOptions { servers: vec![closed.url(login)], ..options(&closed) };
    assert!(matches!(refused(login("a:c@")), JetStreamError::Login));
    assert!(matches!(refused(login("")), JetStreamError::Login));
    JetStreamJournal::connect(login("a:b@"))?;

    let plain = Nats::configured("")?;
    let why = refused(options(&plain)).to_string();
    assert!(why.contains("without JetStream"), "{why}");

    let single = Nats::start()?;
    let why = refused(JetStreamOptions { replicas: 3, ..options(&single) }).to_string();
    assert!(why.contains("replicas"), "{why}");
    for options in [
        JetStreamOptions { name: "a.b".into(), ..options(&single) },
        JetStreamOptions { streams: 0, ..options(&single) },
    ] {
        assert!(matches!(refused(options), JetStreamError::Options(_)));
    }
    Ok(())
}

#[test]
fn streams_of_another_layout_are_left_alone() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    assert_eq!(journal.append(&[ticks("a", 0, 1)]), [Ok(())]);
    let error = JetStreamJournal::connect(JetStreamOptions { streams: 2, ..options(&nats) }).expect_err("two, not one");
    assert!(matches!(error, JetStreamError::OtherLayout { setting: "description", .. }), "{error}");
    assert_eq!(journal.append(&[ticks("a", 1, 1)]), [Ok(())]);
    Ok(())
}

#[test]
fn it_says_what_it_cannot_promise() -> Result<()> {
    let nats = Nats::start()?;
    let journal = connect(&nats)?;
    let broken: Vec<_> =
        journal.promises().iter().filter(|promise| !promise.kept).map(|promise| &*promise.what).collect();
    let one = "is kept by one server: what is lost with that is lost";
    assert_eq!(broken, [format!("stream postbell-0 {one}"), format!("stream OBJ_postbell-snapshots {one}")]);
    Ok(())
}

/// Appends one record as soon as the journal takes it again; its sequence.
fn appended(journal: &JetStreamJournal) -> Result<u64> {
    let mut last = None;
    until(|| {
        // What was given up may have been stored after all.
        let Ok(facts) = journal.facts(&seat("a")) else { return Ok(false) };
        let before = facts.map_or(0, |facts| facts.last);
        last = Some(before + 1);
        Ok(journal.append(&[ticks("a", before, 1)]) == [Ok(())])
    })?;
    last.context("it was appended")
}

#[test]
fn what_the_options_look_like_tells_no_password() {
    let servers = vec!["nats://someone:secret@127.0.0.1:4222".to_owned()];
    let shown = format!("{:?}", JetStreamOptions { servers, ..JetStreamOptions::default() });
    assert!(!shown.contains("secret") && !shown.contains("someone"), "{shown}");
    assert!(shown.contains("postbell"), "{shown}");
}
