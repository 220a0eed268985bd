//! A client that holds a stream open, and opens it again when the server is back.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::heard::{Subscription, choose_folders, client};
use super::numbers::Numbers;
use super::plan::ACCOUNTS;
use super::site::{Life, Site, Step, Wrong};
use crate::ews::{Message, Notification, Stream, subscribe_streaming};
use crate::histories::Random;

/// A client that hears of all its subscriptions to one account on one stream.
pub struct Listener<'s> {
    site: &'s Site,
    numbers: &'s Numbers,
    account: usize,
    random: Random,
    /// What it hears of.
    pub subscriptions: Vec<Subscription>,
    /// What it heard of until it was told to look again.
    pub past: Vec<Subscription>,
}

/// What a part of a stream brought.
enum Part {
    Events,
    Silence,
    /// Another stream has taken over: a request that this client had given up came to be late.
    TakenOver,
}

/// Where in each subscription a stream is, by the subscription's id.
type Places = BTreeMap<String, usize>;

impl<'s> Listener<'s> {
    /// A client without subscriptions.
    pub fn new(site: &'s Site, numbers: &'s Numbers, account: usize, random: Random) -> Listener<'s> {
        Listener { site, numbers, account, random, subscriptions: Vec::new(), past: Vec::new() }
    }

    /// Listens until it has heard everything; in each life of the server it makes one more subscription.
    pub fn run(&mut self) -> Result<()> {
        let name = format!("the listener of {}", ACCOUNTS[self.account]);
        self.site.work(|life| self.listen(life)).context(name)
    }

    /// Holds one stream. If it stays silent after every source has come to its end, the next one has the last word.
    fn listen(&mut self, life: Life) -> Result<Step> {
        if self.subscriptions.last().is_none_or(|last| last.made < life.number) {
            self.subscribe(life)?;
        }
        let finished = self.site.is_finished();
        let ids: Vec<&str> = self.subscriptions.iter().map(|subscription| subscription.id.as_str()).collect();
        let mut stream = client(life, self.account).stream_with(&[], &ids)?;
        let mut places = Places::new();
        while !self.subscriptions.iter().all(Subscription::is_complete) {
            match self.part(life, &mut stream, &mut places)? {
                Part::Events => {}
                Part::Silence if finished => return Ok(Step::Last),
                Part::Silence if self.site.is_finished() => return Ok(Step::More),
                Part::Silence => {}
                Part::TakenOver => return Ok(Step::More),
            }
        }
        Ok(Step::Last)
    }

    fn subscribe(&mut self, life: Life) -> Result<()> {
        let folders = choose_folders(&mut self.random);
        let made = Subscription::make(self.site, self.numbers, life, self.account, folders, subscribe_streaming)?;
        self.subscriptions.push(made.0);
        Ok(())
    }

    fn part(&mut self, life: Life, stream: &mut Stream, places: &mut Places) -> Result<Part> {
        let message = stream.next()?.context("the stream has ended")?;
        ensure!(message.status.as_deref() != Some("Closed"), "the stream was closed");
        self.site.answered();
        match (message.class.as_str(), message.code.as_str()) {
            ("Success", _) if message.notifications.is_empty() => return Ok(Part::Silence),
            ("Success", _) => {}
            ("Error", "ErrorNewEventStreamConnectionOpened") if self.site.is_delayed() => return Ok(Part::TakenOver),
            ("Error", "ErrorMissedNotificationEvents") => self.told(life, &message)?,
            ("Error", "ErrorInvalidSubscription") => {
                self.told(life, &message)?;
                self.subscriptions.retain(|known| !message.bad.contains(&known.id));
            }
            _ => bail!(Wrong(format!("the stream says {message:?}"))),
        }
        for notification in &message.notifications {
            self.hear(life, notification, places)?;
        }
        Ok(Part::Events)
    }

    /// The server says of these subscriptions that they miss something, or are gone.
    fn told(&mut self, life: Life, message: &Message) -> Result<()> {
        for subscription in self.subscriptions.iter_mut().filter(|known| message.bad.contains(&known.id)) {
            self.past.extend(subscription.told(self.site, life, &message.code)?);
        }
        Ok(())
    }

    fn hear(&mut self, life: Life, notification: &Notification, places: &mut Places) -> Result<()> {
        let Notification { subscription: id, events, .. } = notification;
        let mut known = self.subscriptions.iter_mut();
        let subscription = known.find(|subscription| subscription.id == *id).context("an unknown subscription")?;
        let first = events.first().context("a notification without events")?;
        let place = places.entry(id.clone()).or_insert_with(|| subscription.heard.place(first));
        subscription.used = life.number;
        events.iter().try_for_each(|event| subscription.hear(place, event))
    }
}
