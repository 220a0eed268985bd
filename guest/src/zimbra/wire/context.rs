//! The envelope around an operation, and the `context` in its header.

use super::tree::{Element, Text};
use super::{Format, Unreadable, json, xml};
use crate::contract::{AccountName, Span};

/// The namespace of an envelope of SOAP 1.1.
const SOAP_11: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// Names of elements, attributes and members whose values are secret, wherever they stand.
const SECRETS: [&str; 11] = [
    "authToken",
    "password",
    "oldPassword",
    "newPassword",
    "preauth",
    "jwtToken",
    "jwtSalt",
    "csrfToken",
    "trustedToken",
    "recoveryCode",
    "twoFactorCode",
];

/// A request that could be read.
pub struct Incoming<'a> {
    /// How the answer is to be written.
    pub format: Format,
    /// The header's context; an empty one if there is none.
    pub context: Context,
    /// The operation; none: the body is empty.
    pub operation: Option<Element<'a>>,
    /// Where the secrets stand.
    pub secrets: Vec<Span>,
}

/// What the header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The token of an earlier login.
    pub token: Option<String>,
    /// Whose mailbox is meant, if not the caller's own.
    pub account: Option<AccountName>,
    /// The session that the client wants to use: its id, empty for a new one.
    pub session: Option<String>,
}

/// Reads a body.
pub fn open(body: &[u8]) -> Result<Incoming<'_>, Unreadable> {
    let is_xml = sniff(body) != Format::Json;
    let mut root = if is_xml { xml::read(body)? } else { json::read(body)? };
    let secrets = secrets_in(&root);
    let mut format = match (is_xml, &*root.namespace) {
        (false, _) => Format::Json,
        (true, SOAP_11) => Format::Xml11,
        (true, _) => Format::Xml12,
    };
    if is_xml && root.name != "Envelope" {
        return Err("not a SOAP envelope");
    }
    let context = root.child("Header").and_then(|header| header.child("context"));
    let xml_format = if format == Format::Json { Format::Xml12 } else { format };
    match context.and_then(|context| context.child("format")).and_then(|format| format.value("type")) {
        Some("js") => format = Format::Json,
        Some("xml") => format = xml_format,
        _ => {}
    }
    let context = context.map(Context::read).unwrap_or_default();
    let body = root.children.iter_mut().find(|child| child.name == "Body").ok_or("there is no body")?;
    let operation = if body.children.is_empty() { None } else { Some(body.children.swap_remove(0)) };
    Ok(Incoming { format, context, operation, secrets })
}

/// What a body is written in, as its first character says.
pub fn sniff(body: &[u8]) -> Format {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, None | Some(b'<')) { Format::Xml12 } else { Format::Json }
}

/// Where secrets stand in a body. In one that cannot be read, everything but the first character is taken for one.
pub fn secrets(body: &[u8], incoming: &Result<Incoming<'_>, Unreadable>) -> Vec<Span> {
    match incoming {
        Ok(incoming) => incoming.secrets.clone(),
        Err(_) => {
            let start = body.iter().position(|byte| b"<{[".contains(byte)).map_or(0, |first| first + 1);
            let length = body.len() - start;
            if length == 0 { Vec::new() } else { vec![Span { start: start as u32, length: length as u32 }] }
        }
    }
}

fn secrets_in(root: &Element<'_>) -> Vec<Span> {
    let mut places = Vec::new();
    root.visit(&mut |element| {
        if is_secret(&element.name) {
            places.push(element.text.place);
        }
        let secret = element.attributes.iter().filter(|(name, _)| is_secret(name));
        places.extend(secret.map(|(_, Text { place, .. })| *place));
    });
    joined(places)
}

fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Spans in their order, those that touch as one.
fn joined(mut places: Vec<(usize, usize)>) -> Vec<Span> {
    places.retain(|(_, length)| *length > 0);
    places.sort_unstable();
    let mut spans: Vec<Span> = Vec::with_capacity(places.len());
    for (start, length) in places {
        let (start, end) = (start as u32, (start + length) as u32);
        match spans.last_mut() {
            Some(last) if start <= last.start + last.length => {
                last.length = last.length.max(end - last.start);
            }
            _ => spans.push(Span { start, length: end - start }),
        }
    }
    spans
}

impl Context {
    fn read(context: &Element<'_>) -> Self {
        let text = |name: &str| context.value(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let wants_none = ["nosession", "noSession"].iter().any(|name| context.child(name).is_some());
        let session = context.child("session").or_else(|| context.child("sessionId"));
        let session = session.filter(|_| !wants_none).map(|session| {
            let id = session.value("id").unwrap_or(&session.text.value);
            if id.bytes().all(|byte| byte.is_ascii_alphanumeric()) && id.len() <= 64 {
                id.to_owned()
            } else {
                String::new()
            }
        });
        Self {
            token: text("authToken"),
            account: context.child("account").and_then(named).or_else(|| by_name(text("account"))),
            session,
        }
    }
}

/// The account that an element `account` names.
pub fn named(account: &Element<'_>) -> Option<AccountName> {
    let text = account.text.value.to_string();
    if text.is_empty() {
        return None;
    }
    Some(match account.value("by") {
        Some("id") => AccountName::Id(text),
        Some("foreignPrincipal" | "krb5Principal") => AccountName::PrincipalName(text),
        _ => AccountName::Name(text),
    })
}

fn by_name(name: Option<String>) -> Option<AccountName> {
    name.map(AccountName::Name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(body: &str) -> String {
        let incoming = open(body.as_bytes());
        let mut bytes = body.as_bytes().to_vec();
        for Span { start, length } in secrets(body.as_bytes(), &incoming) {
            bytes[start as usize..(start + length) as usize].fill(b'*');
        }
        String::from_utf8(bytes).expect("stars")
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        for (body, expected) in [
            (
                "<Envelope><Header><context><authToken>0_a</authToken></context></Header><Body><AuthRequest password='p&amp;w'><password>x<b/>y</password></AuthRequest></Body></Envelope>",
                "<Envelope><Header><context><authToken>***</authToken></context></Header><Body><AuthRequest password='*******'><password>******</password></AuthRequest></Body></Envelope>",
            ),
            (
                r#"{"Header":{"context":{"authToken":[{"_content":"t\"k"}]}},"Body":{"AuthRequest":{password:'secret',"preauth":{"_content":"d"}}}}"#,
                r#"{"Header":{"context":{"authToken":[{"_content":"****"}]}},"Body":{"AuthRequest":{password:'******',"preauth":{"_content":"*"}}}}"#,
            ),
            (
                r#"{"Header":{"context":{"authToken":["tk"]}},"Body":{}}"#,
                r#"{"Header":{"context":{"authToken":["**"]}},"Body":{}}"#,
            ),
            ("<Envelope><password>p</passwor", "<*****************************"),
            (r#"{"password":"p"#, "{*************"),
            ("password", "********"),
        ] {
            assert_eq!(hidden(body), expected);
        }
    }

    #[test]
    fn tokens_and_accounts_are_found_in_every_shape() {
        for context in [
            r#"{"authToken":"t","account":{"by":"name","_content":"a"}}"#,
            r#"{authToken:{_content:'t'},"account":[{"_content":"a"}]}"#,
            r#"{"authToken":[{"_content":"t"}],"account":"a","nosession":{}, session: {}}"#,
            r#"{"authToken":{"_content":{"_content":"t"}},"account":{"_content":"a"},"nosession":{}}"#,
        ] {
            let body = [r#"{"Header":{"context":"#, context, r#"},"Body":{"NoOpRequest":{}}}"#].concat();
            let incoming = open(body.as_bytes()).unwrap_or_else(|why| panic!("{context}: {why}"));
            let account = Some(AccountName::Name("a".into()));
            assert_eq!(incoming.context, Context { token: Some("t".into()), account, session: None }, "{context}");
        }
    }
}
