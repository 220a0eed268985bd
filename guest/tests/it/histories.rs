//! Random histories: the state survives being saved and loaded, at any point, without anybody noticing.

use postbell_notify::Notify;
use postbell_notify::contract::*;

use super::world::*;

/// A small generator (splitmix64): the same seed gives the same history on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

enum Input {
    Ingest(Batch),
    Answer(Box<Request>),
    Settled(Vec<Settlement>),
    Finished(CallId, Outcome),
    Tick,
    Restarted(Restart),
    Drain,
    Configure(Vec<(String, String)>),
}

fn react(notify: &mut Notify, at: Moment, input: &Input) -> Reaction {
    match input {
        Input::Ingest(batch) => notify.ingest(at, batch.clone()),
        Input::Answer(request) => notify.answer(at, request),
        Input::Settled(settlements) => notify.settled(at, settlements),
        Input::Finished(call, outcome) => notify.finished(at, *call, outcome.clone()),
        Input::Tick => notify.tick(at),
        Input::Restarted(how) => notify.restarted(at, *how),
        Input::Drain => notify.drain(at),
        Input::Configure(settings) => notify.configure(at, settings).expect("the settings are valid"),
    }
}

struct Player {
    chance: Chance,
    world: World,
    ids: Vec<String>,
    watermarks: Vec<String>,
    streams: Vec<(u64, u32)>,
}

impl Player {
    fn input(&mut self) -> Input {
        match self.chance.below(100) {
            0..45 => Input::Ingest(self.batch()),
            45..75 => Input::Answer(Box::new(self.request())),
            75..82 => Input::Settled(self.settlements()),
            82..88 => self.finished(),
            88..96 => Input::Tick,
            96 => Input::Restarted(Restart { down_ms: 1000, regressed: self.chance.below(4) == 0 }),
            97 => Input::Drain,
            _ => {
                let events = self.chance.below(40) + 3;
                let pairs = [("domains", "example.org".to_owned()), ("ews-history-events", events.to_string())];
                Input::Configure(pairs.map(|(key, value)| (key.to_owned(), value)).to_vec())
            }
        }
    }

    fn batch(&mut self) -> Batch {
        let count = self.chance.below(5) + 1;
        let accounts = (0..count).map(|_| self.group()).collect();
        Batch { accounts, book: vec![BookChange::Gap] }
    }

    fn group(&mut self) -> AccountChanges {
        let account =
            *self.chance.of(&["alice@example.org", "ALICE@example.org", "bob@example.org", "eve@else.example"]);
        let changes = (0..self.chance.below(4)).map(|_| self.change()).collect();
        AccountChanges { account: account.into(), changes }
    }

    fn change(&mut self) -> Change {
        let (from, to) = (self.an_item(), self.an_item());
        let (one, two) = (self.a_folder(), self.a_folder());
        let what = match self.chance.below(40) {
            0..12 => Happening::MessageDelivered(from),
            12..16 => Happening::ItemCreated(from),
            16..20 => Happening::ItemDeleted(from),
            20..24 => Happening::ItemMoved(ItemRelocation { before: from, after: to }),
            24 => Happening::ItemCopied(ItemRelocation { before: from, after: to }),
            25 => Happening::FolderCreated(one),
            26 => Happening::FolderDeleted(one),
            27..29 => Happening::FolderMoved(FolderRelocation { before: one, after: two }),
            29 => Happening::FolderCopied(FolderRelocation { before: one, after: two }),
            30 => Happening::Gap,
            31 => Happening::Hinted(vec!["message".into()]),
            32 if self.chance.below(4) == 0 => Happening::AccountClosed,
            33 => Happening::AccountOpened(account("alice@example.org")),
            39 => {
                Happening::AccountModified(account(self.chance.of::<&str>(&["bob@example.org", "alice@example.org"])))
            }
            34 => Happening::AccountUnavailable(Absence::Maintenance),
            35 | 36 => Happening::AccountAvailable,
            37 => Happening::AccessChanged(AccessChange::default()),
            38 => Happening::FreeBusyChanged(from),
            _ => Happening::ItemModified(ItemAlteration { item: from, ..ItemAlteration::default() }),
        };
        if self.chance.below(3) == 0 {
            counted(self.world.now, what, &[("inbox", 3)])
        } else {
            change(self.world.now, what)
        }
    }

    fn an_item(&mut self) -> Item {
        let id = format!("m{}", self.chance.below(9));
        item(self.chance.of::<&str>(&["inbox", "drafts", "A", "A/B", ""]), &id)
    }

    fn a_folder(&mut self) -> Folder {
        let parent = self.chance.of(&["", "inbox", "A"]).to_string();
        Folder { parent, ..folder(self.chance.of::<&str>(&["inbox", "drafts", "A", "A/B", "C"])) }
    }

    fn request(&mut self) -> Request {
        let id = self.chance.of(&self.ids).clone();
        let other = self.chance.of(&self.ids).clone();
        let watermark = self.chance.of(&self.watermarks).clone();
        let folders = if self.chance.below(2) == 0 { String::new() } else { named("inbox") };
        let body = match self.chance.below(9) {
            0 => subscribe_pull(&folders, 1 + self.chance.below(20) as u32),
            1 => subscribe_streaming(&folders),
            2 => resubscribe_pull(&watermark),
            3 => unsubscribe(&id),
            4 | 5 => get_events(&id, &watermark),
            8 => subscribe_push(&folders, &frequency(1 + self.chance.below(3) as u32), "http://listener.example/"),
            _ => get_streaming_events(&[&id, &other], 1),
        };
        let login = *self.chance.of(&["alice@example.org", "alice@example.org", "bob@example.org"]);
        self.world.request(login, &body)
    }

    fn finished(&mut self) -> Input {
        let calls = self.world.notify.outstanding().calls;
        let call = if calls.is_empty() { 7 } else { *self.chance.of(&calls) };
        let outcome = match self.chance.below(8) {
            0..5 => listener_says("OK"),
            5 => listener_says("Unsubscribe"),
            6 => Outcome::Failed("gone".into()),
            _ => Outcome::Refused("no".into()),
        };
        Input::Finished(call, outcome)
    }

    fn settlements(&mut self) -> Vec<Settlement> {
        let Some(at) = self.streams.len().checked_sub(1) else {
            return Vec::new();
        };
        let at = self.chance.below(at as u64 + 1) as usize;
        let (request, sent) = self.streams[at];
        let parts = self.chance.below(u64::from(sent) + 1) as u32;
        let end = if self.chance.below(3) == 0 { Some(End::Gone) } else { None };
        if end.is_some() {
            self.streams.remove(at);
        }
        vec![Settlement { request, parts, end }]
    }

    /// Remembers what clients were given.
    fn note(&mut self, reaction: &Reaction) {
        for reply in &reaction.replies {
            let body = text(reply);
            let document = roxmltree::Document::parse(&body).expect("answers are well-formed");
            for node in document.descendants() {
                let list = match node.tag_name().name() {
                    "SubscriptionId" => &mut self.ids,
                    "Watermark" => &mut self.watermarks,
                    _ => continue,
                };
                list.push(node.text().unwrap_or_default().to_owned());
                list.drain(..list.len().saturating_sub(12));
            }
            match self.streams.iter_mut().find(|(request, _)| *request == reply.to) {
                Some((_, parts)) => *parts += u32::from(reply.confirm),
                None if reply.more => self.streams.push((reply.to, u32::from(reply.confirm))),
                None => {}
            }
        }
    }
}

fn parts(notify: &mut Notify) -> Vec<Vec<u8>> {
    (0..).map_while(|part| notify.save(part)).collect()
}

fn loaded(parts: &[Vec<u8>]) -> Notify {
    let format = &postbell_notify::describe().state_formats[0];
    let mut notify = Notify::default();
    for (number, part) in parts.iter().enumerate() {
        notify.load(format, part, number + 1 < parts.len()).expect("what was saved can be loaded");
    }
    notify
}

#[test]
fn a_loaded_state_goes_on_as_the_one_that_was_saved() {
    for seed in 0..24 {
        let mut player = Player {
            chance: Chance(seed),
            world: World::with(&[("ews-history-events", "30"), ("ews-queue-events", "20")]),
            ids: vec!["unknown".into()],
            watermarks: vec!["unknown".into()],
            streams: Vec::new(),
        };
        let mut twin = loaded(&player.world.saved());
        for step in 0..250 {
            player.world.now += player.chance.below(20_000);
            let input = player.input();
            let at = player.world.at();
            let before = player.world.saved();
            let reaction = react(&mut player.world.notify, at, &input);
            assert_eq!(react(&mut twin, at, &input), reaction, "seed {seed}, step {step}");
            assert!(reaction.replies.len() <= 256);
            let calls = player.world.notify.outstanding().calls;
            assert!(reaction.calls.iter().all(|call| calls.contains(&call.id)), "seed {seed}, step {step}");
            let pending = player.world.notify.outstanding();
            assert_eq!(pending.wake_at, reaction.wake_at, "seed {seed}, step {step}");
            let after = player.world.saved();
            if !reaction.changed {
                assert_eq!(before, after, "seed {seed}, step {step}: it said that nothing changed");
            }
            if player.chance.below(4) == 0 {
                twin = loaded(&after);
                assert_eq!(twin.outstanding(), pending);
            }
            assert_eq!(parts(&mut twin), after, "seed {seed}, step {step}");
            player.note(&reaction);
        }
    }
}

#[test]
fn a_large_state_is_saved_in_parts() {
    let mut world = World::with(&[("ews-history-events", "100000")]);
    for round in 0..30 {
        let id = |number: u64| format!("{number}-{}", "x".repeat(200));
        let changes = (0..200).map(|number| change(START, delivered("inbox", &id(round * 1000 + number)))).collect();
        world.changes("alice@example.org", changes);
    }
    let parts = world.saved();
    assert!(parts.len() > 2, "{} parts", parts.len());
    assert!(parts.iter().all(|part| part.len() <= 1 << 20));
    let mut twin = loaded(&parts);
    assert_eq!(twin.save(1).as_ref(), Some(&parts[1]));
    assert_eq!(self::parts(&mut twin), parts);
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut world = World::new();
    world.streaming();
    let format = postbell_notify::describe().state_formats.remove(0);
    let whole = world.saved().concat();
    let mut fresh = Notify::default();
    let unknown = fresh.load("other-1", &whole, false);
    assert_eq!(unknown, Err(LoadError::UnknownFormat("other-1".into())));
    for length in 0..whole.len() {
        assert!(fresh.load(&format, &whole[..length], false).is_err(), "cut to {length}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        // It may be refused or be another state; it never panics.
        let _ = fresh.load(&format, &damaged, false);
    }
    assert_eq!(fresh.load(&format, &whole, false), Ok(()));
}
