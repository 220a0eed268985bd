//! The SOAP envelope: what comes in around an operation, and what goes out around its answer.
//!
//! Real clients bind old or wrong namespaces, or none; so everything that comes in is found by its local name, and
//! everything that goes out has the namespaces and the order of the schema. The types' namespace is the default one:
//! Evolution compares `xsi:type` with a bare `Contact`.

use crate::contract::{Reply, Span};
use crate::reply::Text;
use crate::soap::{Document, Malformed, Node, place_at};

use super::status::{self, Status};

const OPEN: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    r#"<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body>"#,
);
const CLOSE: &str = "</SOAP-ENV:Body></SOAP-ENV:Envelope>";
const TYPES: &str = concat!(
    r#"" xmlns="http://schemas.novell.com/2005/01/GroupWise/types""#,
    r#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">"#,
);

/// The namespace of an operation and of its own children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Of most.
    Methods,
    /// Of those about events.
    Events,
}

impl Namespace {
    /// The prefix that answers have for it.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Methods => "m",
            Self::Events => "e",
        }
    }

    /// The namespace of the operation with this name (events.xsd, methods.xsd).
    pub fn of(operation: &str) -> Self {
        if operation.contains("Event") { Self::Events } else { Self::Methods }
    }

    fn uri(self) -> &'static str {
        match self {
            Self::Methods => "http://schemas.novell.com/2005/01/GroupWise/methods",
            Self::Events => "http://schemas.novell.com/2005/01/GroupWise/events",
        }
    }
}

/// The element in the body of an envelope.
pub fn operation(document: &Document<'_>) -> Option<Node> {
    let root = Some(document.root()).filter(|root| document.name(*root) == "Envelope")?;
    document.children(document.child(root, "Body")?).next()
}

/// The element with the caller's session: in the header; some have it, or have it too, in the operation.
pub fn session(document: &Document<'_>) -> Option<Node> {
    let within = |node| document.child(node, "session").filter(|session| !document.text(*session).is_empty());
    let header = document.child(document.root(), "Header").and_then(within);
    header.or_else(|| within(operation(document)?))
}

/// Where secrets stand in a request, ascending: passwords, sessions, and the keys of trusted applications.
pub fn secrets(document: &Document<'_>) -> Vec<Span> {
    let keys = document.all("auth").flat_map(|auth| document.children(auth));
    let keys = keys.filter(|node| document.name(*node) == "key");
    let mut places: Vec<_> = ["session", "password"].iter().flat_map(|name| document.all(name)).chain(keys).collect();
    places.sort_unstable();
    let mut spans: Vec<Span> = Vec::with_capacity(places.len());
    for node in places {
        let (start, length) = document.content_place(node);
        let (start, length) = (start as u32, length as u32);
        // A place within the one before it is hidden with it.
        if length > 0 && spans.last().is_none_or(|last| last.start + last.length <= start) {
            spans.push(Span { start, length });
        }
    }
    spans
}

/// An answer to `operation`: its content, then what became of the request.
pub fn answer(operation: &str, namespace: Namespace, content: &[u8], status: Option<Status>) -> Reply {
    let prefix = namespace.prefix();
    let mut body = Vec::with_capacity(content.len() + 700);
    body.raw(OPEN);
    body.raw("<");
    body.raw(prefix);
    body.raw(":");
    body.raw(operation);
    body.raw("Response xmlns:");
    body.raw(prefix);
    body.raw("=\"");
    body.raw(namespace.uri());
    body.raw(TYPES);
    body.extend_from_slice(content);
    status::write(&mut body, prefix, status);
    body.raw("</");
    body.raw(prefix);
    body.raw(":");
    body.raw(operation);
    body.raw("Response>");
    body.raw(CLOSE);
    xml(200, body)
}

/// A SOAP fault: `who` is Client or Server.
pub fn fault(http_status: u16, who: &str, text: &[&str]) -> Reply {
    let mut body = Vec::with_capacity(512);
    body.raw(OPEN);
    body.raw("<SOAP-ENV:Fault><faultcode>SOAP-ENV:");
    body.raw(who);
    body.raw("</faultcode><faultstring>");
    text.iter().for_each(|text| body.text(text));
    body.raw("</faultstring></SOAP-ENV:Fault>");
    body.raw(CLOSE);
    xml(http_status, body)
}

/// The fault for a body that is no XML.
pub fn malformed(body: &[u8], malformed: Malformed) -> Reply {
    let place = place_at(body, malformed.offset);
    let (line, column) = (place.line.to_string(), place.column.to_string());
    fault(500, "Client", &["The request is not accepted: ", malformed.reason, ", line ", &line, ", column ", &column])
}

fn xml(status: u16, body: Vec<u8>) -> Reply {
    let headers = vec![("Content-Type".into(), "text/xml; charset=utf-8".into()), ("Pragma".into(), "no-cache".into())];
    Reply { status, headers, body, ..Reply::default() }
}
