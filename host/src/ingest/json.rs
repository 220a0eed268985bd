//! Changes as JSON: the body of `POST /v1/tenants/{tenant}/changes`, and the lines of a file of changes.
//!
//! The names are those of the contract (`wit/notify.wit`), the shapes too: a record is an object, a list an array, a
//! variant `{"case": payload}`, or `"case"` where the case has no payload. What is optional, a list, a string that is
//! empty, or `flags` may be absent; a member that the contract does not have is refused. What does not have the shape is
//! refused as a whole: only what has it can be rejected singly, by the plugin.

mod wire;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::wire::{BookChange, FolderCounts, Happening, Wire};
use super::{Entry, List, MAX_CHANGES, Mark, Unit};
use crate::contract::changes::Change;

/// Why a body or a line is refused. The text says where: the path to the member, line and column.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or does not have the shape that is described above.
    #[error("{}", super::said(format_args!("{}{problem}", if path == "." { String::new() } else { format!("{path}: ") })))]
    Malformed {
        /// The way from the outermost object to the member concerned, as `changes[0].what`.
        path: String,
        /// What is wrong, with line and column.
        problem: serde_json::Error,
    },
    /// An offset says nothing without the source that counts.
    #[error("offset: it needs a source that counts")]
    OffsetWithoutSource,
    /// A line has to be one thing.
    #[error("a line is either a change, with `account` and `what`, or {{\"book\": change}}")]
    NeitherOrBoth,
    /// See [`MAX_CHANGES`].
    #[error(transparent)]
    TooMany(#[from] super::TooMany),
}

/// The body of `POST /v1/tenants/{tenant}/changes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Posting {
    /// Who sends it, if it gave its name.
    pub source: Option<String>,
    /// How many units the source sent before, if it counts. Given only if `source` is.
    pub offset: Option<u64>,
    /// The units: the changes, then those of the address book.
    pub units: Vec<Unit>,
}

/// Reads a body. `now`: the time of changes without `at`, in milliseconds since the Unix epoch.
pub fn posting(body: &[u8], now: u64) -> Result<Posting, JsonError> {
    let Body { source, offset, changes, book } = parse(body)?;
    if changes.len() + book.len() > MAX_CHANGES {
        return Err(super::TooMany.into());
    }
    let source = Some(source).filter(|source| !source.is_empty());
    if source.is_none() && offset.is_some() {
        return Err(JsonError::OffsetWithoutSource);
    }
    let changes = units(List::Changes, changes.into_iter().map(|change| change.entry(now)));
    let book = units(List::Book, book.into_iter().map(|change| Entry::Book(change.contract())));
    Ok(Posting { source, offset, units: changes.chain(book).collect() })
}

/// Reads a line of a file of changes: a change, as in the list `changes` of a body, or `{"book": change}`.
pub fn line(line: &[u8], now: u64) -> Result<Entry, JsonError> {
    let Line { account, at, number, origin, counts, what, book } = parse(line)?;
    match (account, what, book) {
        (Some(account), Some(what), None) => Ok(Posted { account, at, number, origin, counts, what }.entry(now)),
        (None, None, Some(book)) => Ok(Entry::Book(book.contract())),
        _ => Err(JsonError::NeitherOrBoth),
    }
}

fn units(list: List, entries: impl Iterator<Item = Entry>) -> impl Iterator<Item = Unit> {
    (0..).zip(entries).map(move |(position, entry)| Unit { mark: Mark { list, position }, entries: Ok(vec![entry]) })
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let malformed = |path: String, problem| JsonError::Malformed { path, problem };
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| malformed(error.path().to_string(), error.into_inner()))?;
    json.end().map_err(|problem| malformed(".".into(), problem))?;
    Ok(value)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    source: String,
    offset: Option<u64>,
    #[serde(default)]
    changes: Vec<Posted>,
    #[serde(default)]
    book: Vec<BookChange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    account: String,
    at: Option<u64>,
    number: Option<u64>,
    origin: Option<String>,
    #[serde(default)]
    counts: Vec<FolderCounts>,
    what: Happening,
}

impl Posted {
    fn entry(self, now: u64) -> Entry {
        let change = Change {
            number: self.number,
            at: self.at.unwrap_or(now),
            origin: self.origin,
            counts: self.counts.contract(),
            what: self.what.contract(),
        };
        Entry::Change(self.account, change)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    account: Option<String>,
    at: Option<u64>,
    number: Option<u64>,
    origin: Option<String>,
    #[serde(default)]
    counts: Vec<FolderCounts>,
    what: Option<Happening>,
    book: Option<BookChange>,
}

#[cfg(test)]
mod tests;
