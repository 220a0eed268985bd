//! Random changes: every kind that the contract has, of accounts known and unknown, with names good and odd.

use super::chance::Chance;
use crate::contract::changes::{
    Absence, AccessChange, Account, AccountChanges, Batch, BookChange, Change, Entry, Field, Folder, FolderAlteration,
    FolderCounts, FolderRelocation, Happening, Item, ItemAlteration, ItemRelocation, Member, Tag, Visit,
};

/// The domain of the accounts that the plugin is told of, as the setting `domains`.
pub(super) const DOMAIN: &str = "example.org";

/// How many accounts there are.
const ACCOUNTS: u64 = 20;

/// How many kinds of things can happen.
const HAPPENINGS: u64 = 26;

const FOLDERS: [&str; 8] = ["inbox", "drafts", "sentitems", "calendar", "Projects", "Projects/Sub", "", "\u{1f4e7} \""];
const KINDS: [&str; 7] = ["message", "contact", "group", "appointment", "task", "", "unheard-of"];
const WORDS: [&str; 6] = ["seen", "a b", "<&\"'>", "\u{0}\u{7}", "\u{e4}\u{1d4ea}", ""];

/// An account of the tenant.
pub(super) fn account(chance: &mut Chance) -> Account {
    let number = chance.below(ACCOUNTS);
    Account { id: format!("id-{number}"), name: format!("user{number}@{DOMAIN}"), aliases: Vec::new() }
}

/// A batch of a few changes; rarely of many.
pub(super) fn batch(chance: &mut Chance, now: u64) -> Batch {
    let most = if chance.once_in(200) { 400 } else { 4 };
    let mut accounts = Vec::new();
    for _ in 0..=chance.below(3) {
        let changes = (0..=chance.below(most)).map(|_| change(chance, now)).collect();
        accounts.push(AccountChanges { account: addressed(chance), changes });
    }
    let book =
        if chance.once_in(10) { (0..=chance.below(most)).map(|_| of_book(chance)).collect() } else { Vec::new() };
    Batch { accounts, book }
}

/// One change of every account: so every request that waits for any has its turn.
pub(super) fn of_every_account(chance: &mut Chance, now: u64) -> Batch {
    let accounts = (0..ACCOUNTS).map(|number| {
        let what = Happening::MessageDelivered(Item { folder: "inbox".into(), ..item(chance) });
        let change = Change { number: None, at: now, origin: None, counts: Vec::new(), what };
        AccountChanges { account: format!("user{number}@{DOMAIN}"), changes: vec![change] }
    });
    Batch { accounts: accounts.collect(), book: Vec::new() }
}

/// As a source may name an account: mostly one of the tenant.
fn addressed(chance: &mut Chance) -> String {
    match chance.below(20) {
        0 => "stranger@example.net".into(),
        1 => word(chance),
        2 => account(chance).id,
        _ => account(chance).name,
    }
}

fn change(chance: &mut Chance, now: u64) -> Change {
    let at = if chance.once_in(20) { chance.next() } else { now };
    let number = chance.once_in(10).then(|| chance.below(1_000_000));
    let origin = chance.once_in(10).then(|| word(chance));
    let counts = (0..chance.below(3)).map(|_| counts(chance)).collect();
    Change { number, at, origin, counts, what: happening(chance) }
}

fn happening(chance: &mut Chance) -> Happening {
    match chance.below(HAPPENINGS * 2) {
        1 => Happening::ItemCreated(item(chance)),
        2 => Happening::ItemModified(alteration(chance)),
        3 => Happening::ItemDeleted(item(chance)),
        4 => Happening::ItemMoved(ItemRelocation { before: item(chance), after: item(chance) }),
        5 => Happening::ItemCopied(ItemRelocation { before: item(chance), after: item(chance) }),
        6 => Happening::FolderCreated(folder(chance)),
        7 => Happening::FolderModified(FolderAlteration { folder: folder(chance), fields: words(chance) }),
        8 => Happening::FolderDeleted(folder(chance)),
        9 => Happening::FolderMoved(FolderRelocation { before: folder(chance), after: folder(chance) }),
        10 => Happening::FolderCopied(FolderRelocation { before: folder(chance), after: folder(chance) }),
        11 => Happening::FreeBusyChanged(item(chance)),
        12 => Happening::TagCreated(tag(chance)),
        13 => Happening::TagModified(tag(chance)),
        14 => Happening::TagDeleted(tag(chance)),
        15 => Happening::Hinted(words(chance)),
        16 => Happening::Gap,
        17 => Happening::AccountOpened(account(chance)),
        18 => Happening::AccountModified(account(chance)),
        19 if chance.once_in(10) => Happening::AccountClosed,
        20 => Happening::AccountUnavailable(absence(chance)),
        21 => Happening::AccountAvailable,
        22 => Happening::AccessChanged(AccessChange { kind: word(chance), who: addressed(chance) }),
        23 => Happening::VisitBegan(Visit { kind: "login".into(), by: word(chance) }),
        24 => Happening::VisitEnded(Visit { kind: "login".into(), by: word(chance) }),
        25 => Happening::Baseline((0..chance.below(5)).map(|_| folder(chance)).collect()),
        _ => Happening::MessageDelivered(item(chance)),
    }
}

fn absence(chance: &mut Chance) -> Absence {
    if chance.once_in(2) { Absence::Maintenance } else { Absence::Moved(word(chance)) }
}

fn item(chance: &mut Chance) -> Item {
    Item {
        kind: (*chance.one(&KINDS)).to_owned(),
        id: if chance.once_in(50) { word(chance) } else { format!("item-{}", chance.below(500)) },
        folder: (*chance.one(&FOLDERS)).to_owned(),
        number: chance.once_in(4).then(|| chance.below(10_000)),
        imap_uid: chance.once_in(4).then(|| chance.below(10_000) as u32),
        revision: chance.once_in(4).then(|| chance.next()),
        flags: chance.below(1_024),
        tags: words(chance),
    }
}

fn alteration(chance: &mut Chance) -> ItemAlteration {
    ItemAlteration {
        item: item(chance),
        flags_before: chance.once_in(2).then(|| chance.below(1_024)),
        tags_before: chance.once_in(4).then(|| words(chance)),
        fields: words(chance),
    }
}

fn folder(chance: &mut Chance) -> Folder {
    Folder {
        id: (*chance.one(&FOLDERS)).to_owned(),
        parent: if chance.once_in(3) { (*chance.one(&FOLDERS)).to_owned() } else { String::new() },
        name: word(chance),
        role: if chance.once_in(3) { (*chance.one(&FOLDERS)).to_owned() } else { String::new() },
        holds: (*chance.one(&KINDS)).to_owned(),
        number: chance.once_in(4).then(|| chance.below(1_000)),
        revision: chance.once_in(4).then(|| chance.next()),
        unread: chance.once_in(2).then(|| chance.below(100) as u32),
        total: chance.once_in(2).then(|| chance.next() as u32),
    }
}

fn counts(chance: &mut Chance) -> FolderCounts {
    let (unread, total) = (chance.below(100) as u32, chance.next() as u32);
    let revision = chance.once_in(4).then(|| chance.next());
    FolderCounts { folder: (*chance.one(&FOLDERS)).to_owned(), unread, total, revision }
}

fn tag(chance: &mut Chance) -> Tag {
    Tag { id: format!("tag-{}", chance.below(10)), name: word(chance) }
}

fn of_book(chance: &mut Chance) -> BookChange {
    match chance.below(20) {
        0 => BookChange::Gap,
        1 => BookChange::RebuildStarted,
        2 => BookChange::RebuildFinished,
        3..6 => BookChange::Deleted(format!("entry-{}", chance.below(100))),
        6..12 => BookChange::Modified(entry(chance)),
        _ => BookChange::Added(entry(chance)),
    }
}

fn entry(chance: &mut Chance) -> Entry {
    let fields = (0..chance.below(4)).map(|_| Field { name: word(chance), label: word(chance), value: word(chance) });
    let fields = fields.collect();
    let member = |chance: &mut Chance| {
        let id = format!("entry-{}", chance.below(100));
        Member { id, name: word(chance), email: addressed(chance), kind: String::new() }
    };
    let members = (0..chance.below(3)).map(|_| member(chance)).collect();
    let id = format!("entry-{}", chance.below(100));
    Entry { id, uuid: chance.once_in(2).then(|| word(chance)), kind: "contact".into(), fields, members }
}

fn words(chance: &mut Chance) -> Vec<String> {
    (0..chance.below(3)).map(|_| word(chance)).collect()
}

/// A word, or what is none: empty, with control characters, rarely long.
pub(super) fn word(chance: &mut Chance) -> String {
    let word = *chance.one(&WORDS);
    if chance.once_in(1_000) { word.repeat(2_000) } else { word.to_owned() }
}
