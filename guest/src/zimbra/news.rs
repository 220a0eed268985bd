//! What a change means to those who wait: the one way from `changes` into WaitSets.

use std::collections::BTreeSet;

use super::mods::{Mod, Mods, Told, altered};
use super::sets::{ErrorType, Member};
use super::types::Types;
use crate::contract::{Absence, Change, Folder, Happening, Item, ItemAlteration, Moment};
use crate::mailboxes::{Mailbox, MailboxNo};
use crate::state::State;

/// Bit of `flags`: the item was read.
const SEEN: u64 = 1;

/// What a change means.
#[derive(Debug)]
pub enum News {
    /// Something of these types changed.
    Changed(Changed),
    /// The account is no longer here.
    Gone,
    /// Somebody's rights to it changed; whose (empty: not known).
    Rights(String),
}

/// Something that changed.
#[derive(Debug, Default)]
pub struct Changed {
    types: Types,
    /// Ids of the folders concerned; none: any may be.
    folders: Option<BTreeSet<String>>,
    /// What clients with `expand` are told, by the id of the folder; without one, in every folder.
    details: Vec<(Option<String>, Mod)>,
    origin: Option<String>,
}

impl News {
    /// What a change that is about to be applied means; none: nothing to anybody who waits.
    pub fn of(state: &State, mailbox: MailboxNo, change: &Change) -> Option<News> {
        if !state.waitsets.hears(mailbox) {
            return None;
        }
        let mut changed =
            Changed { folders: Some(BTreeSet::new()), origin: change.origin.clone(), ..Changed::default() };
        match &change.what {
            Happening::AccountClosed | Happening::AccountUnavailable(Absence::Moved(_)) => return Some(News::Gone),
            Happening::AccessChanged(access) => return Some(News::Rights(access.who.clone())),
            what => changed.happened(state, what),
        }
        let mailbox = state.mailboxes.get(mailbox);
        for counts in &change.counts {
            let known = mailbox.find(&counts.folder).map(|number| mailbox.folder(number));
            let (unread, total) = known.map_or((None, None), |folder| (folder.unread, folder.total));
            if (unread, total) != (Some(counts.unread), Some(counts.total)) {
                changed.touch(Types::FOLDERS, &counts.folder);
            }
        }
        (changed.types != Types::NONE).then_some(News::Changed(changed))
    }
}

impl Changed {
    fn happened(&mut self, state: &State, what: &Happening) {
        match what {
            Happening::MessageDelivered(item) | Happening::ItemCreated(item) => self.came(state, item),
            Happening::ItemModified(alteration) => self.altered(state, alteration),
            Happening::FreeBusyChanged(item) => self.touch(Types::of_kind(&item.kind), &item.folder),
            Happening::ItemDeleted(item) => self.went(state, item),
            Happening::ItemMoved(moved) => {
                self.went(state, &moved.before);
                self.came(state, &moved.after);
            }
            Happening::ItemCopied(copied) => self.came(state, &copied.after),
            Happening::FolderCreated(folder) | Happening::FolderDeleted(folder) => self.folder(folder),
            Happening::FolderModified(altered) => {
                self.folder(&altered.folder);
                let bits = altered.fields.iter().fold(0, |bits, field| bits | folder_bits(field));
                self.detail(&altered.folder.id, Mod::folder(bits, &altered.folder.name));
            }
            Happening::FolderMoved(moved) => {
                self.folder(&moved.before);
                self.folder(&moved.after);
                let renamed = if moved.before.name == moved.after.name { 0 } else { altered::NAME };
                let placed = if moved.before.parent == moved.after.parent { 0 } else { altered::FOLDER };
                self.detail(&moved.after.id, Mod::folder(renamed | placed, &moved.after.name));
            }
            Happening::FolderCopied(copied) => self.folder(&copied.after),
            // Any folder may hold an item with this tag, so all of them are altered, as in Zimbra.
            Happening::TagModified(tag) => self.anywhere(Types::FOLDERS, Some(Mod::tag(&tag.id, &tag.name))),
            Happening::TagDeleted(tag) => self.anywhere(Types::FOLDERS, Some(Mod::tag_gone(&tag.id, &state.keys))),
            Happening::Hinted(kinds) if kinds.is_empty() => self.anywhere(Types::ALL, None),
            Happening::Hinted(kinds) => {
                let types = kinds.iter().fold(Types::NONE, |types, kind| types.and(Types::of_kind(kind)));
                self.anywhere(types, None);
            }
            Happening::Gap => {
                self.anywhere(Types::ALL, None);
                // Whoever made it, it stands for changes of others.
                self.origin = None;
            }
            // No letter covers these. (The first three are told before they get here, or concern nobody who waits.)
            Happening::AccountClosed | Happening::AccountUnavailable(_) | Happening::AccessChanged(_) => {}
            Happening::Baseline(_) | Happening::TagCreated(_) | Happening::AccountAvailable => {}
            Happening::AccountOpened(_) | Happening::AccountModified(_) => {}
            Happening::VisitBegan(_) | Happening::VisitEnded(_) => {}
        }
    }

    fn touch(&mut self, types: Types, folder: &str) {
        self.types = self.types.and(types);
        if let Some(folders) = &mut self.folders {
            folders.insert(folder.to_owned());
        }
    }

    fn anywhere(&mut self, types: Types, detail: Option<Mod>) {
        self.types = self.types.and(types);
        self.folders = None;
        self.details.extend(detail.map(|detail| (None, detail)));
    }

    fn detail(&mut self, folder: &str, detail: Mod) {
        self.details.push((Some(folder.to_owned()), detail));
    }

    /// An item that comes or goes alters its folder, too: its size and its counts.
    fn came(&mut self, state: &State, item: &Item) {
        self.touch(Types::of_kind(&item.kind).and(Types::FOLDERS), &item.folder);
        if let Some(told) = told(state, item) {
            self.detail(&item.folder, Mod::Created(told));
        }
    }

    fn went(&mut self, state: &State, item: &Item) {
        self.touch(Types::of_kind(&item.kind).and(Types::FOLDERS), &item.folder);
        if let Some(told) = told(state, item) {
            self.detail(&item.folder, Mod::Deleted(told.id(), told.kind()));
        }
    }

    fn altered(&mut self, state: &State, alteration: &ItemAlteration) {
        let item = &alteration.item;
        let mut bits = alteration.fields.iter().fold(0, |bits, field| bits | item_bits(field));
        if let Some(before) = alteration.flags_before {
            let differs = before ^ item.flags;
            bits |= if differs & SEEN != 0 { altered::UNREAD } else { 0 };
            bits |= if differs & !SEEN != 0 { altered::FLAGS } else { 0 };
        } else if bits & altered::FLAGS != 0 {
            // Which of them is not known: it may be that it was read.
            bits |= altered::UNREAD;
        }
        if alteration.tags_before.as_ref().is_some_and(|before| *before != item.tags) {
            bits |= altered::TAGS;
        }
        let counted = if bits & altered::UNREAD != 0 { Types::FOLDERS } else { Types::NONE };
        self.touch(Types::of_kind(&item.kind).and(counted), &item.folder);
        if let Some(told) = told(state, item) {
            self.detail(&item.folder, Mod::Modified(if bits == 0 { altered::CONTENT } else { bits }, told));
        }
    }

    fn folder(&mut self, folder: &Folder) {
        self.touch(Types::FOLDERS, &folder.id);
    }
}

/// An item as clients with `expand` are told of it; none for kinds that no letter covers.
fn told(state: &State, item: &Item) -> Option<Told> {
    let kind = Types::of_kind(&item.kind).each().next()?;
    Some(Told::new(item, kind, &state.keys))
}

fn item_bits(field: &str) -> u32 {
    match field {
        "flags" => altered::FLAGS,
        "tags" => altered::TAGS,
        "subject" => altered::SUBJECT,
        "date" => altered::DATE,
        "body" | "attachments" => altered::CONTENT,
        "start" | "due" | "place" | "recipients" => altered::INVITE,
        _ => altered::METADATA,
    }
}

fn folder_bits(field: &str) -> u32 {
    match field {
        "name" => altered::NAME,
        "rights" => altered::ACL,
        "color" => altered::COLOR,
        _ => altered::METADATA,
    }
}

/// Tells those who wait what was just applied.
pub fn hear(state: &mut State, at: Moment, mailbox: MailboxNo, news: Option<News>) {
    match news {
        Some(News::Changed(changed)) => signal(state, at, mailbox, &changed),
        Some(News::Gone) => gone(state, mailbox),
        Some(News::Rights(who)) => rights(state, mailbox, &who),
        None => {}
    }
}

fn signal(state: &mut State, at: Moment, number: MailboxNo, changed: &Changed) {
    let State { mailboxes, waitsets, .. } = state;
    let mailbox = mailboxes.get(number);
    let interested = waitsets.interested(number, changed.types);
    if !interested.is_empty() {
        let touched = touched(mailbox, changed);
        for set in interested {
            let Some(member) = waitsets.member(set, number).filter(|member| concerns(member, mailbox, &touched)) else {
                continue;
            };
            let mods = (!member.folders.is_empty()).then(|| mods(mailbox, changed, &member.folders));
            let own = changed.origin.as_deref();
            if own.is_some() && waitsets.get(set).is_some_and(|set| own == Some(&set.id.text())) {
                continue;
            }
            waitsets.signal(set, number, mods);
        }
    }
    if waitsets.commits.floor.is_some() {
        waitsets.commits.note(at, number, changed.types);
        waitsets.wake_everyone(changed.types);
    }
}

/// The integer ids of the folders concerned and of those above them; none: any may be.
fn touched(mailbox: &Mailbox, changed: &Changed) -> Option<BTreeSet<i64>> {
    let mut numbers = BTreeSet::new();
    for id in changed.folders.as_ref()? {
        if let Some(folder) = mailbox.find_gone(id) {
            numbers.insert(mailbox.integer_id(folder));
            numbers.insert(mailbox.integer_id(mailbox.folder(folder).parent));
        }
    }
    Some(numbers)
}

/// Whether a member is to hear of a change in these folders.
fn concerns(member: &Member, mailbox: &Mailbox, touched: &Option<BTreeSet<i64>>) -> bool {
    if member.token.is_some_and(|token| token >= mailbox.number) {
        return false;
    }
    match touched {
        Some(touched) if !member.folders.is_empty() => member.folders.iter().any(|folder| touched.contains(folder)),
        _ => true,
    }
}

/// What changed in the folders that a member is interested in.
fn mods(mailbox: &Mailbox, changed: &Changed, folders: &[i64]) -> Mods {
    let mut mods = Mods::default();
    for (folder, detail) in &changed.details {
        match folder {
            Some(id) => {
                let number = mailbox.find_gone(id).map(|folder| mailbox.integer_id(folder));
                if let Some(number) = number.filter(|number| folders.binary_search(number).is_ok()) {
                    mods.add(number, detail.clone());
                }
            }
            None => folders.iter().for_each(|folder| mods.add(*folder, detail.clone())),
        }
    }
    mods
}

/// The account is no longer here: no set has it as a member.
fn gone(state: &mut State, mailbox: MailboxNo) {
    let id = state.mailboxes.get(mailbox).id().to_owned();
    for set in state.waitsets.of_mailbox(mailbox) {
        state.waitsets.lose(set, mailbox, &id, ErrorType::MailboxDeleted);
    }
    state.waitsets.commits.forget(mailbox);
}

/// Who may look into this mailbox has changed for `who` (empty: for all others): in the sets of users it is a member no
/// longer, and adding it again is judged anew.
fn rights(state: &mut State, mailbox: MailboxNo, who: &str) {
    let id = state.mailboxes.get(mailbox).id().to_owned();
    let theirs = state.mailboxes.find(who).map(|number| state.mailboxes.get(number).id().to_owned());
    for number in state.waitsets.of_mailbox(mailbox) {
        let Some(set) = state.waitsets.get(number) else {
            continue;
        };
        let concerned = who.is_empty() || set.owner == who || Some(&set.owner) == theirs.as_ref();
        if concerned && set.owner != id && !set.by_administrator {
            state.waitsets.lose(number, mailbox, &id, ErrorType::ErrorLoadingMailbox);
        }
    }
}
