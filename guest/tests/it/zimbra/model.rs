//! A model of what clients must hear, and random operations of many of them against it.

use std::collections::{BTreeMap, BTreeSet};

use postbell_notify::Notify;

use super::*;
use crate::world::delivered;

/// A small generator (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % limit
    }
}

/// What a client's set must be like.
struct Client {
    id: String,
    /// The number that the client brings.
    seq: u64,
    /// The last number that was given, whether or not its answer arrived.
    current: u64,
    members: BTreeMap<&'static str, char>,
    fresh: BTreeSet<&'static str>,
    sent: BTreeSet<&'static str>,
    waiting: Option<u64>,
}

const ACCOUNTS: [&str; 4] = ["u1@example.org", "u2@example.org", "u3@example.org", "u4@example.org"];

struct Model {
    chance: Chance,
    world: World,
    clients: Vec<Client>,
}

#[test]
fn everybody_hears_what_they_wait_for_and_nothing_else() {
    let mut heard = 0;
    for seed in 0..150 {
        let mut model = Model { chance: Chance(seed), world: World::new(), clients: Vec::new() };
        for _ in 0..4 {
            let id = create(&mut model.world, ROOT, "m", "");
            let (members, fresh, sent) = Default::default();
            model.clients.push(Client { id, seq: 0, current: 1, members, fresh, sent, waiting: None });
        }
        for _ in 0..120 {
            heard += model.step();
        }
    }
    assert!(heard > 3000, "the histories are too quiet: {heard}");
}

impl Model {
    /// One random operation; how many accounts were heard of.
    fn step(&mut self) -> usize {
        match self.chance.below(20) {
            0..8 => self.change(),
            8..18 => self.ask(),
            18 => {
                self.reload();
                0
            }
            _ => {
                self.time();
                0
            }
        }
    }

    fn account(&mut self) -> &'static str {
        ACCOUNTS[self.chance.below(4) as usize]
    }

    fn change(&mut self) -> usize {
        let account = self.account();
        let (letter, what) = match self.chance.below(3) {
            0 => ('m', delivered("inbox", "m")),
            1 => ('c', Happening::ItemCreated(of_kind("contact", "inbox", "c"))),
            _ => ('-', Happening::ItemCreated(of_kind("note", "inbox", "n"))),
        };
        for client in &mut self.clients {
            if client.members.get(account) == Some(&letter) {
                client.fresh.insert(account);
            }
        }
        let reaction = happens_to(&mut self.world, account, what);
        self.judge_wakes(&reaction)
    }

    /// Exactly those who wait and have news are answered.
    fn judge_wakes(&mut self, reaction: &Reaction) -> usize {
        let mut heard = 0;
        let mut answered: BTreeMap<u64, String> =
            reaction.replies.iter().map(|reply| (reply.to, short(&text(reply)))).collect();
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let Some(request) = client.waiting else { continue };
            if client.fresh.is_empty() {
                continue;
            }
            let said = answered.remove(&request).unwrap_or_else(|| panic!("{request} has news and is not answered"));
            client.waiting = None;
            heard += self.judge_news(index, &said, "");
        }
        assert_eq!(answered, BTreeMap::new(), "others were answered");
        heard
    }

    /// The answer names all that was not acknowledged; it arrives, or it is lost.
    fn judge_news(&mut self, index: usize, said: &str, errors: &str) -> usize {
        let lost = self.chance.below(4) == 0;
        let client = &mut self.clients[index];
        client.sent.append(&mut client.fresh);
        client.current += 1;
        let mut said: Vec<&str> = said.split(' ').collect();
        said[1..].sort_unstable();
        let mut expected = vec![format!("seq={}", client.current)];
        expected.extend(client.sent.iter().map(|name| name.split('@').next().expect("a name").to_owned()));
        expected.extend(errors.split_whitespace().map(str::to_owned));
        expected[1..].sort_unstable();
        assert_eq!(said, expected);
        if !lost {
            client.seq = client.current;
        }
        client.sent.len()
    }

    fn ask(&mut self) -> usize {
        let index = self.chance.below(self.clients.len() as u64) as usize;
        let account = self.account();
        let letter = if self.chance.below(2) == 0 { 'm' } else { 'c' };
        let blocks = self.chance.below(2) == 0;
        let operation = self.chance.below(6);
        let client = &mut self.clients[index];
        let name = account.split('@').next().expect("a name");
        let (mut rest, mut errors) = (String::new(), String::new());
        let is_member = client.members.contains_key(account);
        match operation {
            0 | 1 => {
                rest = format!("<add><a id='{account}' types='{letter}'/></add>");
                if is_member {
                    errors = format!(" {name}:ALREADY_IN_SET_DURING_ADD");
                } else {
                    client.members.insert(account, letter);
                }
            }
            2 => {
                rest = format!("<update><a id='{account}' types='{letter}'/></update>");
                if is_member {
                    client.members.insert(account, letter);
                } else {
                    errors = format!(" {name}:NOT_IN_SET_DURING_UPDATE");
                }
            }
            3 if self.chance.below(2) == 0 => {
                rest = format!("<remove><a id='{account}'/></remove>");
                if client.members.remove(account).is_none() {
                    errors = format!(" {name}:NOT_IN_SET_DURING_REMOVE");
                }
                client.fresh.remove(account);
                client.sent.remove(account);
            }
            _ => {}
        }
        if client.seq == client.current {
            client.sent.clear();
        }
        let due = !client.fresh.is_empty() || (client.seq != client.current && !client.sent.is_empty());
        let attributes = if blocks { "block=\"1\" timeout=\"60\"" } else { "" };
        let body = soap(&wait_operation(&client.id, &client.seq.to_string(), attributes, &rest));
        let before = client.waiting.take();
        let seq = client.seq;
        let answer = send(&mut self.world, ROOT, &body);
        let canceled = answer.reaction.replies.iter().find(|reply| Some(reply.to) == before);
        assert_eq!(canceled.is_some(), before.is_some());
        assert!(canceled.is_none_or(|reply| short(&text(reply)).starts_with("canceled")));
        assert_eq!(answer.reaction.replies.len(), usize::from(before.is_some()) + usize::from(due || !blocks));
        if due {
            return self.judge_news(index, &short(&answer.body()), &errors);
        }
        if blocks {
            // Its errors come with the news; the model asks without waiting where it judges them.
            self.clients[index].waiting = errors.is_empty().then_some(answer.request);
            if !errors.is_empty() {
                self.world.settle(answer.request, 0, Some(End::Gone));
            }
        } else {
            assert_eq!(short(&answer.body()), format!("seq={seq}{errors}"));
        }
        0
    }

    /// The state is saved and loaded; sometimes the host has restarted, and all connections are gone.
    fn reload(&mut self) {
        let saved = self.world.saved();
        let mut again = Notify::default();
        let format = &postbell_notify::describe().state_formats[0];
        for (number, part) in saved.iter().enumerate() {
            again.load(format, part, number + 1 < saved.len()).expect("what was saved");
        }
        self.world.notify = again;
        assert_eq!(self.world.saved(), saved);
        if self.chance.below(2) == 0 {
            let at = self.world.at();
            self.world.notify.restarted(at, Restart { down_ms: 5000, regressed: false });
            self.clients.iter_mut().for_each(|client| client.waiting = None);
        }
    }

    /// The time of those who wait is over, and so they hear that there is nothing.
    fn time(&mut self) {
        let reaction = self.world.wait(60_000);
        let answered: BTreeMap<u64, String> =
            reaction.replies.iter().map(|reply| (reply.to, short(&text(reply)))).collect();
        let waited = self
            .clients
            .iter_mut()
            .filter_map(|client| client.waiting.take().map(|request| (request, format!("seq={}", client.seq))));
        assert_eq!(answered, waited.collect());
    }
}
