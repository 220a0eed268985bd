//! Push subscriptions: calls that must be made, and what may stand in them.

use anyhow::{Context, Result, bail, ensure};
use postbell_notify::contract::{Call, CallId, CallTarget, Outcome, Response};
use postbell_tests::ews::{MESSAGES, SOAP};
use postbell_tests::{schemas, strict_reader};

use super::clients::{Log, Subscription, Subscriptions, Watermarks, Way, check_events};

/// Where clients listen.
pub const URL: &str = "http://listener.example:8080/notify?key=1";

/// The wait before the first retry, in milliseconds.
const FIRST_RETRY: u64 = 30_000;

/// How a push subscription is doing.
#[derive(Debug)]
pub struct Push {
    /// The last watermark that the client was told and said OK to.
    pub watermark: String,
    /// How long it may be silent, and the longest wait before a retry, in milliseconds.
    pub frequency: u64,
    call: Option<InFlight>,
    /// The wait after the last failure, in milliseconds; none after a success.
    waited: Option<u64>,
    /// When the next call is due, even without news.
    due: u64,
}

/// A call that has not ended.
#[derive(Debug)]
struct InFlight {
    id: CallId,
    at: u64,
    tells: Tells,
}

#[derive(Debug)]
enum Tells {
    /// So many of the covered events are done when it succeeds, and the client has this watermark.
    Events(usize, String),
    /// That events were missed; it is the last.
    Miss,
}

impl Push {
    /// A subscription whose first call is to be made at once.
    pub fn new(watermark: String, frequency: u64, now: u64) -> Push {
        Push { watermark, frequency, call: None, waited: None, due: now }
    }

    /// The call in flight.
    pub fn call(&self) -> Option<CallId> {
        self.call.as_ref().map(|call| call.id)
    }

    pub fn due(&self) -> u64 {
        self.due
    }

    /// Nobody knows what became of a call, so it is made again at once.
    pub fn restart(&mut self, now: u64) {
        if self.call.take().is_some() {
            self.due = now;
        }
    }
}

impl Subscription {
    fn push(&mut self) -> Result<&mut Push> {
        if let Way::Push(push) = &mut self.way { Ok(push) } else { bail!("no push subscription: {}", self.id) }
    }

    /// Judges a call for it.
    fn called(&mut self, call: &Call, log: &Log, watermarks: &mut Watermarks, now: u64) -> Result<()> {
        let (missed, news) = (self.missed, self.pending() > 0);
        let push = self.push()?;
        ensure!(push.call.is_none(), "a second call while one is in flight");
        ensure!(now >= push.due || (news || missed) && push.waited.is_none(), "a call without need");
        let message = strict_reader::pushed(std::str::from_utf8(&call.body)?)?;
        if missed {
            ensure!(
                message.code == "ErrorReadEventsFailed",
                "it missed events and is told something else: {message:?}"
            );
            push.call = Some(InFlight { id: call.id, at: now, tells: Tells::Miss });
            return Ok(());
        }
        ensure!(message.code == "NoError", "{message:?}");
        let notification = message.notifications.into_iter().next().context("a notification")?;
        ensure!(notification.previous.as_ref() == Some(&push.watermark), "{:?}", notification.previous);
        let events = notification.events;
        let last = events.last().and_then(|event| event.watermark.clone()).context("a watermark")?;
        let places = &self.covered[self.done..];
        if places.is_empty() {
            ensure!(events.len() == 1 && events[0].kind == "StatusEvent", "{events:?}");
            let here = (self.mailbox, log.events.len());
            ensure!(*watermarks.entry(last.clone()).or_insert(here) == here, "a watermark for two places");
        } else {
            check_events(&events, log, places)?;
            ensure!(events.len() == places.len().min(50), "{} of {}", events.len(), places.len());
            for (event, place) in events.iter().zip(places) {
                let after = (self.mailbox, place + 1);
                let text = event.watermark.clone().context("a watermark")?;
                ensure!(*watermarks.entry(text).or_insert(after) == after, "a watermark for two places");
            }
        }
        ensure!(notification.more == Some(places.len() > 50), "{:?}", notification.more);
        let upto = self.done + if places.is_empty() { 0 } else { events.len() };
        self.push()?.call = Some(InFlight { id: call.id, at: now, tells: Tells::Events(upto, last) });
        Ok(())
    }

    /// The call in flight succeeds; whether the subscription goes on.
    fn succeed(&mut self) -> Result<bool> {
        let push = self.push()?;
        let call = push.call.take().context("a call in flight")?;
        (push.waited, push.due) = (None, call.at + push.frequency);
        let Tells::Events(upto, watermark) = call.tells else { return Ok(false) };
        push.watermark = watermark;
        self.done = self.done.max(upto);
        Ok(true)
    }

    /// It fails; whether the subscription goes on.
    fn fail(&mut self, now: u64) -> Result<bool> {
        let push = self.push()?;
        push.call = None;
        let wait = push.waited.map_or(FIRST_RETRY, |waited| 2 * waited);
        (push.waited, push.due) = (Some(wait), now + wait);
        Ok(wait <= push.frequency)
    }

    /// When all that is due has been done: no call is left to be made.
    pub fn is_resting_rightly(&self, now: u64) -> Result<()> {
        let Way::Push(push) = &self.way else { return Ok(()) };
        if push.call.is_none() {
            let news = (self.pending() > 0 || self.missed) && push.waited.is_none();
            ensure!(!news && now < push.due, "no call was made for {}", self.id);
        }
        Ok(())
    }
}

/// Judges a call; gives whose it is.
pub fn called(
    call: &Call,
    subscriptions: &mut Subscriptions,
    logs: &[Log],
    watermarks: &mut Watermarks,
    now: u64,
) -> Result<()> {
    let CallTarget::HttpPost(target) = &call.target else { bail!("it is no POST: {call:?}") };
    ensure!(target.url == URL, "{}", target.url);
    let text = std::str::from_utf8(&call.body)?;
    schemas::judge(text)?;
    let named = text.split_once("<t:SubscriptionId>").or_else(|| text.split_once(r#"Name="SubscriptionId">"#));
    let id = named.and_then(|(_, rest)| rest.split('<').next()).context("an id")?;
    let subscription = subscriptions.get_mut(id).with_context(|| format!("a call for nobody: {text}"))?;
    let mailbox = subscription.mailbox;
    subscription.called(call, &logs[mailbox], watermarks, now).with_context(|| text.to_owned())
}

/// How a listener answers.
#[derive(Clone, Copy, Debug)]
pub enum Listener {
    SaysOk,
    SaysUnsubscribe,
    SaysNonsense,
    IsDown,
    IsRefused,
}

impl Listener {
    pub fn outcome(self) -> Outcome {
        let answered = |status, body: &str| Outcome::Answered(Response { status, body: body.as_bytes().to_vec() });
        let result = |said: &str| {
            format!(
                "<s:Envelope xmlns:s='{SOAP}' xmlns:m='{MESSAGES}'><s:Body><m:SendNotificationResult><m:SubscriptionStatus>\
                 {said}</m:SubscriptionStatus></m:SendNotificationResult></s:Body></s:Envelope>"
            )
        };
        match self {
            Listener::SaysOk => answered(200, &result("OK")),
            Listener::SaysUnsubscribe => answered(200, &result("Unsubscribe")),
            Listener::SaysNonsense => answered(404, &result("OK")),
            Listener::IsDown => Outcome::Failed("connection refused".into()),
            Listener::IsRefused => Outcome::Refused("not allowed".into()),
        }
    }

    /// Whether the subscription goes on.
    pub fn answers(self, subscription: &mut Subscription, now: u64) -> Result<bool> {
        match self {
            Listener::SaysOk => subscription.succeed(),
            Listener::SaysNonsense | Listener::IsDown => subscription.fail(now),
            Listener::SaysUnsubscribe | Listener::IsRefused => Ok(false),
        }
    }
}
