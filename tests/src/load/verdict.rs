//! Whether what clients heard is what the sources said: the model against the server.

use std::collections::BTreeMap;

use super::heard::Subscription;
use super::plan::{ACCOUNTS, Plan, covers};
use super::site::Wrong;
use crate::ews::Event;

/// How much of a difference is told.
const TOLD: usize = 12;

/// Judges what was heard from a server that kept everything.
///
/// Of each account, `witnesses` has a subscription to all folders that was there before anything happened. It must have
/// heard exactly what each source said, in the order of the source. Every other subscription must have heard the same as
/// the witness, as far as it covers it, from a place on that fits what was known when it was made.
pub fn judge(plans: &[&Plan], witnesses: &[&Subscription], others: &[&Subscription]) -> Result<(), Wrong> {
    judge_each(plans, witnesses, |said, witness| said.judge_alone(plans, witness))?;
    judge_each(plans, others, |said, other| said.judge_beside(witnesses[other.account], other))
}

/// Judges what was heard from a server that may lose what it did shortly before it is killed.
///
/// Each subscription, and what was heard in it before its client was told of a loss, stands for itself: from each source
/// it must have heard everything that it covers, in the order of the source, from a place on that is not too late.
pub fn judge_with_losses(plans: &[&Plan], all: &[&Subscription]) -> Result<(), Wrong> {
    judge_each(plans, all, |said, subscription| said.judge_alone(plans, subscription))
}

fn judge_each(
    plans: &[&Plan],
    all: &[&Subscription],
    judge: impl Fn(&Said, &Subscription) -> Option<String>,
) -> Result<(), Wrong> {
    let said: Vec<_> = (0..ACCOUNTS.len()).map(|account| Said::new(plans, account)).collect();
    let wrong = all.iter().filter_map(|subscription| {
        let difference = judge(&said[subscription.account], subscription)?;
        Some(format!("{}: {difference}", subscription.name()))
    });
    let wrong: Vec<_> = wrong.take(TOLD).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Wrong(wrong.join("\n"))) }
}

/// What was said of one account: each event as text, with its source and the number of changes up to it.
struct Said<'p> {
    account: usize,
    events: BTreeMap<String, (usize, u64, &'p Event)>,
}

impl<'p> Said<'p> {
    fn new(plans: &[&'p Plan], account: usize) -> Said<'p> {
        let mut events = BTreeMap::new();
        for (source, plan) in plans.iter().enumerate() {
            for batch in &plan.batches {
                let of_batch = batch.events[account].iter();
                events.extend(of_batch.map(|event| (event.to_string(), (source, batch.end(), event))));
            }
        }
        Said { account, events }
    }

    /// Whether it heard all that it covers of each source, in order, from a place on that is not too late.
    fn judge_alone(&self, plans: &[&Plan], subscription: &Subscription) -> Option<String> {
        let heard = subscription.heard.events();
        let source_of = |event: &String| self.events.get(event).map(|(source, ..)| *source);
        let invented: Vec<_> = heard.iter().filter(|event| source_of(event).is_none()).take(TOLD).collect();
        if !invented.is_empty() {
            return Some(format!("nobody said {invented:#?}"));
        }
        plans.iter().enumerate().find_map(|(source, plan)| {
            let said = plan.batches.iter().flat_map(|batch| &batch.events[self.account]);
            let said = said.filter(|event| covers(subscription.folders.as_deref(), event));
            let said: Vec<String> = said.map(Event::to_string).collect();
            let heard: Vec<String> = heard.iter().filter(|event| source_of(event) == Some(source)).cloned().collect();
            let difference = self.judge_run(subscription, &said, &heard)?;
            Some(format!("from {}: {difference}", plan.name()))
        })
    }

    /// Whether it heard what its account's witness heard, as far as it covers it, from a place on that fits.
    fn judge_beside(&self, witness: &Subscription, subscription: &Subscription) -> Option<String> {
        let folders = subscription.folders.as_deref();
        let covered = witness.heard.events().iter().filter(|event| covers(folders, self.events[*event].2));
        let covered: Vec<String> = covered.cloned().collect();
        let heard = subscription.heard.events();
        if let Some(difference) = self.judge_run(subscription, &covered, heard) {
            return Some(difference);
        }
        let early = heard.iter().find(|event| self.place(event).1 <= subscription.after[self.place(event).0]);
        early.map(|event| format!("it hears {event:?}, which was acknowledged before it was asked for"))
    }

    /// Whether it heard everything from its first event on, and nothing that it skips was said after it was acknowledged.
    fn judge_run(&self, subscription: &Subscription, said: &[String], heard: &[String]) -> Option<String> {
        let start = heard.first().and_then(|first| said.iter().position(|event| event == first));
        let (skipped, mut rest) = said.split_at(start.unwrap_or(said.len()));
        if subscription.ended {
            rest = &rest[..rest.len().min(heard.len())];
        }
        let late = skipped.iter().find(|event| self.place(event).1 > subscription.before[self.place(event).0]);
        let late = late.filter(|_| !subscription.ended || !heard.is_empty());
        let late = late.map(|event| format!("it skips {event:?}, which was said after it was acknowledged"));
        difference(rest, heard).or(late)
    }

    fn place(&self, event: &String) -> (usize, u64) {
        let (source, end, _) = self.events[event];
        (source, end)
    }
}

/// How what was heard differs from what is to be heard.
pub fn difference(expected: &[String], heard: &[String]) -> Option<String> {
    if expected == heard {
        return None;
    }
    let at = expected.iter().zip(heard).take_while(|(one, other)| one == other).count();
    let rest = |events: &[String]| events[at..].iter().take(TOLD).cloned().collect::<Vec<_>>();
    Some(format!(
        "{} events instead of {}; after the first {at} came {:#?}\ninstead of {:#?}",
        heard.len(),
        expected.len(),
        rest(heard),
        rest(expected)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What two sources say, and what a witness of the first account hears: their batches in turn.
    fn world() -> (Vec<Plan>, Vec<Event>) {
        let mut plans = vec![Plan::new(0, 1), Plan::new(1, 2)];
        (0..6).for_each(|_| plans.iter_mut().for_each(Plan::extend));
        let turns = (0..6).flat_map(|batch| plans.iter().flat_map(move |plan| plan.batches[batch].events[0].clone()));
        let events = turns.collect();
        (plans, events)
    }

    fn heard(folders: Option<Vec<&'static str>>, events: &[Event]) -> Subscription {
        let mut subscription = Subscription::new("s".into(), 0, folders, 1);
        let mut place = 0;
        events.iter().for_each(|event| subscription.hear(&mut place, event).expect("each is heard once"));
        subscription
    }

    fn verdict(plans: &[Plan], witness: &[Event], other: &Subscription) -> Result<(), Wrong> {
        let plans: Vec<_> = plans.iter().collect();
        judge(&plans, &[&heard(None, witness)], &[other])?;
        judge_with_losses(&plans, &[other])
    }

    #[test]
    fn what_was_said_is_right() {
        let (plans, events) = world();
        verdict(&plans, &events, &heard(None, &events)).expect("the same");
        let inbox = || Some(vec!["inbox"]);
        let covered: Vec<_> = events.iter().filter(|event| covers(Some(&["inbox"]), event)).cloned().collect();
        verdict(&plans, &events, &heard(inbox(), &covered)).expect("what it covers");
        let before = [plans[0].batches[2].end(), plans[1].batches[2].end(), 0];
        let later = Subscription { before, ..heard(inbox(), &covered[8..]) };
        assert!(covered.len() > 16, "there is something to skip: {covered:?}");
        verdict(&plans, &events, &later).expect("what was said before it was acknowledged may be skipped");
    }

    #[test]
    fn what_is_lost_mixed_up_or_invented_is_wrong() {
        let (plans, events) = world();
        for at in 0..events.len() {
            let mut fewer = events.clone();
            let one = fewer.remove(at);
            verdict(&plans, &events, &heard(None, &fewer)).expect_err("one is lost");
            fewer.insert(if at < 10 { at + 2 } else { at - 2 }, one);
            let mixed = judge(&plans.iter().collect::<Vec<_>>(), &[&heard(None, &events)], &[&heard(None, &fewer)]);
            mixed.expect_err("not in the witness's order");
        }
        let mut more = events.clone();
        more.push(Event { kind: "DeletedEvent".into(), item: Some("x".into()), ..Event::default() });
        verdict(&plans, &events, &heard(None, &more)).expect_err("nobody said that");
    }

    #[test]
    fn what_was_acknowledged_before_is_not_heard() {
        let (plans, events) = world();
        let after = [plans[0].batches[0].end(), 0, 0];
        let early = Subscription { after, ..heard(None, &events) };
        let plans: Vec<_> = plans.iter().collect();
        judge(&plans, &[&heard(None, &events)], &[&early]).expect_err("it was acknowledged before");
    }

    #[test]
    fn who_was_told_of_a_loss_heard_everything_until_then() {
        let (plans, events) = world();
        let plans: Vec<_> = plans.iter().collect();
        let until_then = |events: &[Event]| Subscription { ended: true, ..heard(None, events) };
        judge_with_losses(&plans, &[&until_then(&events[..20])]).expect("the beginning");
        judge_with_losses(&plans, &[&until_then(&[])]).expect("nothing yet");
        let gap = [&events[..10], &events[11..20]].concat();
        judge_with_losses(&plans, &[&until_then(&gap)]).expect_err("a gap");
    }
}
