//! What a change means to those who have configured events: the one way from `changes` into records.
//!
//! README.md has the table of which change causes which event.

use super::occurrence::{Class, Container, Occurrence, Origin};
use super::words::{EventType, Field, ItemType, Word};
use crate::contract::{
    Absence, AccessChange, Change, Folder, FolderAlteration, FolderRelocation, Happening, Instant, Item,
    ItemAlteration, ItemRelocation, Visit,
};
use crate::ews::is_distinguished;
use crate::mailboxes::{self, Mailbox, ROOT};

/// Above this many folders concerned, a hint counts as a gap.
const MAX_HINTED_FOLDERS: usize = 64;

/// The role of the folder that deleted items are put into.
const TRASH: &str = "deleteditems";

/// What becomes of an item when one of its flags is set and when it is cleared (`item.flags` of the contract).
const MARKS: [(u64, EventType, Option<EventType>); 5] = [
    (1, EventType::ItemMarkRead, Some(EventType::ItemMarkUnread)),
    (64, EventType::ItemMarkPrivate, Some(EventType::ItemMarkUnprivate)),
    (128, EventType::ItemComplete, Some(EventType::ItemUncomplete)),
    (256, EventType::ItemAccept, Some(EventType::ItemUnaccept)),
    (512, EventType::ItemDecline, None),
];

/// What a change means.
#[derive(Debug)]
pub enum News {
    /// This happened.
    Happened(Vec<Occurrence>),
    /// Something was missed.
    Missed,
}

impl News {
    /// What a change that is about to be applied to a mailbox means.
    pub fn of(mailbox: &Mailbox, change: &Change, heard: Instant) -> News {
        let mut telling = Telling { mailbox, told: Vec::new() };
        if !telling.happened(&change.what) {
            return News::Missed;
        }
        let at = change.at;
        telling.told.iter_mut().for_each(|told| (told.at, told.heard) = (at, heard));
        News::Happened(telling.told)
    }
}

struct Telling<'t> {
    mailbox: &'t Mailbox,
    told: Vec<Occurrence>,
}

impl Telling<'_> {
    /// False if what happened cannot be told.
    fn happened(&mut self, what: &Happening) -> bool {
        match what {
            Happening::MessageDelivered(item) | Happening::ItemCreated(item) => self.came(item),
            Happening::ItemModified(alteration) => self.altered(alteration),
            Happening::ItemDeleted(item) => self.deleted(item),
            Happening::ItemMoved(moved) => self.moved(moved),
            Happening::ItemCopied(copied) => self.came(&copied.after),
            Happening::FolderCreated(folder) => self.folder(FOLDER_ADD, folder, 0),
            Happening::FolderModified(altered) => self.folder_altered(altered),
            Happening::FolderDeleted(folder) => self.folder(FOLDER_DELETE, folder, 0),
            Happening::FolderMoved(moved) => self.folder_moved(moved),
            Happening::FolderCopied(copied) => self.folder(FOLDER_ADD, &copied.after, 0),
            Happening::AccessChanged(access) => self.access_changed(access),
            Happening::VisitBegan(visit) => self.visit_began(visit),
            Happening::VisitEnded(_) => self.told.push(Occurrence::of(EventType::Logout)),
            Happening::AccountUnavailable(Absence::Moved(_)) => {
                self.told.push(Occurrence::of(EventType::UserMoveComplete));
            }
            Happening::Hinted(kinds) => return self.hinted(kinds),
            Happening::Gap => return false,
            // GroupWise has no event for these.
            Happening::Baseline(_) | Happening::AccountOpened(_) | Happening::AccountModified(_) => {}
            Happening::AccountClosed | Happening::AccountAvailable => {}
            Happening::AccountUnavailable(Absence::Maintenance) => {}
            Happening::TagCreated(_) | Happening::TagModified(_) | Happening::TagDeleted(_) => {}
            Happening::FreeBusyChanged(_) => {}
        }
        true
    }

    fn item(&mut self, event: EventType, item: &Item) -> &mut Occurrence {
        let (id, kind) = (Some(item.id.as_str().into()), ItemType::of_kind(&item.kind));
        let container = Some(self.container(&item.folder, "", ""));
        self.told.push(Occurrence { id, kind, container, ..Occurrence::of(event) });
        self.told.last_mut().expect("it was just pushed")
    }

    fn came(&mut self, item: &Item) {
        let event = if is_of_a_book(item) { EventType::AddressBookItemAdd } else { EventType::FolderItemAdd };
        self.item(event, item);
    }

    fn altered(&mut self, alteration: &ItemAlteration) {
        let ItemAlteration { item, flags_before, tags_before, fields } = alteration;
        let others: Vec<&str> = fields.iter().map(String::as_str).filter(|field| *field != "flags").collect();
        let tagged = tags_before.as_ref().is_some_and(|before| *before != item.tags);
        let altered = Field::set_of(others.iter().copied().chain(tagged.then_some("tags")));
        if is_of_a_book(item) {
            self.item(EventType::AddressBookItemModify, item).fields = altered;
            return;
        }
        let differing = flags_before.map_or(0, |before| before ^ item.flags);
        let mut marked = 0;
        for (flag, set, cleared) in MARKS.into_iter().filter(|(flag, ..)| differing & flag != 0) {
            let mark = if item.flags & flag != 0 { Some(set) } else { cleared };
            if let Some(event) = mark {
                marked |= flag;
                self.item(event, item);
            }
        }
        // Unless its marks are all that was altered.
        if marked == 0 || differing != marked || !others.is_empty() || tagged {
            self.item(EventType::ItemModify, item).fields = altered;
        }
    }

    /// An item that is gone for good was deleted and purged, unless it was in the trash.
    fn deleted(&mut self, item: &Item) {
        if !self.mailbox.has_moved_away(&item.folder, &item.id) {
            self.gone(item);
        }
    }

    fn gone(&mut self, item: &Item) {
        if is_of_a_book(item) {
            self.item(EventType::AddressBookItemDelete, item);
            return;
        }
        if !self.is_trash(&item.folder) {
            self.item(EventType::ItemDelete, item);
        }
        self.item(EventType::ItemPurge, item);
    }

    /// Where a move gives an item another id, the old one is told as purged.
    fn moved(&mut self, moved: &ItemRelocation) {
        let ItemRelocation { before, after } = moved;
        if is_of_a_book(after) {
            self.came(after);
            self.gone(before);
            return;
        }
        let event = match (self.is_trash(&before.folder), self.is_trash(&after.folder)) {
            (false, true) => EventType::ItemDelete,
            (true, false) => EventType::ItemUndelete,
            _ => EventType::FolderItemMove,
        };
        let from = self.container(&before.folder, "", "");
        self.item(event, after).from = Some(Origin::Container(from));
        if before.id != after.id {
            self.item(EventType::ItemPurge, before);
        }
    }

    /// `events`: of a folder, and of an address book.
    fn folder(&mut self, events: [EventType; 2], folder: &Folder, fields: u64) {
        let container = self.container(&folder.id, &folder.role, &folder.holds);
        let event = events[usize::from(container.class == Class::Book)];
        let id = Some(container.id.clone()).filter(|id| !id.is_empty());
        let container = Some(container);
        self.told.push(Occurrence { id, container, fields, ..Occurrence::of(event) });
    }

    fn folder_altered(&mut self, altered: &FolderAlteration) {
        let fields = Field::set_of(altered.fields.iter().map(String::as_str));
        self.folder(FOLDER_MODIFY, &altered.folder, fields);
    }

    /// Where a move gives a folder another id, the old one is told as deleted.
    fn folder_moved(&mut self, moved: &FolderRelocation) {
        let FolderRelocation { before, after } = moved;
        let name = if before.name == after.name { 0 } else { Field::Name.bit() };
        let parent = if before.parent == after.parent { 0 } else { Field::Parent.bit() };
        let container = self.container(&before.id, &before.role, &before.holds);
        if before.id == after.id {
            self.folder(FOLDER_MODIFY, after, name | parent);
            return;
        }
        // It is what it was, though the source need not say so.
        let holds = if container.class == Class::Book { "contact".to_owned() } else { after.holds.clone() };
        self.folder(FOLDER_MODIFY, &Folder { holds, ..after.clone() }, name | parent);
        self.folder(FOLDER_DELETE, before, 0);
    }

    fn access_changed(&mut self, access: &AccessChange) {
        let event = match access.kind.as_str() {
            "added" => EventType::ProxyAccessAdd,
            "modified" => EventType::ProxyAccessModify,
            "removed" => EventType::ProxyAccessDelete,
            _ => return,
        };
        self.told.push(Occurrence { from: who(&access.who), ..Occurrence::of(event) });
    }

    fn visit_began(&mut self, visit: &Visit) {
        let event = match visit.kind.as_str() {
            "login" => EventType::Login,
            "proxy" => EventType::ProxyLogin,
            "trusted-application" => EventType::TrustedApplicationLogin,
            _ => return,
        };
        self.told.push(Occurrence { from: who(&visit.by), ..Occurrence::of(event) });
    }

    /// Something of these kinds changed: the folders that hold them did. With no kinds, all did.
    fn hinted(&mut self, kinds: &[String]) -> bool {
        let concerned = |folder: &mailboxes::Folder| {
            let holds = if folder.holds.is_empty() { "message" } else { &folder.holds };
            kinds.is_empty() || kinds.iter().any(|kind| kind == holds)
        };
        let folders = self.mailbox.folders().filter(|(number, folder)| *number != ROOT && concerned(folder));
        let mut ids: Vec<_> = folders.take(MAX_HINTED_FOLDERS + 1).map(|(_, folder)| folder.id.clone()).collect();
        if ids.len() > MAX_HINTED_FOLDERS {
            return false;
        }
        if ids.is_empty() {
            ids.push(String::new());
        }
        ids.into_iter().for_each(|id| self.folder(FOLDER_MODIFY, &Folder { id, ..Folder::default() }, 0));
        true
    }

    /// A folder by its id, with the role and the kind of its items that the change says, if it says them.
    fn container(&self, id: &str, role: &str, holds: &str) -> Container {
        let known = self.mailbox.find_gone(id).map(|number| self.mailbox.folder(number));
        let role = if role.is_empty() { self.role(id) } else { role.to_ascii_lowercase() };
        let holds = if holds.is_empty() { known.map_or("", |folder| &folder.holds) } else { holds };
        let class = match (id, role.as_str(), holds) {
            ("", ..) => Class::Root,
            (_, "contacts", _) | (.., "contact" | "group" | "resource" | "organization") => Class::Book,
            (_, "calendar", _) | (.., "appointment") => Class::Calendar,
            _ => Class::Folder,
        };
        Container { class, id: id.into() }
    }

    fn is_trash(&self, folder: &str) -> bool {
        self.role(folder) == TRASH
    }

    /// The role of a folder; that of one that is not known follows from its id (`item.folder` of the contract).
    fn role(&self, id: &str) -> String {
        match self.mailbox.find_gone(id) {
            Some(number) => self.mailbox.folder(number).role.clone(),
            None => Some(id.to_ascii_lowercase()).filter(|role| is_distinguished(role)).unwrap_or_default(),
        }
    }
}

const FOLDER_ADD: [EventType; 2] = [EventType::FolderAdd, EventType::AddressBookAdd];
const FOLDER_MODIFY: [EventType; 2] = [EventType::FolderModify, EventType::AddressBookModify];
const FOLDER_DELETE: [EventType; 2] = [EventType::FolderDelete, EventType::AddressBookDelete];

fn is_of_a_book(item: &Item) -> bool {
    ItemType::of_kind(&item.kind).is_some_and(ItemType::is_of_a_book)
}

fn who(who: &str) -> Option<Origin> {
    (!who.is_empty()).then(|| Origin::Who(who.into()))
}
