//! The same inputs give the same bytes: natively and as a component, in every instance, across save and load.

use anyhow::Result;
use postbell::contract::lifecycle::Pending;
use postbell_notify::Notify;
use postbell_tests::histories::History;
use postbell_tests::native::{Convert, Fed};
use postbell_tests::{component, native};

const SEEDS: std::ops::Range<u64> = 0..40;
const INPUTS: usize = 400;

/// Runs one history natively and as a component. At every hundredth input both are saved, compared, and replaced by what
/// loads from it.
fn agree(plugin: &postbell::plugin::Plugin, seed: u64) -> Result<()> {
    let mut history = History::new(seed);
    let (mut notify, mut instance) = (Notify::default(), component::instance(plugin));
    let (at, open) = history.open();
    assert_eq!(instance.feed(at, &open)?, native::feed(&mut notify, at, open), "open");
    for number in 0..INPUTS {
        let (at, input) = history.next_input();
        let component: Fed = instance.feed(at, &input)?;
        let shown = format!("seed {seed}, input {number}, {}", input.kind());
        assert_eq!(component, native::feed(&mut notify, at, input), "{shown}");
        if let Ok(reaction) = component {
            history.heard(&reaction);
        }
        if number % 100 == 99 {
            let saved = instance.save()?;
            assert_eq!(saved, native::save(&mut notify), "{shown}: saved");
            notify = Notify::default();
            instance = component::instance(plugin);
            for (part, bytes) in saved.iter().enumerate() {
                let more = part + 1 < saved.len();
                notify.load(&plugin.manifest().state_formats[0], bytes, more).expect("it loads what it saved");
            }
            instance.load(&plugin.manifest().state_formats[0], &saved)?.expect("it loads what it saved");
            assert_eq!(instance.save()?, saved, "{shown}: loaded and saved again");
            let pending: Pending = notify.outstanding().convert();
            assert_eq!(instance.outstanding()?, pending, "{shown}: outstanding");
        }
    }
    Ok(())
}

#[test]
fn native_and_component_agree() -> Result<()> {
    let plugin = component::plugin();
    SEEDS.into_iter().try_for_each(|seed| agree(&plugin, seed))
}

#[test]
fn two_instances_agree() -> Result<()> {
    let plugin = component::plugin();
    for seed in SEEDS {
        let mut history = History::new(seed);
        let (mut one, mut other) = (component::instance(&plugin), component::instance(&plugin));
        let (at, open) = history.open();
        assert_eq!(one.feed(at, &open)?, other.feed(at, &open)?);
        for number in 0..INPUTS {
            let (at, input) = history.next_input();
            let reaction = one.feed(at, &input)?;
            assert_eq!(reaction, other.feed(at, &input)?, "seed {seed}, input {number}");
            if let Ok(reaction) = reaction {
                history.heard(&reaction);
            }
        }
        assert_eq!(one.save()?, other.save()?, "seed {seed}");
    }
    Ok(())
}

#[test]
fn a_reaction_says_truly_whether_it_changed_anything() -> Result<()> {
    for seed in SEEDS {
        let mut history = History::new(seed);
        let mut notify = Notify::default();
        let (at, open) = history.open();
        native::feed(&mut notify, at, open).expect("the settings are good");
        let mut before = native::save(&mut notify);
        for number in 0..INPUTS {
            let (at, input) = history.next_input();
            let kind = input.kind();
            let Ok(reaction) = native::feed(&mut notify, at, input) else { continue };
            history.heard(&reaction);
            let after = native::save(&mut notify);
            assert!(reaction.changed || before == after, "seed {seed}, input {number}, {kind}");
            before = after;
        }
    }
    Ok(())
}
