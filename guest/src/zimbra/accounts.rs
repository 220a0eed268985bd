//! The accounts that operations name in `add`, `update` and `remove`, and what clients want to hear of each.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::Fault;
use super::sets::{ErrorType, Errors, Member};
use super::sync_token;
use super::types::Types;
use super::wire::Element;
use crate::contract::{Account, AccountName, Instant, Rank, Resolution, Standing};

/// How many different accounts a request may name; the host resolves a few more.
pub const MAX_NAMED: usize = 10_000;

/// The elements that name accounts.
const LISTS: [&str; 3] = ["add", "update", "remove"];

/// Every account that these operations name, each once, in the order of their appearance; one more than are allowed if
/// there are more.
pub fn names(operations: &[&Element<'_>]) -> Vec<AccountName> {
    let (mut seen, mut names) = (BTreeSet::new(), Vec::new());
    for operation in operations {
        for list in operation.children.iter().filter(|child| LISTS.contains(&&*child.name)) {
            for entry in list.children.iter().filter(|child| child.name == "a") {
                let Some(key) = Key::of(entry) else { continue };
                if names.len() <= MAX_NAMED && seen.insert(key) {
                    names.push(key.name());
                }
            }
        }
    }
    names
}

/// How an entry names its account. The name counts for more than the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'e> {
    Name(&'e str),
    Id(&'e str),
}

impl<'e> Key<'e> {
    fn of(entry: &'e Element<'_>) -> Option<Self> {
        let text = |name| entry.value(name).filter(|text: &&str| !text.is_empty());
        text("name").map(Key::Name).or_else(|| text("id").map(Key::Id))
    }

    fn name(self) -> AccountName {
        match self {
            Key::Name(name) => AccountName::Name(name.to_owned()),
            Key::Id(id) => AccountName::Id(id.to_owned()),
        }
    }

    fn text(self) -> &'e str {
        match self {
            Key::Name(text) | Key::Id(text) => text,
        }
    }
}

/// What the host says of the accounts that a request names.
pub struct Named<'r> {
    resolutions: BTreeMap<(bool, String), &'r Resolution>,
}

impl<'r> Named<'r> {
    /// Of these operations' accounts, in the order of [`names`].
    pub fn of(operations: &[&Element<'_>], resolutions: &'r [Resolution]) -> Self {
        let keyed = names(operations).into_iter().zip(resolutions).map(|(name, resolution)| match name {
            AccountName::Id(id) => ((true, id), resolution),
            other => ((false, super::said(&other).to_owned()), resolution),
        });
        Self { resolutions: keyed.collect() }
    }

    fn get(&self, key: Key<'_>) -> Option<&'r Resolution> {
        self.resolutions.get(&(matches!(key, Key::Id(_)), key.text().to_owned())).copied()
    }
}

/// An account to be added or updated.
pub struct Entry<'r> {
    /// Which.
    pub account: &'r Account,
    /// What is wanted of it.
    pub member: Member,
}

/// What a list of accounts comes to.
#[derive(Default)]
pub struct List<'r> {
    /// The accounts that can be had.
    pub entries: Vec<Entry<'r>>,
    /// What is wrong with others.
    pub errors: Errors,
}

/// Reads `add` or `update`. Whoever names an account that is not for it, or unreadable wishes, is refused as a whole.
pub fn read<'r>(
    operation: &Element<'_>,
    list: &str,
    named: &Named<'r>,
    rank: Rank,
    default: Types,
    now: Instant,
) -> Result<List<'r>, Fault> {
    let mut read = List::default();
    for entry in entries(operation, list)? {
        let key = Key::of(entry).ok_or_else(|| Fault::missing("id"))?;
        let member = member(entry, default, now)?;
        match account(named.get(key), key, rank)? {
            Ok(account) => read.entries.push(Entry { account, member }),
            Err(Some(error)) => drop(read.errors.insert((key.text().to_owned(), error))),
            Err(None) => {}
        }
    }
    Ok(read)
}

/// Reads `remove`: the ids that are to be removed. Who is a member may be removed whatever became of the account.
pub fn read_removed(
    operation: &Element<'_>,
    named: &Named<'_>,
    rank: Rank,
    is_member: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Fault> {
    let mut ids = Vec::new();
    for entry in entries(operation, "remove")? {
        let key = Key::of(entry).ok_or_else(|| Fault::missing("id"))?;
        if matches!(key, Key::Id(id) if is_member(id)) {
            ids.push(key.text().to_owned());
            continue;
        }
        match account(named.get(key), key, rank)? {
            Ok(account) => ids.push(account.id.clone()),
            Err(_) => ids.push(key.text().to_owned()),
        }
    }
    Ok(ids)
}

fn entries<'e, 'a>(operation: &'e Element<'a>, list: &str) -> Result<Vec<&'e Element<'a>>, Fault> {
    let wrong = || Fault::invalid(&["'", list, "' does not hold a list of 'a'"]);
    if operation.attributes.iter().any(|(name, text)| name == list && !text.value.is_empty()) {
        return Err(wrong());
    }
    let lists: Vec<_> = operation.children.iter().filter(|child| child.name == list).collect();
    if lists.iter().any(|list| list.attributes.iter().any(|(name, _)| name == "a") || !list.text.value.is_empty()) {
        return Err(wrong());
    }
    Ok(lists.into_iter().flat_map(|list| &list.children).filter(|child| child.name == "a").collect())
}

/// The account that an entry means; or what is wrong with it, if the client is to hear of that.
fn account<'r>(
    resolution: Option<&'r Resolution>,
    key: Key<'_>,
    rank: Rank,
) -> Result<Result<&'r Account, Option<ErrorType>>, Fault> {
    let resolution = resolution.ok_or_else(|| Fault::invalid(&["it names too many accounts"]))?;
    match (resolution.standing, &resolution.account) {
        (Standing::Itself | Standing::Permitted, Some(account)) => Ok(Ok(account)),
        (Standing::Unavailable, _) => Ok(Err(Some(ErrorType::MaintenanceMode))),
        (Standing::Elsewhere, _) => Ok(Err(Some(ErrorType::WrongHostForAccount))),
        (Standing::Unknown, _) if matches!(key, Key::Name(_)) => {
            Ok(Err((rank != Rank::User).then_some(ErrorType::NoSuchAccount)))
        }
        // Who may not look into an account by its id does not learn whether it is there.
        _ if matches!(key, Key::Id(_)) => Err(Fault::denied(&["can not access account ", &short(key)])),
        _ => Err(Fault::denied(&["cannot access account ", &short(key)])),
    }
}

fn short(key: Key<'_>) -> String {
    key.text().chars().take(256).collect()
}

/// What is wanted of an account.
fn member(entry: &Element<'_>, default: Types, now: Instant) -> Result<Member, Fault> {
    let types = only(entry, "types")?.map(interests).transpose()?.unwrap_or(default);
    let token = only(entry, "token")?.map(|token| {
        let unreadable = || Fault::invalid(&["malformed sync token: ", &token.chars().take(256).collect::<String>()]);
        sync_token::read(token).ok_or_else(unreadable)
    });
    let folders = only(entry, "folderInterests")?.map(folder_ids).transpose()?.unwrap_or_default();
    Ok(Member { types, folders, token: token.transpose()?, added: now, fresh: None, sent: None })
}

/// A value that stands there once: of a list in JSON, which is no value, the first would else count and the rest be lost.
pub fn only<'e>(entry: &'e Element<'_>, name: &str) -> Result<Option<&'e str>, Fault> {
    if entry.children.iter().filter(|child| child.name == name).count() > 1 {
        return Err(Fault::invalid(&["'", name, "' is there more than once"]));
    }
    Ok(entry.value(name))
}

/// Interest types as they stand in an attribute.
pub fn interests(list: &str) -> Result<Types, Fault> {
    let unknown = || Fault::invalid(&["unknown interest type in: ", &list.chars().take(256).collect::<String>()]);
    Types::read(list).ok_or_else(unknown)
}

fn folder_ids(list: &str) -> Result<Box<[i64]>, Fault> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    let ids: Result<BTreeSet<i64>, _> = items.map(|item| item.parse::<i32>().map(i64::from)).collect();
    let ids = ids.map_err(|_| Fault::invalid(&["'folderInterests' is not a list of folder ids"]))?;
    Ok(ids.into_iter().collect())
}
