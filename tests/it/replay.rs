//! The journal is enough: what it is given again makes the same state, byte for byte.

use anyhow::{Result, ensure};
use postbell::contract::types::Moment;
use postbell::journal::{Append, Chain, Digest, Journal, MemoryJournal, Record, Seat, records};
use postbell_tests::component;
use postbell_tests::histories::History;

/// How many inputs, unless `POSTBELL_INPUTS` says otherwise.
const INPUTS: usize = 20_000;

#[test]
fn a_replay_from_the_start_is_exact() -> Result<()> {
    let inputs = std::env::var("POSTBELL_INPUTS").map_or(Ok(INPUTS), |inputs| inputs.parse())?;
    let plugin = component::plugin();
    let journal = MemoryJournal::default();
    let seat = Seat { tenant: "example.org".into(), plugin: "notify".into(), partition: 0 };
    let (mut history, mut live) = (History::new(inputs as u64), component::instance(&plugin));
    let mut last = 0;
    for number in 0..inputs {
        let (at, input) = if number == 0 { history.open() } else { history.next_input() };
        let at = Moment { sequence: last + 1, ..at };
        let Ok(reaction) = live.feed(at, &input)? else { continue };
        if number > 0 {
            history.heard(&reaction);
        }
        // As a host does: what left no trace is not kept, and need not be.
        if reaction.changed {
            let digest = Digest::of(&plugin.sha256(), &reaction);
            let records = vec![Record { sequence: last + 1, now: at.now, digest, input: input.into() }];
            let [appended] =
                &journal.append(&[Append { seat: seat.clone(), expected: last, records, chain: Chain::default() }])[..]
            else {
                unreachable!("one outcome for one append")
            };
            appended.clone()?;
            last += 1;
        }
    }
    let mut replayed = component::instance(&plugin);
    for record in records(&journal, &seat, 1, u64::MAX) {
        let Record { sequence, now, digest, input } = record?;
        let Ok(reaction) = replayed.feed(Moment { now, sequence }, &input)? else { continue };
        ensure!(
            Digest::of(&plugin.sha256(), &reaction) == digest,
            "at {sequence} of {inputs} inputs: another reaction"
        );
    }
    ensure!(replayed.save()? == live.save()?, "after {inputs} inputs: another state");
    Ok(())
}
