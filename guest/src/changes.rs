//! What arrives: changes of mailboxes, judged, applied, and told as EWS events; and of the address book.
//!
//! One input's events of a mailbox are gathered and appended together. Within it, a later "folder modified" takes the
//! place of an earlier one of the same folder: a burst of deliveries tells the folder's count once.

use std::collections::BTreeMap;

use crate::contract::{
    Absence, AccountChanges, Batch, Change, FolderAlteration, FolderCounts, Happening, Instant, Moment, Place,
};
use crate::groupwise::events::news::News as Records;
use crate::history::{Entry, Event, FolderAt, Kind, Position, Subject};
use crate::mailboxes::{Condition, FolderNo, Mailbox, MailboxNo, ROOT};
use crate::state::State;
use crate::turn::Turn;
use crate::zimbra::news::{self, News};

mod accounts;
mod folders;
mod items;
mod validity;

/// Above this many folders concerned, a hint counts as a gap.
const MAX_HINTED_FOLDERS: usize = 64;

type Applied = Result<(), &'static str>;

/// Applies a batch; what cannot be applied is rejected by its place and the rest goes on.
pub fn ingest(state: &mut State, turn: &mut Turn, batch: Batch) {
    let refused = state.refused;
    let mut intake = Intake {
        state,
        at: Position { sequence: turn.at.sequence, index: 0 },
        moment: turn.at,
        fresh: BTreeMap::new(),
    };
    for (group, AccountChanges { account, changes }) in (0..).zip(batch.accounts) {
        for (place, change) in (0..).zip(changes) {
            match intake.apply(&account, change) {
                Ok(()) => turn.changed = true,
                Err(reason) => turn.reject(Place::Change((group, place)), reason.to_owned()),
            }
        }
    }
    intake.flush_all();
    turn.changed |= state.refused != refused;
    for (place, change) in (0..).zip(batch.book) {
        match validity::book_change(&change).and_then(|()| state.book.apply(change, turn.at.now, &state.settings)) {
            Ok(()) => {
                turn.changed = true;
                state.book_changes += 1;
            }
            Err(reason) => turn.reject(Place::Book(place), reason.to_owned()),
        }
    }
    state.cut_histories(turn);
}

/// One batch on its way into the state.
struct Intake<'s> {
    state: &'s mut State,
    at: Position,
    moment: Moment,
    fresh: BTreeMap<MailboxNo, Fresh>,
}

/// The events of one mailbox that this input brings.
#[derive(Default)]
struct Fresh {
    events: Vec<Option<Event>>,
    modified: BTreeMap<FolderNo, usize>,
    appended: u32,
}

impl Fresh {
    fn push(&mut self, event: Event) {
        self.events.push(Some(event));
    }

    /// Tells that a folder was modified, in place of what this input said of it before; a count that was told then is
    /// not lost.
    fn folder_modified(&mut self, time: Instant, folder: FolderAt, parent: FolderAt, unread: Option<u32>) {
        let before = self.modified.insert(folder.folder, self.events.len());
        let before = before.and_then(|index| self.events[index].take());
        let unread = unread.or_else(|| before?.unread);
        self.push(Event { kind: Kind::Modified, time, subject: Subject::Folder(folder), parent, before: None, unread });
    }
}

impl Intake<'_> {
    fn apply(&mut self, account: &str, change: Change) -> Applied {
        validity::change(&change)?;
        if let Happening::AccountOpened(opened) = change.what {
            return self.account_opened(account, opened);
        }
        let mailbox = self.mailbox(account)?;
        if let Happening::AccountModified(modified) = &change.what {
            self.id_is_free(mailbox, modified)?;
        }
        self.has_room(mailbox, &change)?;
        self.number(mailbox, change.number)?;
        let news = News::of(self.state, mailbox, &change);
        let records = self.records(mailbox, &change);
        self.happen(mailbox, change);
        news::hear(self.state, self.moment, mailbox, news);
        self.record(mailbox, records);
        Ok(())
    }

    /// Whether the folders that a change names can be known.
    fn has_room(&mut self, number: MailboxNo, change: &Change) -> Applied {
        let State { mailboxes, settings, refused, .. } = &mut *self.state;
        let mailbox = mailboxes.get(number);
        if !validity::names_only(change, |id| mailbox.has_room(id)) {
            return Err("the account has too many folders");
        }
        if mailboxes.folders() >= settings.folders && !validity::names_only(change, |id| mailbox.knows(id)) {
            refused.folders += 1;
            return Err("the tenant has as many folders as it may have");
        }
        Ok(())
    }

    /// What GroupWise applications record of a change; none: nobody records anything there.
    fn records(&self, mailbox: MailboxNo, change: &Change) -> Option<Records> {
        let hears = self.state.events.hears(mailbox);
        hears.then(|| Records::of(self.state.mailboxes.get(mailbox), change, self.moment.now))
    }

    fn record(&mut self, mailbox: MailboxNo, records: Option<Records>) {
        let State { events, settings, .. } = &mut *self.state;
        match records {
            Some(Records::Happened(occurrences)) => events.record(mailbox, occurrences, settings),
            Some(Records::Missed) => events.miss(mailbox),
            None => {}
        }
    }

    /// The changes of an account are numbered; a number that goes back is the source's mistake.
    fn number(&mut self, mailbox: MailboxNo, number: Option<u64>) -> Applied {
        let mailbox = self.state.mailboxes.get_mut(mailbox);
        match number {
            Some(number) if number < mailbox.number => return Err("the number is lower than the account's last"),
            Some(number) => mailbox.number = number,
            None => mailbox.number = mailbox.number.saturating_add(1),
        }
        mailbox.numbers.own_changes = number.is_none();
        Ok(())
    }

    fn happen(&mut self, mailbox: MailboxNo, change: Change) {
        let Change { at, counts, what, .. } = change;
        match what {
            Happening::MessageDelivered(item) => self.with(mailbox, at, &counts, |telling| telling.delivered(item)),
            Happening::ItemCreated(item) => self.with(mailbox, at, &counts, |telling| telling.created(item)),
            Happening::ItemModified(alteration) => {
                self.with(mailbox, at, &counts, |telling| telling.modified(alteration));
            }
            Happening::ItemDeleted(item) => self.with(mailbox, at, &counts, |telling| telling.deleted(item)),
            Happening::ItemMoved(moved) => {
                self.with(mailbox, at, &counts, |telling| telling.moved(moved.before, moved.after));
            }
            Happening::ItemCopied(copied) => {
                self.with(mailbox, at, &counts, |telling| telling.copied(copied.before, copied.after));
            }
            Happening::FreeBusyChanged(item) => {
                self.with(mailbox, at, &counts, |telling| {
                    telling.altered(Kind::FreeBusyChanged, item);
                });
            }
            Happening::Baseline(folders) => self.with(mailbox, at, &counts, |telling| telling.baseline(folders)),
            Happening::FolderCreated(folder) => {
                self.with(mailbox, at, &counts, |telling| telling.folder_created(folder));
            }
            Happening::FolderModified(FolderAlteration { folder, .. }) => {
                self.with(mailbox, at, &counts, |telling| telling.folder_modified(folder));
            }
            Happening::FolderDeleted(folder) => {
                let position = self.end();
                self.with(mailbox, at, &counts, |telling| telling.folder_deleted(&folder, position));
            }
            Happening::FolderMoved(moved) => self.folder_moved(mailbox, at, &counts, moved),
            Happening::FolderCopied(copied) => {
                self.with(mailbox, at, &counts, |telling| telling.folder_copied(&copied.before, copied.after));
            }
            Happening::Hinted(kinds) => self.hinted(mailbox, at, &counts, &kinds),
            Happening::Gap => self.missed(mailbox),
            Happening::AccountModified(account) => drop(self.state.mailboxes.rename(mailbox, &account)),
            Happening::AccountClosed => self.account_closed(mailbox),
            Happening::AccountUnavailable(Absence::Maintenance | Absence::Moved(_)) => {
                self.state.mailboxes.get_mut(mailbox).condition = Condition::Unavailable;
            }
            Happening::AccountAvailable => self.state.mailboxes.get_mut(mailbox).condition = Condition::Open,
            Happening::AccessChanged(access) => self.access_changed(mailbox, &access.who),
            // EWS tells nobody of these.
            Happening::TagCreated(_) | Happening::TagModified(_) | Happening::TagDeleted(_) => {}
            Happening::VisitBegan(_) | Happening::VisitEnded(_) => {}
            Happening::AccountOpened(_) => {}
        }
    }

    /// Tells what happened, then what became of the folders' counts by it.
    fn with(
        &mut self,
        mailbox: MailboxNo,
        time: Instant,
        counts: &[FolderCounts],
        tell: impl FnOnce(&mut Telling<'_>),
    ) {
        let fresh = self.fresh.entry(mailbox).or_default();
        self.state.mailboxes.alter(mailbox, |mailbox| {
            let (touched, reckoned) = (Vec::new(), Vec::new());
            let mut telling = Telling { mailbox, fresh, time, touched, reckoned, silent: false };
            tell(&mut telling);
            telling.folders(counts);
        });
        self.keep_promises(mailbox);
    }

    /// A source has spoken of folders that clients asked for before: those who subscribed to them follow.
    fn keep_promises(&mut self, number: MailboxNo) {
        let end = self.end();
        let mailbox = self.state.mailboxes.get_mut(number);
        mailbox.settle_numbers();
        for (old, new) in mailbox.take_replaced() {
            mailbox.remove(old, end);
            mailbox.numbers.follow(old, new);
            self.state.subscriptions.follow(number, old, new);
        }
    }

    /// A source that only knows that something of these kinds changed: the folders that hold them are modified. Where
    /// these are many, everybody is told to look again.
    fn hinted(&mut self, mailbox: MailboxNo, time: Instant, counts: &[FolderCounts], kinds: &[String]) {
        let holds = |folder: &crate::mailboxes::Folder| {
            let kind = if folder.holds.is_empty() { "message" } else { &folder.holds };
            kinds.iter().any(|hinted| hinted == kind)
        };
        let folders = self.state.mailboxes.get(mailbox).folders();
        let mut concerned: Vec<_> =
            folders.filter(|(number, folder)| *number != ROOT && holds(folder)).map(|(number, _)| number).collect();
        if concerned.len() > MAX_HINTED_FOLDERS {
            return self.missed(mailbox);
        }
        if concerned.is_empty() {
            concerned.push(ROOT);
        }
        self.with(mailbox, time, counts, |telling| {
            concerned.into_iter().for_each(|folder| telling.touch(folder, None));
        });
    }

    /// After every event of this input.
    fn end(&self) -> Position {
        Position { index: u32::MAX, ..self.at }
    }

    /// Changes of this mailbox were lost at this point: nobody can go on from before it.
    fn missed(&mut self, mailbox: MailboxNo) {
        self.flush(mailbox);
        let appended = self.fresh.get(&mailbox).map_or(0, |fresh| fresh.appended);
        self.state.forget_past(mailbox, Position { index: appended, ..self.at });
    }

    fn flush_all(&mut self) {
        let mailboxes: Vec<_> = self.fresh.keys().copied().collect();
        mailboxes.into_iter().for_each(|mailbox| self.flush(mailbox));
    }

    fn flush(&mut self, mailbox: MailboxNo) {
        let Some(fresh) = self.fresh.get_mut(&mailbox) else {
            return;
        };
        if fresh.events.is_empty() {
            return;
        }
        fresh.modified.clear();
        let (sequence, heard) = (self.at.sequence, self.moment.now);
        let appended = &mut fresh.appended;
        let entries = fresh.events.drain(..).flatten().map(|event| {
            *appended += 1;
            Entry { position: Position { sequence, index: *appended }, heard, event }
        });
        self.state.append(mailbox, entries);
    }
}

/// One change of one mailbox, being told.
struct Telling<'t> {
    mailbox: &'t mut Mailbox,
    fresh: &'t mut Fresh,
    time: Instant,
    touched: Vec<(FolderNo, Option<u32>)>,
    reckoned: Vec<Reckoned>,
    silent: bool,
}

/// By how much a folder's counts grow by a change.
struct Reckoned {
    folder: FolderNo,
    /// None: nobody knows.
    unread: Option<i64>,
    total: i64,
}

impl Telling<'_> {
    /// This folder is to be told as modified, with its count of unread items if that is known.
    fn touch(&mut self, folder: FolderNo, unread: Option<u32>) {
        if !self.touched.iter().any(|(touched, _)| *touched == folder) {
            self.touched.push((folder, unread));
        }
    }

    /// Goes on from what is known of folders whose counts are not given. Where it is not known how many are unread, nothing
    /// is said of it until a source does.
    fn go_on_without(&mut self, counts: &[FolderCounts]) {
        for Reckoned { folder: number, unread, total } in std::mem::take(&mut self.reckoned) {
            let folder = self.mailbox.folder_mut(number);
            if counts.iter().any(|count| count.folder == folder.id) {
                continue;
            }
            let (before, sum) =
                (folder.unread, |known: u32, by: i64| u32::try_from(i64::from(known) + by).unwrap_or(0));
            folder.total = folder.total.map(|known| sum(known, total));
            folder.unread = match (before, unread) {
                (Some(known), Some(by)) => Some(sum(known, by)),
                // What leaves a folder in which all is read was read.
                (Some(0), None) if total < 0 => Some(0),
                _ => None,
            };
            let unread = folder.unread;
            if unread.is_some() && unread != before {
                self.count_touched(number, unread);
            }
        }
    }

    /// As [`Telling::touch`], with another count.
    fn count_touched(&mut self, folder: FolderNo, unread: Option<u32>) {
        match self.touched.iter_mut().find(|(touched, _)| *touched == folder) {
            Some((_, told)) => *told = unread,
            None => self.touched.push((folder, unread)),
        }
    }

    /// Takes over the counts and tells of the folders that were touched, or whose count is not what it was.
    fn folders(mut self, counts: &[FolderCounts]) {
        let mut revisions = BTreeMap::new();
        self.go_on_without(counts);
        for count in counts {
            let number = self.mailbox.ensure(&count.folder);
            let folder = self.mailbox.folder_mut(number);
            let differs = folder.unread != Some(count.unread);
            (folder.unread, folder.total) = (Some(count.unread), Some(count.total));
            revisions.extend(count.revision.map(|revision| (number, revision)));
            match self.touched.iter_mut().find(|(touched, _)| *touched == number) {
                Some((_, unread)) => *unread = Some(count.unread),
                None if differs => self.touched.push((number, Some(count.unread))),
                None => {}
            }
        }
        if self.silent {
            return;
        }
        for (number, unread) in self.touched {
            let folder = self.mailbox.revise(number, revisions.get(&number).copied());
            let parent = self.mailbox.at(self.mailbox.folder(number).parent);
            self.fresh.folder_modified(self.time, folder, parent, unread);
        }
    }
}
