//! Five instances of one history, compared at every step: so it shows what a plugin keeps that it does not save, what it
//! forgets, and what it makes of being looked at.

use super::calls::{Stopped, ran};
use super::conversation::{Conversation, Step};
use super::judging::{self, Reactions};
use super::requests::Requests;
use super::rules::{Judge, Rule};
use super::{Options, Subject};
use crate::contract::lifecycle::LoadError;
use crate::contract::types::Reaction;
use crate::plugin::Instance;

/// How many ticks are waited for at the end.
const TICKS: u32 = 1_100;

/// What an input gives; an error is a refusal of settings.
type Said = Result<Reaction, String>;

/// The instances.
struct Crew {
    /// Looked at before and after every step.
    live: Instance,
    /// Never looked at.
    quiet: Instance,
    /// The same.
    twin: Instance,
    /// Fed only what was journaled.
    replayed: Instance,
    /// At every step a new instance that loaded what the one before it saved.
    reborn: Instance,
    /// Only asked who makes a request.
    asked: Instance,
    /// What `live` saves.
    saved: Vec<Vec<u8>>,
}

/// The close look.
pub(super) fn look(subject: &Subject, options: &Options, judge: &mut Judge) -> Result<(), Stopped> {
    let requests = Requests::new(subject.plugin.manifest(), &options.samples);
    let mut told = Conversation::new(options.seed, requests, &options.settings);
    let (mut crew, mut reactions) = (Crew::assemble(subject, judge)?, Reactions::new());
    let open = told.open();
    let opened = crew.step(subject, judge, "open", &open)?;
    judge.rule(Rule::Reactions, "open", opened.err().map(|why| format!("it refuses its settings: {why}")));
    if judge.has_found() {
        return Err(Stopped);
    }
    for number in 1..=options.compared {
        let draining = told.has_drained();
        let place = format!("input {number}");
        judge.holds(Rule::Restarts, &place, !draining || told.unanswered() == 0, || {
            format!("{} requests are still without their final part after `drain`", told.unanswered())
        });
        let asked = &mut crew.asked;
        let step = ran(judge, Rule::Pure, &place, told.next(|head, body| asked.identify(head, body)))?;
        let place = format!("input {number} ({})", step.shown());
        crew.one(subject, judge, &place, &step, &mut told, &mut reactions)?;
        if judge.has_found() {
            return Err(Stopped);
        }
    }
    reactions.rest();
    for number in 1..=TICKS {
        let Some(step) = told.next_tick() else { break };
        crew.one(subject, judge, &format!("tick {number} after the last input"), &step, &mut told, &mut reactions)?;
        if judge.has_found() {
            return Err(Stopped);
        }
    }
    crew.compare_states(judge)
}

impl Crew {
    fn assemble(subject: &Subject, judge: &mut Judge) -> Result<Crew, Stopped> {
        let mut instance = || ran(judge, Rule::Component, "an instance", subject.instance());
        Ok(Crew {
            live: instance()?,
            quiet: instance()?,
            twin: instance()?,
            replayed: instance()?,
            reborn: instance()?,
            asked: instance()?,
            saved: Vec::new(),
        })
    }

    /// A step, and what is known after it.
    fn one(
        &mut self,
        subject: &Subject,
        judge: &mut Judge,
        place: &str,
        step: &Step,
        told: &mut Conversation,
        reactions: &mut Reactions,
    ) -> Result<(), Stopped> {
        let Ok(reaction) = self.step(subject, judge, place, step)? else { return Ok(()) };
        reactions.judge(judge, place, step, &reaction, told.known_calls().len());
        if judge.has_found() {
            return Err(Stopped);
        }
        told.heard(&reaction);
        let pending = ran(judge, Rule::Outstanding, place, self.live.outstanding())?;
        judging::pending(judge, place, step, &reaction, &pending, told);
        let again = ran(judge, Rule::Outstanding, place, self.live.outstanding())?;
        judge.holds(Rule::Looks, place, pending == again, || "`outstanding`, asked twice, says two things".into());
        let figures = ran(judge, Rule::Looks, place, self.live.inspect())?;
        judge.rule(Rule::Looks, place, judging::figures(&figures));
        Ok(())
    }

    /// Feeds the input to all of them, and compares what they say and what they save.
    fn step(&mut self, subject: &Subject, judge: &mut Judge, place: &str, step: &Step) -> Result<Said, Stopped> {
        let Step { at, input, .. } = step;
        let said = ran(judge, Rule::Reactions, place, self.live.feed(*at, input))?;
        let quiet = ran(judge, Rule::Reactions, place, self.quiet.feed(*at, input))?;
        let twin = ran(judge, Rule::Reactions, place, self.twin.feed(*at, input))?;
        let reborn = ran(judge, Rule::Snapshots, place, self.reborn.feed(*at, input))?;
        agree(judge, Rule::Determinism, place, &quiet, &twin, "a second instance with the same history");
        agree(judge, Rule::Looks, place, &said, &quiet, "an instance at which nobody looked");
        agree(judge, Rule::Snapshots, place, &said, &reborn, "an instance that loaded what this one saved");
        let saved = ran(judge, Rule::Looks, place, self.live.save())?;
        let again = ran(judge, Rule::Looks, place, self.live.save())?;
        judge.holds(Rule::Looks, place, saved == again, || "`save`, asked twice, gives two states".into());
        judge.holds(Rule::Reactions, place, saved.iter().all(|part| !part.is_empty()), || {
            "`save` gives an empty part".into()
        });
        if said.as_ref().is_ok_and(|reaction| reaction.changed) {
            let replayed = ran(judge, Rule::Determinism, place, self.replayed.feed(*at, input))?;
            agree(
                judge,
                Rule::Determinism,
                place,
                &said,
                &replayed,
                "an instance that was fed only what was `changed`",
            );
        } else {
            judge.holds(Rule::Changed, place, saved == self.saved, || {
                let what = if said.is_ok() { "`changed` is false" } else { "the settings were refused" };
                format!("{what}, and `save` gives {}", another(&self.saved, &saved))
            });
        }
        self.reborn = reborn_from(subject, judge, place, &saved)?;
        self.saved = saved;
        Ok(said)
    }

    /// In the end all saved states are the same.
    fn compare_states(&mut self, judge: &mut Judge) -> Result<(), Stopped> {
        let place = "after the last input";
        let Crew { quiet, twin, replayed, .. } = self;
        for (instance, rule, which) in [
            (quiet, Rule::Looks, "an instance at which nobody looked"),
            (twin, Rule::Looks, "an instance at which nobody looked"),
            (replayed, Rule::Determinism, "an instance that was fed only what was `changed`"),
        ] {
            let saved = ran(judge, rule, place, instance.save())?;
            judge.holds(rule, place, saved == self.saved, || format!("{which} saves {}", another(&self.saved, &saved)));
        }
        Ok(())
    }
}

/// A new instance that loaded this and saves the same.
pub(super) fn reborn_from(
    subject: &Subject,
    judge: &mut Judge,
    place: &str,
    saved: &[Vec<u8>],
) -> Result<Instance, Stopped> {
    let format = &subject.plugin.manifest().state_formats[0];
    let mut reborn = ran(judge, Rule::Snapshots, place, subject.instance())?;
    if let Err(error) = ran(judge, Rule::Snapshots, place, reborn.load(format, saved))? {
        let why = match error {
            LoadError::UnknownFormat(format) => format!("it does not know its own format {format:?}"),
            LoadError::Corrupt(why) => format!("it does not load what it saved: {why}"),
        };
        judge.rule(Rule::Snapshots, place, Some(why));
        return Err(Stopped);
    }
    let again = ran(judge, Rule::Snapshots, place, reborn.save())?;
    judge.holds(Rule::Snapshots, place, again == saved, || {
        format!("what was loaded and is saved again is {}", another(saved, &again))
    });
    Ok(reborn)
}

fn agree(judge: &mut Judge, rule: Rule, place: &str, one: &Said, other: &Said, which: &str) {
    judge.holds(rule, place, one == other, || format!("{which} reacts otherwise: {}", first_difference(one, other)));
}

/// In what two reactions differ first.
fn first_difference(one: &Said, other: &Said) -> String {
    let (Ok(one), Ok(other)) = (one, other) else { return format!("{one:?}, there {other:?}") };
    let differing = [
        ("replies", one.replies != other.replies),
        ("calls", one.calls != other.calls),
        ("wake-at", one.wake_at != other.wake_at),
        ("rejections", one.rejections != other.rejections),
        ("logs", one.logs != other.logs),
        ("changed", one.changed != other.changed),
    ];
    let fields: Vec<_> = differing.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    format!("in {}", fields.join(", "))
}

fn another(before: &[Vec<u8>], after: &[Vec<u8>]) -> String {
    let (before, after) = (before.concat(), after.concat());
    let at = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    format!("another state: {} bytes instead of {}, the first difference at byte {at}", after.len(), before.len())
}
