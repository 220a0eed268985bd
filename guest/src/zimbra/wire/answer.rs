//! Answers as one tree, written as XML or JSON: both by hand, because formatting machinery costs more here than the
//! sandbox does. There is no white space between elements: clients look for `"Body":{"Fault":` byte by byte.

use serde::{Deserialize, Serialize};

use crate::contract::Reply;
use crate::reply::Text;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// XML in an envelope of SOAP 1.1.
    Xml11,
    /// XML in an envelope of SOAP 1.2.
    Xml12,
    /// JSON.
    Json,
}

/// An element of an answer.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name; a prefix is left out in JSON.
    name: &'static str,
    /// Its namespace; empty: that of the element around it.
    namespace: &'static str,
    fields: Vec<Field>,
}

/// What an element holds.
#[derive(Clone, Debug)]
pub enum Field {
    /// An attribute; in JSON a member.
    Attribute(&'static str, Value),
    /// An element that holds a value and nothing else; in JSON a member with this value.
    Content(&'static str, Value),
    /// An element that occurs once; in JSON a member.
    One(Node),
    /// An element that may occur again; in JSON one of a list.
    Many(Node),
    /// The element's text; in JSON the member `_content`.
    Text(Value),
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
    /// Truth: `1`, or `true` in JSON.
    True,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl Node {
    /// An empty element in the namespace of what is around it.
    pub fn new(name: &'static str) -> Self {
        Self::of(name, "")
    }

    /// An empty element.
    pub fn of(name: &'static str, namespace: &'static str) -> Self {
        Self { name, namespace, fields: Vec::new() }
    }

    /// With an attribute.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push(Field::Attribute(name, value.into()));
        self
    }

    /// With an attribute, if there is one.
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With an element that holds only a value.
    pub fn holding(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push(Field::Content(name, value.into()));
        self
    }

    /// With an element that occurs once.
    pub fn one(mut self, node: Node) -> Self {
        self.fields.push(Field::One(node));
        self
    }

    /// With these elements, of which there may be several.
    pub fn many(mut self, nodes: impl IntoIterator<Item = Node>) -> Self {
        self.fields.extend(nodes.into_iter().map(Field::Many));
        self
    }

    /// With a text.
    pub fn text(mut self, value: impl Into<Value>) -> Self {
        self.fields.push(Field::Text(value.into()));
        self
    }

    /// Whether it has this attribute.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| matches!(field, Field::Attribute(known, _) if *known == name))
    }

    /// How many bytes it comes to as JSON, which is about as many as XML.
    pub fn bytes(&self) -> usize {
        let mut written = Vec::new();
        self.write_json(&mut written);
        written.len()
    }

    fn write_xml(&self, out: &mut Vec<u8>) {
        out.push(b'<');
        out.raw(self.name);
        if !self.namespace.is_empty() {
            out.raw(" xmlns=\"");
            out.raw(self.namespace);
            out.push(b'"');
        }
        let mut empty = true;
        for field in &self.fields {
            match field {
                Field::Attribute(name, value) => {
                    out.push(b' ');
                    out.raw(name);
                    out.raw("=\"");
                    value.write_xml(out);
                    out.push(b'"');
                }
                _ => empty = false,
            }
        }
        if empty {
            return out.raw("/>");
        }
        out.push(b'>');
        self.fields.iter().for_each(|field| field.write_xml(out));
        end(out, self.name);
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut lists: Vec<&str> = Vec::new();
        for (place, field) in self.fields.iter().enumerate() {
            match field {
                Field::Attribute(name, value) | Field::Content(name, value) => {
                    member(out, name);
                    value.write_json(out);
                }
                Field::Text(value) => {
                    member(out, "_content");
                    value.write_json(out);
                }
                Field::One(node) => {
                    member(out, node.name);
                    node.write_json(out);
                }
                Field::Many(node) if !lists.contains(&node.name) => {
                    lists.push(node.name);
                    write_list(out, node.name, &self.fields[place..]);
                }
                Field::Many(_) => {}
            }
        }
        if !self.namespace.is_empty() {
            member(out, "_jsns");
            json_text(out, self.namespace);
        }
        out.push(b'}');
    }
}

impl Field {
    fn write_xml(&self, out: &mut Vec<u8>) {
        match self {
            Self::Attribute(..) => {}
            Self::Content(name, value) => {
                out.push(b'<');
                out.raw(name);
                out.push(b'>');
                value.write_xml(out);
                end(out, name);
            }
            Self::One(node) | Self::Many(node) => node.write_xml(out),
            Self::Text(value) => value.write_xml(out),
        }
    }
}

impl Value {
    fn write_xml(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.text(text),
            Self::Number(number) => out.number(*number),
            Self::True => out.push(b'1'),
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => json_text(out, text),
            Self::Number(number) => out.number(*number),
            Self::True => out.raw("true"),
        }
    }
}

fn end(out: &mut Vec<u8>, name: &str) {
    out.raw("</");
    out.raw(name);
    out.push(b'>');
}

/// All elements of one name as a list.
fn write_list(out: &mut Vec<u8>, name: &str, fields: &[Field]) {
    member(out, name);
    out.push(b'[');
    let mut first = true;
    for field in fields {
        let Field::Many(node) = field else { continue };
        if node.name != name {
            continue;
        }
        if !std::mem::replace(&mut first, false) {
            out.push(b',');
        }
        node.write_json(out);
    }
    out.push(b']');
}

/// Begins a member of the object that is open.
fn member(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    json_text(out, name.rsplit(':').next().unwrap_or(name));
    out.push(b':');
}

/// A string of RFC 8259.
fn json_text(out: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1F | 0x7F => {
                out.raw("\\u00");
                out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The answer's header: the account's change number, and the session if one is used.
pub fn header(change: Option<u64>, session: Option<&str>) -> Node {
    let mut context = Node::of("context", "urn:zimbra");
    if let Some(session) = session {
        context = context.one(Node::new("session").with("id", session).text(session));
    }
    match change {
        Some(number) => context.one(Node::new("change").with("token", number)),
        None => context,
    }
}

/// A whole answer: `content` in the body of an envelope.
pub fn reply(format: Format, status: u16, header: Node, content: Node) -> Reply {
    let mut body = Vec::with_capacity(1024);
    let content_type = match format {
        Format::Xml11 | Format::Xml12 => {
            body.raw(r#"<soap:Envelope xmlns:soap=""#);
            body.raw(namespace(format));
            body.raw(r#""><soap:Header>"#);
            header.write_xml(&mut body);
            body.raw("</soap:Header><soap:Body>");
            content.write_xml(&mut body);
            body.raw("</soap:Body></soap:Envelope>");
            "text/xml; charset=utf-8"
        }
        Format::Json => {
            body.raw(r#"{"Header":{"context":"#);
            header.write_json(&mut body);
            body.raw(r#"},"Body":{"#);
            member(&mut body, content.name);
            content.write_json(&mut body);
            body.raw(r#"},"_jsns":"urn:zimbraSoap"}"#);
            "text/javascript; charset=utf-8"
        }
    };
    let headers =
        vec![("Content-Type".into(), content_type.into()), ("Cache-Control".into(), "no-store, no-cache".into())];
    Reply { status, headers, body, ..Reply::default() }
}

fn namespace(format: Format) -> &'static str {
    match format {
        Format::Xml11 => "http://schemas.xmlsoap.org/soap/envelope/",
        Format::Xml12 | Format::Json => "http://www.w3.org/2003/05/soap-envelope",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, node: Node) -> String {
        let reply = reply(format, 200, header(Some(7), Some("12")), node);
        String::from_utf8(reply.body).expect("UTF-8")
    }

    fn node() -> Node {
        let a = |id: &str| Node::new("a").with("id", id).with("changeid", 5);
        Node::of("R", "urn:x")
            .with("seq", "2")
            .many([a("1\"<"), a("2")])
            .holding("lifetime", 9)
            .one(Node::new("soap:One").with("yes", Value::True).text("t\u{1}"))
            .many([Node::new("e")])
    }

    #[test]
    fn the_tree_is_written_as_xml() {
        expect_test::expect![[r#"<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Header><context xmlns="urn:zimbra"><session id="12">12</session><change token="7"/></context></soap:Header><soap:Body><R xmlns="urn:x" seq="2"><a id="1&quot;&lt;" changeid="5"/><a id="2" changeid="5"/><lifetime>9</lifetime><soap:One yes="1">t�</soap:One><e/></R></soap:Body></soap:Envelope>"#]]
        .assert_eq(&written(Format::Xml11, node()));
    }

    #[test]
    fn the_tree_is_written_as_json() {
        expect_test::expect![[r#"{"Header":{"context":{"session":{"id":"12","_content":"12"},"change":{"token":7},"_jsns":"urn:zimbra"}},"Body":{"R":{"seq":"2","a":[{"id":"1\"<","changeid":5},{"id":"2","changeid":5}],"lifetime":9,"One":{"yes":true,"_content":"t\u0001"},"e":[{}],"_jsns":"urn:x"}},"_jsns":"urn:zimbraSoap"}"#]]
        .assert_eq(&written(Format::Json, node()));
    }
}
