//! What is printed of a replay: every reaction, or only what differs from what it is compared with.

use serde_json::{Map, Value, json};

use super::run::{Run, RunError};
use crate::contract::types::Reaction;
use crate::journal::{Digest, Record};
use crate::program::shown;

pub(super) struct Judge {
    against: Against,
    compared: u64,
    different: u64,
    /// Made by another component, so that nothing can be said of them.
    foreign: u64,
}

enum Against {
    Nothing,
    /// The digests in the journal, where the component of this SHA-256 made them.
    Digests([u8; 32]),
    /// The built-in plugin, fed the same.
    BuiltIn(Box<Run>),
}

impl Judge {
    pub(super) fn printing() -> Judge {
        Judge::new(Against::Nothing)
    }

    pub(super) fn of_digests(component: [u8; 32]) -> Judge {
        Judge::new(Against::Digests(component))
    }

    pub(super) fn beside(built_in: Run) -> Judge {
        Judge::new(Against::BuiltIn(Box::new(built_in)))
    }

    fn new(against: Against) -> Judge {
        Judge { against, compared: 0, different: 0, foreign: 0 }
    }

    /// The sequence of the first record that it needs itself.
    pub(super) fn next(&self) -> Option<u64> {
        match &self.against {
            Against::BuiltIn(run) => Some(run.next()),
            Against::Nothing | Against::Digests(_) => None,
        }
    }

    /// What to print of this record; `reaction`: none if it comes before those that are wanted.
    pub(super) fn line(&mut self, record: &Record, reaction: Option<Reaction>) -> Result<Option<Value>, RunError> {
        let built_in = match &mut self.against {
            Against::BuiltIn(run) => run.feed(record)?,
            Against::Nothing | Against::Digests(_) => None,
        };
        let Some(reaction) = reaction else { return Ok(None) };
        let found = match (&self.against, built_in) {
            (Against::Digests(component), _) => self.digest(record, &Digest::of(component, &reaction), &reaction),
            (_, Some(built_in)) => self.reactions(&reaction, &built_in),
            (_, None) => Some(json!({ "reaction": shown::reaction(&reaction) })),
        };
        Ok(found.map(|found| line(record, found)))
    }

    fn digest(&mut self, record: &Record, made: &Digest, reaction: &Reaction) -> Option<Value> {
        let then = &record.digest;
        if then.component != made.component {
            self.foreign += 1;
            return None;
        }
        self.compared += 1;
        if then.allows(made) {
            return None;
        }
        self.different += 1;
        let (then, now) = (shown::hex(then.reaction), shown::hex(made.reaction));
        Some(json!({ "digest-then": then, "digest-now": now, "reaction": shown::reaction(reaction) }))
    }

    fn reactions(&mut self, reaction: &Reaction, built_in: &Reaction) -> Option<Value> {
        self.compared += 1;
        if reaction == built_in {
            return None;
        }
        self.different += 1;
        let mut differences = Vec::new();
        differ("", &shown::reaction(reaction), &shown::reaction(built_in), &mut differences);
        Some(json!({ "differences": differences }))
    }

    pub(super) fn found_differences(&self) -> bool {
        self.different > 0
    }

    /// The end of a sentence that says how many were replayed.
    pub(super) fn words(&self) -> String {
        let Judge { compared, different, foreign, .. } = self;
        let unknown = match foreign {
            0 => String::new(),
            foreign => format!("; {foreign} not compared, because another component made their digests"),
        };
        match self.against {
            Against::Nothing => String::new(),
            Against::Digests(_) | Against::BuiltIn(_) => format!(", {compared} compared: {different} differ{unknown}"),
        }
    }
}

fn line(record: &Record, found: Value) -> Value {
    let mut line = json!({ "sequence": record.sequence, "now": record.now, "input": record.input.kind() });
    let Value::Object(found) = found else { unreachable!("what is found is an object") };
    line.as_object_mut().expect("it is made as one").extend(found);
    line
}

/// Where two values of one shape differ, with what is there; what is not there is left out.
fn differ(place: &str, plugin: &Value, built_in: &Value, found: &mut Vec<Value>) {
    let inner = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (plugin, built_in) {
        _ if plugin == built_in => {}
        (Value::Object(plugin), Value::Object(built_in)) if plugin.keys().eq(built_in.keys()) => {
            for (key, value) in plugin {
                differ(&inner(key), value, &built_in[key], found);
            }
        }
        (Value::Array(plugin), Value::Array(built_in)) => {
            for index in 0..plugin.len().max(built_in.len()) {
                let place = inner(&index.to_string());
                match (plugin.get(index), built_in.get(index)) {
                    (Some(plugin), Some(built_in)) => differ(&place, plugin, built_in, found),
                    (plugin, built_in) => found.push(difference(&place, plugin, built_in)),
                }
            }
        }
        _ => found.push(difference(place, Some(plugin), Some(built_in))),
    }
}

fn difference(place: &str, plugin: Option<&Value>, built_in: Option<&Value>) -> Value {
    let mut difference = Map::from_iter([("field".to_owned(), place.into())]);
    difference.extend(plugin.map(|value| ("plugin".to_owned(), value.clone())));
    difference.extend(built_in.map(|value| ("built-in".to_owned(), value.clone())));
    difference.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plugin: Value, built_in: Value, differences: Value) {
        let mut found = Vec::new();
        differ("", &plugin, &built_in, &mut found);
        assert_eq!(Value::from(found), differences, "{plugin} and {built_in}");
    }

    #[test]
    fn differences_are_named_field_by_field() {
        check(json!({ "a": [1, { "b": 2 }] }), json!({ "a": [1, { "b": 2 }] }), json!([]));
        check(
            json!({ "a": [1, { "b": 2, "c": 3 }] }),
            json!({ "a": [0, { "b": 2, "c": 4 }] }),
            json!([{ "field": "a.0", "plugin": 1, "built-in": 0 }, { "field": "a.1.c", "plugin": 3, "built-in": 4 }]),
        );
        check(json!({ "a": [1] }), json!({ "a": [] }), json!([{ "field": "a.0", "plugin": 1 }]));
        check(
            json!({ "a": { "http-post": 1 } }),
            json!({ "a": { "tcp": 1 } }),
            json!([{ "field": "a", "plugin": { "http-post": 1 }, "built-in": { "tcp": 1 } }]),
        );
        check(json!({ "a": null }), json!({ "a": 5 }), json!([{ "field": "a", "plugin": null, "built-in": 5 }]));
    }
}
