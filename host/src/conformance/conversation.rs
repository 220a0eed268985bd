//! What happens to a plugin, as a host would tell it: inputs that follow from chance and from what the plugin said.

use std::collections::{BTreeMap, BTreeSet};

use super::chance::Chance;
use super::changes::{self, DOMAIN};
use super::requests::{self, Requests};
use crate::contract::lifecycle::Restart;
use crate::contract::outbound::{Outcome, Response};
use crate::contract::requests::{Claims, End, RequestHead, Settlement};
use crate::contract::types::{Moment, Reaction};
use crate::journal::Input;
use crate::plugin::Fault;

/// When it begins, in milliseconds since the Unix epoch.
const BEGINNING: u64 = 1_795_296_510_624;

/// With so many open requests more are ended than made.
const CROWD: usize = 600;

/// How many of the requests that ended are remembered, to settle them once more.
const MOST_ENDED: usize = 32;

/// One request, as the host holds it.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// Parts that wait to be confirmed, or are.
    sent: u32,
    /// How many of them the plugin was told of.
    settled: u32,
    /// Its final part is there.
    answered: bool,
}

/// One input, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub at: Moment,
    pub input: Input,
    /// It concerns nothing that the plugin knows, and nothing else is due: it must be ignored.
    pub stale: bool,
}

impl Step {
    /// For reports.
    pub(super) fn shown(&self) -> String {
        match &self.input {
            Input::Answer(request) => format!("answer, {} {}", request.head.method, request.head.path.escape_default()),
            input => input.kind().to_owned(),
        }
    }
}

/// A tenant's past, as far as its inputs depend on it.
pub(super) struct Conversation<'p> {
    pub chance: Chance,
    requests: Requests<'p>,
    settings: Vec<(String, String)>,
    moment: Moment,
    wake_at: Option<u64>,
    last_request: u64,
    open: BTreeMap<u64, Open>,
    ended: Vec<u64>,
    calls: BTreeSet<u64>,
    draining: bool,
}

impl<'p> Conversation<'p> {
    /// The conversation that `seed` stands for.
    pub(super) fn new(seed: u64, requests: Requests<'p>, settings: &[(String, String)]) -> Conversation<'p> {
        let domains = ("domains".to_owned(), DOMAIN.to_owned());
        Conversation {
            chance: Chance::new(seed),
            requests,
            settings: [domains].into_iter().chain(settings.iter().cloned()).collect(),
            moment: Moment { now: BEGINNING, sequence: 1 },
            wake_at: None,
            last_request: 0,
            open: BTreeMap::new(),
            ended: Vec::new(),
            calls: BTreeSet::new(),
            draining: false,
        }
    }

    /// The first input.
    pub(super) fn open(&mut self) -> Step {
        let seed = (0..32).map(|_| self.chance.next() as u8).collect();
        self.step(Input::Open { seed, settings: self.settings.clone() })
    }

    /// The next input. `identify` is the plugin's.
    pub(super) fn next(
        &mut self,
        identify: impl FnMut(&RequestHead, &[u8]) -> Result<Claims, Fault>,
    ) -> Result<Step, Fault> {
        if self.draining {
            return Ok(self.while_draining());
        }
        self.moment.now += match self.chance.below(20) {
            0 => self.chance.below(90_000),
            1..6 => self.chance.below(2_000),
            _ => 0,
        };
        if self.is_due() && self.chance.once_in(2) {
            return Ok(self.step(Input::Tick));
        }
        let crowded = self.open.len() > CROWD;
        Ok(match self.chance.below(200) {
            _ if crowded => self.settlements(),
            0..90 => {
                let batch = changes::batch(&mut self.chance, self.moment.now);
                self.step(Input::Ingest { batch, span: None, skipped: None })
            }
            90..165 => self.request(identify)?,
            165..180 => self.settlements(),
            180..185 => self.stale_settlements(),
            185..192 => self.finished(),
            192..194 => self.stale_call(),
            194..196 => self.step(Input::Configure { settings: self.settings.clone() }),
            196..198 if self.chance.once_in(4) => self.drain(),
            198 if self.chance.once_in(4) => self.restarted(),
            _ => self.request_or_settlements(),
        })
    }

    /// So many requests, as they come after one another without anything in between.
    pub(super) fn request(
        &mut self,
        mut identify: impl FnMut(&RequestHead, &[u8]) -> Result<Claims, Fault>,
    ) -> Result<Step, Fault> {
        let Some((head, body)) = self.requests.next(&mut self.chance) else {
            return Ok(self.request_or_settlements());
        };
        let claims = identify(&head, &body)?;
        self.last_request += 1 + self.chance.below(3);
        self.open.insert(self.last_request, Open::default());
        let request = requests::complete(&mut self.chance, self.last_request, head, body, &claims);
        Ok(self.step(Input::Answer(Box::new(request))))
    }

    /// One change of every account.
    pub(super) fn change(&mut self) -> Step {
        let batch = changes::of_every_account(&mut self.chance, self.moment.now);
        self.step(Input::Ingest { batch, span: None, skipped: None })
    }

    /// The tick that was asked for, at the time for which it was asked; none: there is no timer.
    pub(super) fn next_tick(&mut self) -> Option<Step> {
        self.moment.now = self.moment.now.max(self.wake_at?);
        Some(self.step(Input::Tick))
    }

    /// Notes what came of the last input.
    pub(super) fn heard(&mut self, reaction: &Reaction) {
        self.moment.sequence += u64::from(reaction.changed);
        self.wake_at = reaction.wake_at;
        self.calls.extend(reaction.calls.iter().map(|call| call.id));
        for reply in &reaction.replies {
            let open = self.open.entry(reply.to).or_default();
            open.sent += u32::from(reply.confirm);
            open.answered |= !reply.more;
            if open.answered && open.sent == 0 {
                self.end(reply.to);
            }
            self.requests.hear(&reply.body, &mut self.chance);
        }
    }

    /// The requests of which the plugin must know, ascending.
    pub(super) fn known_requests(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    /// The calls whose outcome it must wait for, ascending.
    pub(super) fn known_calls(&self) -> Vec<u64> {
        self.calls.iter().copied().collect()
    }

    /// Requests without their final part.
    pub(super) fn unanswered(&self) -> usize {
        self.open.values().filter(|open| !open.answered).count()
    }

    /// Whether the plugin is to end what is open, and asks for no time to do so: then it has, or never will.
    pub(super) fn has_drained(&self) -> bool {
        self.draining && !self.is_due()
    }

    /// Whether the time is there for which a tick was asked.
    pub(super) fn is_due(&self) -> bool {
        self.wake_at.is_some_and(|due| due <= self.moment.now)
    }

    fn step(&self, input: Input) -> Step {
        Step { at: self.moment, input, stale: false }
    }

    fn request_or_settlements(&mut self) -> Step {
        if self.open.is_empty() { self.stale_call() } else { self.settlements() }
    }

    /// Of one to three requests, each once.
    fn settlements(&mut self) -> Step {
        if self.open.is_empty() {
            return self.stale_settlements();
        }
        let known = self.known_requests();
        let chosen: BTreeSet<u64> = (0..=self.chance.below(3)).map(|_| *self.chance.one(&known)).collect();
        let settlements = chosen.into_iter().map(|request| self.settlement(request)).collect();
        self.step(Input::Settled(settlements))
    }

    fn settlement(&mut self, request: u64) -> Settlement {
        let open = self.open.get_mut(&request).expect("it is one of those that are open");
        let parts = open.settled + self.chance.below(u64::from(open.sent - open.settled) + 1) as u32;
        open.settled = parts;
        let complete = open.answered && parts == open.sent;
        let end = if complete {
            Some(End::Complete)
        } else if parts == 0 || self.chance.once_in(2) {
            Some(*self.chance.one(&[End::Gone, End::ClosedByHost]))
        } else {
            None
        };
        if end.is_some() {
            self.end(request);
        }
        Settlement { request, parts, end }
    }

    fn end(&mut self, request: u64) {
        self.open.remove(&request);
        if self.ended.len() == MOST_ENDED {
            self.ended.remove(0);
        }
        self.ended.push(request);
    }

    /// Of requests that have ended, or that never were.
    fn stale_settlements(&mut self) -> Step {
        let never = self.last_request + 1_000_000;
        let mut requests = BTreeSet::from([never]);
        if !self.ended.is_empty() {
            requests.insert(*self.chance.one(&self.ended));
        }
        let settle = |request| Settlement { request, parts: 0, end: Some(End::Gone) };
        Step { stale: !self.is_due(), ..self.step(Input::Settled(requests.into_iter().map(settle).collect())) }
    }

    fn finished(&mut self) -> Step {
        if self.calls.is_empty() {
            return self.stale_call();
        }
        let calls = self.known_calls();
        let call = *self.chance.one(&calls);
        self.calls.remove(&call);
        let outcome = match self.chance.below(4) {
            0 => Outcome::Failed("it did not answer".into()),
            1 => Outcome::Refused("the address is not allowed".into()),
            _ => {
                let status = *self.chance.one(&[200, 204, 404, 500]);
                Outcome::Answered(Response { status, body: self.chance.bytes(200) })
            }
        };
        self.step(Input::Finished { call, outcome })
    }

    fn stale_call(&mut self) -> Step {
        let call = u64::MAX - self.chance.below(1_000);
        let outcome = Outcome::Failed("it is not known".into());
        Step { stale: !self.is_due(), ..self.step(Input::Finished { call, outcome }) }
    }

    fn restarted(&mut self) -> Step {
        for request in self.known_requests() {
            self.end(request);
        }
        self.calls.clear();
        let how = Restart { down_ms: self.chance.below(100_000), regressed: self.chance.once_in(4) };
        self.step(Input::Restarted(how))
    }

    fn drain(&mut self) -> Step {
        self.draining = true;
        self.step(Input::Drain)
    }

    fn while_draining(&mut self) -> Step {
        if self.is_due() {
            return self.step(Input::Tick);
        }
        self.draining = false;
        self.restarted()
    }
}
