//! Requests in XML.

use std::borrow::Cow;

use super::Unreadable;
use super::tree::{Element, Text};
use crate::soap::{Document, Node};

/// Reads a body.
pub fn read(body: &[u8]) -> Result<Element<'static>, Unreadable> {
    let document = Document::parse(body).map_err(|malformed| malformed.reason)?;
    Ok(element(&document, document.root()))
}

fn element(document: &Document<'_>, node: Node) -> Element<'static> {
    let owned = |text: &str| Cow::Owned(text.to_owned());
    let attribute = |(name, value, place)| (owned(name), Text { value: owned(value), place });
    Element {
        name: owned(document.name(node)),
        namespace: owned(document.namespace(node)),
        attributes: document.attributes(node).map(attribute).collect(),
        children: document.children(node).map(|child| element(document, child)).collect(),
        text: Text { value: owned(document.text(node)), place: document.content_place(node) },
    }
}
