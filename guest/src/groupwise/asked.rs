//! A request as it was asked: its parameters, in whatever order and spelling clients send them.

use crate::contract::{Access, Account, Request};
use crate::soap::{Document, Node};

use super::status::Status;

/// The parameters of one operation.
pub struct Asked<'r> {
    /// The whole request.
    pub request: &'r Request,
    /// Its body.
    pub document: &'r Document<'r>,
    /// The operation's element.
    pub operation: Node,
}

impl Asked<'_> {
    /// Whose session it is.
    pub fn account(&self) -> Result<&Account, Status> {
        match &self.request.access {
            Access::Granted(grant) => Ok(&grant.account),
            Access::Denied(_) => Err(Status::InvalidSession),
        }
    }

    /// A parameter.
    pub fn child(&self, name: &str) -> Option<Node> {
        self.document.child(self.operation, name)
    }

    /// A parameter's text; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        text_of(self.document, self.operation, name)
    }

    /// A parameter that is true or false.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Status> {
        match self.text(name) {
            None => Ok(default),
            Some("1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(_) => Err(Status::BadParameter),
        }
    }

    /// A parameter that is a whole number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        self.text(name).map(whole_number).transpose()
    }

    /// How many items are wanted at most: all for -1, and where nothing is said.
    pub fn count(&self) -> Result<Option<u64>, Status> {
        count(self.number("count")?)
    }
}

/// The text of a child element; an empty one counts as absent.
pub fn text_of<'d>(document: &'d Document<'_>, node: Node, name: &str) -> Option<&'d str> {
    Some(document.text(document.child(node, name)?)).filter(|text| !text.is_empty())
}

/// A number of items: none stands for all.
pub fn count(number: Option<i64>) -> Result<Option<u64>, Status> {
    match number {
        None | Some(-1) => Ok(None),
        Some(count) => u64::try_from(count).map(Some).map_err(|_| Status::BadParameter),
    }
}

/// A number as clients write it: Evolution prints `41.000000`. Its fraction is cut; what is too large is the largest.
pub fn whole_number(text: &str) -> Result<i64, Status> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(Status::BadParameter);
    }
    let number = whole.parse().unwrap_or(i64::MAX);
    Ok(if negative { -number } else { number })
}
