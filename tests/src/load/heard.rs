//! A subscription as its client sees it, and what the client has heard in it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use super::PASSWORD;
use super::numbers::Numbers;
use super::plan::{ACCOUNTS, FOLDERS, SOURCES, last_mark};
use super::site::{Life, Offsets, Site, Wrong};
use crate::ews::{ALL_FOLDERS, Client, Event};
use crate::histories::Random;

/// A subscription that the server has acknowledged.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Which of the accounts.
    pub account: usize,
    /// Which folders; none: all.
    pub folders: Option<Vec<&'static str>>,
    /// In which life of the server it was made.
    pub made: u64,
    /// The last life in which it was of use.
    pub used: u64,
    /// The last life in which its client was told of a loss; 0: none.
    pub told: u64,
    /// What was certainly applied before it was asked for: it must not hear of that, unless that was lost.
    pub after: Offsets,
    /// What may have been applied before it was acknowledged: it must hear of everything else.
    pub before: Offsets,
    /// What its client has heard in it.
    pub heard: Heard,
    /// Its client hears no more in it.
    pub ended: bool,
    /// The last items of the sources that it is still to hear of.
    pub marks: BTreeSet<String>,
}

/// Events in their order, each once.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    events: Vec<String>,
    places: BTreeMap<String, usize>,
}

/// A user of an account.
pub fn client(life: Life, account: usize) -> Client {
    Client::at(life.clients, ACCOUNTS[account], PASSWORD).patient(life.patience)
}

/// All folders half of the time, else one or two.
pub fn choose_folders(random: &mut Random) -> Option<Vec<&'static str>> {
    let mut chosen = |_| FOLDERS[random.below(FOLDERS.len() as u64) as usize];
    let mut folders: Vec<_> = (0..2).map(&mut chosen).collect();
    folders.sort_unstable();
    folders.dedup();
    (random.below(2) == 0).then_some(folders)
}

impl Subscription {
    /// Subscribes by the operation that `subscribe` makes of a `t:FolderIds` element. Gives the first watermark as well.
    pub fn make(
        site: &Site,
        numbers: &Numbers,
        life: Life,
        account: usize,
        folders: Option<Vec<&'static str>>,
        subscribe: fn(&str) -> String,
    ) -> Result<(Subscription, Option<String>)> {
        let after = site.certain();
        let message = client(life, account).message(&subscribe(&folder_ids(folders.as_deref())))?;
        let before = site.possible();
        ensure!(message.code == "NoError", "{message:?}");
        let id = message.subscription.context("a subscription id")?;
        numbers.subscription(&id)?;
        site.subscribed();
        let subscription = Subscription { after, before, ..Subscription::new(id, account, folders, life.number) };
        Ok((subscription, message.watermark))
    }

    /// A subscription that was made in this life of the server, in which nothing was heard.
    pub fn new(id: String, account: usize, folders: Option<Vec<&'static str>>, made: u64) -> Subscription {
        let marked = folders.as_deref().unwrap_or(&FOLDERS).iter();
        let marks = marked.flat_map(|folder| (0..SOURCES).map(|source| last_mark(source, folder))).collect();
        let (after, before, heard) = (Offsets::default(), Offsets::default(), Heard::default());
        Subscription { id, account, folders, made, used: made, told: 0, after, before, heard, ended: false, marks }
    }

    /// An event came, at this place among all that are heard, and moves the place on.
    pub fn hear(&mut self, place: &mut usize, event: &Event) -> Result<()> {
        let text = event.to_string();
        self.heard.hear(*place, &text).with_context(|| self.name())?;
        *place += 1;
        if let Some(item) = &event.item {
            self.marks.remove(item);
        }
        Ok(())
    }

    /// The client was told that it misses something, or that its subscription is gone. Gives what it has heard until now,
    /// to be judged on its own; from here on it hears of whatever is said later. None: it is told the same again, as
    /// everything on a stream may come again, and has missed nothing since.
    pub fn told(&mut self, site: &Site, life: Life, code: &str) -> Result<Option<Subscription>> {
        let told_before = std::mem::replace(&mut self.told, life.number);
        let used_before = std::mem::replace(&mut self.used, life.number);
        if !site.may_have_forgotten(used_before) {
            let again = told_before == used_before;
            ensure!(again, Wrong(format!("{}, last used in life {used_before}: {code}", self.name())));
            return Ok(None);
        }
        let heard = std::mem::take(&mut self.heard);
        let until_now = Subscription { heard, ended: true, ..self.clone() };
        self.before = site.possible();
        Ok(Some(until_now))
    }

    /// Whether the last event of every source was heard.
    pub fn is_complete(&self) -> bool {
        self.marks.is_empty()
    }

    /// Which one it is, for people.
    pub fn name(&self) -> String {
        let Subscription { id, account, folders, made, .. } = self;
        let folders = folders.as_ref().map_or("all folders".into(), |folders| folders.join(" and "));
        format!("subscription {id} of {} to {folders}, made in life {made}", ACCOUNTS[*account])
    }
}

impl Heard {
    /// What was heard, in order.
    pub fn events(&self) -> &[String] {
        &self.events
    }

    /// Where a stream goes on that begins with this event: where it was heard before, or behind everything.
    pub fn place(&self, event: &Event) -> usize {
        self.places.get(&event.to_string()).copied().unwrap_or(self.events.len())
    }

    fn hear(&mut self, place: usize, event: &str) -> Result<(), Wrong> {
        if let Some(before) = self.events.get(place) {
            let wrong = || Wrong(format!("at place {place} came {event:?}, and before {before:?}"));
            return if before == event { Ok(()) } else { Err(wrong()) };
        }
        if let Some(first) = self.places.insert(event.to_owned(), place) {
            return Err(Wrong(format!("at place {place} came {event:?}, which was heard at {first}")));
        }
        self.events.push(event.to_owned());
        Ok(())
    }
}

fn folder_ids(folders: Option<&[&str]>) -> String {
    let Some(folders) = folders else { return ALL_FOLDERS.into() };
    let ids: String = folders.iter().map(|id| format!(r#"<t:DistinguishedFolderId Id="{id}"/>"#)).collect();
    format!("<t:FolderIds>{ids}</t:FolderIds>")
}
