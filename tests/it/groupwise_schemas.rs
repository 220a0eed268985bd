//! Every answer of the GroupWise dialect, as often as it can look different. Where the schemas are, whoever reads an answer
//! has it judged (see `schemas`).

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use postbell_notify::contract::{Refusal, RequestHead};
use postbell_tests::admin::Admin;
use postbell_tests::groupwise::{BOOK, PATH, contact, contact_id, login, on_book, soap, text};
use postbell_tests::http::{Connection, request};
use postbell_tests::schemas;
use serde_json::{Value, json};

use crate::{demo, demo_with};

/// Every field that the README names, with a value that fits.
const FIELDS: [(&str, &str); 78] = [
    ("name", "Ann"),
    ("version", "7"),
    ("modified", "2026-08-22T10:00:01Z"),
    ("created", "2026-08-22T10:00:01.5"),
    ("comment", "<&>\"'"),
    ("domain", "domain1"),
    ("postOffice", "po1"),
    ("distinguishedName", "cn=Ann,o=Example"),
    ("userid", "ann"),
    ("PABGuid", "F00D"),
    ("visibility", "System"),
    ("external", "true"),
    ("fullName/displayName", "Ann"),
    ("fullName/namePrefix", "Dr."),
    ("fullName/firstName", "Ann"),
    ("fullName/middleName", "B."),
    ("fullName/lastName", "Archer"),
    ("fullName/nameSuffix", "jr."),
    ("emailList/@primary", "ann@example.org"),
    ("emailList/email", "ann@example.org"),
    ("emailList/email", "ann@example.com"),
    ("imList/im", "ann"),
    ("phoneList/@default", "+1 202 555 0101"),
    ("phoneList/phone", "+1 202 555 0101"),
    ("phoneList/phone", "+1 202 555 0102"),
    ("addressList/@mailingAddress", "home"),
    ("addressList/address/description", "the house"),
    ("addressList/address/streetAddress", "1 Main Street"),
    ("addressList/address/location", "attic"),
    ("addressList/address/city", "Provo"),
    ("addressList/address/state", "UT"),
    ("addressList/address/postalCode", "84601"),
    ("addressList/address/country", "US"),
    ("addressList/address/poBox", "7"),
    ("officeInfo/organization", "Example"),
    ("officeInfo/department", "Sales"),
    ("officeInfo/title", "Head"),
    ("officeInfo/website", "http://example.org/"),
    ("officeInfo/profession", "archer"),
    ("officeInfo/location", "2nd floor"),
    ("officeInfo/manager", "Bob"),
    ("officeInfo/assistant", "Carol"),
    ("personalInfo/birthday", "1980-02-29"),
    ("personalInfo/website", "http://ann.example/"),
    ("personalInfo/spouse", "Dan"),
    ("personalInfo/children", "2"),
    ("personalInfo/hobbies", "archery"),
    ("personalInfo/nickName", "Annie"),
    ("personalInfo/weddingAnniversary", "2001-05-05"),
    ("personalInfo/displayBirthdayYear", "0"),
    ("personalInfo/displayAnniversaryYear", "1"),
    ("referenceInfo/lastReferenceDate", "2026-08-22T10:00:01Z"),
    ("referenceInfo/referenceCount", "3"),
    ("advancedInfo/freebusyWebsite", "http://example.org/free"),
    ("advancedInfo/teamingWebsite", "http://example.org/team"),
    ("advancedInfo/customerId", "c1"),
    ("advancedInfo/governmentId", "g1"),
    ("advancedInfo/organizationalId", "o1"),
    ("advancedInfo/computerNetworkName", "n1"),
    ("advancedInfo/ftpSite", "ftp://example.org/"),
    ("advancedInfo/mileage", "12"),
    ("advancedInfo/userField1", "1"),
    ("advancedInfo/userField2", "2"),
    ("advancedInfo/userField3", "3"),
    ("advancedInfo/userField4", "4"),
    ("advancedInfo/BlackBerryPIN", "0000"),
    ("email", "all@example.org"),
    ("phone", "+1 202 555 0103"),
    ("resourceType", "Place"),
    ("owner", "Bob"),
    ("contact", "Bob"),
    ("fax", "+1 202 555 0104"),
    ("website", "http://example.org/"),
    ("address/streetAddress", "1 Main Street"),
    ("address/city", "Provo"),
    ("address/country", "US"),
    ("no/such/field", "x"),
    ("emailList", "x"),
];

const KINDS: [&str; 5] = ["contact", "group", "resource", "organization", "robot"];

/// Values of which each is wrong somewhere.
const ODD: [&str; 8] = ["", "yes", "-1", "2026-02-30", "2026-02-28T24:00:00Z", "99999999999", "\u{1}\u{fffe}", "]]>"];

/// A session of alice's.
struct Client {
    address: SocketAddr,
    session: String,
}

impl Client {
    fn alice(address: SocketAddr) -> Result<Client> {
        let mut client = Client { address, session: String::new() };
        client.session = text(&client.send(&login("alice", "postbell"))?, "session");
        ensure!(!client.session.is_empty());
        Ok(client)
    }

    fn send(&self, body: &str) -> Result<String> {
        let headers = [("Content-Type", "text/xml; charset=utf-8"), ("SOAPAction", "")];
        let answer = Connection::open(self.address)?.ask(&request("POST", PATH, &headers, body.as_bytes()))?;
        ensure!(answer.head.header("pragma") == Some("no-cache"), "{answer:?}");
        Ok(answer.body)
    }

    /// An operation that must have this status.
    fn ask(&self, status: u32, operation: &str) -> Result<String> {
        let body = self.send(&soap(&self.session, operation))?;
        ensure!(text(&body, "code") == status.to_string(), "{operation}: {body}");
        Ok(body)
    }

    fn on_book(&self, name: &str, rest: &str) -> Result<String> {
        let body = self.send(&on_book(&self.session, name, rest))?;
        ensure!(text(&body, "code") == "0", "{name} {rest}: {body}");
        Ok(body)
    }
}

/// Without this, no other test here would show anything.
#[test]
fn what_breaks_the_schema_is_found() -> Result<()> {
    if schemas::folder().is_none() {
        eprintln!("not run: POSTBELL_SCHEMAS does not name a folder with GroupWise's schemas");
        return Ok(());
    }
    let server = demo()?;
    let answer = Client::alice(server.clients)?.on_book("getDeltas", "")?;
    for (from, to) in
        [("sync>add", "sync>addition"), ("m:deltaInfo", "deltaInfo"), ("\"Contact\"", "\"Human\""), ("code>", "cod>")]
    {
        let broken = answer.replace(from, to);
        ensure!(broken != answer && schemas::judge(&broken).is_err(), "{broken}");
    }
    schemas::judge(&answer)
}

#[test]
fn entries_with_every_field_and_with_odd_values() -> Result<()> {
    let server = demo()?;
    let client = Client::alice(server.clients)?;
    let entry = |kind: &str, number: usize, value: &dyn Fn(usize, &str) -> String| {
        let label = ["Home", "office", "", "e<1>@x"][number % 4];
        let field = |(at, (name, good)): (usize, &(&str, &str))| json!({"name": name, "label": label, "value": value(at, good)});
        let fields: Vec<_> = FIELDS.iter().enumerate().map(field).collect();
        let members = json!([{"id": "alice", "name": "Alice", "email": "a@example.org", "kind": "cc"},
            {"id": "", "name": "<&>", "email": "", "kind": "whom"}, {"id": "gone", "name": "", "email": "", "kind": ""}]);
        json!({"added": {"id": format!("{kind}<{number}>@\"&"), "uuid": "U-1", "kind": kind, "fields": fields, "members": members}})
    };
    let mut entries = Vec::new();
    for kind in KINDS {
        entries.extend((0..4).map(|number| entry(kind, number, &|_, good| good.to_owned())));
        let odd = |shift: usize| move |at: usize, _: &str| ODD[(at + shift) % ODD.len()].to_owned();
        entries.extend((0..ODD.len()).map(|shift| entry(kind, 4 + shift, &odd(shift))));
    }
    Admin::source(&server).book(&entries)?;
    let all = client.on_book("getItems", "")?;
    for (name, good) in FIELDS.iter().filter(|(name, _)| !["no/such/field", "emailList"].contains(name)) {
        let (_, last) = name.rsplit_once(['/', '@']).unwrap_or(("", name));
        let good = if *name == "addressList/@mailingAddress" { "Home" } else { good };
        let good = good.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("\"'", "");
        let shown = [
            format!("{last}=\"{good}"),
            format!("<{last}>{good}"),
            format!(">{good}</{last}>"),
            format!("<address>{good}"),
        ];
        ensure!(shown.iter().any(|shown| all.contains(shown)), "{name} is shown: {shown:?}");
    }
    client.on_book("getDeltas", "")?;
    for view in [
        "name",
        "email",
        "emailList phoneList addressList",
        "members",
        "fullName officeInfo",
        "default",
        "id sync none",
    ] {
        client.on_book("getItems", &format!("<view>{view}</view>"))?;
        client.on_book("getDeltas", &format!("<view>{view}</view>"))?;
    }
    Ok(())
}

#[test]
fn every_operation() -> Result<()> {
    let server = demo_with()?.set("book-deltas", 3).start()?;
    let source = Admin::source(&server);
    let client = Client::alice(server.clients)?;
    let books = client.ask(0, "<getAddressBookListRequest/>")?;
    assert_eq!(text(&books, "id"), BOOK);
    client.ask(0, "<getAddressBookListRequest><name>another</name></getAddressBookListRequest>")?;
    client.ask(0, "<getTimestampRequest><noop>true</noop></getTimestampRequest>")?;
    client.on_book("getDeltaInfo", "")?;
    for id in [contact_id("alice"), format!("staff@57:{BOOK}"), "room-1".to_owned(), "example".to_owned()] {
        client.ask(0, &format!("<getItemRequest><id>{id}</id></getItemRequest>"))?;
    }
    let cursor = text(&client.on_book("createCursor", "")?, "cursor");
    let on_cursor = |name: &str, rest: &str| client.on_book(name, &format!("<cursor>{cursor}</cursor>{rest}"));
    on_cursor("readCursor", "<count>2</count>")?;
    on_cursor("positionCursor", "<seek>end</seek>")?;
    on_cursor("readCursor", "")?;
    on_cursor("destroyCursor", "")?;
    source.book(&[
        json!({"deleted": "alice"}),
        json!({"deleted": "staff"}),
        json!({"deleted": "room-1"}),
        json!({"deleted": "example"}),
    ])?;
    let deleted = client.on_book("getDeltas", "")?;
    assert_eq!(deleted.matches("<sync>delete</sync>").count(), 3);
    client.on_book("getDeltas", "<deltaInfo><firstSequence>99</firstSequence></deltaInfo>")?;
    source.book(&[json!("rebuild-started"), json!("rebuild-finished")])?;
    for operation in ["getDeltaInfo", "getDeltas", "getItems"] {
        client.on_book(operation, "")?;
    }
    client.ask(0, "<logoutRequest/>")?;
    Ok(())
}

#[test]
fn every_status() -> Result<()> {
    let server = demo_with()?.set("book-deltas", 2).set("book-entry-bytes", 66_000).start()?;
    let source = Admin::source(&server);
    let client = Client::alice(server.clients)?;
    let book = |name: &str, rest: &str| format!("<{name}Request><container>{BOOK}</container>{rest}</{name}Request>");
    let large = |number: usize| {
        let mut entry = contact(&format!("large{number}"), "");
        entry["fields"][0]["value"] = Value::from("x".repeat(60_000));
        json!({"added": entry})
    };
    source.book(&(0..10).map(large).collect::<Vec<_>>())?;
    for (status, operation) in [
        (53273, "<loginRequest><auth><username>alice</username></auth></loginRequest>".to_owned()),
        (55062, book("getDeltas", "<deltaInfo><firstSequence>1</firstSequence></deltaInfo>")),
        (59905, book("getDeltas", "<deltaInfo><count>-2</count></deltaInfo>")),
        (59905, "<loginRequest/>".to_owned()),
        (59905, "<acceptRequest/>".to_owned()),
        (59906, "<getItemRequest><id>nobody</id></getItemRequest>".to_owned()),
        (59908, book("getItems", "")),
        (59909, book("readCursor", "<cursor>1</cursor>")),
        (59925, book("getDeltas", "").replace(BOOK, "7.a@16")),
    ] {
        client.ask(status, &operation)?;
    }
    let info = book("getDeltaInfo", "");
    assert_eq!(text(&client.send(&soap("", &info))?, "code"), "59920");
    assert_eq!(text(&client.send(&soap("gone", &info))?, "code"), "59910");
    for malformed in ["", "<a", "<Envelope><Body/></Envelope>", "<!DOCTYPE a><a/>"] {
        let fault = client.send(malformed)?;
        ensure!(fault.contains("<faultcode>SOAP-ENV:Client</faultcode>"), "{malformed}: {fault}");
    }
    Ok(())
}

/// What the host has the plugin say when something is wrong with the host.
#[test]
fn refusals_of_the_hosts() -> Result<()> {
    let head = RequestHead { path: PATH.into(), ..RequestHead::default() };
    for why in [Refusal::TooLarge, Refusal::Busy, Refusal::Throttled, Refusal::Stopping, Refusal::Fault, Refusal::Moved]
    {
        let reply = postbell_notify::refuse(&head, b"", why);
        let body = String::from_utf8(reply.body)?;
        ensure!(reply.status >= 400 && body.contains("<faultcode>SOAP-ENV:"), "{body}");
        schemas::judge(&body)?;
    }
    Ok(())
}
