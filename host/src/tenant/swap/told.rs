//! What clients were told by the live version, beside what the follower would have told them.
//!
//! A settlement counts the parts of the live instance. The follower is given it as long as it made the same parts; after
//! the first that differs it is given the parts that both made, at most, and so delivers the rest once more. Before the
//! attempt began only the digest of a whole reaction is known: where that differs, every request that was open may
//! have been told something else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::contract::requests::{End, Settlement};
use crate::contract::types::Reply;

/// How many bytes of one request's parts are kept that only the follower made, and of all requests'.
const KEPT_BYTES: usize = 1 << 20;
const ALL_KEPT_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Told {
    requests: BTreeMap<u64, Track>,
    /// Those of which not all parts are the same.
    apart: BTreeSet<u64>,
    /// How often a reaction differed of which only the digest is known.
    doubts: u64,
    kept_bytes: usize,
}

/// One request.
#[derive(Default)]
struct Track {
    /// Its first part was not made before the follower began.
    whole: bool,
    /// The doubts when it was looked at last.
    doubts: u64,
    /// The confirmed parts, from the first, that both made.
    common: u32,
    /// What the follower was last told of it.
    settled: u32,
    /// What both made is not a beginning of what each made.
    diverged: bool,
    /// The live version gave it parts.
    live_spoke: bool,
    live_ended: bool,
    own_ended: bool,
    /// Parts that only the follower made, without beats that came too late to be of use.
    ahead: VecDeque<Reply>,
    ahead_bytes: usize,
    /// Some of them were not kept.
    forgotten: bool,
    /// Confirmed and final parts that only the live version made.
    behind: VecDeque<Reply>,
}

/// What is to be made good when the follower takes over.
#[derive(Debug, PartialEq)]
pub(in crate::tenant) struct Apart {
    pub(in crate::tenant) request: u64,
    /// The parts that the client has not got, where it got what comes before them; of others, the final one.
    pub(in crate::tenant) ahead: Vec<Reply>,
    /// They begin with the answer's first part.
    pub(in crate::tenant) from_the_first: bool,
    /// So many confirmed parts count as acknowledged at most.
    pub(in crate::tenant) cap: Option<u32>,
    /// The live version gave it a final part, and the follower did not.
    pub(in crate::tenant) only_live_ended: bool,
}

impl Track {
    fn cap(&self) -> u32 {
        if self.whole { self.common } else { self.settled }
    }

    fn is_even(&self) -> bool {
        !self.diverged && self.behind.is_empty()
    }

    fn is_apart(&self) -> bool {
        self.diverged || !self.ahead.is_empty() || !self.behind.is_empty()
    }

    fn both_made(&mut self, reply: &Reply) {
        self.common += u32::from(reply.confirm);
        self.live_spoke = true;
        self.live_ended |= !reply.more;
        self.own_ended |= !reply.more;
    }

    fn live_made(&mut self, reply: &Reply) {
        self.live_ended |= !reply.more;
        if !std::mem::replace(&mut self.live_spoke, true) {
            // The client has the answer's head, so what only carried that is of no use any more.
            self.keep_ahead(|part| !is_beat(part));
        }
        if !is_beat(reply) {
            self.behind.push_back(reply.clone());
        }
    }

    fn own_made(&mut self, reply: &Reply) {
        self.own_ended |= !reply.more;
        if self.live_spoke && is_beat(reply) || self.diverged && self.live_spoke && reply.more {
            return;
        }
        self.ahead_bytes += reply.body.len();
        self.ahead.push_back(reply.clone());
        if self.ahead_bytes > KEPT_BYTES {
            self.forgotten = true;
            self.diverged = true;
            self.keep_ahead(|part| !part.more);
        }
    }

    fn keep_ahead(&mut self, kept: impl Fn(&Reply) -> bool) {
        self.ahead.retain(kept);
        self.ahead_bytes = self.ahead.iter().map(|part| part.body.len()).sum();
    }

    fn compare(&mut self) {
        while !self.diverged
            && let (Some(own), Some(live)) = (self.ahead.front(), self.behind.front())
        {
            if own == live {
                self.common += u32::from(own.confirm);
                self.ahead.pop_front();
                self.behind.pop_front();
            } else if is_beat(own) {
                self.ahead.pop_front();
            } else {
                self.diverged = true;
            }
        }
        if self.diverged {
            self.behind.clear();
            if self.live_spoke {
                self.keep_ahead(|part| !part.more);
            }
        }
    }

    fn into_apart(self, request: u64) -> Apart {
        let cap = (self.diverged || !self.behind.is_empty()).then(|| self.cap());
        let from_the_first = !self.live_spoke && !self.forgotten && self.common == 0 && !self.ahead.is_empty();
        let follows = self.is_even() || from_the_first;
        let ahead = self.ahead.into_iter().filter(|part| follows || !part.more).collect();
        let only_live_ended = self.live_ended && !self.own_ended;
        Apart { request, ahead, from_the_first, cap, only_live_ended }
    }
}

impl Apart {
    /// The host knows whether it has sent nothing at all yet.
    pub(in crate::tenant) fn known(mut self, nothing_sent: bool) -> Apart {
        if self.from_the_first && nothing_sent {
            self.cap = None;
        } else if self.from_the_first && self.cap.is_some() {
            self.ahead.retain(|part| !part.more);
        }
        self
    }
}

/// A part that shows only that the answer goes on.
fn is_beat(reply: &Reply) -> bool {
    reply.more && !reply.confirm
}

impl Told {
    /// A request comes to be.
    pub(super) fn opened(&mut self, request: u64) {
        let track = Track { whole: true, doubts: self.doubts, ..Track::default() };
        self.requests.insert(request, track);
    }

    /// Both versions made the same of an input.
    pub(super) fn both(&mut self, replies: &[Reply]) {
        for reply in replies {
            let track = self.track(reply.to);
            if track.is_apart() {
                track.live_made(reply);
                track.own_made(reply);
            } else {
                track.both_made(reply);
            }
            self.touched(reply.to);
        }
    }

    /// They made different things of it. Live: none: only that is known.
    pub(super) fn differed(&mut self, live: Option<&[Reply]>, own: &[Reply]) {
        if live.is_none() {
            self.doubts += 1;
        }
        let mut requests = BTreeSet::new();
        for reply in live.unwrap_or_default() {
            self.track(reply.to).live_made(reply);
            requests.insert(reply.to);
        }
        for reply in own {
            self.track(reply.to).own_made(reply);
            self.kept_bytes += reply.body.len();
            requests.insert(reply.to);
        }
        requests.into_iter().for_each(|request| self.touched(request));
        self.forget_the_oldest();
    }

    /// What the follower is to be told instead; none: the same.
    pub(super) fn settled(&mut self, settlements: &[Settlement]) -> Option<Vec<Settlement>> {
        let own: Vec<_> = settlements.iter().filter_map(|settlement| self.settlement(settlement)).collect();
        (own != settlements).then_some(own)
    }

    fn settlement(&mut self, settlement: &Settlement) -> Option<Settlement> {
        let Settlement { request, parts, end } = *settlement;
        let track = self.track(request);
        let even = track.is_even();
        let own = if even { parts } else { parts.min(track.cap()).max(track.settled) };
        let news = own > track.settled || even;
        track.settled = own;
        let complete = even && track.own_ended == track.live_ended;
        let end = end.map(|end| if end == End::Complete && !complete { End::Gone } else { end });
        if end.is_some() {
            self.remove(request);
        }
        (news || end.is_some()).then_some(Settlement { request, parts: own, end })
    }

    /// Nothing of before is open any more.
    pub(super) fn restarted(&mut self) {
        *self = Told { doubts: self.doubts, ..Told::default() };
    }

    /// Whether something was said that nobody but the host knows.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubts > 0
    }

    /// From here on everything is known. What was doubtful is apart.
    pub(super) fn doubts_end(&mut self) {
        if self.doubts > 0 {
            for request in self.requests.keys().copied().collect::<Vec<_>>() {
                self.track(request);
                self.touched(request);
            }
        }
    }

    /// The requests that are apart.
    pub(super) fn apart(&self) -> impl Iterator<Item = u64> {
        self.apart.iter().copied()
    }

    /// Those of which anything is known.
    pub(super) fn known(&self) -> BTreeSet<u64> {
        self.requests.keys().copied().collect()
    }

    /// It is gone.
    pub(super) fn remove(&mut self, request: u64) {
        self.requests.remove(&request);
        self.apart.remove(&request);
    }

    /// What is to be made good.
    pub(super) fn take_apart(&mut self) -> Vec<Apart> {
        let apart = std::mem::take(&mut self.apart);
        let apart = apart.into_iter().filter_map(|request| Some((request, self.requests.remove(&request)?)));
        apart.map(|(request, track)| track.into_apart(request)).collect()
    }

    fn track(&mut self, request: u64) -> &mut Track {
        let track = self.requests.entry(request).or_default();
        if track.doubts < self.doubts {
            (track.doubts, track.diverged) = (self.doubts, true);
            track.compare();
        }
        track
    }

    fn touched(&mut self, request: u64) {
        let Some(track) = self.requests.get_mut(&request) else { return };
        track.compare();
        if track.is_apart() {
            self.apart.insert(request);
            return;
        }
        self.apart.remove(&request);
        // Of such a request nobody hears any more.
        if track.whole && track.common == 0 && track.own_ended && track.live_ended {
            self.requests.remove(&request);
        }
    }

    /// Clients ask and are answered: of those that asked long ago most are gone, and the host knows which.
    fn forget_the_oldest(&mut self) {
        if self.kept_bytes <= ALL_KEPT_BYTES {
            return;
        }
        self.kept_bytes = 0;
        let half = self.apart.len() / 2;
        for (place, request) in self.apart.iter().enumerate() {
            let Some(track) = self.requests.get_mut(request) else { continue };
            if place < half {
                (track.forgotten, track.diverged) = (true, true);
                track.keep_ahead(|_| false);
            }
            self.kept_bytes += track.ahead_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(to: u64, body: &str) -> Reply {
        Reply { to, status: 200, headers: vec![], body: body.into(), more: true, confirm: true }
    }

    fn beat(to: u64) -> Reply {
        Reply { confirm: false, ..part(to, "beat") }
    }

    fn last(to: u64, body: &str) -> Reply {
        Reply { more: false, ..part(to, body) }
    }

    fn settlement(request: u64, parts: u32, end: Option<End>) -> Settlement {
        Settlement { request, parts, end }
    }

    fn opened() -> Told {
        let mut told = Told::default();
        told.opened(7);
        told
    }

    #[test]
    fn what_both_made_is_settled_as_it_is() {
        let mut told = opened();
        told.both(&[part(7, "a"), beat(7), part(7, "b")]);
        assert_eq!(told.settled(&[settlement(7, 2, None)]), None);
        told.both(&[last(7, "c")]);
        assert_eq!(told.settled(&[settlement(7, 3, Some(End::Complete))]), None);
        assert_eq!(told.take_apart(), []);
        assert!(told.requests.is_empty());
    }

    #[test]
    fn the_same_parts_at_other_times_are_the_same() {
        let mut told = opened();
        told.differed(Some(&[part(7, "a"), beat(7)]), &[]);
        assert_eq!(told.settled(&[settlement(7, 1, None)]), Some(vec![]), "the follower has not made it yet");
        told.differed(Some(&[]), &[beat(7), part(7, "a"), part(7, "b")]);
        assert_eq!(told.settled(&[settlement(7, 1, None)]), None);
        let ahead = vec![part(7, "b")];
        let apart = Apart { request: 7, ahead, from_the_first: false, cap: None, only_live_ended: false };
        assert_eq!(told.take_apart(), [apart]);
    }

    #[test]
    fn behind_the_first_difference_nothing_counts_as_delivered() {
        let mut told = opened();
        told.both(&[part(7, "a"), part(7, "b")]);
        told.differed(Some(&[part(7, "c")]), &[part(7, "C")]);
        assert_eq!(told.settled(&[settlement(7, 1, None)]), None);
        assert_eq!(told.settled(&[settlement(7, 3, None)]), Some(vec![settlement(7, 2, None)]));
        assert_eq!(told.settled(&[settlement(7, 3, None)]), Some(vec![]));
        let apart = Apart { request: 7, ahead: vec![], from_the_first: false, cap: Some(2), only_live_ended: false };
        told.both(&[part(7, "d")]);
        assert_eq!(told.take_apart(), [apart]);
    }

    #[test]
    fn an_answer_that_only_one_gave_is_known() {
        let mut told = opened();
        told.opened(8);
        told.differed(Some(&[last(8, "x")]), &[last(7, "y")]);
        let only_own =
            Apart { request: 7, ahead: vec![last(7, "y")], from_the_first: true, cap: None, only_live_ended: false };
        let only_live = Apart { request: 8, ahead: vec![], from_the_first: false, cap: Some(0), only_live_ended: true };
        assert_eq!(told.take_apart(), [only_own, only_live]);
    }

    #[test]
    fn an_end_that_only_the_live_version_reached_is_none() {
        let mut told = opened();
        told.both(&[part(7, "a")]);
        told.differed(Some(&[last(7, "b")]), &[]);
        let end = told.settled(&[settlement(7, 2, Some(End::Complete))]);
        assert_eq!(end, Some(vec![settlement(7, 1, Some(End::Gone))]));
    }

    #[test]
    fn a_reaction_of_which_only_the_digest_differs_puts_all_in_doubt() {
        let mut told = opened();
        told.both(&[part(7, "a")]);
        told.differed(None, &[last(6, "answer")]);
        told.opened(9);
        told.both(&[part(9, "a")]);
        assert_eq!(told.settled(&[settlement(7, 2, None)]), Some(vec![settlement(7, 1, None)]));
        assert_eq!(told.settled(&[settlement(9, 1, None)]), None, "it came later");
        told.doubts_end();
        assert_eq!(told.apart().collect::<Vec<_>>(), [6, 7]);
        let [answered, _] = &told.take_apart()[..] else { panic!("two are apart") };
        assert_eq!((&answered.ahead[..], answered.cap), (&[last(6, "answer")][..], Some(0)));
    }
}
