//! A request as a tree of elements, whatever it was written in.

use std::borrow::Cow;

/// Text, and where in the body it stands: offset and length in bytes.
#[derive(Debug, Default)]
pub struct Text<'a> {
    /// The text.
    pub value: Cow<'a, str>,
    /// Its place in the body, as it is written there.
    pub place: (usize, usize),
}

/// An element. What is a scalar member in JSON is an attribute here.
#[derive(Debug, Default)]
pub struct Element<'a> {
    /// Its local name.
    pub name: Cow<'a, str>,
    /// Its namespace; empty: none.
    pub namespace: Cow<'a, str>,
    /// Its attributes by local name.
    pub attributes: Vec<(Cow<'a, str>, Text<'a>)>,
    /// The elements in it.
    pub children: Vec<Element<'a>>,
    /// The text directly in it, without the white space around it.
    pub text: Text<'a>,
}

impl<'a> Element<'a> {
    /// The first child with this name.
    pub fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of an attribute, or of a child where a client wrote the one for the other.
    pub fn value(&self, name: &str) -> Option<&str> {
        let attribute = self.attributes.iter().find(|(key, _)| key == name).map(|(_, text)| text);
        let text = attribute.or_else(|| self.child(name).map(|child| &child.text))?;
        Some(&text.value)
    }

    /// Visits this element and all below it.
    pub fn visit(&self, look: &mut impl FnMut(&Element<'a>)) {
        look(self);
        self.children.iter().for_each(|child| child.visit(look));
    }
}
