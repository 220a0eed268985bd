//! What happens in a mailbox, and which events EWS clients are to be told of it: written down here for itself, from how
//! Exchange behaves, and not asked of the code under test.

use std::collections::{BTreeMap, BTreeSet};

use postbell_notify::contract::{
    Change, Folder, FolderAlteration, FolderCounts, FolderRelocation, Happening, Item, ItemAlteration, ItemRelocation,
};
use postbell_tests::ews::Event;
use postbell_tests::histories::Random;

/// Folders that every mailbox has from the start; a message that is deleted softly goes to the last.
pub const FOLDERS: [&str; 4] = ["inbox", "drafts", "calendar", "recoverableitemsdeletions"];

/// One account's folders and items, as the source of changes knows them.
#[derive(Debug)]
pub struct Mailbox {
    pub account: &'static str,
    folders: BTreeMap<String, Known>,
    /// Id and folder.
    items: Vec<(String, String)>,
    /// An item that was moved, under the id and in the folder where it was.
    moved: Option<(String, String)>,
    named: u32,
}

/// What is known of a folder. The root has the id "".
#[derive(Clone, Debug, Default)]
struct Known {
    parent: String,
    unread: Option<u32>,
}

/// A change and what follows from it.
#[derive(Debug)]
pub struct Happened {
    pub change: Change,
    pub events: Vec<Event>,
    /// A folder that has another id now: before and after.
    pub renamed: Option<(String, String)>,
}

impl Mailbox {
    pub fn new(account: &'static str) -> Mailbox {
        let folders = FOLDERS.map(|id| (id.to_owned(), Known::default())).into();
        Mailbox { account, folders, items: Vec::new(), moved: None, named: 0 }
    }

    /// What the source says of the folders at the start.
    pub fn baseline(&self) -> Happening {
        Happening::Baseline(FOLDERS.map(|id| folder(id, "", None)).to_vec())
    }

    /// The folders that there are, without the root.
    pub fn folders(&self) -> Vec<&str> {
        self.folders.keys().map(String::as_str).collect()
    }

    /// Something happens at this time.
    pub fn happen(&mut self, random: &mut Random, at: u64) -> Happened {
        let mut telling = Telling { events: Vec::new(), touched: Vec::new(), uncounted: Vec::new(), renamed: None };
        let what = self.happening(random, &mut telling);
        let mut counts = Vec::new();
        for _ in 0..random.below(3) {
            let folder = match telling.touched.first() {
                Some((touched, _)) if !touched.is_empty() && random.below(2) == 0 => touched.clone(),
                _ => self.some_folder(random),
            };
            if !counts.iter().any(|count: &FolderCounts| count.folder == folder) {
                counts.push(FolderCounts { folder, unread: random.below(4) as u32, total: 9, revision: None });
            }
        }
        self.count(&mut telling, &counts);
        let Telling { mut events, touched, renamed, .. } = telling;
        events.extend(touched.into_iter().map(|(id, unread)| self.modified(&id, unread)));
        Happened { change: Change { number: None, at, origin: None, counts, what }, events, renamed }
    }

    fn happening(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        match random.below(24) {
            0..8 => self.delivered(random, telling),
            8 => self.created(random, telling),
            9..12 => self.altered(random, telling),
            12 | 13 => self.deleted(random, telling),
            14..17 => self.moved(random, telling),
            17 => self.deleted_after_a_move(random, telling),
            18 => self.copied(random, telling),
            19 => self.folder_created(random, telling),
            20 => self.folder_modified(random, telling),
            21 => self.folder_moved(random, telling),
            22 => self.folder_copied(random, telling),
            _ => self.folder_deleted(random, telling),
        }
    }

    /// A message that arrives is created, is new mail, and leaves its folder with one more that is unread.
    fn delivered(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let (id, folder) = self.new_item(random);
        telling.item("CreatedEvent", &id, &folder);
        telling.item("NewMailEvent", &id, &folder);
        telling.touch(&folder);
        telling.uncounted.push((folder.clone(), Going::OneMoreUnread));
        Happening::MessageDelivered(item(&id, &folder))
    }

    fn created(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let (id, folder) = self.new_item(random);
        telling.item("CreatedEvent", &id, &folder);
        telling.touch(&folder);
        telling.uncounted.push((folder.clone(), Going::Unknown));
        Happening::ItemCreated(item(&id, &folder))
    }

    /// What changes in an item, or in the times that it says are busy, leaves its folder as it is.
    fn altered(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let Some(at) = self.some_item(random) else { return self.delivered(random, telling) };
        let (id, folder) = &self.items[at];
        if random.below(3) == 0 {
            telling.item("FreeBusyChangedEvent", id, folder);
            return Happening::FreeBusyChanged(item(id, folder));
        }
        telling.item("ModifiedEvent", id, folder);
        telling.uncounted.push((folder.clone(), Going::Unknown));
        Happening::ItemModified(ItemAlteration { item: item(id, folder), ..ItemAlteration::default() })
    }

    fn deleted(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let Some(at) = self.some_item(random) else { return self.delivered(random, telling) };
        let (id, folder) = self.items.swap_remove(at);
        telling.item("DeletedEvent", &id, &folder);
        telling.touch(&folder);
        telling.uncounted.push((folder.clone(), Going::OneLess));
        Happening::ItemDeleted(item(&id, &folder))
    }

    /// Both folders are another afterwards. Some sources give the item another id by it.
    fn moved(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let Some(at) = self.some_item(random) else { return self.delivered(random, telling) };
        let (id, from) = self.items.swap_remove(at);
        let to = self.some_folder(random);
        let now = if random.below(2) == 0 { id.clone() } else { self.new_id("i") };
        telling.relocated("MovedEvent", (&id, &from), (&now, &to));
        telling.touch(&from);
        telling.touch(&to);
        telling.uncounted.push((from.clone(), Going::OneLess));
        telling.uncounted.push((to.clone(), Going::Unknown));
        self.items.push((now.clone(), to.clone()));
        self.moved = Some((id.clone(), from.clone())).filter(|was| *was != (now.clone(), to.clone()));
        Happening::ItemMoved(ItemRelocation { before: item(&id, &from), after: item(&now, &to) })
    }

    /// Some sources write a deletion after a move: nothing more has happened.
    fn deleted_after_a_move(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        match self.moved.take() {
            Some((id, from))
                if !self.items.contains(&(id.clone(), from.clone())) && self.folders.contains_key(&from) =>
            {
                Happening::ItemDeleted(item(&id, &from))
            }
            _ => self.moved(random, telling),
        }
    }

    fn copied(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let Some(at) = self.some_item(random) else { return self.delivered(random, telling) };
        let (original, from) = self.items[at].clone();
        let (copy, to) = self.new_item(random);
        telling.relocated("CopiedEvent", (&original, &from), (&copy, &to));
        telling.touch(&to);
        telling.uncounted.push((to.clone(), Going::Unknown));
        Happening::ItemCopied(ItemRelocation { before: item(&original, &from), after: item(&copy, &to) })
    }

    fn folder_created(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let (id, parent, unread) = (self.new_id("f"), self.some_parent(random), some_count(random));
        self.folders.insert(id.clone(), Known { parent: parent.clone(), unread });
        telling.events.push(of_folder("CreatedEvent", &id, &parent));
        Happening::FolderCreated(folder(&id, &parent, unread))
    }

    fn folder_modified(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let (id, unread) = (self.some_folder(random), some_count(random));
        let known = self.folders.get_mut(&id).expect("it was chosen among them");
        known.unread = unread.or(known.unread);
        let parent = known.parent.clone();
        telling.events.push(self.modified(&id, unread));
        let folder = folder(&id, &parent, unread);
        Happening::FolderModified(FolderAlteration { folder, ..FolderAlteration::default() })
    }

    /// The folder and both that it was and is in; some sources give it another id by it.
    fn folder_moved(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let Some(id) = self.some_own_folder(random) else { return self.folder_created(random, telling) };
        let mut known = self.folders[&id].clone();
        let now = if random.below(2) == 0 { id.clone() } else { self.new_id("f") };
        let from = std::mem::replace(&mut known.parent, self.some_parent(random));
        let to = known.parent.clone();
        let moved = of_folder("MovedEvent", &now, &to);
        telling.events.push(Event { old: Some(shown(&id)), old_parent: Some(shown(&from)), ..moved });
        self.folders.remove(&id);
        self.folders.insert(now.clone(), known);
        for (_, folder) in self.items.iter_mut().filter(|(_, folder)| *folder == id) {
            folder.clone_from(&now);
        }
        telling.touch(&from);
        telling.touch(&to);
        telling.renamed = (id != now).then(|| (id.clone(), now.clone()));
        Happening::FolderMoved(FolderRelocation { before: folder(&id, &from, None), after: folder(&now, &to, None) })
    }

    fn folder_copied(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let Some(id) = self.some_own_folder(random) else { return self.folder_created(random, telling) };
        let (copy, from, to) = (self.new_id("f"), self.folders[&id].parent.clone(), self.some_parent(random));
        self.folders.insert(copy.clone(), Known { parent: to.clone(), unread: None });
        let copied = of_folder("CopiedEvent", &copy, &to);
        telling.events.push(Event { old: Some(shown(&id)), old_parent: Some(shown(&from)), ..copied });
        telling.touch(&to);
        Happening::FolderCopied(FolderRelocation { before: folder(&id, &from, None), after: folder(&copy, &to, None) })
    }

    fn folder_deleted(&mut self, random: &mut Random, telling: &mut Telling) -> Happening {
        let Some(id) = self.some_own_folder(random) else { return self.folder_created(random, telling) };
        let parent = self.folders.remove(&id).expect("it was chosen among them").parent;
        self.items.retain(|(_, folder)| *folder != id);
        telling.events.push(of_folder("DeletedEvent", &id, &parent));
        Happening::FolderDeleted(folder(&id, &parent, None))
    }

    /// Counts that the source gives are told with what is told of the folder anyway, or if they are others than before.
    /// Where it gives none, an unread count goes on as long as it is certain: one that is known has one more with a new
    /// message, and none stays none when something goes.
    fn count(&mut self, telling: &mut Telling, counts: &[FolderCounts]) {
        for (folder, going) in std::mem::take(&mut telling.uncounted) {
            if counts.iter().any(|count| count.folder == folder) {
                continue;
            }
            let known = &mut self.folders.get_mut(&folder).expect("it was chosen among them").unread;
            let before = *known;
            *known = match (before, going) {
                (Some(unread), Going::OneMoreUnread) => Some(unread + 1),
                (Some(0), Going::OneLess) => Some(0),
                _ => None,
            };
            if let Some((_, told)) = telling.touched.iter_mut().find(|(touched, _)| *touched == folder)
                && known.is_some()
                && *known != before
            {
                *told = *known;
            }
        }
        for count in counts {
            let known = self.folders.get_mut(&count.folder).expect("it was chosen among them");
            let differs = known.unread.replace(count.unread) != Some(count.unread);
            match telling.touched.iter_mut().find(|(touched, _)| *touched == count.folder) {
                Some((_, unread)) => *unread = Some(count.unread),
                None if differs => telling.touched.push((count.folder.clone(), Some(count.unread))),
                None => {}
            }
        }
    }

    /// The root is in itself.
    fn modified(&self, id: &str, unread: Option<u32>) -> Event {
        let parent = self.folders.get(id).map_or("", |known| &known.parent);
        Event { unread, ..of_folder("ModifiedEvent", id, parent) }
    }

    fn new_id(&mut self, prefix: &str) -> String {
        self.named += 1;
        format!("{prefix}{}", self.named)
    }

    fn new_item(&mut self, random: &mut Random) -> (String, String) {
        let new = (self.new_id("i"), self.some_folder(random));
        self.items.push(new.clone());
        new
    }

    fn some_item(&self, random: &mut Random) -> Option<usize> {
        (!self.items.is_empty()).then(|| random.below(self.items.len() as u64) as usize)
    }

    fn some_folder(&self, random: &mut Random) -> String {
        if random.below(2) == 0 { "inbox".into() } else { random.pick(&self.folders()).to_owned() }
    }

    /// One that may be moved and deleted, and that no other is in.
    fn some_own_folder(&self, random: &mut Random) -> Option<String> {
        let own: Vec<&str> = self.folders.keys().map(String::as_str).filter(|id| !FOLDERS.contains(id)).collect();
        (!own.is_empty()).then(|| random.pick(&own).to_owned())
    }

    /// One of the folders that stay, or the root.
    fn some_parent(&self, random: &mut Random) -> String {
        random.pick(&["", "inbox", "drafts"]).to_owned()
    }
}

/// What one change is being told as.
struct Telling {
    events: Vec<Event>,
    /// Folders to be told as modified, with their unread items if these are known.
    touched: Vec<(String, Option<u32>)>,
    /// What happened in folders whose counts the source may not give.
    uncounted: Vec<(String, Going)>,
    renamed: Option<(String, String)>,
}

/// How a folder's unread items change.
#[derive(Clone, Copy)]
enum Going {
    OneMoreUnread,
    /// Something went that may have been unread.
    OneLess,
    Unknown,
}

impl Telling {
    fn item(&mut self, kind: &str, id: &str, folder: &str) {
        self.events.push(of_item(kind, id, folder));
    }

    fn relocated(&mut self, kind: &str, (old, from): (&str, &str), (new, to): (&str, &str)) {
        let (old, old_parent) = (Some(old.to_owned()), Some(shown(from)));
        self.events.push(Event { old, old_parent, ..of_item(kind, new, to) });
    }

    fn touch(&mut self, folder: &str) {
        if !self.touched.iter().any(|(touched, _)| touched == folder) {
            self.touched.push((folder.to_owned(), None));
        }
    }
}

/// Of what one input says of a folder's being modified, only the last is told, and the last count that was known.
pub fn coalesced(events: Vec<Event>) -> Vec<Event> {
    let (mut kept, mut later): (Vec<Event>, BTreeSet<String>) = Default::default();
    for event in events.into_iter().rev() {
        match event.folder.as_ref().filter(|_| event.kind == "ModifiedEvent") {
            Some(folder) if !later.insert(folder.clone()) => {
                let told = kept.iter_mut().find(|it| it.kind == "ModifiedEvent" && it.folder == event.folder);
                let told = told.expect("it is told later");
                told.unread = told.unread.or(event.unread);
            }
            _ => kept.push(event),
        }
    }
    kept.reverse();
    kept
}

/// Whether a subscription to these kinds, of these folders or of all, is to hear of an event: of what happens to items
/// in its folders, to the folders themselves, and to folders that come to be in, leave or cease to be in them. What
/// changes inside a folder below is not its own.
pub fn covers(kinds: &[&str], folders: Option<&BTreeSet<String>>, event: &Event) -> bool {
    let Some(folders) = folders else { return kinds.contains(&event.kind.as_str()) };
    let among = |folder: &Option<String>| folder.as_ref().is_some_and(|folder| folders.contains(folder));
    let below = event.folder.is_some() && event.kind == "ModifiedEvent";
    let inside = !below && (among(&event.parent) || among(&event.old_parent));
    kinds.contains(&event.kind.as_str()) && (among(&event.folder) || inside)
}

fn of_item(kind: &str, id: &str, folder: &str) -> Event {
    Event { kind: kind.into(), item: Some(id.into()), parent: Some(shown(folder)), ..Event::default() }
}

fn of_folder(kind: &str, id: &str, parent: &str) -> Event {
    Event { kind: kind.into(), folder: Some(shown(id)), parent: Some(shown(parent)), ..Event::default() }
}

fn shown(folder: &str) -> String {
    if folder.is_empty() { "root".into() } else { folder.into() }
}

fn some_count(random: &mut Random) -> Option<u32> {
    (random.below(2) == 0).then(|| random.below(4) as u32)
}

fn item(id: &str, folder: &str) -> Item {
    Item { kind: "message".into(), id: id.into(), folder: folder.into(), ..Item::default() }
}

/// The root is the empty id; a folder's parent may be the root.
fn folder(id: &str, parent: &str, unread: Option<u32>) -> Folder {
    let (id, parent, name) = (id.to_owned(), parent.to_owned(), id.to_owned());
    Folder { id, parent, name, holds: "message".into(), unread, ..Folder::default() }
}
