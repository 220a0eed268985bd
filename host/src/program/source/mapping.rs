//! Which change an event of a webhook is: rules of the operator's, in a TOML file.
//!
//! ```toml
//! events = "/events"                # where the list of events is; without it the body is one event
//! signature-header = "x-signature"  # has the base64 of the body's HMAC-SHA256; without it: Authorization: Bearer KEY
//!
//! [[rule]]                          # the first that matches decides; an event that none matches is left out
//! when = { "/type" = ["mail.new"] }
//! change = { account = "{/user}", what = { message-delivered = { kind = "message", id = "{/id}", folder = "inbox" } } }
//! ```
//!
//! An event matches that has at each place of `when` one of its values, or, where it has none, anything but null.
//!
//! A place in an event is a JSON pointer (RFC 6901). `change` has the shape of the HTTP interface's; `{/place}` in a string
//! stands for what the event has there, and where it is the whole string, for the very value.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The rules of a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mapping {
    events: Option<String>,
    /// The header with the signature.
    pub signature_header: Option<String>,
    rule: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    when: BTreeMap<String, Vec<Value>>,
    change: Value,
}

/// Why an event gives no change, though a rule is for it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The body has no list where `events` says.
    #[error("no list at `{0}`")]
    NoList(String),
    /// The event lacks what the rule takes.
    #[error("the event has nothing at `{0}`")]
    Nothing(String),
    /// What it has there is no text, and stands within one.
    #[error("what the event has at `{0}` is neither text nor a number")]
    NoText(String),
}

impl Mapping {
    /// The events of a body.
    pub fn events<'b>(&self, body: &'b Value) -> Result<Vec<&'b Value>, MappingError> {
        let Some(place) = &self.events else { return Ok(vec![body]) };
        let list = body.pointer(place).and_then(Value::as_array).ok_or_else(|| MappingError::NoList(place.clone()))?;
        Ok(list.iter().collect())
    }

    /// The change that an event is; none if no rule is for it.
    pub fn change(&self, event: &Value) -> Result<Option<Value>, MappingError> {
        let rule = self.rule.iter().find(|rule| rule.matches(event));
        rule.map(|rule| filled(&rule.change, event)).transpose()
    }
}

impl Rule {
    fn matches(&self, event: &Value) -> bool {
        let is_among = |value: &Value, values: &[Value]| match values {
            [] => !value.is_null(),
            values => values.contains(value),
        };
        self.when.iter().all(|(place, values)| event.pointer(place).is_some_and(|value| is_among(value, values)))
    }
}

fn filled(template: &Value, event: &Value) -> Result<Value, MappingError> {
    Ok(match template {
        Value::String(text) => filled_text(text, event)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| filled(item, event)).collect::<Result<_, MappingError>>()?)
        }
        Value::Object(members) => {
            let filled = members.iter().map(|(name, value)| Ok((name.clone(), filled(value, event)?)));
            Value::Object(filled.collect::<Result<_, MappingError>>()?)
        }
        other => other.clone(),
    })
}

fn filled_text(text: &str, event: &Value) -> Result<Value, MappingError> {
    let at = |place: &str| event.pointer(place).ok_or_else(|| MappingError::Nothing(place.to_owned()));
    let (mut written, mut rest) = (String::new(), text);
    while let Some((before, place, after)) = next_place(rest) {
        if written.is_empty() && before.is_empty() && after.is_empty() {
            return at(place).cloned();
        }
        written += before;
        match at(place)? {
            Value::String(value) => written += value,
            Value::Number(number) => written += &number.to_string(),
            _ => return Err(MappingError::NoText(place.to_owned())),
        }
        rest = after;
    }
    Ok(Value::String(written + rest))
}

/// What comes before a place, the place, and what comes after.
fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{/")?;
    let end = rest.find('}')?;
    let start = before.len() + 1;
    Some((before, &text[start..=start + end], &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Entry;
    use crate::ingest::json;

    const STALWART: &str = include_str!("../../../../sources/webhook/stalwart.toml");
    const JAMES: &str = include_str!("../../../../sources/webhook/james.toml");

    fn mapping(text: &str) -> Mapping {
        toml::from_str(text).unwrap()
    }

    fn changes(mapping: &Mapping, body: &Value) -> Vec<String> {
        let events = mapping.events(body).unwrap();
        let changes = events.into_iter().filter_map(|event| mapping.change(event).unwrap());
        let read = changes.map(|change| match json::line(change.to_string().as_bytes(), 1).unwrap() {
            Entry::Change(account, change) => format!("{account}: {:?}", change.what),
            Entry::Book(_) => "the book".to_owned(),
        });
        read.collect()
    }

    #[test]
    fn stalwart_as_offered() {
        let body = serde_json::json!({"events": [
            {"id": "1", "createdAt": "2026-11-21T10:00:00Z", "type": "message-ingest.ham", "data": {"accountName": "ann@example.org"}},
            {"id": "2", "createdAt": "2026-11-21T10:00:00Z", "type": "auth.success", "data": {}},
        ]});
        assert_eq!(changes(&mapping(STALWART), &body), ["ann@example.org: Happening::Hinted([\"message\"])"]);
        let error = mapping(STALWART).events(&serde_json::json!({})).unwrap_err();
        assert_eq!(error, MappingError::NoList("/events".into()));
    }

    #[test]
    fn james_as_offered() {
        let mapping = mapping(JAMES);
        for (kind, expected) in [
            ("Added", "Happening::MessageDelivered"),
            ("FlagsUpdated", "Happening::ItemModified"),
            ("Expunged", "Happening::ItemDeleted"),
            ("MailboxAdded", "Happening::FolderCreated"),
            ("MailboxRenamed", "Happening::FolderModified"),
            ("MailboxDeletion", "Happening::FolderDeleted"),
        ] {
            let event = serde_json::json!({"type": kind, "user": "ann@example.org", "mailbox": "INBOX", "mailboxId": "17",
                "messageId": "5", "isDelivery": true});
            let told = changes(&mapping, &event);
            assert!(told.len() == 1 && told[0].starts_with(&format!("ann@example.org: {expected}")), "{told:?}");
        }
        for (from, expected) in [(Value::from("16"), "ItemMoved"), (Value::Null, "ItemCreated")] {
            let event = serde_json::json!({"type": "Added", "user": "ann@example.org", "mailboxId": "17", "messageId": "5",
                "movedFrom": from});
            let told = changes(&mapping, &event);
            assert!(
                told.len() == 1 && told[0].starts_with(&format!("ann@example.org: Happening::{expected}")),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_place_alone_is_the_value_and_within_a_text_it_is_text() {
        let mapping = mapping("[[rule]]\nchange = { a = '{/n}', b = 'x{/n}y{/s}', c = ['{/list}', 7], d = '{x' }\n");
        let event = serde_json::json!({"n": 3, "s": "z", "list": [1], "u": null});
        let expected = serde_json::json!({"a": 3, "b": "x3yz", "c": [[1], 7], "d": "{x"});
        assert_eq!(mapping.change(&event), Ok(Some(expected)));
        assert_eq!(mapping.change(&serde_json::json!({})), Err(MappingError::Nothing("/n".into())));
        let error = mapping.change(&serde_json::json!({"n": 3, "s": [], "list": 1}));
        assert_eq!(error, Err(MappingError::NoText("/s".into())));
    }
}
