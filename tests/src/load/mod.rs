//! A server under load that is killed again and again, and a model that knows what must be there all the same.
//!
//! Several sources send changes, several clients subscribe, poll and listen, while the server is killed at random
//! moments and started again on the same data directory. At the end the sources come to their ends, the clients hear
//! what is left, and [`verdict`] compares. What is random follows from the seed; which thread is how far when the
//! server dies does not.

pub mod cluster;
pub mod heard;
pub mod intruder;
pub mod numbers;
pub mod plan;
pub mod pull;
pub mod site;
pub mod source;
pub mod stream;
pub mod swapper;
pub mod verdict;

use std::thread;

use anyhow::{Context, Result, bail, ensure};

use self::heard::{Subscription, client};
use self::intruder::Intruder;
use self::numbers::Numbers;
use self::plan::{ACCOUNTS, Batch, SOURCES};
use self::pull::Poller;
pub use self::site::Promise;
use self::site::{Life, Site, Wrong};
use self::source::Source;
use self::stream::Listener;
use self::swapper::Swapper;
use self::verdict::difference;
use crate::ews::{Event, subscribe_pull_after};
use crate::histories::Random;
use crate::program::{Server, Start};

/// The tenant of the configuration.
pub const TENANT: &str = "example.org";

/// The key of its sources.
pub const INGEST_KEY: &str = "ingest";

/// The key of its operators, who may ask for all tenants.
pub const ADMIN_KEY: &str = "administer";

/// The password of its users.
pub const PASSWORD: &str = "postbell";

/// The clients, each of which makes one subscription in each life of the server.
const CLIENTS: usize = 2 * ACCOUNTS.len();

/// How many want to do harm, where any do.
const INTRUDERS: usize = 3;

/// A life of the server ends after at most so many answers; half of the lives are much shorter.
const MOST_ANSWERS: u64 = 400;

/// Where versions take over from each other, it ends after at most so many steps of swaps.
const MOST_SWAP_STEPS: u64 = 20;

/// At the end, so many of the watermarks that were seen are gone back to, in each account.
const GONE_BACK: u64 = 4;

/// Lets the server that `start` starts be used, and killed so many times. Fails if it breaks its promise; otherwise
/// says what happened.
pub fn run(start: Start, promise: Promise, seed: u64, kills: u64) -> Result<String> {
    work(start, promise, seed, kills, With::default())
}

/// As [`run`] with a server that keeps everything, while others want to do harm.
pub fn run_besieged(start: Start, seed: u64, kills: u64) -> Result<String> {
    work(start, Promise::Everything, seed, kills, With { intruders: INTRUDERS, ..With::default() })
}

/// As [`run`] with a server that keeps everything, while one version of this plugin after the other takes over.
pub fn run_swapping(start: Start, seed: u64, kills: u64, component: &'static [u8]) -> Result<String> {
    work(start, Promise::Everything, seed, kills, With { swapped: Some(component), ..With::default() })
}

/// What happens to the server beside its use.
#[derive(Clone, Copy, Default)]
struct With {
    /// Versions of this plugin take over from each other.
    swapped: Option<&'static [u8]>,
    /// So many want to do harm.
    intruders: usize,
}

fn work(start: Start, promise: Promise, seed: u64, kills: u64, with: With) -> Result<String> {
    let mut random = Random(seed);
    let (site, numbers) = (Site::new(promise), Numbers::default());
    if random.below(2) == 0 {
        start.start_and_kill(random.below(3))?;
    }
    let mut server = Some(start.start()?);
    source::baseline(site.up(server.as_ref().context("a server")?, false))?;
    if !site.is_safe() {
        restart(&site, &mut server, &mut random, End::Stop)?;
    }
    let mut users = Users::new(&site, &numbers, &mut random, with);
    users.pollers.iter_mut().try_for_each(|poller| poller.subscribe(site.life()?, None))?;
    users.swapper.iter_mut().try_for_each(Swapper::prepare)?;
    let swapping = with.swapped.is_some();
    let log = |server: &mut Option<Server>| server.take().map(Server::kill);
    users.work(&site, &mut server, |server| torture(&site, server, &mut random, kills, swapping), log)?;
    users.judge(&site)?;
    if site.is_safe() {
        restart(&site, &mut server, &mut random, End::Kill)?;
        let life = site.life()?;
        users.pollers.iter_mut().try_for_each(|poller| look_back(poller, life, &numbers, &mut random))?;
    }
    Ok(users.summary())
}

/// Who uses the server.
struct Users<'s> {
    sources: Vec<Source<'s>>,
    pollers: Vec<Poller<'s>>,
    listeners: Vec<Listener<'s>>,
    swapper: Option<Swapper<'s>>,
    intruders: Vec<Intruder<'s>>,
}

impl<'s> Users<'s> {
    fn new(site: &'s Site, numbers: &'s Numbers, random: &mut Random, with: With) -> Users<'s> {
        let mut fork = || Random(random.below(u64::MAX));
        let accounts = 0..ACCOUNTS.len();
        Users {
            sources: (0..SOURCES).map(|number| Source::new(site, numbers, number, fork())).collect(),
            pollers: accounts.clone().map(|account| Poller::new(site, numbers, account, fork())).collect(),
            listeners: accounts.map(|account| Listener::new(site, numbers, account, fork())).collect(),
            swapper: with.swapped.map(|component| Swapper::new(site, fork(), component)),
            intruders: (0..with.intruders).map(|_| Intruder::new(site, fork())).collect(),
        }
    }

    /// Lets everybody work while the server is tortured, up to everybody's end.
    fn work<S>(
        &mut self,
        site: &Site,
        server: &mut S,
        torture: impl FnOnce(&mut S) -> Result<()>,
        log: impl FnOnce(&mut S) -> Option<Result<String>>,
    ) -> Result<()> {
        let others = usize::from(self.swapper.is_some()) + self.intruders.len();
        thread::scope(|scope| {
            for (number, source) in self.sources.iter_mut().enumerate() {
                scope.spawn(move || site.guard(&format!("source {number}"), || source.run()));
            }
            for (poller, account) in self.pollers.iter_mut().zip(ACCOUNTS) {
                scope.spawn(move || site.guard(&format!("the poller of {account}"), || poller.run()));
            }
            for (listener, account) in self.listeners.iter_mut().zip(ACCOUNTS) {
                scope.spawn(move || site.guard(&format!("the listener of {account}"), || listener.run()));
            }
            if let Some(swapper) = &mut self.swapper {
                scope.spawn(|| site.guard("the swapper", || swapper.run()));
            }
            for (number, intruder) in self.intruders.iter_mut().enumerate() {
                scope.spawn(move || site.guard(&format!("intruder {number}"), || intruder.run()));
            }
            site.guard("who does it to the server", || torture(server));
            site.guard("who waits", || site.wait_until_done(SOURCES + CLIENTS + others + 1));
            if site.has_failed() {
                // Who still listens hears no more.
                let log = log(server).transpose();
                eprintln!("the server's log:\n{}", log.ok().flatten().unwrap_or_default());
            }
        });
        site.verdict()
    }

    fn judge(&self, site: &Site) -> Result<(), Wrong> {
        let plans: Vec<_> = self.sources.iter().map(|source| &source.plan).collect();
        let all = self.subscriptions();
        if !site.is_safe() {
            return verdict::judge_with_losses(&plans, &all);
        }
        let witnesses: Vec<_> = self.pollers.iter().map(|poller| &poller.polled[0].subscription).collect();
        verdict::judge(&plans, &witnesses, &all)
    }

    /// All that were ever made, and what was heard in them before a loss.
    fn subscriptions(&self) -> Vec<&Subscription> {
        let polled = self.pollers.iter().flat_map(|poller| &poller.polled).map(|polled| &polled.subscription);
        let past = self.pollers.iter().flat_map(|poller| &poller.past);
        let listened = self.listeners.iter().flat_map(|listener| listener.subscriptions.iter().chain(&listener.past));
        polled.chain(past).chain(listened).collect()
    }

    fn summary(&self) -> String {
        let changes: u64 = self.sources.iter().filter_map(|source| source.plan.batches.last()).map(Batch::end).sum();
        let (ended, left): (Vec<_>, Vec<_>) = self.subscriptions().into_iter().partition(|it| it.ended);
        let heard: usize = left.iter().chain(&ended).map(|it| it.heard.events().len()).sum();
        let lives = left.iter().map(|it| it.used).max().unwrap_or_default();
        let (left, ended) = (left.len(), ended.len());
        let swaps = self.swapper.as_ref().map(|swapper| format!(", {} swaps", swapper.swaps)).unwrap_or_default();
        format!(
            "{lives} lives, {changes} changes, {left} subscriptions left, {ended} ended, {heard} events heard{swaps}"
        )
    }
}

/// How a life of the server ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Kill,
    Stop,
}

/// Kills the server again and again, then lets everybody come to an end.
fn torture(site: &Site, server: &mut Option<Server>, random: &mut Random, kills: u64, swapping: bool) -> Result<()> {
    for _ in 0..kills {
        live(site, random)?;
        if swapping {
            site.wait_for_swap_steps(random.below(MOST_SWAP_STEPS))?;
        }
        restart(site, server, random, End::Kill)?;
        if random.below(8) == 0 {
            live(site, random)?;
            restart(site, server, random, End::Stop)?;
        }
    }
    live(site, random)?;
    site.wait_for_subscriptions(CLIENTS)?;
    site.close();
    Ok(())
}

/// Lets the server answer for a while.
fn live(site: &Site, random: &mut Random) -> Result<()> {
    site.wait_for_answers(random.below(MOST_ANSWERS) >> random.below(6))
}

/// Ends the server and starts it again, perhaps after a few starts that are killed too.
fn restart(site: &Site, server: &mut Option<Server>, random: &mut Random, end: End) -> Result<()> {
    let ended = server.take().context("a server")?;
    let start = ended.again();
    site.down();
    match end {
        End::Kill => ended.kill()?,
        End::Stop => ended.stop()?,
    };
    let mut crashed = end == End::Kill;
    while random.below(4) == 0 {
        start.start_and_kill(random.below(4))?;
        crashed = true;
    }
    site.up(server.insert(start.start()?), crashed);
    Ok(())
}

/// Nothing more comes to who has heard everything, and what follows a watermark, however old, is what followed it
/// before.
fn look_back(poller: &mut Poller, life: Life, numbers: &Numbers, random: &mut Random) -> Result<()> {
    poller.check_gone(life)?;
    for chosen in 0..poller.polled.len() {
        ensure!(poller.poll(life, chosen, false)? == 0, Wrong("more came after the end".into()));
    }
    let witness = &poller.polled[0].subscription;
    let (client, seen) = (client(life, witness.account), numbers.watermarks(witness.account));
    for _ in 0..GONE_BACK {
        let (mut watermark, event) = seen[random.below(seen.len() as u64) as usize].clone();
        let message = client.message(&subscribe_pull_after(&watermark))?;
        let id = message.subscription.with_context(|| format!("subscribed after {event:?}: {:?}", message.code))?;
        let events = client.all_events(&id, &mut watermark)?;
        let events: Vec<_> = events.iter().map(Event::to_string).collect();
        let heard = witness.heard.events();
        let after = heard.iter().position(|heard| *heard == event).context("an event that the witness heard")? + 1;
        if let Some(difference) = difference(&heard[after..], &events) {
            bail!(Wrong(format!("after the watermark of {event:?}: {difference}")));
        }
    }
    Ok(())
}
