//! Bounded reading of SOAP requests, shared by the dialects.
//!
//! A request becomes a small tree of elements, matched by local names: clients differ in prefixes and some in
//! namespaces. The tree is read whole before anything is judged, within fixed limits, so hostile nesting, names,
//! attributes, entities or document types end here. Character data is joined: text, CDATA sections, and the predefined
//! and numeric entities between them.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};

mod names;

/// How deeply elements may be nested.
pub const MAX_DEPTH: usize = 32;
/// How many elements a request may have.
pub const MAX_ELEMENTS: usize = 20_000;
/// How many attributes an element may have.
pub const MAX_ATTRIBUTES: usize = 32;
/// How long a name may be, in bytes, prefix included.
pub const MAX_NAME: usize = 128;
/// How long the text of an element or an attribute may be, in bytes.
pub const MAX_TEXT: usize = 65_536;

/// An element of a [`Document`]; an index into it.
pub type Node = usize;

/// Why a body is not XML that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where, as an offset in bytes into the body.
    pub offset: usize,
    /// Why, in words.
    pub reason: &'static str,
}

/// The place of something in a body, as clients count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// A parsed request.
#[derive(Debug)]
pub struct Document<'a> {
    source: &'a str,
    /// How many bytes of the body stand before `source`.
    skipped: usize,
    elements: Vec<Element<'a>>,
    attributes: Vec<(&'a str, Cow<'a, str>)>,
    /// Where the value of each attribute stands in `source`: offset and length.
    attribute_places: Vec<(usize, usize)>,
    /// Declared prefixes, the empty one included.
    namespaces: Vec<(&'a str, Cow<'a, str>)>,
}

#[derive(Debug)]
struct Element<'a> {
    name: &'a str,
    prefix: &'a str,
    text: Cow<'a, str>,
    offset: usize,
    /// From behind the start tag to before the end tag.
    content: (usize, usize),
    attributes: (usize, usize),
    namespaces: (usize, usize),
    parent: Option<Node>,
    first_child: Option<Node>,
    last_child: Option<Node>,
    next: Option<Node>,
}

impl<'a> Document<'a> {
    /// Reads `body`, which must be one well-formed document in UTF-8 within the limits.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let source = decode(body)?;
        let mut builder = Builder {
            document: Document {
                source,
                skipped: body.len() - source.len(),
                elements: Vec::with_capacity(24),
                attributes: Vec::with_capacity(16),
                attribute_places: Vec::with_capacity(16),
                namespaces: Vec::with_capacity(4),
            },
            open: Vec::with_capacity(8),
        };
        let mut reader = Reader::from_str(source);
        reader.config_mut().check_comments = false;
        loop {
            let offset = position(&reader);
            let event = reader
                .read_event()
                .map_err(|_| Malformed { offset: reader.error_position() as usize, reason: "not well-formed XML" })?;
            if let Event::Eof = event {
                break;
            }
            let place = (offset, position(&reader));
            builder.take(event, place).map_err(|reason| Malformed { offset, reason })?;
        }
        builder.finish().map_err(|reason| Malformed { offset: source.len(), reason })
    }

    /// The outermost element.
    pub fn root(&self) -> Node {
        0
    }

    /// The local name of an element.
    pub fn name(&self, node: Node) -> &'a str {
        self.elements[node].name
    }

    /// The text directly in an element, without the white space around it.
    pub fn text(&self, node: Node) -> &str {
        self.elements[node].text.trim_matches(is_space)
    }

    /// The text directly in an element, white space and all.
    pub fn whole_text(&self, node: Node) -> &str {
        &self.elements[node].text
    }

    /// Every element with this local name, in the order of the body.
    pub fn all<'n>(&'n self, name: &'n str) -> impl Iterator<Item = Node> + 'n {
        (0..self.elements.len()).filter(move |node| self.elements[*node].name == name)
    }

    /// The attribute with this local name.
    pub fn attribute(&self, node: Node, name: &str) -> Option<&str> {
        let (from, to) = self.elements[node].attributes;
        self.attributes[from..to].iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_ref())
    }

    /// The child elements in their order.
    pub fn children(&self, node: Node) -> impl Iterator<Item = Node> + '_ {
        std::iter::successors(self.elements[node].first_child, |child| self.elements[*child].next)
    }

    /// The first child element with this local name.
    pub fn child(&self, node: Node, name: &str) -> Option<Node> {
        self.children(node).find(|child| self.name(*child) == name)
    }

    /// Where an element begins.
    pub fn place(&self, node: Node) -> Place {
        place_at(self.source.as_bytes(), self.elements[node].offset)
    }
}

/// Line and column of an offset; an offset beyond the end is the end.
pub fn place_at(body: &[u8], offset: usize) -> Place {
    let before = &body[..offset.min(body.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    // A byte that continues a UTF-8 sequence is not a character of its own.
    let column = before[line_start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    Place { line: line as u32 + 1, column: column as u32 + 1 }
}

/// Whether XML 1.0 allows this character.
pub fn is_xml_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

fn decode(body: &[u8]) -> Result<&str, Malformed> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let source = simdutf8::compat::from_utf8(body)
        .map_err(|error| Malformed { offset: error.valid_up_to(), reason: "the body is not UTF-8" })?;
    if is_plain(source) {
        return Ok(source);
    }
    match source.find(|character| !is_xml_char(character)) {
        Some(offset) => Err(Malformed { offset, reason: "a character that XML does not allow" }),
        None => Ok(source),
    }
}

/// Whether a text is ASCII that XML allows. All of it is looked at, which is faster than to end early.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    text.bytes().fold(true, |all, byte| all & is_plain(byte))
}

/// Whether an attribute's value says itself: nothing in it stands for something else.
fn is_literal(value: &str) -> bool {
    let is_literal = |byte| matches!(byte, b' '..=b'~') && byte != b'&' && byte != b'<';
    value.bytes().fold(true, |all, byte| all & is_literal(byte))
}

/// Whether a text that is UTF-8 is the same in the encoding that it declares. Libraries declare ASCII by several of its
/// names, and older clients Latin-1 by habit.
fn says_what_it_is(encoding: &str, source: &str) -> bool {
    const UTF_8: [&str; 5] = ["UTF-8", "UTF8", "US-ASCII", "ASCII", "ANSI_X3.4-1968"];
    const AS_FAR_AS_ASCII: [&str; 3] = ["ISO-8859-1", "ISO-8859-15", "windows-1252"];
    let is = |known: &&str| known.eq_ignore_ascii_case(encoding);
    UTF_8.iter().any(is) || source.is_ascii() && AS_FAR_AS_ASCII.iter().any(is)
}

fn position(reader: &Reader<&[u8]>) -> usize {
    reader.buffer_position() as usize
}

struct Builder<'a> {
    document: Document<'a>,
    open: Vec<Node>,
}

impl<'a> Builder<'a> {
    /// Takes an event that stands at `place`: where it begins and where it ends.
    fn take(&mut self, event: Event<'a>, place: (usize, usize)) -> Result<(), &'static str> {
        match event {
            Event::Start(start) => {
                let node = self.element(&start, place)?;
                self.open.push(node);
                if self.open.len() > MAX_DEPTH { Err("nested too deeply") } else { Ok(()) }
            }
            Event::Empty(start) => self.element(&start, place).map(drop),
            Event::End(_) => {
                let node = self.open.pop().ok_or("an end tag without a start tag")?;
                self.document.elements[node].content.1 = place.0;
                Ok(())
            }
            Event::Text(text) => self.text(text.xml10_content()),
            Event::CData(text) if !self.open.is_empty() => self.text(text.xml10_content()),
            Event::CData(_) => Err("text outside the document element"),
            Event::GeneralRef(reference) => self.text(Cow::Owned(resolve(&reference)?.to_string())),
            Event::Decl(declaration) => match declaration.encoding() {
                None => Ok(()),
                Some(Ok(name)) if says_what_it_is(&name, self.document.source) => Ok(()),
                Some(_) => Err("the encoding is not UTF-8"),
            },
            Event::DocType(_) => Err("document type declarations are not accepted"),
            Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn element(&mut self, start: &BytesStart<'a>, (offset, end): (usize, usize)) -> Result<Node, &'static str> {
        let elements = &mut self.document.elements;
        let node = elements.len();
        if node >= MAX_ELEMENTS {
            return Err("too many elements");
        }
        let parent = match self.open.last() {
            Some(parent) => *parent,
            None if node == 0 => 0,
            None => return Err("a second document element"),
        };
        if node > 0 {
            match elements[parent].last_child.replace(node) {
                Some(before) => elements[before].next = Some(node),
                None => elements[parent].first_child = Some(node),
            }
        }
        let (prefix, name) = self.tag_name(start)?;
        let declared = self.document.namespaces.len();
        let attributes = self.attributes(start)?;
        self.document.elements.push(Element {
            name,
            prefix,
            text: Cow::Borrowed(""),
            offset,
            content: (end, end),
            attributes,
            namespaces: (declared, self.document.namespaces.len()),
            parent: (node > 0).then_some(parent),
            first_child: None,
            last_child: None,
            next: None,
        });
        Ok(node)
    }

    /// Prefix and local name.
    fn tag_name(&self, start: &BytesStart<'a>) -> Result<(&'a str, &'a str), &'static str> {
        let name = start.name();
        if name.as_ref().is_empty() || name.as_ref().len() > MAX_NAME {
            return Err("a name that is empty or too long");
        }
        let name = borrowed(self.document.source, name.as_ref());
        Ok(name.split_once(':').unwrap_or(("", name)))
    }

    fn attributes(&mut self, start: &BytesStart<'a>) -> Result<(usize, usize), &'static str> {
        let from = self.document.attributes.len();
        let source = self.document.source;
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| "an attribute that is not well-formed")?;
            let key: &str = attribute.key.as_ref();
            if self.document.attributes.len() - from >= MAX_ATTRIBUTES || key.len() > MAX_NAME {
                return Err("too many attributes, or one with too long a name");
            }
            let value = match &attribute.value {
                value if is_literal(value) => Cow::Borrowed(&**value),
                _ => attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|_| "an unknown entity")?,
            };
            if value.len() > MAX_TEXT {
                return Err("too long an attribute");
            }
            let value = match value {
                Cow::Borrowed(value) => Cow::Borrowed(borrowed(source, value)),
                Cow::Owned(value) if value.chars().all(is_xml_char) => Cow::Owned(value),
                Cow::Owned(_) => return Err("a character that XML does not allow"),
            };
            let key = borrowed(source, key);
            // A declaration of a namespace is no attribute of its element.
            if let Some(declared) = key.strip_prefix("xmlns").filter(|rest| rest.is_empty() || rest.starts_with(':')) {
                self.document.namespaces.push((declared.trim_start_matches(':'), value));
                continue;
            }
            self.document.attributes.push((local(key), value));
            self.document.attribute_places.push((offset_in(source, &attribute.value), attribute.value.len()));
        }
        Ok((from, self.document.attributes.len()))
    }

    fn text(&mut self, more: Cow<'a, str>) -> Result<(), &'static str> {
        let Some(node) = self.open.last() else {
            return if more.chars().all(is_space) { Ok(()) } else { Err("text outside the document element") };
        };
        let text = &mut self.document.elements[*node].text;
        if text.len() + more.len() > MAX_TEXT {
            return Err("too long a text");
        }
        if text.is_empty() {
            *text = more;
        } else {
            text.to_mut().push_str(&more);
        }
        Ok(())
    }

    fn finish(self) -> Result<Document<'a>, &'static str> {
        if !self.open.is_empty() {
            return Err("an element is not closed");
        }
        if self.document.elements.is_empty() { Err("there is no element") } else { Ok(self.document) }
    }
}

/// The same text as part of `source`, which it was cut from: the reader's types do not carry that lifetime.
fn borrowed<'a>(source: &'a str, part: &str) -> &'a str {
    let start = offset_in(source, part);
    source.get(start..start.wrapping_add(part.len())).unwrap_or("")
}

/// Where in `source` a part begins that was cut from it.
fn offset_in(source: &str, part: &str) -> usize {
    (part.as_ptr() as usize).wrapping_sub(source.as_ptr() as usize)
}

fn local(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

/// The character that a reference stands for: numeric, or one of the five that XML itself defines.
fn resolve(reference: &BytesRef<'_>) -> Result<char, &'static str> {
    let character = match &**reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => match reference.resolve_char_ref() {
            Ok(Some(character)) => character,
            _ => return Err("an unknown entity"),
        },
    };
    if is_xml_char(character) { Ok(character) } else { Err("a character that XML does not allow") }
}

/// Reads the children of an element in the order that its schema gives them.
pub struct Fields<'d, 'a> {
    document: &'d Document<'a>,
    parent: Node,
    next: Option<Node>,
}

/// A request that is well-formed but not what the schema says.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub place: Place,
    /// What, in words.
    pub text: String,
}

impl<'d, 'a> Fields<'d, 'a> {
    /// The children of `parent`, which must hold no text besides them.
    pub fn of(document: &'d Document<'a>, parent: Node) -> Result<Self, Violation> {
        if !document.text(parent).is_empty() {
            return Err(document.violation(parent, &["The element '", document.name(parent), "' cannot hold text."]));
        }
        Ok(Self { document, parent, next: document.elements[parent].first_child })
    }

    /// The next child, if it has this name.
    pub fn optional(&mut self, name: &str) -> Option<Node> {
        let node = self.next.filter(|node| self.document.name(*node) == name)?;
        self.next = self.document.elements[node].next;
        Some(node)
    }

    /// The next child, which must have this name.
    pub fn required(&mut self, name: &str) -> Result<Node, Violation> {
        let parent = self.document.name(self.parent);
        self.optional(name).ok_or_else(|| match self.next {
            Some(node) => {
                let found = self.document.name(node);
                let text = ["The element '", parent, "' has '", found, "' where '", name, "' is expected."];
                self.document.violation(node, &text)
            }
            None => self.document.violation(self.parent, &["The element '", parent, "' lacks '", name, "'."]),
        })
    }

    /// Every child has been read.
    pub fn end(self) -> Result<(), Violation> {
        match self.next {
            None => Ok(()),
            Some(node) => {
                let (parent, found) = (self.document.name(self.parent), self.document.name(node));
                let text = ["The element '", parent, "' has '", found, "', which is unknown, repeated or misplaced."];
                Err(self.document.violation(node, &text))
            }
        }
    }
}

impl Document<'_> {
    /// A violation at an element; `text` is joined.
    pub fn violation(&self, node: Node, text: &[&str]) -> Violation {
        Violation { place: self.place(node), text: text.concat() }
    }

    /// The text of an element that holds nothing else, at most `longest` bytes.
    pub fn plain_text(&self, node: Node, longest: usize) -> Result<&str, Violation> {
        let text = self.text(node);
        let name = self.name(node);
        if let Some(child) = self.elements[node].first_child {
            return Err(self.violation(child, &["The element '", name, "' cannot hold elements."]));
        }
        if text.len() > longest {
            return Err(self.violation(node, &["The element '", name, "' is too long."]));
        }
        Ok(text)
    }

    /// The text of an element that holds nothing else, not empty and at most `longest` bytes.
    pub fn required_text(&self, node: Node, longest: usize) -> Result<&str, Violation> {
        match self.plain_text(node, longest)? {
            "" => Err(self.violation(node, &["The element '", self.name(node), "' is empty."])),
            text => Ok(text),
        }
    }

    /// The text of an element as a whole number within a range.
    pub fn number(&self, node: Node, from: u32, to: u32) -> Result<u32, Violation> {
        let text = self.required_text(node, MAX_NAME)?;
        let digits = text.strip_prefix('+').unwrap_or(text);
        let value = if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None };
        value.filter(|value| (from..=to).contains(value)).ok_or_else(|| {
            self.violation(node, &["The value of '", self.name(node), "' is not a number in its range."])
        })
    }
}
