//! What a node knows of the bucket, and what follows from it. Nothing here waits, asks or reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::registry::News;
use super::{Membership, Node, Owner, placement};
use crate::journal::subjects::{escaped, unescaped};

const NODES: &str = "nodes.";
const TENANTS: &str = "tenants.";
const DRAINS: &str = "drains.";

/// A view that several look at.
pub type Shared = Arc<RwLock<View>>;

/// What is known.
#[derive(Debug)]
pub struct View {
    pub(super) membership: Membership,
    /// Which life of this node this is.
    pub(super) incarnation: u64,
    nodes: BTreeMap<String, Seen>,
    owners: BTreeMap<String, (Owner, u64)>,
    drains: BTreeSet<String>,
}

/// When something was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// In milliseconds since this machine's start.
    pub(super) since_boot: u64,
    /// In milliseconds since the Unix epoch.
    pub(super) clock: u64,
}

/// How far a clock may be ahead of or behind another one, in milliseconds.
const APART: u64 = 60_000;

/// Whether a clock that is so far ahead is worth a word.
pub fn is_apart(ahead: i64) -> bool {
    ahead.unsigned_abs() > APART
}

/// A node, and since when it was not seen to change.
#[derive(Debug)]
struct Seen {
    node: Node,
    revision: u64,
    /// In milliseconds since this machine's start.
    at: u64,
    /// How far its clock was ahead of this machine's when a beat of it came, in milliseconds; none: no beat came yet.
    ahead: Option<i64>,
    /// Gone once this life of the node is.
    lives: watch::Sender<()>,
}

/// Another node that has a tenant.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub node: Node,
    /// Closed once the node is known to be gone.
    pub lives: watch::Receiver<()>,
}

/// How a node looks from here.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub node: Node,
    /// How long ago its last beat was seen, in milliseconds.
    pub silent: u64,
    /// How far its clock is ahead of this machine's, in milliseconds, as far as its beats tell.
    pub ahead: i64,
    /// Its tenants are to go to other nodes.
    pub drains: bool,
}

/// Where a tenant is.
#[derive(Clone, Debug)]
pub struct TenantStatus {
    /// Its name.
    pub tenant: String,
    /// Who has it; a node that is gone has nothing.
    pub owner: Option<Owner>,
    /// The node that is to have it, as the nodes are now.
    pub home: Option<String>,
}

/// What this process has to do with a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Local {
    /// It has it.
    pub(super) here: bool,
    /// Something is being done about it.
    pub(super) busy: bool,
    /// It was offered to a node that did not get ready: it stays.
    pub(super) stays: bool,
}

/// Something that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nobody has the tenant, and this node is to have it: it says so over this revision, if there is one.
    Claim { tenant: String, over: Option<u64> },
    /// The bucket says that this node has the tenant.
    Take { tenant: String },
    /// The bucket says that it has not.
    Lose { tenant: String },
    /// Another node is to have a tenant of this one's.
    Offer { tenant: String, to: String },
    /// It is not to have it after all.
    Withdraw { tenant: String },
    /// This node is to have a tenant of another one's.
    Prepare { tenant: String },
    /// The other node is prepared.
    HandOver { tenant: String, to: String },
}

impl View {
    /// One that knows nothing.
    pub fn new(membership: Membership, incarnation: u64) -> View {
        let (nodes, owners, drains) = Default::default();
        View { membership, incarnation, nodes, owners, drains }
    }

    /// A key has changed; what cannot be read counts as not there. The clock of a node that is found to be apart from this
    /// machine's is told of: its name, and how far it is ahead, in milliseconds.
    pub(super) fn apply(&mut self, news: &News, now: Moment) -> Option<(String, i64)> {
        if let Some(node) = news.key.strip_prefix(NODES).and_then(unescaped) {
            let before = self.ahead(&node);
            self.note_node(node.clone(), read(news), news.revision, now);
            return self
                .ahead(&node)
                .filter(|ahead| is_apart(*ahead) && !before.is_some_and(is_apart))
                .map(|it| (node, it));
        } else if let Some(tenant) = news.key.strip_prefix(TENANTS).and_then(unescaped) {
            self.note_owner(&tenant, read(news), news.revision);
        } else if let Some(node) = news.key.strip_prefix(DRAINS).and_then(unescaped) {
            match news.value {
                Some(_) => drop(self.drains.insert(node)),
                None => drop(self.drains.remove(&node)),
            }
        }
        None
    }

    fn ahead(&self, node: &str) -> Option<i64> {
        self.nodes.get(node)?.ahead
    }

    fn note_node(&mut self, name: String, node: Option<Node>, revision: u64, now: Moment) {
        let known = self.nodes.get_mut(&name);
        match (node, known) {
            (_, Some(seen)) if seen.revision >= revision => {}
            (Some(node), Some(seen)) if seen.node.incarnation == node.incarnation => {
                seen.ahead = Some(node.clock.cast_signed().saturating_sub(now.clock.cast_signed()));
                (seen.node, seen.revision, seen.at) = (node, revision, now.since_boot);
            }
            (Some(node), _) => {
                // This may be an old one.
                let seen = Seen { node, revision, at: now.since_boot, ahead: None, lives: watch::Sender::new(()) };
                self.nodes.insert(name, seen);
            }
            (None, _) => drop(self.nodes.remove(&name)),
        }
    }

    pub(super) fn note_owner(&mut self, tenant: &str, owner: Option<Owner>, revision: u64) {
        if self.owners.get(tenant).is_some_and(|(_, known)| *known >= revision) {
            return;
        }
        match owner {
            Some(owner) => drop(self.owners.insert(tenant.to_owned(), (owner, revision))),
            None => drop(self.owners.remove(tenant)),
        }
    }

    /// This node has beaten.
    pub(super) fn note_self(&mut self, name: String, node: Node, revision: u64, at: u64) {
        let now = Moment { since_boot: at, clock: node.clock };
        self.note_node(name, Some(node), revision, now);
    }

    /// Whether this node has the tenant.
    pub(super) fn has(&self, tenant: &str) -> bool {
        self.is_member() && self.owners.get(tenant).is_some_and(|(owner, _)| self.is_mine(owner))
    }

    /// The revision that says that this node has the tenant; none: it has not.
    pub(super) fn own_revision(&self, tenant: &str) -> Option<u64> {
        self.owners.get(tenant).filter(|(owner, _)| self.is_mine(owner)).map(|(_, revision)| *revision)
    }

    /// Whether this life of this node is in the bucket.
    fn is_member(&self) -> bool {
        self.lives(&self.membership.node, self.incarnation)
    }

    /// Another life of this node in the bucket: its revision, and whether it counts as gone.
    pub(super) fn former_self(&self, now: u64) -> Option<(u64, bool)> {
        let seen = self.nodes.get(&self.membership.node)?;
        Some((seen.revision, now.saturating_sub(seen.at) > self.membership.patience()))
    }

    fn lives(&self, node: &str, incarnation: u64) -> bool {
        self.nodes.get(node).is_some_and(|seen| seen.node.incarnation == incarnation)
    }

    fn is_mine(&self, owner: &Owner) -> bool {
        owner.node == self.membership.node && owner.incarnation == self.incarnation
    }

    /// The node that is to have a tenant: one that is not being drained, if there is any.
    fn place(&self, tenant: &str) -> Option<&str> {
        let names = || self.nodes.keys().map(String::as_str);
        let staying = names().filter(|node| !self.drains.contains(*node));
        placement::place(tenant, staying).or_else(|| placement::place(tenant, names()))
    }

    /// What is to be done now about these tenants, which this process knows.
    pub(super) fn plan<'a>(&self, tenants: impl Iterator<Item = (&'a str, Local)>) -> Vec<Step> {
        let member = self.is_member();
        let (mut steps, mut moving) = (Vec::new(), self.moving());
        for (tenant, local) in tenants.filter(|(_, local)| !local.busy) {
            let step = self.step(tenant, local, member);
            if let Some(Step::Offer { .. }) = step {
                if moving >= self.membership.moves {
                    continue;
                }
                moving += 1;
            }
            steps.extend(step);
        }
        steps
    }

    /// How many of this node's tenants are on their way.
    fn moving(&self) -> usize {
        self.owners.values().filter(|(owner, _)| self.is_mine(owner) && owner.next.is_some()).count()
    }

    /// The other nodes that have been silent for longer than any lease lasts, and the revision of each.
    pub(super) fn silent(&self, now: u64) -> Vec<(String, u64)> {
        let others = self.nodes.iter().filter(|(name, _)| self.is_member() && **name != self.membership.node);
        let silent = others.filter(|(_, seen)| now.saturating_sub(seen.at) > self.membership.patience());
        silent.map(|(name, seen)| (name.clone(), seen.revision)).collect()
    }

    fn step(&self, tenant: &str, local: Local, member: bool) -> Option<Step> {
        let (own, name) = (&*self.membership.node, || tenant.to_owned());
        let placed = self.place(tenant);
        let claim = |over| (member && placed == Some(own)).then(|| Step::Claim { tenant: name(), over });
        let Some((owner, revision)) = self.owners.get(tenant) else {
            return if local.here { Some(Step::Lose { tenant: name() }) } else { claim(None) };
        };
        if !member || !self.is_mine(owner) {
            if local.here {
                return Some(Step::Lose { tenant: name() });
            }
            if !self.lives(&owner.node, owner.incarnation) {
                return claim(Some(*revision));
            }
            let prepares = member && owner.next.as_deref() == Some(own) && !owner.ready;
            return prepares.then(|| Step::Prepare { tenant: name() });
        }
        if !local.here {
            return Some(Step::Take { tenant: name() });
        }
        let elsewhere = placed.filter(|to| *to != own && !local.stays);
        match (&owner.next, elsewhere) {
            (None, None) => None,
            (None, Some(to)) => Some(Step::Offer { tenant: name(), to: to.to_owned() }),
            (Some(next), Some(to)) if next == to && owner.ready => {
                Some(Step::HandOver { tenant: name(), to: to.to_owned() })
            }
            (Some(next), Some(to)) if next == to => None,
            (Some(_), _) => Some(Step::Withdraw { tenant: name() }),
        }
    }

    /// The life of a node that is there.
    pub(super) fn incarnation_of(&self, node: &str) -> Option<u64> {
        self.nodes.get(node).map(|seen| seen.node.incarnation)
    }

    /// Another node that has the tenant, as far as is known.
    pub fn elsewhere(&self, tenant: &str) -> Option<Peer> {
        let (owner, _) = self.owners.get(tenant)?;
        let seen = self.nodes.get(&owner.node)?;
        let other = seen.node.incarnation == owner.incarnation && !self.is_mine(owner);
        other.then(|| Peer { name: owner.node.clone(), node: seen.node.clone(), lives: seen.lives.subscribe() })
    }

    /// Every node, and how it looks from here.
    pub fn nodes(&self, now: u64) -> Vec<Status> {
        let status = |(name, seen): (&String, &Seen)| Status {
            name: name.clone(),
            node: seen.node.clone(),
            silent: now.saturating_sub(seen.at),
            ahead: seen.ahead.unwrap_or_default(),
            drains: self.drains.contains(name),
        };
        self.nodes.iter().map(status).collect()
    }

    /// Every tenant that ever had an owner, and where it is.
    pub fn tenants(&self) -> Vec<TenantStatus> {
        let living = |owner: &Owner| self.lives(&owner.node, owner.incarnation).then(|| owner.clone());
        let status = |(tenant, (owner, _)): (&String, &(Owner, u64))| TenantStatus {
            tenant: tenant.clone(),
            owner: living(owner),
            home: self.place(tenant).map(str::to_owned),
        };
        self.owners.iter().map(status).collect()
    }

    /// How many tenants this node has.
    pub fn own_tenants(&self) -> usize {
        self.owners.values().filter(|(owner, _)| self.is_member() && self.is_mine(owner)).count()
    }

    /// The name of this node.
    pub fn node(&self) -> &str {
        &self.membership.node
    }

    /// Whether a node of this name is there.
    pub fn has_node(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }
}

fn read<T: DeserializeOwned>(news: &News) -> Option<T> {
    let value = news.value.as_deref()?;
    match serde_json::from_slice(value) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::error!(key = news.key, %error, "this cannot be read; it counts as not there");
            None
        }
    }
}

pub(super) fn node_key(node: &str) -> String {
    format!("{NODES}{}", escaped(node))
}

pub(super) fn tenant_key(tenant: &str) -> String {
    format!("{TENANTS}{}", escaped(tenant))
}

pub(super) fn drain_key(node: &str) -> String {
    format!("{DRAINS}{}", escaped(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What node `a`, in its life 1, sees at this time; each node with the time of its last beat.
    fn view(nodes: &[(&str, u64, u64)], owner: Option<(&str, u64, Option<&str>, bool)>) -> View {
        let mut view = View::new(Membership::new("a"), 1);
        for (name, incarnation, at) in nodes {
            let node = Node { incarnation: *incarnation, ..Node::default() };
            view.note_node((*name).into(), Some(node), 1, at_boot(*at));
        }
        if let Some((node, incarnation, next, ready)) = owner {
            let owner = Owner { node: node.into(), incarnation, next: next.map(str::to_owned), ready };
            view.note_owner(TENANT, Some(owner), 7);
        }
        view
    }

    fn at_boot(since_boot: u64) -> Moment {
        Moment { since_boot, clock: 0 }
    }

    #[test]
    fn a_clock_that_is_apart_is_told_of_once_it_is_known_to_be() {
        let mut view = View::new(Membership::new("a"), 1);
        let mut beat = |revision, clock| {
            let node = serde_json::to_vec(&Node { incarnation: 1, clock, ..Node::default() }).expect("JSON");
            let news = News { key: node_key("b"), value: Some(node.into()), revision };
            view.apply(&news, Moment { since_boot: 0, clock: 7_200_000 })
        };
        // The first that is seen may be an old beat.
        assert_eq!((beat(1, 3_600_000), beat(2, 7_150_000)), (None, None));
        assert_eq!((beat(3, 3_600_000), beat(4, 3_600_001)), (Some(("b".into(), -3_600_000)), None));
        assert_eq!((beat(5, 7_200_000), beat(6, 7_300_000)), (None, Some(("b".into(), 100_000))));
        assert_eq!(view.nodes(0)[0].ahead, 100_000);
    }

    /// One that belongs to `a` where there are `a` and `b`.
    const TENANT: &str = "tenant-2";
    const AWAY: Local = Local { here: false, busy: false, stays: false };
    const HERE: Local = Local { here: true, busy: false, stays: false };

    fn check(view: &View, local: Local, expected: &[Step]) {
        assert_eq!(view.plan([(TENANT, local)].into_iter()), expected, "{view:?}");
    }

    fn drained(mut view: View) -> View {
        view.drains.insert("a".into());
        view
    }

    #[test]
    fn what_nobody_has_is_claimed_by_who_is_to_have_it() {
        let claim = |over| [Step::Claim { tenant: TENANT.into(), over }];
        check(&view(&[("a", 1, 0)], None), AWAY, &claim(None));
        check(&view(&[("a", 1, 0), ("b", 1, 0)], None), AWAY, &claim(None));
        check(&drained(view(&[("a", 1, 0), ("b", 1, 0)], None)), AWAY, &[]);
        check(&drained(view(&[("a", 1, 0)], None)), AWAY, &claim(None));
        // Its owner is gone, or came back as another.
        check(&view(&[("a", 1, 0)], Some(("b", 1, None, false))), AWAY, &claim(Some(7)));
        check(&view(&[("a", 1, 0), ("b", 2, 0)], Some(("b", 1, None, false))), AWAY, &claim(Some(7)));
        check(&view(&[("a", 1, 0)], Some(("a", 9, None, false))), AWAY, &claim(Some(7)));
        // Who is no member claims nothing.
        check(&view(&[], None), AWAY, &[]);
        check(&view(&[("a", 9, 0)], None), AWAY, &[]);
    }

    #[test]
    fn what_another_node_has_is_let_alone_and_let_go() {
        let lose = [Step::Lose { tenant: TENANT.into() }];
        let others = view(&[("a", 1, 0), ("b", 1, 0)], Some(("b", 1, None, false)));
        check(&others, AWAY, &[]);
        check(&others, HERE, &lose);
        check(&view(&[("a", 1, 0)], None), HERE, &lose);
        check(&view(&[("a", 9, 0)], Some(("a", 1, None, false))), HERE, &lose);
        check(&others, Local { busy: true, ..HERE }, &[]);
    }

    #[test]
    fn a_move_is_offered_prepared_and_done() {
        let both = &[("a", 1, 0), ("b", 1, 0)];
        let mine = |next, ready| drained(view(both, Some(("a", 1, next, ready))));
        check(&mine(None, false), AWAY, &[Step::Take { tenant: TENANT.into() }]);
        check(&mine(None, false), HERE, &[Step::Offer { tenant: TENANT.into(), to: "b".into() }]);
        check(&mine(None, false), Local { stays: true, ..HERE }, &[]);
        check(&mine(Some("b"), false), HERE, &[]);
        check(&mine(Some("b"), true), HERE, &[Step::HandOver { tenant: TENANT.into(), to: "b".into() }]);
        let withdraw = [Step::Withdraw { tenant: TENANT.into() }];
        check(&mine(Some("c"), true), HERE, &withdraw);
        check(&mine(Some("b"), false), Local { stays: true, ..HERE }, &withdraw);
        check(&view(both, Some(("a", 1, Some("b"), true))), HERE, &withdraw);
        check(&view(both, Some(("a", 1, None, false))), HERE, &[]);
        let theirs = |ready| view(both, Some(("b", 1, Some("a"), ready)));
        check(&theirs(false), AWAY, &[Step::Prepare { tenant: TENANT.into() }]);
        check(&theirs(true), AWAY, &[]);
    }

    #[test]
    fn few_move_at_a_time() {
        let mut view = drained(view(&[("a", 1, 0), ("b", 1, 0)], None));
        let tenants: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        for tenant in &tenants {
            let owner = Owner { node: "a".into(), incarnation: 1, ..Owner::default() };
            view.note_owner(tenant, Some(owner), 1);
        }
        assert_eq!(view.plan(tenants.iter().map(|tenant| (&**tenant, HERE))).len(), 4);
    }

    #[test]
    fn who_is_silent_for_longer_than_any_lease_is_fenced() {
        let patience = Membership::new("a").patience();
        let view = view(&[("a", 1, 0), ("b", 1, 0), ("c", 1, 5)], None);
        assert_eq!(view.silent(patience), []);
        assert_eq!(view.silent(patience + 5), [("b".to_owned(), 1)]);
    }

    #[test]
    fn a_beat_that_was_seen_again_is_no_beat() {
        let mut view = view(&[("b", 1, 0)], None);
        let beat = |revision, at, view: &mut View| {
            view.note_node("b".into(), Some(Node { incarnation: 1, ..Node::default() }), revision, at_boot(at));
            view.nodes(100)[0].silent
        };
        assert_eq!((beat(1, 50, &mut view), beat(2, 60, &mut view), beat(1, 70, &mut view)), (100, 40, 40));
        view.note_node("b".into(), None, 1, at_boot(80));
        assert!(view.has_node("b"), "what was removed was written again");
        view.note_node("b".into(), None, 3, at_boot(80));
        assert!(!view.has_node("b"));
    }

    #[test]
    fn whoever_has_a_tenant_elsewhere_is_known_until_it_is_gone() {
        let mut view = view(&[("a", 1, 0), ("b", 1, 0)], Some(("b", 1, None, false)));
        let mut peer = view.elsewhere(TENANT).expect("another node has it");
        assert!(peer.lives.has_changed().is_ok());
        view.note_node("b".into(), Some(Node { incarnation: 2, ..Node::default() }), 2, at_boot(0));
        assert!(peer.lives.has_changed().is_err() && view.elsewhere(TENANT).is_none());
        peer.lives.mark_unchanged();
    }
}
