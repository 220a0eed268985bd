//! Filters: which items a client wants (types.xsd, Filter).

use serde::{Deserialize, Serialize};

use crate::book::Found;
use crate::soap::{Document, Node};

use super::asked::text_of;
use super::items;
use super::status::Status;

/// How many comparisons and groups a filter may have.
const MAX_PARTS: usize = 64;

/// What a comparison or a group takes without its texts, in bytes.
const WEIGHT: u64 = 64;

/// How long a name or value may be, in bytes.
const MAX_TEXT: usize = 1024;

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// All of these.
    And(Vec<Filter>),
    /// One of these.
    Or(Vec<Filter>),
    /// None of these.
    Not(Vec<Filter>),
    /// A comparison of a field's value.
    Entry {
        /// The comparison.
        op: Op,
        /// The field, by its path in the schema or the last part of it.
        field: String,
        /// What it is compared with, in small letters.
        value: String,
    },
}

/// A comparison, without regard to case. Texts and dates are ordered by their characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Eq,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Ne,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Gt,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Lt,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Gte,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Lte,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Contains,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    NotContains,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Begins,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    Exists,
    #[allow(missing_docs, reason = "FilterOp of the schema")]
    NotExist,
}

impl Op {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "lt" => Self::Lt,
            "gte" => Self::Gte,
            "lte" => Self::Lte,
            "contains" | "containsWord" => Self::Contains,
            "notContains" => Self::NotContains,
            "begins" => Self::Begins,
            "exists" => Self::Exists,
            "notExist" => Self::NotExist,
            _ => return None,
        })
    }

    /// Those that hold where the field is not there.
    fn denies(self) -> bool {
        matches!(self, Self::Ne | Self::NotContains | Self::NotExist)
    }

    /// Whether one value fits; of those that deny, whether it spoils.
    fn fits(self, found: &str, wanted: &str) -> bool {
        match self {
            Self::Eq | Self::Ne => found == wanted,
            Self::Gt => found > wanted,
            Self::Lt => found < wanted,
            Self::Gte => found >= wanted,
            Self::Lte => found <= wanted,
            Self::Contains | Self::NotContains => found.contains(wanted),
            Self::Begins => found.starts_with(wanted),
            Self::Exists | Self::NotExist => true,
        }
    }
}

impl Filter {
    /// Reads a `filter` element; one that says nothing is none.
    pub fn read(document: &Document<'_>, filter: Node) -> Result<Option<Self>, Status> {
        let mut parts = 0;
        document.child(filter, "element").map(|element| part(document, element, &mut parts)).transpose()
    }

    /// What it takes, in bytes.
    pub fn weight(&self) -> u64 {
        let inner = match self {
            Self::And(parts) | Self::Or(parts) | Self::Not(parts) => parts.iter().map(Self::weight).sum(),
            Self::Entry { field, value, .. } => (field.len() + value.len()) as u64,
        };
        WEIGHT + inner
    }

    /// Whether an entry passes.
    pub fn passes(&self, found: &Found<'_>) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.passes(found)),
            Self::Or(parts) => parts.iter().any(|part| part.passes(found)),
            Self::Not(parts) => !parts.iter().any(|part| part.passes(found)),
            Self::Entry { op, field, value } => {
                let fits = |known: &str| op.fits(&known.to_lowercase(), value);
                let any = if field == "name" {
                    items::name(found).is_some_and(fits)
                } else {
                    let mut values = found.fields().filter(|(name, ..)| is_meant(name, field));
                    values.any(|(.., value)| fits(value))
                };
                any != op.denies()
            }
        }
    }
}

/// A search for the entries that pass a filter, until it has looked at too much.
pub struct Search<'f> {
    filter: Option<&'f Filter>,
    left: u64,
}

impl<'f> Search<'f> {
    /// Looks at entries that count for so many bytes; without a filter everything passes unseen.
    pub fn new(filter: Option<&'f Filter>, bytes: u64) -> Self {
        Self { filter, left: bytes }
    }

    /// Whether an entry passes.
    pub fn passes(&mut self, found: &Found<'_>) -> Result<bool, Status> {
        let Some(filter) = self.filter else {
            return Ok(true);
        };
        self.left = self.left.checked_sub(found.weight).ok_or(Status::SearchTooLarge)?;
        Ok(filter.passes(found))
    }
}

fn is_meant(name: &str, field: &str) -> bool {
    name == field || name.rsplit_once('/').is_some_and(|(_, last)| last == field)
}

fn part(document: &Document<'_>, element: Node, parts: &mut usize) -> Result<Filter, Status> {
    *parts += 1;
    if *parts > MAX_PARTS {
        return Err(Status::BadParameter);
    }
    let op = text_of(document, element, "op").ok_or(Status::BadParameter)?;
    let mut inner = || {
        let elements = document.children(element).filter(|node| document.name(*node) == "element");
        elements.map(|node| part(document, node, parts)).collect::<Result<Vec<_>, _>>()
    };
    match op {
        "and" => Ok(Filter::And(inner()?)),
        "or" => Ok(Filter::Or(inner()?)),
        "not" => Ok(Filter::Not(inner()?)),
        _ => {
            let op = Op::read(op).ok_or(Status::BadParameter)?;
            let short = |name: &str| text_of(document, element, name).filter(|text| text.len() <= MAX_TEXT);
            let field = short("field").ok_or(Status::BadParameter)?.to_owned();
            let value = match op {
                Op::Exists | Op::NotExist => "",
                _ => short("value").ok_or(Status::BadParameter)?,
            };
            Ok(Filter::Entry { op, field, value: value.to_lowercase() })
        }
    }
}
