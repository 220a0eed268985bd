//! The SOAP envelope: what comes in around an operation, and what goes out around its answer.

use serde::{Deserialize, Serialize};

use crate::contract::{AccountName, Reply};
use crate::ids::Watermark;
use crate::reply::Text;
use crate::soap::{Document, Node};
use crate::subscriptions::SubscriptionId;

use super::codes::Code;
use super::fault::Fault;

/// `RequestServerVersion/@Version` of the 15.2 schema. The state names them by their place: new ones go to the end.
const VERSIONS: [&str; 19] = [
    "Exchange2007",
    "Exchange2007_SP1",
    "Exchange2009",
    "Exchange2010",
    "Exchange2010_SP1",
    "Exchange2010_SP2",
    "Exchange2012",
    "Exchange2013",
    "Exchange2013_SP1",
    "Exchange2015",
    "Exchange2016",
    "V2015_10_05",
    "V2016_01_06",
    "V2016_04_13",
    "V2016_07_13",
    "V2016_10_10",
    "V2017_01_07",
    "V2017_04_14",
    "V2017_07_11",
];

/// The version of the schema that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version(u8);

impl Default for Version {
    /// Exchange2013.
    fn default() -> Self {
        Self(7)
    }
}

impl Version {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        VERSIONS.get(usize::from(self.0)).unwrap_or(&VERSIONS[7])
    }

    fn read(name: &str) -> Option<Self> {
        VERSIONS.iter().position(|version| *version == name).map(|place| Self(place as u8))
    }
}

/// The start of every answer but streams. A declaration and a header are required by the C# and Java libraries.
const OPEN: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?>"#,
    r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>"#,
    r#"<h:ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17""#,
    r#" Version="V2017_07_11" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/>"#,
    r#"</s:Header><s:Body><m:"#,
);
const NAMESPACES: &str = concat!(
    r#"Response xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages""#,
    r#" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages>"#,
);
const CLOSE: &str = "Response></s:Body></s:Envelope>";

/// An operation as it came in.
pub struct Incoming {
    /// The version that it is made for.
    pub version: Version,
    /// Whom the caller wants to act as.
    pub act_as: Option<AccountName>,
    /// The element in the body.
    pub operation: Node,
}

/// Opens an envelope: the header is judged where it matters here, other headers are ignored.
pub fn open(document: &Document<'_>) -> Result<Incoming, Fault> {
    let root = document.root();
    if document.name(root) != "Envelope" {
        return Err(Fault::Code(Code::ErrorInvalidRequest));
    }
    let body = document.child(root, "Body").ok_or(Fault::Code(Code::ErrorInvalidRequest))?;
    let mut operations = document.children(body);
    let operation = operations.next().ok_or(Fault::Code(Code::ErrorInvalidRequest))?;
    if let Some(second) = operations.next() {
        return Err(document.violation(second, &["The body has more than one operation."]).into());
    }
    let Some(header) = document.child(root, "Header") else {
        return Ok(Incoming { version: Version::default(), act_as: None, operation });
    };
    let version = version(document, header)?;
    let act_as = impersonation(document, header)?;
    Ok(Incoming { version, act_as, operation })
}

fn version(document: &Document<'_>, header: Node) -> Result<Version, Fault> {
    let Some(version) = document.child(header, "RequestServerVersion") else {
        return Ok(Version::default());
    };
    let version = document.attribute(version, "Version").and_then(Version::read);
    version.ok_or(Fault::Code(Code::ErrorInvalidServerVersion))
}

fn impersonation(document: &Document<'_>, header: Node) -> Result<Option<AccountName>, Fault> {
    let Some(impersonation) = document.child(header, "ExchangeImpersonation") else {
        return Ok(None);
    };
    let nobody = || Fault::Code(Code::ErrorInvalidExchangeImpersonationHeaderData);
    let connecting = document.child(impersonation, "ConnectingSID").ok_or_else(nobody)?;
    let mut names = document.children(connecting);
    let (Some(named), None) = (names.next(), names.next()) else {
        return Err(nobody());
    };
    let name = Some(document.text(named)).filter(|name| !name.is_empty()).ok_or_else(nobody)?.to_owned();
    match document.name(named) {
        "PrincipalName" => Ok(Some(AccountName::PrincipalName(name))),
        "SID" => Ok(Some(AccountName::Sid(name))),
        "PrimarySmtpAddress" | "SmtpAddress" => Ok(Some(AccountName::Address(name))),
        _ => Err(nobody()),
    }
}

/// A whole answer in XML.
pub fn xml(status: u16, body: Vec<u8>) -> Reply {
    let headers =
        vec![("Content-Type".into(), "text/xml; charset=utf-8".into()), ("Cache-Control".into(), "private".into())];
    Reply { status, headers, body, ..Reply::default() }
}

/// The messages of one operation's answer.
pub struct Messages {
    operation: &'static str,
    body: Vec<u8>,
}

impl Messages {
    /// An answer to `operation` without messages yet.
    pub fn of(operation: &'static str) -> Self {
        let mut body = Vec::with_capacity(2048);
        body.raw(OPEN);
        body.raw(operation);
        body.raw(NAMESPACES);
        Self { operation, body }
    }

    /// Adds a message of success with this content.
    pub fn success(&mut self, content: impl FnOnce(&mut Vec<u8>)) {
        self.begin("Success");
        self.body.raw("<m:ResponseCode>NoError</m:ResponseCode>");
        content(&mut self.body);
        self.end();
    }

    /// Adds a message that says an error, followed by `content`.
    pub fn error(&mut self, code: Code, content: &str) {
        self.begin("Error");
        error(&mut self.body, code);
        self.body.raw(content);
        self.end();
    }

    /// How long it is so far, in bytes.
    pub fn length(&self) -> usize {
        self.body.len()
    }

    /// The answer.
    pub fn reply(mut self) -> Reply {
        self.body.raw("</m:ResponseMessages></m:");
        self.body.raw(self.operation);
        self.body.raw(CLOSE);
        xml(200, self.body)
    }

    fn begin(&mut self, class: &str) {
        self.body.raw("<m:");
        self.body.raw(self.operation);
        self.body.raw(r#"ResponseMessage ResponseClass=""#);
        self.body.raw(class);
        self.body.raw(r#"">"#);
    }

    fn end(&mut self) {
        self.body.raw("</m:");
        self.body.raw(self.operation);
        self.body.raw("ResponseMessage>");
    }
}

/// An answer of one message of success.
pub fn success(operation: &'static str, content: impl FnOnce(&mut Vec<u8>)) -> Reply {
    let mut messages = Messages::of(operation);
    messages.success(content);
    messages.reply()
}

/// An answer of one message that says an error.
pub fn failure(operation: &'static str, code: Code) -> Reply {
    let mut messages = Messages::of(operation);
    messages.error(code, "");
    messages.reply()
}

/// The start of a notification that is pulled or pushed; its events follow, and its end.
pub fn notification(body: &mut Vec<u8>, subscription: &SubscriptionId, previous: &Watermark, more: bool) {
    body.raw("<t:SubscriptionId>");
    body.base64url(subscription);
    body.raw("</t:SubscriptionId><t:PreviousWatermark>");
    body.base64url(previous);
    body.raw(if more {
        "</t:PreviousWatermark><t:MoreEvents>true</t:MoreEvents>"
    } else {
        "</t:PreviousWatermark><t:MoreEvents>false</t:MoreEvents>"
    });
}

/// The three elements that say an error; the C# and Java libraries need all of them, in this order.
pub fn error(body: &mut Vec<u8>, code: Code) {
    body.raw("<m:MessageText>");
    body.text(code.text());
    body.raw("</m:MessageText><m:ResponseCode>");
    body.raw(code.name());
    body.raw("</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>");
}
