//! SOAP faults: answers to requests that have no message of their own to say it in. HTTP status 500, with the detail
//! block that clients read (the C#, Java and JavaScript libraries break on a fault in an answer with status 200).

use crate::contract::Reply;
use crate::reply::Text;
use crate::soap::{Malformed, Place, Violation, place_at};

use super::codes::Code;

const OPEN: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?>"#,
    r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>"#,
    r#"<faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:"#,
);
const STRING: &str = r#"</faultcode><faultstring xml:lang="en-US">"#;
const RESPONSE_CODE: &str = concat!(
    r#"</faultstring><detail>"#,
    r#"<e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">"#,
);
const MESSAGE: &str = concat!(
    r#"</e:ResponseCode>"#,
    r#"<e:Message xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">"#,
);
const MESSAGE_XML: &str = r#"<t:MessageXml xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">"#;
const CLOSE: &str = "</detail></s:Fault></s:Body></s:Envelope>";

/// Why a request as a whole is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The body is not XML that is accepted.
    Malformed {
        /// Where.
        place: Place,
        /// Why.
        reason: &'static str,
    },
    /// The body is not what the schema says.
    Schema(Violation),
    /// The operation is not one of those that are served here.
    Unsupported,
    /// Not now; the client may try again after this time.
    Busy {
        /// In milliseconds.
        back_off_ms: u64,
    },
    /// Anything that a code says.
    Code(Code),
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self::Schema(violation)
    }
}

impl Fault {
    /// A body that could not be read.
    pub fn malformed(body: &[u8], malformed: Malformed) -> Self {
        Self::Malformed { place: place_at(body, malformed.offset), reason: malformed.reason }
    }

    /// The answer that says it.
    pub fn reply(&self) -> Reply {
        let mut body = Vec::with_capacity(1024);
        body.raw(OPEN);
        body.raw(self.code().name());
        body.raw(STRING);
        self.say(&mut body);
        body.raw(RESPONSE_CODE);
        body.raw(self.code().name());
        body.raw(MESSAGE);
        body.text(match self {
            Self::Unsupported => "The operation is not supported.",
            _ => self.code().text(),
        });
        body.raw("</e:Message>");
        self.explain(&mut body);
        body.raw(CLOSE);
        super::envelope::xml(500, body)
    }

    fn code(&self) -> Code {
        match self {
            Self::Malformed { .. } | Self::Unsupported => Code::ErrorInvalidRequest,
            Self::Schema(_) => Code::ErrorSchemaValidation,
            Self::Busy { .. } => Code::ErrorServerBusy,
            Self::Code(code) => *code,
        }
    }

    fn say(&self, body: &mut Vec<u8>) {
        match self {
            Self::Schema(violation) => {
                body.raw("The request failed schema validation: ");
                body.text(&violation.text);
            }
            Self::Unsupported => body.raw("The operation is not supported."),
            _ => body.text(self.code().text()),
        }
    }

    fn explain(&self, body: &mut Vec<u8>) {
        match self {
            Self::Malformed { place, reason } => violation(body, *place, reason),
            Self::Schema(Violation { place, text }) => violation(body, *place, text),
            Self::Busy { back_off_ms } => {
                body.raw(MESSAGE_XML);
                body.raw(r#"<t:Value Name="BackOffMilliseconds">"#);
                body.number(*back_off_ms);
                body.raw("</t:Value></t:MessageXml>");
            }
            Self::Unsupported | Self::Code(_) => {}
        }
    }
}

fn violation(body: &mut Vec<u8>, place: Place, text: &str) {
    body.raw(MESSAGE_XML);
    body.raw("<t:LineNumber>");
    body.number(u64::from(place.line));
    body.raw("</t:LineNumber><t:LinePosition>");
    body.number(u64::from(place.column));
    body.raw("</t:LinePosition><t:Violation>");
    body.text(text);
    body.raw("</t:Violation></t:MessageXml>");
}
