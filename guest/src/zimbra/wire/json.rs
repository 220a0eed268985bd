//! Requests in JSON, in the form that Zimbra gives it: `_jsns` is the namespace, `_content` the text of an element. Names
//! without quotes, and single quotes, are accepted as Zimbra accepts them.

use std::borrow::Cow;

use jsonc_parser::ast::{ObjectProp, ObjectPropName, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::Unreadable;
use super::tree::{Element, Text};
use crate::soap::{MAX_DEPTH, MAX_ELEMENTS, MAX_NAME, MAX_TEXT};

const SYNTAX: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: true,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_extended_string_escapes: false,
    allow_non_finite_numbers: false,
};

/// Reads a body.
pub fn read(body: &[u8]) -> Result<Element<'_>, Unreadable> {
    let source = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    if depth(source) > MAX_DEPTH {
        return Err("nested too deeply");
    }
    let collect = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    let parsed = parse_to_ast(source, &collect, &SYNTAX).map_err(|_| "not well-formed JSON")?;
    let Some(Value::Object(root)) = parsed.value else {
        return Err("the body is not a JSON object");
    };
    let mut builder = Builder { elements: 0 };
    builder.element("".into(), "".into(), root.properties)
}

/// How deeply objects and arrays are nested: asked before they are read, because reading them recurs.
fn depth(source: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut quote, mut escaped) = (None, false);
    for byte in source.bytes() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{' | b'[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (None, b'}' | b']') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    deepest
}

struct Builder {
    elements: usize,
}

impl Builder {
    fn element<'a>(
        &mut self,
        name: Cow<'a, str>,
        namespace: Cow<'a, str>,
        members: Vec<ObjectProp<'a>>,
    ) -> Result<Element<'a>, Unreadable> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err("too many elements");
        }
        let mut element =
            Element { name, namespace: own_namespace(&members).unwrap_or(namespace), ..Element::default() };
        for ObjectProp { name, value, .. } in members {
            let name = match name {
                ObjectPropName::String(name) => name.value,
                ObjectPropName::Word(name) => Cow::Borrowed(name.value),
            };
            if name.len() > MAX_NAME {
                return Err("too long a name");
            }
            self.member(&mut element, name, value)?;
        }
        Ok(element)
    }

    fn member<'a>(&mut self, of: &mut Element<'a>, name: Cow<'a, str>, value: Value<'a>) -> Result<(), Unreadable> {
        match value {
            // python-zimbra wraps the token of its login, which is an object with a content, once more.
            Value::Object(object) if name == "_content" => {
                of.text = self.element(name, of.namespace.clone(), object.properties)?.text;
            }
            Value::Object(object) => {
                let child = self.element(name, of.namespace.clone(), object.properties)?;
                of.children.push(child);
            }
            Value::Array(array) => {
                for one in array.elements {
                    self.repeated(of, name.clone(), one)?;
                }
            }
            scalar => match scalar_text(scalar)? {
                Some(text) if name == "_content" => of.text = text,
                Some(_) if name == "_jsns" => {}
                Some(text) => of.attributes.push((name, text)),
                None => {}
            },
        }
        Ok(())
    }

    /// One of several elements with the same name.
    fn repeated<'a>(&mut self, of: &mut Element<'a>, name: Cow<'a, str>, value: Value<'a>) -> Result<(), Unreadable> {
        if matches!(value, Value::Object(_)) {
            return self.member(of, name, value);
        }
        // python-zimbra makes lists of lists of the operations of a batch.
        if let Value::Array(array) = value {
            return array.elements.into_iter().try_for_each(|one| self.repeated(of, name.clone(), one));
        }
        let mut child = self.element(name, of.namespace.clone(), Vec::new())?;
        child.text = scalar_text(value)?.unwrap_or_default();
        of.children.push(child);
        Ok(())
    }
}

fn own_namespace<'a>(members: &[ObjectProp<'a>]) -> Option<Cow<'a, str>> {
    let said = members.iter().find(|member| member.name.as_str() == "_jsns")?;
    match &said.value {
        Value::StringLit(text) => Some(text.value.clone()),
        _ => None,
    }
}

/// A scalar as text; null is as if it was not there.
fn scalar_text<'a>(value: Value<'a>) -> Result<Option<Text<'a>>, Unreadable> {
    let place = |range: Range, quotes: usize| (range.start + quotes, range.end - range.start - 2 * quotes);
    let text = match value {
        Value::StringLit(text) => Text { place: place(text.range(), 1), value: text.value },
        Value::NumberLit(number) => Text { place: place(number.range(), 0), value: number.value.into() },
        Value::BooleanLit(truth) => {
            Text { place: place(truth.range(), 0), value: if truth.value { "true" } else { "false" }.into() }
        }
        Value::NullKeyword(_) => return Ok(None),
        Value::Object(_) | Value::Array(_) => return Err("an element where a value is expected"),
    };
    if text.value.len() > MAX_TEXT { Err("too long a text") } else { Ok(Some(text)) }
}
