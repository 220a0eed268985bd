//! A source of changes: it sends, and after a crash finds out where to go on, in one of the ways that the README gives
//! it.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::numbers::Numbers;
use super::plan::{ACCOUNTS, Batch, FOLDERS, Plan};
use super::site::{Life, Site, Step, Wrong};
use super::{INGEST_KEY, TENANT};
use crate::admin::Admin;
use crate::histories::Random;

/// A source at work.
pub struct Source<'s> {
    site: &'s Site,
    numbers: &'s Numbers,
    number: usize,
    random: Random,
    /// The batch that it sends next, or again.
    next: usize,
    /// It has sent that batch before, and no answer came.
    unsure: bool,
    /// The last life of the server in which it had an answer, and what was acknowledged when that life began.
    used: u64,
    floor: u64,
    /// What it says.
    pub plan: Plan,
}

impl<'s> Source<'s> {
    /// Source `number`, which has sent nothing yet.
    pub fn new(site: &'s Site, numbers: &'s Numbers, number: usize, mut random: Random) -> Source<'s> {
        let plan = Plan::new(number, random.below(u64::MAX));
        Source { site, numbers, number, random, next: 0, unsure: false, used: 0, floor: 0, plan }
    }

    /// Sends batch after batch, until the sources are to come to their ends.
    pub fn run(&mut self) -> Result<()> {
        self.site.work(|life| self.step(life)).with_context(|| self.plan.name())?;
        self.site.finished();
        Ok(())
    }

    fn step(&mut self, life: Life) -> Result<Step> {
        let admin = admin(life);
        if self.random.below(if self.unsure { 2 } else { 16 }) == 0 {
            let offset = admin.offset(&self.plan.name())?;
            self.go_on_from(life, offset)?;
        }
        if self.next == self.plan.batches.len() {
            match (self.plan.finished, self.site.is_closing()) {
                (true, _) => return Ok(Step::Last),
                (false, true) => self.plan.finish(),
                (false, false) => self.plan.extend(),
            }
        }
        self.send(life, &admin)?;
        Ok(Step::More)
    }

    /// The server has so many changes. What was in flight is applied as a whole, or not at all. What was there when
    /// this life began cannot be lost any more.
    fn go_on_from(&mut self, life: Life, offset: u64) -> Result<()> {
        let acknowledged = self.next.checked_sub(1).map_or(0, |last| self.plan.batches[last].end());
        let in_flight = self.plan.batches.get(self.next).filter(|_| self.unsure).map(Batch::end);
        let kept = self.plan.batches[..self.next].iter().position(|batch| batch.offset == offset);
        match kept {
            _ if Some(offset) == in_flight => self.applied(offset),
            _ if offset == acknowledged => {}
            Some(kept) if offset >= self.floor && self.site.may_have_forgotten(self.used) => {
                self.next = kept;
                self.site.lost(self.number, offset);
            }
            _ => {
                let name = self.plan.name();
                let sent =
                    format!("acknowledged: {acknowledged}, in flight up to: {in_flight:?}, safe: {}", self.floor);
                bail!(Wrong(format!("{name} is at offset {offset}; {sent}")));
            }
        }
        self.unsure = false;
        self.used(life);
        Ok(())
    }

    /// Sends the next batch; if it is unsure, perhaps together with some that is known to be applied.
    fn send(&mut self, life: Life, admin: &Admin) -> Result<()> {
        let batch = &self.plan.batches[self.next];
        let known = match self.next.checked_sub(1) {
            Some(last) if self.unsure => &self.plan.batches[last].changes[..],
            _ => &[],
        };
        let known = &known[known.len() - self.random.below(known.len().max(1) as u64) as usize..];
        let (offset, end) = (batch.offset - known.len() as u64, batch.end());
        let changes = [known, &batch.changes].concat();
        self.site.posting(self.number, end);
        let repeats = std::mem::replace(&mut self.unsure, true);
        let body = json!({"source": self.plan.name(), "offset": offset, "changes": changes});
        match post(admin, &body, changes.len())? {
            Posted::Gap { expected } => return self.go_on_from(life, expected),
            Posted::Accepted { sequence } if !repeats && self.site.is_safe() => {
                self.numbers.sequence(sequence, &format!("{} up to {end}", self.plan.name()))?;
            }
            Posted::Accepted { .. } => {}
        }
        self.used(life);
        self.unsure = false;
        self.applied(end);
        Ok(())
    }

    /// The server knows in this life what is acknowledged.
    fn used(&mut self, life: Life) {
        if self.used < life.number {
            self.used = life.number;
            self.floor = self.next.checked_sub(1).map_or(0, |last| self.plan.batches[last].end());
        }
    }

    fn applied(&mut self, end: u64) {
        self.next += 1;
        self.site.acknowledged(self.number, end);
        self.site.answered();
    }
}

/// What became of a batch.
enum Posted {
    Accepted { sequence: u64 },
    Gap { expected: u64 },
}

/// Makes the folders of every account known; nobody is told of that.
pub fn baseline(life: Life) -> Result<()> {
    let folders = FOLDERS.map(|id| json!({"id": id, "name": id, "role": id}));
    let changes = ACCOUNTS.map(|account| json!({"account": account, "what": {"baseline": folders}}));
    post(&admin(life), &json!({"changes": changes}), changes.len()).map(drop)
}

fn admin(life: Life) -> Admin {
    Admin::new(life.admin, TENANT, INGEST_KEY).patient(life.patience)
}

/// Posts changes that all must be accepted, unless there is a gap before them.
fn post(admin: &Admin, body: &Value, changes: usize) -> Result<Posted> {
    let answer = admin.post(body)?;
    let result: Value = serde_json::from_str(&answer.body)?;
    let number = |name: &str| result[name].as_u64().with_context(|| format!("no {name} in {result}"));
    match answer.head.status {
        200 if result["accepted"] == changes && result["rejected"] == json!([]) => {
            Ok(Posted::Accepted { sequence: number("sequence")? })
        }
        409 => Ok(Posted::Gap { expected: number("expected")? }),
        200 => bail!(Wrong(result.to_string())),
        _ => bail!("{answer:?}"),
    }
}
