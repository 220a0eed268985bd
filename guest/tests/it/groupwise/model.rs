//! The decision logic of Evolution and of KDE, as clients that end with the server's address book after any history.

use std::collections::BTreeMap;

use postbell_notify::Notify;

use super::*;

/// A small generator (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % limit
    }
}

/// What a client keeps of the deltas: first, last, and when the book was rebuilt.
type Known = (i64, i64, i64);

/// The server, to which something may happen before each request.
struct Server {
    world: World,
    chance: Chance,
    /// How often in a hundred requests something happens before.
    unrest: u64,
    /// The host has forgotten every login before this one.
    logins: u32,
}

impl Server {
    fn new(seed: u64) -> Self {
        Self { world: World::with(&[("book-deltas", "400")]), chance: Chance(seed), unrest: 0, logins: 0 }
    }

    fn ask(&mut self, session: &str, name: &str, rest: &str) -> String {
        if self.chance.below(100) < self.unrest {
            self.happen();
        }
        on_book(&mut self.world, session, name, rest)
    }

    fn happen(&mut self) {
        if self.chance.below(5) == 0 { self.upset() } else { self.change() }
    }

    /// Some changes of a small book, now and then more than fit into Evolution's page.
    fn change(&mut self) {
        let chance = &mut self.chance;
        let count = if chance.below(4) == 0 { 150 } else { chance.below(6) + 1 };
        let changes = (0..count).map(|_| {
            let id = format!("e{}", chance.below(30));
            let kind = ["contact", "group", "resource", "organization"][chance.below(4) as usize];
            match chance.below(3) {
                0 => BookChange::Deleted(id),
                _ => BookChange::Modified(entry(kind, &id, &format!("name {}", chance.below(1000)))),
            }
        });
        let changes = changes.collect();
        book(&mut self.world, changes);
    }

    /// Time, rebuilds whole or in pieces, gaps, restarts.
    fn upset(&mut self) {
        let chance = &mut self.chance;
        let change = match chance.below(8) {
            0 => return drop(self.world.wait(chance.below(20) * 86_400_000)),
            1 => return drop(self.world.wait(600_000)),
            2 | 3 => return self.restart(),
            4 => vec![BookChange::Gap],
            5 => vec![BookChange::RebuildStarted],
            6 => vec![BookChange::RebuildFinished],
            _ => {
                let kept = (0..10).map(|number| BookChange::Added(entry("contact", &format!("e{number}"), "kept")));
                [BookChange::RebuildStarted].into_iter().chain(kept).chain([BookChange::RebuildFinished]).collect()
            }
        };
        book(&mut self.world, change);
    }

    /// What was saved is loaded; often by another process, which knows no login.
    fn restart(&mut self) {
        let saved = self.world.saved();
        let mut again = Notify::default();
        let format = &postbell_notify::describe().state_formats[0];
        for (number, part) in saved.iter().enumerate() {
            again.load(format, part, number + 1 < saved.len()).expect("what was saved");
        }
        self.world.notify = again;
        assert_eq!(self.world.saved(), saved);
        let (at, regressed) = (self.world.at(), self.chance.below(3) == 0);
        self.world.notify.restarted(at, Restart { down_ms: 5000, regressed });
        self.logins += u32::from(self.chance.below(2) == 0);
    }
}

#[derive(Default)]
struct Client {
    application: &'static str,
    session: String,
    /// How often the host had forgotten all logins at this one.
    logins: u32,
    known: Known,
    entries: BTreeMap<String, String>,
    reloads: u32,
}

impl Client {
    fn of(application: &'static str) -> Self {
        Self { application, ..Self::default() }
    }

    fn ask(&mut self, server: &mut Server, name: &str, rest: &str) -> String {
        loop {
            let session = if self.logins == server.logins { &self.session } else { "forgotten" };
            let body = server.ask(session, name, rest);
            if ![59910, 59920].contains(&status(&body)) {
                return body;
            }
            self.session = log_in_with(&mut server.world, self.application);
            self.logins = server.logins;
        }
    }

    fn info(&mut self, server: &mut Server) -> Known {
        let body = self.ask(server, "getDeltaInfo", "");
        let number = |name: &str| element(&body, name).parse().expect("a number");
        (number("firstSequence"), number("lastSequence"), number("lastTimePORebuild"))
    }

    /// The whole book by a cursor, in small pages; from the beginning again if the cursor is lost with its session.
    fn reload(&mut self, server: &mut Server) {
        self.reloads += 1;
        'again: loop {
            self.entries.clear();
            let cursor = element(&self.ask(server, "createCursor", "<view>name</view>"), "cursor");
            loop {
                let rest = format!("<cursor>{cursor}</cursor><count>7</count>");
                let body = self.ask(server, "readCursor", &rest);
                if status(&body) == 59909 {
                    continue 'again;
                }
                let items = items(&body);
                if items.is_empty() {
                    return;
                }
                self.entries.extend(items.into_iter().map(|(_, id, name)| (id, name)));
            }
        }
    }

    /// update_address_book_deltas: one page of 100, deletions first; the head counts as read whatever came.
    fn evolution(&mut self, server: &mut Server) {
        let told = self.info(server);
        let (first, last, rebuilt) = told;
        if first <= 0 || last <= 0 || first > self.known.1 || self.known.1 <= 0 || rebuilt != self.known.2 {
            self.reload(server);
        } else if self.known.1 != last {
            let info = format!("<firstSequence>{}.000000</firstSequence><count>100</count>", self.known.1 + 1);
            let rest = format!("<view>name email sync</view><deltaInfo>{info}</deltaInfo>");
            let items = items(&self.ask(server, "getDeltas", &rest));
            for (_, id, _) in items.iter().filter(|(sync, ..)| sync == "delete") {
                self.entries.remove(id);
            }
            let rest = items.into_iter().filter(|(sync, ..)| sync != "delete");
            self.entries.extend(rest.map(|(_, id, name)| (id, name)));
        }
        self.known = told;
    }

    /// systemAddressBookState: pages of 50 until fewer arrive, in their order.
    fn kde(&mut self, server: &mut Server) {
        let told = self.info(server);
        let stored = self.known;
        if stored.0 == 0 || stored.1 == 0 || told.0 > stored.1 || told.2 != stored.2 {
            self.reload(server);
        } else if told.1 != stored.1 {
            self.read_pages_of_50(server, stored);
        }
        self.known = told;
    }

    fn read_pages_of_50(&mut self, server: &mut Server, stored: Known) {
        for from in (stored.1 + 1..).step_by(50) {
            let info = format!(
                "<count>50</count><firstSequence>{from}</firstSequence><lastTimePORebuild>{}</lastTimePORebuild>",
                stored.2
            );
            let body = self.ask(server, "getDeltas", &format!("<deltaInfo>{info}</deltaInfo>"));
            if status(&body) == 55062 {
                return self.reload(server);
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
                return;
            }
        }
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
        let mut server = Server::new(seed);
        // In every second history something happens between the requests of one poll, too.
        server.unrest = if seed.is_multiple_of(2) { 0 } else { 15 };
        let (mut evolution, mut kde) = (Client::of("Evolution"), Client::of(""));
        for _ in 0..40 {
            match server.chance.below(10) {
                0..6 => server.happen(),
                6 | 7 => evolution.evolution(&mut server),
                _ => kde.kde(&mut server),
            }
            polls += 1;
        }
        server.unrest = 0;
        // What a client skipped it is told when it looks again.
        (0..2).for_each(|_| evolution.evolution(&mut server));
        (0..2).for_each(|_| kde.kde(&mut server));
        let session = log_in(&mut server.world);
        let body = on_book(&mut server.world, &session, "getItems", "");
        let book: BTreeMap<_, _> = items(&body).into_iter().map(|(_, id, name)| (id, name)).collect();
        assert_eq!(evolution.entries, book, "Evolution, seed {seed}");
        assert_eq!(kde.entries, book, "KDE, seed {seed}");
        reloads += evolution.reloads + kde.reloads;
    }
    assert!(reloads < polls / 4, "clients reload too often: {reloads} of {polls}");
}

/// KDE takes a page with fewer than 50 for the last; of large entries an answer holds fewer.
#[test]
fn a_page_that_an_answer_cuts_short_is_not_the_last() {
    let mut server = Server::new(0);
    let mut kde = Client::of("");
    book(&mut server.world, vec![BookChange::Added(entry("contact", "a", "a"))]);
    kde.kde(&mut server);
    for number in 0..60 {
        let large = entry("contact", &format!("e{number}"), &"x".repeat(40_000));
        book(&mut server.world, vec![BookChange::Added(large)]);
    }
    kde.kde(&mut server);
    assert!((2..50).contains(&kde.entries.len()), "{}", kde.entries.len());
    kde.kde(&mut server);
    assert_eq!((kde.entries.len(), kde.reloads), (61, 2));
    kde.kde(&mut server);
    assert_eq!(kde.reloads, 2, "it is in step again");
}
