//! The decision logic of Evolution and of KDE, as clients that end with the server's address book after any history.

use std::collections::BTreeMap;

use postbell_notify::Notify;

use super::*;

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

/// What a client keeps of the deltas: first, last, and when the book was rebuilt.
type Known = (i64, i64, i64);

#[derive(Default)]
struct Client {
    session: String,
    known: Known,
    entries: BTreeMap<String, String>,
    reloads: u32,
}

impl Client {
    fn ask(&mut self, world: &mut World, application: &str, name: &str, rest: &str) -> String {
        for _ in 0..2 {
            let body = on_book(world, &self.session, name, rest);
            if ![59910, 59920].contains(&status(&body)) {
                return body;
            }
            self.session = log_in_with(world, application);
        }
        panic!("a new session is no good");
    }

    fn info(&mut self, world: &mut World, application: &str) -> Known {
        let body = self.ask(world, application, "getDeltaInfo", "");
        let number = |name: &str| element(&body, name).parse().expect("a number");
        (number("firstSequence"), number("lastSequence"), number("lastTimePORebuild"))
    }

    /// The whole book by a cursor, in small pages.
    fn reload(&mut self, world: &mut World, application: &str) {
        self.reloads += 1;
        self.entries.clear();
        let cursor = element(&self.ask(world, application, "createCursor", "<view>name</view>"), "cursor");
        loop {
            let rest = format!("<cursor>{cursor}</cursor><count>7</count>");
            let items = items(&self.ask(world, application, "readCursor", &rest));
            if items.is_empty() {
                break;
            }
            self.entries.extend(items.into_iter().map(|(_, id, name)| (id, name)));
        }
    }

    /// update_address_book_deltas: one page of 100, deletions first; the head counts as read whatever came.
    fn evolution(&mut self, world: &mut World) {
        let server = self.info(world, "Evolution");
        let (first, last, rebuilt) = server;
        if first <= 0 || last <= 0 || first > self.known.1 || self.known.1 <= 0 || rebuilt != self.known.2 {
            self.reload(world, "Evolution");
        } else if self.known.1 != last {
            let info = format!("<firstSequence>{}.000000</firstSequence><count>100</count>", self.known.1 + 1);
            let rest = format!("<view>name email sync</view><deltaInfo>{info}</deltaInfo>");
            let items = items(&self.ask(world, "Evolution", "getDeltas", &rest));
            for (_, id, _) in items.iter().filter(|(sync, ..)| sync == "delete") {
                self.entries.remove(id);
            }
            let rest = items.into_iter().filter(|(sync, ..)| sync != "delete");
            self.entries.extend(rest.map(|(_, id, name)| (id, name)));
        }
        self.known = server;
    }

    /// systemAddressBookState: pages of 50 until fewer arrive, in their order.
    fn kde(&mut self, world: &mut World) {
        let server = self.info(world, "");
        let stored = self.known;
        if stored.0 == 0 || stored.1 == 0 || server.0 > stored.1 || server.2 != stored.2 {
            self.reload(world, "");
        } else if server.1 != stored.1 {
            let mut from = stored.1 + 1;
            loop {
                let info = format!(
                    "<count>50</count><firstSequence>{from}</firstSequence><lastTimePORebuild>{}</lastTimePORebuild>",
                    stored.2
                );
                let body = self.ask(world, "", "getDeltas", &format!("<deltaInfo>{info}</deltaInfo>"));
                if status(&body) == 55062 {
                    self.reload(world, "");
                    break;
                }
                let items = items(&body);
                let count = items.len();
                for (sync, id, name) in items {
                    if sync == "delete" {
                        self.entries.remove(&id);
                    } else {
                        self.entries.insert(id, name);
                    }
                }
                if count < 50 {
                    break;
                }
                from += 50;
            }
        }
        self.known = server;
    }
}

/// Sync, id and name of each item.
fn items(body: &str) -> Vec<(String, String, String)> {
    let document = roxmltree::Document::parse(body).expect("answers are well-formed");
    let items = document.descendants().filter(|node| node.tag_name().name() == "item");
    let of = |item: roxmltree::Node<'_, '_>| {
        let text = |name: &str| {
            let child = item.children().find(|it| it.tag_name().name() == name);
            child.and_then(|it| it.text()).unwrap_or_default().to_owned()
        };
        (text("sync"), text("id"), text("name"))
    };
    items.map(of).collect()
}

#[test]
fn clients_end_with_the_servers_address_book() {
    let (mut reloads, mut polls) = (0, 0);
    for seed in 0..120 {
        let mut chance = Chance(seed);
        let mut world = World::with(&[("book-deltas", "400")]);
        let (mut evolution, mut kde) = (Client::default(), Client::default());
        for _ in 0..40 {
            match chance.below(10) {
                0..5 => change(&mut world, &mut chance),
                5 | 6 => evolution.evolution(&mut world),
                7 | 8 => kde.kde(&mut world),
                _ => upset(&mut world, &mut chance),
            }
            polls += 1;
        }
        // What a client skipped it is told when it looks again.
        (0..2).for_each(|_| evolution.evolution(&mut world));
        kde.kde(&mut world);
        let session = log_in(&mut world);
        let body = on_book(&mut world, &session, "getItems", "");
        let server: BTreeMap<_, _> = items(&body).into_iter().map(|(_, id, name)| (id, name)).collect();
        assert_eq!(evolution.entries, server, "Evolution, seed {seed}");
        assert_eq!(kde.entries, server, "KDE, seed {seed}");
        reloads += evolution.reloads + kde.reloads;
    }
    assert!(reloads < polls / 4, "clients reload too often: {reloads} of {polls}");
}

/// Some changes of a small book, now and then more than fit into Evolution's page.
fn change(world: &mut World, chance: &mut Chance) {
    let count = if chance.below(4) == 0 { 150 } else { chance.below(6) + 1 };
    let changes = (0..count).map(|_| {
        let id = format!("e{}", chance.below(30));
        let kind = ["contact", "group", "resource", "organization"][chance.below(4) as usize];
        match chance.below(3) {
            0 => BookChange::Deleted(id),
            _ => BookChange::Modified(entry(kind, &id, &format!("name {}", chance.below(1000)))),
        }
    });
    book(world, changes.collect());
}

/// Time, rebuilds, gaps, restarts.
fn upset(world: &mut World, chance: &mut Chance) {
    match chance.below(5) {
        0 => drop(world.wait(chance.below(20) * 86_400_000)),
        1 => {
            let kept = (0..10).map(|number| BookChange::Added(entry("contact", &format!("e{number}"), "kept")));
            let changes = [BookChange::RebuildStarted].into_iter().chain(kept).chain([BookChange::RebuildFinished]);
            book(world, changes.collect());
        }
        2 => drop(book(world, vec![BookChange::Gap])),
        3 => drop(world.wait(600_000)),
        _ => restart(world, chance.below(3) == 0),
    }
}

fn restart(world: &mut World, regressed: bool) {
    let saved = world.saved();
    let mut again = Notify::default();
    let format = &postbell_notify::describe().state_formats[0];
    for (number, part) in saved.iter().enumerate() {
        again.load(format, part, number + 1 < saved.len()).expect("what was saved");
    }
    world.notify = again;
    assert_eq!(world.saved(), saved);
    let at = world.at();
    world.notify.restarted(at, Restart { down_ms: 5000, regressed });
}
