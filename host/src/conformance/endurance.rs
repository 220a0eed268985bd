//! Very many inputs, with crowds of open requests among them, and now and then a new instance that goes on from what was
//! saved.

use super::calls::{Stopped, ran};
use super::closely::reborn_from;
use super::conversation::{Conversation, Step};
use super::judging::{self, Reactions};
use super::requests::Requests;
use super::rules::{Judge, Rule};
use super::{Options, Subject};
use crate::plugin::Instance;

/// How many requests come one after another, and then a change of every account.
const CROWD: u64 = 500;

/// After so many inputs the state is compared with what is known.
const LOOK: u64 = 1_000;

/// After so many another instance takes over.
const REBIRTH: u64 = 50_000;

struct Run<'r> {
    subject: &'r Subject,
    judge: &'r mut Judge,
    told: Conversation<'r>,
    reactions: Reactions,
    instance: Instance,
    asked: Instance,
    inputs: u64,
}

/// Feeds as many inputs as the options say; `progress` is told after each thousand how many it were.
pub(super) fn run(
    subject: &Subject,
    options: &Options,
    judge: &mut Judge,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Stopped> {
    let requests = Requests::new(subject.plugin.manifest(), &options.samples);
    // Another history than the one that was looked at closely.
    let told = Conversation::new(!options.seed, requests, &options.settings);
    let instance = ran(judge, Rule::Component, "an instance", subject.instance())?;
    let asked = ran(judge, Rule::Component, "an instance", subject.instance())?;
    let reactions = Reactions::new();
    let mut run = Run { subject, judge, told, reactions, instance, asked, inputs: 0 };
    let open = run.told.open();
    run.feed(&open)?;
    while run.inputs < options.inputs {
        let crowded = run.inputs % 20_000 < CROWD;
        let step = if crowded { run.of_a_crowd()? } else { run.next()? };
        run.feed(&step)?;
        if run.inputs.is_multiple_of(LOOK) {
            progress(run.inputs);
        }
        if run.inputs.is_multiple_of(REBIRTH) {
            run.be_reborn()?;
        }
    }
    run.be_reborn()
}

impl Run<'_> {
    fn next(&mut self) -> Result<Step, Stopped> {
        let asked = &mut self.asked;
        let step = self.told.next(|head, body| asked.identify(head, body));
        ran(self.judge, Rule::Pure, "identify", step)
    }

    /// Requests, and at last what they may wait for.
    fn of_a_crowd(&mut self) -> Result<Step, Stopped> {
        if self.inputs % CROWD == CROWD - 1 {
            return Ok(self.told.change());
        }
        let asked = &mut self.asked;
        let step = self.told.request(|head, body| asked.identify(head, body));
        ran(self.judge, Rule::Pure, "identify", step)
    }

    fn feed(&mut self, step: &Step) -> Result<(), Stopped> {
        self.inputs += 1;
        let place = format!("random input {} ({})", self.inputs, step.shown());
        let said = ran(self.judge, Rule::Reactions, &place, self.instance.feed(step.at, &step.input))?;
        let Ok(reaction) = said else { return Ok(()) };
        self.reactions.judge(self.judge, &place, step, &reaction, self.told.known_calls().len());
        self.told.heard(&reaction);
        if self.inputs.is_multiple_of(LOOK) {
            let pending = ran(self.judge, Rule::Outstanding, &place, self.instance.outstanding())?;
            judging::pending(self.judge, &place, step, &reaction, &pending, &self.told);
        }
        if self.judge.has_found() { Err(Stopped) } else { Ok(()) }
    }

    fn be_reborn(&mut self) -> Result<(), Stopped> {
        let place = format!("after random input {}", self.inputs);
        let saved = ran(self.judge, Rule::Looks, &place, self.instance.save())?;
        self.instance = reborn_from(self.subject, self.judge, &place, &saved)?;
        Ok(())
    }
}
