//! A client that polls: it asks for what came after the last event that it has processed, and sometimes for the same
//! again.

use anyhow::{Context, Result, bail, ensure};

use super::heard::{Subscription, choose_folders, client};
use super::numbers::Numbers;
use super::plan::ACCOUNTS;
use super::site::{Life, Offsets, Site, Step, Wrong};
use crate::ews::{Message, get_events, subscribe_pull, unsubscribe};
use crate::histories::Random;

/// A client that polls its subscriptions to one account.
pub struct Poller<'s> {
    site: &'s Site,
    numbers: &'s Numbers,
    account: usize,
    random: Random,
    /// What it knows to have happened.
    news: Offsets,
    /// What it polls; first of all the witness of the account.
    pub polled: Vec<Polled>,
    /// What it polled until it was told to look again, or unsubscribed.
    pub past: Vec<Subscription>,
    /// The ids that it has unsubscribed, each with a watermark of that subscription.
    gone: Vec<(String, String)>,
}

/// A subscription that is polled.
#[derive(Debug)]
pub struct Polled {
    /// The subscription.
    pub subscription: Subscription,
    /// The watermark of the last event that was processed.
    pub watermark: String,
    /// How many of the events heard were.
    processed: usize,
}

impl<'s> Poller<'s> {
    /// A client without subscriptions.
    pub fn new(site: &'s Site, numbers: &'s Numbers, account: usize, random: Random) -> Poller<'s> {
        let (news, polled, past, gone) = (Offsets::default(), Vec::new(), Vec::new(), Vec::new());
        Poller { site, numbers, account, random, news, polled, past, gone }
    }

    /// Polls until it has heard everything; in each life of the server it makes one more subscription.
    pub fn run(&mut self) -> Result<()> {
        let name = format!("the poller of {}", ACCOUNTS[self.account]);
        self.site.work(|life| self.step(life)).context(name)
    }

    /// Subscribes to these folders.
    pub fn subscribe(&mut self, life: Life, folders: Option<Vec<&'static str>>) -> Result<()> {
        let made = Subscription::make(self.site, self.numbers, life, self.account, folders, subscribe_pull)?;
        let (subscription, watermark) = (made.0, made.1.context("a first watermark")?);
        self.polled.push(Polled { subscription, watermark, processed: 0 });
        Ok(())
    }

    fn step(&mut self, life: Life) -> Result<Step> {
        if self.polled.last().is_none_or(|polled| polled.subscription.made < life.number) {
            let folders = choose_folders(&mut self.random);
            self.subscribe(life, folders)?;
        }
        self.news = self.site.wait_for_news(life, self.news)?;
        if self.site.is_finished() {
            // There is nothing to wait for any more.
            for chosen in (0..self.polled.len()).rev() {
                while self.poll(life, chosen, false)? > 0 {}
            }
            self.check_gone(life)?;
            return Ok(Step::Last);
        }
        let chosen = self.random.below(self.polled.len() as u64) as usize;
        if self.site.is_safe() && chosen > 0 && self.random.below(24) == 0 {
            self.unsubscribe(life, chosen)?;
            return Ok(Step::More);
        }
        let forgets = self.random.below(4) == 0;
        self.poll(life, chosen, forgets)?;
        self.site.answered();
        Ok(Step::More)
    }

    fn unsubscribe(&mut self, life: Life, chosen: usize) -> Result<()> {
        let Polled { subscription, watermark, .. } = self.polled.remove(chosen);
        let (id, name) = (subscription.id.clone(), subscription.name());
        // Nobody polls it any more, whether or not an answer comes.
        self.past.push(Subscription { ended: true, ..subscription });
        let message = client(life, self.account).message(&unsubscribe(&id))?;
        ensure!(message.code == "NoError", Wrong(format!("{name}: {message:?}")));
        self.gone.push((id, watermark));
        self.site.answered();
        Ok(())
    }

    /// What was unsubscribed does not come back.
    pub fn check_gone(&self, life: Life) -> Result<()> {
        for (id, watermark) in &self.gone {
            let message = client(life, self.account).message(&get_events(id, watermark))?;
            ensure!(message.code == "ErrorSubscriptionNotFound", Wrong(format!("{id} was unsubscribed: {message:?}")));
        }
        Ok(())
    }

    /// Polls once and gives how many events came. Who forgets them will ask for the same again.
    pub fn poll(&mut self, life: Life, chosen: usize, forgets: bool) -> Result<usize> {
        let polled = &mut self.polled[chosen];
        let message = polled.ask(life)?;
        if ["ErrorInvalidWatermark", "ErrorSubscriptionNotFound"].contains(&message.code.as_str()) {
            self.past.extend(polled.subscription.told(self.site, life, &message.code)?);
            self.polled.remove(chosen);
            return Ok(0);
        }
        polled.subscription.used = life.number;
        polled.hear(&message, self.numbers, forgets).with_context(|| polled.subscription.name())
    }
}

impl Polled {
    fn ask(&self, life: Life) -> Result<Message> {
        let Polled { subscription, watermark, .. } = self;
        let message = client(life, subscription.account).message(&get_events(&subscription.id, watermark));
        message.with_context(|| subscription.name())
    }

    fn hear(&mut self, message: &Message, numbers: &Numbers, forgets: bool) -> Result<usize> {
        let Polled { subscription, watermark, processed } = self;
        let [answer] = &message.notifications[..] else { bail!("not one notification: {message:?}") };
        let (mut place, mut last) = (*processed, watermark.clone());
        for event in answer.events.iter().filter(|event| event.kind != "StatusEvent") {
            last = event.watermark.clone().context("a watermark")?;
            subscription.hear(&mut place, event)?;
            numbers.watermark(subscription.account, &last, &event.to_string())?;
        }
        if answer.more != Some(true) && place < subscription.heard.events().len() {
            bail!(Wrong(format!("no longer there: {:?}", subscription.heard.events()[place])));
        }
        let came = place - *processed;
        if !forgets {
            (self.processed, self.watermark) = (place, last);
        }
        Ok(came)
    }
}
