//! A model of keys and records, beside the real ones, over random configurations, changes, reads and restarts: every
//! record that a definition covers is there until it is removed or too old, once for each key, and no other; and exactly
//! those are told who wait for that.

use std::collections::BTreeMap;

use super::*;
use crate::groupwise::model::Chance;
use crate::world::{item, moved};

const KEYS: [&str; 3] = ["a", "b", "c"];
const FOLDERS: [&str; 3] = ["inbox", "drafts", "trash"];
const EVENTS: [&str; 9] = [
    "FolderItemAdd",
    "FolderItemMove",
    "ItemDelete",
    "ItemUndelete",
    "ItemPurge",
    "ItemMarkRead",
    "ItemModify",
    "Logout",
    "ItemArchive",
];
const HISTORIES: u64 = 150;
const STEPS: u64 = 120;

/// Something that a change must cause: its type, the record in short, the containers that it names, the type of its item.
struct Event {
    event: &'static str,
    short: String,
    containers: Vec<String>,
    kind: &'static str,
}

fn about(event: &'static str, item: &Item, from: &str) -> Event {
    let (class, kind) = if item.kind == "message" { ("@16", "Mail") } else { ("@19", "Appointment") };
    let field = if event == "ItemModify" { "Subject" } else { "-" };
    let source = if from.is_empty() { "-".to_owned() } else { format!("{from}@16") };
    let containers = [&item.folder, from].into_iter().filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let short = format!("{event} {} {}{class}<-{source} {field} {kind}", item.id, item.folder);
    Event { event, short, containers, kind }
}

#[derive(Clone, Default)]
struct Definition {
    events: Vec<&'static str>,
    kind: Option<&'static str>,
    containers: Option<(bool, Vec<&'static str>)>,
}

impl Definition {
    fn covers(&self, event: &Event) -> bool {
        let anywhere = event.containers.is_empty();
        let there = |(not, listed): &(bool, Vec<&str>)| {
            anywhere || event.containers.iter().any(|container| listed.contains(&container.as_str()) != *not)
        };
        self.events.contains(&event.event)
            && self.kind.is_none_or(|kind| event.kind.is_empty() || event.kind == kind)
            && self.containers.as_ref().is_none_or(there)
    }

    fn wire(&self) -> String {
        let kind = self.kind.map_or(String::new(), |kind| format!("<type>{kind}</type>"));
        let containers = self.containers.as_ref().map_or(String::new(), |(not, listed)| {
            let listed: String = listed.iter().map(|id| format!("<container>{id}@16</container>")).collect();
            format!("<containers not=\"{not}\">{listed}</containers>")
        });
        definition(&self.events.join(" "), &(kind + &containers))
    }
}

struct Record {
    short: String,
    at: u64,
    serial: u64,
}

#[derive(Default)]
struct Key {
    definition: Option<Definition>,
    enabled: bool,
    listens: bool,
    armed: bool,
    days: u64,
    used: u64,
    seen: u64,
    records: Vec<Record>,
}

impl Key {
    fn ends(&self, heard: u64) -> u64 {
        (heard + self.days * DAY).div_ceil(DAY) * DAY
    }

    /// Removes records; whether the key has lost its last one so.
    fn age(&mut self, is_over: impl Fn(&Key, u64) -> bool) -> bool {
        let over = self.records.iter().take_while(|record| is_over(self, record.at)).count();
        self.records.drain(..over);
        over > 0 && self.records.is_empty()
    }
}

struct Model {
    site: Site,
    chance: Chance,
    keys: BTreeMap<&'static str, Key>,
    serial: u64,
    items: u64,
    told: Vec<String>,
    expected: Vec<&'static str>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let (site, keys) = (Site::new(), BTreeMap::new());
        Model { site, chance: Chance(seed), keys, serial: 0, items: 0, told: Vec::new(), expected: Vec::new() }
    }

    fn step(&mut self) {
        let key = KEYS[self.chance.below(3) as usize];
        match self.chance.below(20) {
            0 | 1 => self.configure(key),
            2..=5 => self.read(key),
            6 => self.remove_events(key),
            7 => self.remove_configuration(key),
            8 => self.clean(),
            9..=11 => self.wait(),
            12 => self.site.reload(),
            13 => self.restart(),
            _ => self.change(),
        }
        self.told.sort_unstable();
        self.expected.sort_unstable();
        assert_eq!(self.told, self.expected);
        self.told.clear();
        self.expected.clear();
        assert_eq!(self.site.world.gauge("groupwise_keys", ""), self.keys.len() as f64);
    }

    /// Whoever is called, answers.
    fn hear(&mut self, reaction: &Reaction) {
        for call in &reaction.calls {
            let body = String::from_utf8(call.body.clone()).expect("text");
            let lines = body.lines().step_by(2).map(|line| line.split("<key>").nth(1).expect("a key")[..1].to_owned());
            self.told.extend(lines);
            let outcome = Outcome::Answered(Response { status: 0, body: Vec::new() });
            let more = self.site.world.finish(call.id, outcome);
            self.hear(&more);
        }
    }

    fn expect_told(&mut self, name: &'static str) {
        self.expected.push(name);
        self.keys.get_mut(name).expect("it is there").armed = false;
    }

    fn ask(&mut self, operation: &str) -> Reaction {
        let reaction = self.site.ask(operation);
        self.hear(&reaction);
        reaction
    }

    fn configure(&mut self, name: &'static str) {
        let events: Vec<_> = EVENTS.into_iter().filter(|_| self.chance.below(3) > 0).collect();
        let kind = [None, None, Some("Mail"), Some("Appointment")][self.chance.below(4) as usize];
        let listed: Vec<_> = FOLDERS.into_iter().filter(|_| self.chance.below(2) > 0).collect();
        let containers = (self.chance.below(2) > 0 && !listed.is_empty()).then(|| (self.chance.below(2) > 0, listed));
        let said = Definition { events, kind, containers };
        let (enabled, listens, days) = (self.chance.below(6) > 0, self.chance.below(2) > 0, self.chance.below(4));
        let rest = format!(
            "<persistence>{days}</persistence>{}{}",
            if listens { LISTENER } else { "" },
            if said.events.is_empty() { String::new() } else { said.wire() },
        );
        let operation = configuration(name, &rest).replace("\"1\"", if enabled { "\"1\"" } else { "\"0\"" });
        let reaction = self.ask(&operation);
        assert_eq!(status(&text(&reaction.replies[0])), 0);
        let key = self.keys.entry(name).or_default();
        if !said.events.is_empty() || key.definition.is_none() {
            key.definition = Some(said);
        }
        (key.enabled, key.listens, key.days) = (enabled, listens, days);
        let now = self.site.world.now;
        key.age(|key, heard| key.ends(heard) <= now);
        key.armed = enabled && listens;
        key.used = self.site.world.now;
        if key.armed && !key.records.is_empty() {
            self.expect_told(name);
        }
    }

    /// Reads, and the answer arrives, does not, or is cut off by a restart.
    fn read(&mut self, name: &'static str) {
        let (remove, notify) = (self.chance.below(2) > 0, self.chance.below(2) > 0);
        let count = self.chance.below(5);
        let from = self.keys.get(name).and_then(|key| key.records.get(count as usize)).map(|record| record.at / 1000);
        let from = from.filter(|_| self.chance.below(4) == 0);
        let rest = format!(
            "{}<remove>{}</remove><notify>{}</notify>{}",
            if count == 0 { String::new() } else { format!("<count>{count}</count>") },
            u8::from(remove),
            u8::from(notify),
            from.map_or(String::new(), |seconds| format!("<from>{}</from>", date(seconds))),
        );
        let reaction = self.ask(&get_events(name, &rest));
        let found = short(&text(&reaction.replies[0]));
        let Some(key) = self.keys.get_mut(name) else {
            return assert_eq!(found, ["53761"]);
        };
        key.used = self.site.world.now;
        let meant = key.records.iter().filter(|record| from.is_none_or(|from| record.at / 1000 >= from));
        let given: Vec<_> = meant.take(if count == 0 { 256 } else { count as usize }).map(|it| it.serial).collect();
        let expected = key.records.iter().filter(|record| given.contains(&record.serial));
        assert_eq!(found, expected.map(|record| record.short.clone()).collect::<Vec<_>>());

        let last = given.last().copied().unwrap_or_default();
        let again = given.len() < key.records.len() && (last > key.seen || remove && !given.is_empty());
        key.seen = key.seen.max(last);
        key.armed |= notify && key.enabled && key.listens && key.definition.is_some();
        if notify && key.armed && again {
            self.expect_told(name);
        }
        let ends = self.chance.below(4);
        if ends > 1 {
            let reaction = self.site.settle(&reaction, 1);
            self.hear(&reaction);
            let key = self.keys.get_mut(name).expect("it is there");
            key.records.retain(|record| !remove || !given.contains(&record.serial));
            self.forget_if_empty(name);
            return;
        }
        let reaction = if ends == 0 { self.site.settle(&reaction, 0) } else { self.restarted() };
        self.hear(&reaction);
        if self.keys[name].armed && remove && !given.is_empty() {
            self.expect_told(name);
        }
    }

    fn remove_events(&mut self, name: &'static str) {
        let until = self.keys.get(name).and_then(|key| key.records.get(2)).map(|record| record.at / 1000);
        let rest = until.map_or(String::new(), |seconds| format!("<until>{}</until>", date(seconds)));
        self.ask(&format!("<removeEventsRequest><key>{name}</key>{rest}</removeEventsRequest>"));
        if let Some(key) = self.keys.get_mut(name) {
            key.used = self.site.world.now;
            key.records.retain(|record| until.is_some_and(|until| record.at / 1000 > until));
            self.forget_if_empty(name);
        }
    }

    fn remove_configuration(&mut self, name: &'static str) {
        self.ask(&format!("<removeEventConfigurationRequest><key>{name}</key></removeEventConfigurationRequest>"));
        if let Some(key) = self.keys.get_mut(name) {
            (key.definition, key.enabled, key.armed) = (None, false, false);
            self.forget_if_empty(name);
        }
    }

    fn clean(&mut self) {
        let all = self.chance.below(4) == 0;
        self.ask(&format!("<cleanEventConfigurationRequest><all>{all}</all></cleanEventConfigurationRequest>"));
        let now = self.site.world.now;
        self.keys.retain(|_, key| !all && !key.age(|key, heard| heard + key.days * DAY <= now));
    }

    /// A key without configuration and records is none.
    fn forget_if_empty(&mut self, name: &str) {
        if self.keys.get(name).is_some_and(|key| key.definition.is_none() && key.records.is_empty()) {
            self.keys.remove(name);
        }
    }

    fn wait(&mut self) {
        let longest = if self.chance.below(30) == 0 { 22 * DAY } else { DAY / 2 };
        let ms = self.chance.below(longest);
        let reaction = self.site.world.wait(ms);
        self.hear(&reaction);
        let now = self.site.world.now;
        self.keys.retain(|_, key| !key.age(|key, heard| key.ends(heard) <= now));
        self.keys.retain(|_, key| (key.used - key.used % DAY) + 21 * DAY > now);
    }

    fn restarted(&mut self) -> Reaction {
        let at = self.site.world.at();
        self.site.world.notify.restarted(at, Restart { down_ms: 0, regressed: false })
    }

    fn restart(&mut self) {
        self.site.reload();
        let reaction = self.restarted();
        self.hear(&reaction);
    }

    fn change(&mut self) {
        self.items += 1;
        let id = format!("m{}", self.items);
        let [folder, other] = [0; 2].map(|_| FOLDERS[self.chance.below(3) as usize]);
        let mail = item(folder, &id);
        let (what, events) = match self.chance.below(7) {
            0 => (Happening::MessageDelivered(mail.clone()), vec![about("FolderItemAdd", &mail, "")]),
            1 => {
                let item = Item { kind: "appointment".into(), ..item("calendar", &id) };
                (Happening::ItemCreated(item.clone()), vec![about("FolderItemAdd", &item, "")])
            }
            2 => altered(&mail, "ItemMarkRead", 1, "flags"),
            3 => altered(&mail, "ItemModify", 0, "subject"),
            4 => {
                let event = match (folder, other) {
                    ("trash", "trash") => "FolderItemMove",
                    ("trash", _) => "ItemUndelete",
                    (_, "trash") => "ItemDelete",
                    _ => "FolderItemMove",
                };
                (moved((folder, &id), (other, &id)), vec![about(event, &item(other, &id), folder)])
            }
            5 => {
                let deleted = (folder != "trash").then(|| about("ItemDelete", &mail, ""));
                let purged = about("ItemPurge", &mail, "");
                (Happening::ItemDeleted(mail), deleted.into_iter().chain([purged]).collect())
            }
            _ => {
                let event = Event { event: "Logout", short: "Logout - -<-- - -".into(), containers: vec![], kind: "" };
                (Happening::VisitEnded(Visit::default()), vec![event])
            }
        };
        let reaction = self.site.happens(what);
        assert_eq!(reaction.rejections, []);
        self.hear(&reaction);
        events.iter().for_each(|event| self.record(event));
    }

    fn record(&mut self, event: &Event) {
        let at = self.site.world.now;
        for name in KEYS {
            let Some(key) = self.keys.get_mut(name) else {
                continue;
            };
            if !key.enabled || !key.definition.as_ref().is_some_and(|definition| definition.covers(event)) {
                continue;
            }
            self.serial += 1;
            key.records.push(Record { short: event.short.clone(), at, serial: self.serial });
            if key.armed {
                self.expect_told(name);
            }
        }
    }

    /// Everything that is there, in the end.
    fn compare(&mut self) {
        for name in KEYS {
            let found = self.site.events(name, "");
            match self.keys.get(name) {
                Some(key) => assert_eq!(found, key.records.iter().map(|it| it.short.clone()).collect::<Vec<_>>()),
                None => assert_eq!(found, ["53761"]),
            }
        }
    }
}

fn altered(item: &Item, event: &'static str, flags: u64, field: &str) -> (Happening, Vec<Event>) {
    let events = vec![about(event, item, "")];
    let item = Item { flags, ..item.clone() };
    let fields = vec![field.to_owned()];
    (Happening::ItemModified(ItemAlteration { item, flags_before: Some(0), tags_before: None, fields }), events)
}

/// Seconds since the epoch as a date, by way of how many days the year has had.
fn date(seconds: u64) -> String {
    let (mut year, mut days) = (1970, seconds / 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= if is_leap(year) { 366 } else { 365 } {
        days -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year}-{:02}-{:02}T{hours:02}:{minutes:02}:{:02}", month + 1, days + 1, seconds % 60)
}

#[test]
fn every_record_is_there_once_for_each_key_until_it_ends() {
    let histories = std::env::var("POSTBELL_HISTORIES").map_or(HISTORIES, |number| number.parse().expect("a number"));
    let first = std::env::var("POSTBELL_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    for seed in first..first + histories {
        let run = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            (0..STEPS).for_each(|_| model.step());
            model.compare();
        });
        if let Err(why) = run {
            eprintln!("POSTBELL_SEED={seed} repeats this");
            std::panic::resume_unwind(why);
        }
    }
}
