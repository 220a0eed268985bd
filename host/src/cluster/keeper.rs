//! The task that keeps this node's place: it beats, watches the bucket, and brings tenants here and away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockWriteGuard};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::ownership::{amend, mark_ready};
use super::registry::{News, Registry, RegistryError};
use super::view::{Local, Moment, Shared, Step, View, drain_key, node_key, tenant_key};
use super::{Membership, Node, Owner};
use crate::Host;
use crate::clock::since_boot;
use crate::tenant::{Lease, Tenant};

/// How long an offer may stand before the tenant stays where it is, in milliseconds.
const OFFERED_MILLISECONDS: u64 = 60_000;

/// How long a tenant stays that another node did not get ready for, in milliseconds.
const STAYS_MILLISECONDS: u64 = 600_000;

/// How long to wait before the bucket is watched again.
const WATCH_AGAIN: Duration = Duration::from_millis(500);

/// How long to wait before something that failed is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// How long who is about to send something to a tenant can keep it from leaving.
const STAYS: Duration = Duration::from_secs(1);

/// How many tenants are claimed or opened at a time.
const AT_ONCE: usize = 256;

/// A tenant that this process could serve, and what says whether it may.
#[derive(Clone)]
pub struct Kept {
    /// The tenant.
    pub tenant: Tenant,
    /// The lease that it was opened with.
    pub lease: Arc<Lease>,
}

/// While it is held, a tenant does not leave, for a second at most: what is sent to it meanwhile is answered.
#[derive(Clone, Debug)]
pub struct Stay(#[expect(dead_code, reason = "it is held, and nothing else")] watch::Receiver<()>);

/// What a keeper is made of.
pub struct KeeperParts {
    /// Where the tenants are open.
    pub host: Host,
    /// Where it says who has which.
    pub registry: Registry,
    /// How this process takes part.
    pub membership: Membership,
    /// Where it serves clients, for the other nodes.
    pub clients: String,
    /// Where it serves sources and operators, for the other nodes.
    pub admin: String,
}

/// A handle of the task. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    commands: mpsc::UnboundedSender<Command>,
    view: Shared,
    registry: Registry,
    secret: Arc<str>,
    settled: watch::Receiver<bool>,
    here: watch::Receiver<BTreeMap<String, Stay>>,
    news: watch::Receiver<()>,
    moves: Arc<AtomicU64>,
}

enum Command {
    Keep(Kept),
    Forget(String),
    Leave(oneshot::Sender<()>),
}

impl Keeper {
    /// Begins to take part. It must be called within a runtime.
    pub fn start(parts: KeeperParts) -> Keeper {
        let (commands, told) = mpsc::unbounded_channel();
        let (settles, settled) = watch::channel(false);
        let (has, here) = watch::channel(BTreeMap::new());
        let (tells, news) = watch::channel(());
        let incarnation = crate::number();
        let view = Arc::new(RwLock::new(View::new(parts.membership.clone(), incarnation)));
        let secret: Arc<str> = format!("{:016x}{:016x}", crate::number(), crate::number()).into();
        let moves = Arc::<AtomicU64>::default();
        let task = Task {
            secret: secret.to_string(),
            registry: parts.registry.clone(),
            view: view.clone(),
            incarnation,
            revision: None,
            leased_until: 0,
            tenants: BTreeMap::new(),
            work: JoinSet::new(),
            settles,
            has,
            tells,
            moves: moves.clone(),
            parts,
        };
        let registry = task.registry.clone();
        tokio::spawn(task.run(told));
        Keeper { commands, view, registry, secret, settled, here, news, moves }
    }

    /// This tenant may come here from now on.
    pub fn keep(&self, kept: Kept) {
        // An error means that this process leaves.
        let _ = self.commands.send(Command::Keep(kept));
    }

    /// This tenant is not known here any more.
    pub fn forget(&self, tenant: &str) {
        // As above.
        let _ = self.commands.send(Command::Forget(tenant.to_owned()));
    }

    /// What this process knows of the others.
    pub fn view(&self) -> &Shared {
        &self.view
    }

    /// Whoever knows this is another node.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The tenants that are here, but for those that are about to leave, whenever they change.
    pub fn here(&self) -> watch::Receiver<BTreeMap<String, Stay>> {
        self.here.clone()
    }

    /// Changes whenever this node has heard of, or done, what may have changed where a tenant is.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.clone()
    }

    /// How many tenants went to other nodes.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Returns once the node has its place, and what is to be here is here.
    pub async fn settled(&self) {
        // An error means that the task is gone, with which nothing settles any more.
        let _ = self.settled.clone().wait_for(|settled| *settled).await;
    }

    /// Lets a node's tenants go to other nodes, or come back.
    ///
    /// # Errors
    ///
    /// The servers did not take it.
    pub async fn drain(&self, node: &str, drains: bool) -> Result<(), RegistryError> {
        match drains {
            true => self.registry.put(&drain_key(node), &serde_json::json!({})).await,
            false => self.registry.remove(&drain_key(node), None).await,
        }
    }

    /// Takes the node out of the bucket: its tenants are closed, so that others may have them at once.
    pub async fn leave(&self) {
        let (respond, left) = oneshot::channel();
        if self.commands.send(Command::Leave(respond)).is_ok() {
            // An error means that the task is gone, which leaves the node to be fenced.
            let _ = left.await;
        }
    }
}

struct Task {
    parts: KeeperParts,
    registry: Registry,
    secret: String,
    view: Shared,
    incarnation: u64,
    /// Of this node's key; none: it has no place now.
    revision: Option<u64>,
    /// In milliseconds since this machine's start.
    leased_until: u64,
    tenants: BTreeMap<String, Seat>,
    work: JoinSet<Done>,
    settles: watch::Sender<bool>,
    has: watch::Sender<BTreeMap<String, Stay>>,
    tells: watch::Sender<()>,
    moves: Arc<AtomicU64>,
}

/// A tenant, as far as this node goes.
struct Seat {
    kept: Kept,
    local: Local,
    /// Since when it is offered, in milliseconds since this machine's start.
    offered: Option<u64>,
    /// Until when it stays.
    stays_until: u64,
    /// How often it had left when it was opened here last.
    departures: u64,
    /// It is being handed over to another node.
    leaves: bool,
    /// Who holds one of its receivers is about to send it something.
    awaits: watch::Sender<()>,
}

/// What became of a step.
enum Done {
    Removed,
    Claimed(String, Result<(Owner, u64), RegistryError>),
    /// When it was last used.
    Opened(String, Option<u64>),
    /// A node that is to have it is named, or none any more.
    Amended(String, bool, Result<(Owner, u64), RegistryError>),
    Prepared(String, Result<(Owner, u64), RegistryError>),
    HandedOver(String, Result<(Owner, u64), RegistryError>),
}

impl Task {
    async fn run(mut self, mut told: mpsc::UnboundedReceiver<Command>) {
        let mut beats = tokio::time::interval(self.parts.membership.beat());
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = self.watch().await;
        loop {
            tokio::select! {
                heard = news.next() => match heard {
                    Some(heard) => self.hear(&heard),
                    None => {
                        tokio::time::sleep(WATCH_AGAIN).await;
                        news = self.watch().await;
                    }
                },
                command = told.recv() => match command {
                    Some(Command::Keep(kept)) => self.keep(kept),
                    Some(Command::Forget(tenant)) => self.forget(&tenant),
                    Some(Command::Leave(respond)) => {
                        self.leave().await;
                        // An error means that nobody waits.
                        let _ = respond.send(());
                        return;
                    }
                    None => return,
                },
                Some(done) = self.work.join_next() => self.done(done.expect("no step panics")),
                _ = beats.tick() => {
                    self.beat().await;
                    self.fence();
                }
            }
            self.go_on(told.is_empty());
        }
    }

    /// Watches, as soon as the servers let it. Meanwhile it beats, so that the leases hold as long as they may.
    async fn watch(&mut self) -> impl Stream<Item = News> + Unpin + use<> {
        loop {
            match self.registry.watch().await {
                Ok(news) => return news,
                Err(error) => tracing::warn!(%error, "the other nodes cannot be seen; tried again"),
            }
            self.beat().await;
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    }

    fn hear(&mut self, news: &News) {
        let now = Moment { since_boot: now(), clock: self.parts.host.clock().wall() };
        let apart = self.view_mut().apply(news, now);
        if let Some((node, ahead_ms)) = apart {
            tracing::warn!(
                node,
                ahead_ms,
                "its clock and this machine's are apart: what tenants wait for comes early or late when they move"
            );
        }
    }

    fn keep(&mut self, kept: Kept) {
        let name = kept.tenant.name().to_owned();
        let former = self.tenants.remove(&name);
        let local = former.map(|seat| seat.local).unwrap_or_default();
        let (leaves, awaits) = (false, watch::Sender::new(()));
        self.tenants.insert(name, Seat { kept, local, offered: None, stays_until: 0, departures: 0, leaves, awaits });
    }

    /// Nobody has it any more, or whoever still knows it.
    fn forget(&mut self, tenant: &str) {
        self.tenants.remove(tenant);
        let own = self.view.read().expect("nothing panics while this lock is held").own_revision(tenant);
        if let Some(revision) = own {
            let (registry, key) = (self.registry.clone(), tenant_key(tenant));
            self.work.spawn(async move {
                if let Err(error) = registry.remove(&key, Some(revision)).await {
                    tracing::warn!(key, %error, "a tenant that is gone is still said to be here");
                }
                Done::Removed
            });
        }
    }

    /// Says that the node lives; its leases last as long as that allows.
    async fn beat(&mut self) {
        let (key, node, sent) = (node_key(&self.parts.membership.node), self.node(), now());
        let written = match self.revision {
            Some(revision) => {
                let registry = self.registry.clone();
                let mut writing = std::pin::pin!(registry.replace(&key, &node, revision));
                let left = Duration::from_millis(self.leased_until.saturating_sub(now()));
                match tokio::time::timeout(left, writing.as_mut()).await {
                    Ok(written) => written,
                    // Whoever waits is told in time.
                    Err(_) => {
                        self.lose_all("the node's lease is over");
                        writing.await
                    }
                }
            }
            None => self.join(&key, &node, sent).await,
        };
        match written {
            Ok(revision) => {
                if self.revision.is_none() {
                    tracing::info!(node = self.parts.membership.node, "the node has its place in the cluster");
                }
                self.revision = Some(revision);
                self.leased_until = sent.saturating_add(self.lease());
                let name = self.parts.membership.node.clone();
                self.view_mut().note_self(name, node, revision, sent);
                for seat in self.tenants.values_mut().filter(|seat| seat.local.here) {
                    seat.kept.lease.extend(self.leased_until);
                    // One that has left meanwhile opens again.
                    seat.local.here = seat.local.busy || seat.departures == seat.kept.lease.departures();
                }
            }
            Err(RegistryError::Conflict) if self.revision.is_some() => self.find_place_again(&key).await,
            Err(RegistryError::Conflict) => {}
            Err(error) => tracing::warn!(%error, "a beat of this node may not have arrived"),
        }
        if self.leased_until <= now() {
            self.lose_all("the node's lease is over");
        }
    }

    /// A place where there was none: another life of this node may still be in it.
    async fn join(&self, key: &str, node: &Node, now: u64) -> Result<u64, RegistryError> {
        let former = self.view.read().expect("nothing panics while this lock is held").former_self(now);
        match former {
            None => self.registry.create(key, node).await,
            Some((revision, true)) => self.registry.replace(key, node, revision).await,
            Some((_, false)) => {
                let node = &self.parts.membership.node;
                tracing::warn!(
                    node,
                    "another life of this node is in the cluster: it is waited for until that is silent"
                );
                Err(RegistryError::Conflict)
            }
        }
    }

    /// The key is not what was written last. An answer may have been lost: then it is what was written now. Else this node
    /// was held for dead, and comes again as another life.
    async fn find_place_again(&mut self, key: &str) {
        match self.registry.read::<Node>(key).await {
            Ok(Some((node, revision))) if node.incarnation == self.incarnation => self.revision = Some(revision),
            Ok(_) => {
                self.lose_all("the other nodes held this one for dead");
                (self.revision, self.leased_until, self.incarnation) = (None, 0, crate::number());
                let incarnation = self.incarnation;
                self.view_mut().incarnation = incarnation;
            }
            Err(error) => tracing::warn!(%error, "this node does not know whether it has its place"),
        }
    }

    fn lose_all(&mut self, why: &str) {
        let here: Vec<String> = self.here().map(|(name, _)| name.clone()).collect();
        if !here.is_empty() {
            tracing::error!(tenants = here.len(), why, "the node's tenants are not served here any more");
        }
        here.iter().for_each(|tenant| self.lose(tenant));
    }

    fn lose(&mut self, tenant: &str) {
        let Some(seat) = self.tenants.get_mut(tenant) else { return };
        seat.local.here = false;
        seat.kept.lease.end();
        seat.kept.tenant.leased(None);
    }

    async fn leave(&mut self) {
        self.work.shutdown().await;
        let Some(revision) = self.revision else { return };
        let key = node_key(&self.parts.membership.node);
        if let Err(error) = self.registry.remove(&key, Some(revision)).await {
            tracing::warn!(%error, "the node is still in the cluster: the others take its tenants once it is silent");
        }
    }

    /// Takes those out of the bucket that have been silent for too long.
    fn fence(&mut self) {
        let silent = self.view.read().expect("nothing panics while this lock is held").silent(now());
        for (node, revision) in silent {
            let registry = self.registry.clone();
            self.work.spawn(async move {
                match registry.remove(&node_key(&node), Some(revision)).await {
                    Ok(()) => tracing::error!(node, "the node is silent: its tenants go to others"),
                    // It has beaten since, or another one was first.
                    Err(RegistryError::Conflict) => {}
                    Err(error) => tracing::warn!(node, %error, "the node is silent, and could not be fenced"),
                }
                Done::Removed
            });
        }
    }

    /// Does what is to be done. `heard`: nothing waits that it was told.
    fn go_on(&mut self, heard: bool) {
        let now = now();
        for seat in self.tenants.values_mut() {
            let late = seat.offered.is_some_and(|since| now.saturating_sub(since) > OFFERED_MILLISECONDS);
            if late && !seat.local.busy {
                tracing::warn!(tenant = seat.kept.tenant.name(), "another node does not get ready for it: it stays");
                (seat.offered, seat.stays_until) = (None, now.saturating_add(STAYS_MILLISECONDS));
            }
            seat.local.stays = seat.stays_until > now;
        }
        let steps = {
            let view = self.view.read().expect("nothing panics while this lock is held");
            view.plan(self.tenants.iter().map(|(name, seat)| (name.as_str(), seat.local)))
        };
        let settled = heard && self.revision.is_some() && steps.is_empty() && self.work.is_empty();
        self.settles.send_if_modified(|said| settled && !std::mem::replace(said, true));
        for step in steps {
            // What is left is planned again when something else is done.
            if self.work.len() < AT_ONCE {
                self.begin(step);
            }
        }
        self.has.send_if_modified(|said| {
            let staying = || self.tenants.iter().filter(|(_, seat)| seat.local.here && !seat.leaves);
            let same = said.len() == staying().count() && staying().all(|(name, _)| said.contains_key(name));
            if !same {
                *said = staying().map(|(name, seat)| (name.clone(), Stay(seat.awaits.subscribe()))).collect();
            }
            !same
        });
        self.tells.send_replace(());
    }

    fn begin(&mut self, step: Step) {
        let registry = self.registry.clone();
        match step {
            Step::Claim { tenant, over } => {
                self.set_busy(&tenant);
                let owner = self.own();
                self.work.spawn(async move {
                    let key = tenant_key(&tenant);
                    let written = match over {
                        Some(revision) => registry.replace(&key, &owner, revision).await,
                        None => registry.create(&key, &owner).await,
                    };
                    Done::Claimed(tenant, rested(written.map(|revision| (owner, revision))).await)
                });
            }
            Step::Take { tenant } => {
                if self.leased_until > now() {
                    self.open(tenant);
                }
            }
            Step::Lose { tenant } => self.lose(&tenant),
            Step::Offer { tenant, to } => {
                self.set_busy(&tenant);
                self.note_offer(&tenant, Some(now()));
                let own = self.own();
                self.work.spawn(async move {
                    let named =
                        amend(&registry, &tenant, &own, |owner| (owner.next, owner.ready) = (Some(to.clone()), false));
                    let named = named.await;
                    Done::Amended(tenant, true, rested(named).await)
                });
            }
            Step::Withdraw { tenant } => {
                self.set_busy(&tenant);
                self.note_offer(&tenant, None);
                let own = self.own();
                self.work.spawn(async move {
                    let amended =
                        amend(&registry, &tenant, &own, |owner| (owner.next, owner.ready) = (None, false)).await;
                    Done::Amended(tenant, false, rested(amended).await)
                });
            }
            Step::Prepare { tenant } => self.prepare(tenant),
            Step::HandOver { tenant, to } => self.hand_over(tenant, to),
        }
    }

    /// It opens here, with what the journal has of it.
    fn open(&mut self, tenant: String) {
        self.set_busy(&tenant);
        let (host, kept) = (self.parts.host.clone(), self.tenants[&tenant].kept.clone());
        self.work.spawn(async move {
            let used = tokio::task::spawn_blocking(move || last_used(&host, &kept.tenant)).await;
            Done::Opened(tenant, used.expect("to look does not panic"))
        });
    }

    /// Reads what there is of it, so that it opens sooner once it is here.
    fn prepare(&mut self, tenant: String) {
        self.set_busy(&tenant);
        let (registry, kept) = (self.registry.clone(), self.tenants[&tenant].kept.clone());
        let own = self.parts.membership.node.clone();
        self.work.spawn(async move {
            if !kept.tenant.prepare().await {
                let failed = RegistryError::Failed("it would not open here".into());
                return Done::Prepared(tenant, rested(Err(failed)).await);
            }
            let marked = mark_ready(&registry, &tenant, &own).await;
            Done::Prepared(tenant, rested(marked).await)
        });
    }

    /// Ends what clients wait for, in their dialects' ways; then it is another node's.
    fn hand_over(&mut self, tenant: String, to: String) {
        let view = self.view.read().expect("nothing panics while this lock is held");
        let Some(incarnation) = view.incarnation_of(&to) else { return };
        drop(view);
        self.set_busy(&tenant);
        self.note_offer(&tenant, None);
        let Some(seat) = self.tenants.get_mut(&tenant) else { return };
        seat.leaves = true;
        let (kept, awaits) = (seat.kept.clone(), seat.awaits.clone());
        let (registry, own) = (self.registry.clone(), self.own());
        self.work.spawn(async move {
            // An error means that somebody takes too long: what is sent then is refused.
            let _ = tokio::time::timeout(STAYS, awaits.closed()).await;
            kept.tenant.leave().await;
            let given = amend(&registry, &tenant, &own, |owner| {
                *owner = Owner { node: to.clone(), incarnation, ..Owner::default() };
            });
            let given = given.await;
            Done::HandedOver(tenant, rested(given).await)
        });
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Removed => {}
            Done::Claimed(tenant, result) => {
                self.set_idle(&tenant);
                self.note(&tenant, "it could not be claimed", result);
            }
            Done::Opened(tenant, used) => {
                self.set_idle(&tenant);
                let until = self.leased_until;
                let mine = self.view.read().expect("nothing panics while this lock is held").has(&tenant);
                let Some(seat) = self.tenants.get_mut(&tenant).filter(|_| mine && until > now()) else { return };
                seat.local.here = true;
                seat.departures = seat.kept.lease.departures();
                seat.kept.lease.extend(until);
                seat.kept.tenant.leased(used);
            }
            Done::Amended(tenant, offered, result) => {
                self.set_idle(&tenant);
                if result.is_err() && offered {
                    self.note_offer(&tenant, None);
                }
                self.note(&tenant, "where it is to go could not be said", result);
            }
            Done::Prepared(tenant, result) => {
                self.set_idle(&tenant);
                self.note(&tenant, "this node does not get ready for it", result);
            }
            Done::HandedOver(tenant, result) => {
                self.set_idle(&tenant);
                if let Some(seat) = self.tenants.get_mut(&tenant) {
                    seat.kept.lease.end();
                    (seat.local.here, seat.leaves) = (false, false);
                }
                self.moves.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
                self.note(&tenant, "it could not be handed over", result);
            }
        }
    }

    /// What was written is known at once.
    fn note(&mut self, tenant: &str, otherwise: &str, result: Result<(Owner, u64), RegistryError>) {
        match result {
            Ok((owner, revision)) => self.view_mut().note_owner(tenant, Some(owner), revision),
            Err(RegistryError::Conflict) => {}
            Err(error) => tracing::warn!(tenant, %error, "{otherwise}"),
        }
    }

    fn note_offer(&mut self, tenant: &str, since: Option<u64>) {
        if let Some(seat) = self.tenants.get_mut(tenant) {
            seat.offered = since;
        }
    }

    fn set_busy(&mut self, tenant: &str) {
        if let Some(seat) = self.tenants.get_mut(tenant) {
            seat.local.busy = true;
        }
    }

    fn set_idle(&mut self, tenant: &str) {
        if let Some(seat) = self.tenants.get_mut(tenant) {
            seat.local.busy = false;
        }
    }

    fn here(&self) -> impl Iterator<Item = (&String, &Seat)> {
        self.tenants.iter().filter(|(_, seat)| seat.local.here)
    }

    /// As it owns a tenant.
    fn own(&self) -> Owner {
        Owner { node: self.parts.membership.node.clone(), incarnation: self.incarnation, ..Owner::default() }
    }

    /// As it says itself.
    fn node(&self) -> Node {
        let seats = self.here().flat_map(|(_, seat)| seat.kept.tenant.seats().collect::<Vec<_>>());
        let uncommitted = seats.map(|seat| seat.statistics().uncommitted).sum();
        Node {
            incarnation: self.incarnation,
            clients: self.parts.clients.clone(),
            admin: self.parts.admin.clone(),
            secret: self.secret.clone(),
            tenants: self.here().count() as u64,
            uncommitted,
            moves: self.moves.load(Ordering::Relaxed),
            clock: self.parts.host.clock().wall(),
        }
    }

    /// In milliseconds.
    fn lease(&self) -> u64 {
        u64::try_from(self.parts.membership.lease.as_millis()).unwrap_or(u64::MAX)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().expect("nothing panics while this lock is held")
    }
}

/// What failed is not tried again at once.
async fn rested<T>(result: Result<T, RegistryError>) -> Result<T, RegistryError> {
    if result.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
    result
}

/// Where the system tells no time, no lease holds.
fn now() -> u64 {
    since_boot().unwrap_or(u64::MAX)
}

/// When a tenant was last used, by any of its plugins.
fn last_used(host: &Host, tenant: &Tenant) -> Option<u64> {
    let used = tenant.seats().filter_map(|seat| match host.last_used(tenant.name(), &seat.plugin()) {
        Ok(used) => used,
        // The replay that follows meets it too, and says so.
        Err(error) => {
            tracing::warn!(tenant = tenant.name(), %error, "it is not known when it was last used");
            None
        }
    });
    used.max()
}
