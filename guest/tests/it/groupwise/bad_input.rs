//! What is wrong gets its status, and harms nothing.

use super::*;

#[test]
fn every_mistake_has_its_status() {
    let mut world = World::new();
    let session = log_in(&mut world);
    book(&mut world, vec![BookChange::Added(entry("contact", "a", "a"))]);
    let saved = world.saved();
    let deltas = |info: &str| {
        format!("<getDeltasRequest><container>{BOOK}</container><deltaInfo>{info}</deltaInfo></getDeltasRequest>")
    };
    for (operation, expected) in [
        ("<getDeltaInfoRequest><container>7.a@16</container></getDeltaInfoRequest>".to_owned(), 59925),
        ("<getDeltaInfoRequest/>".to_owned(), 59905),
        (deltas("").replace(BOOK, "GroupWiseSystemAddressBook@53"), 59925),
        ("<createCursorRequest><container>7.a@16</container></createCursorRequest>".to_owned(), 59925),
        ("<getItemRequest/>".to_owned(), 59905),
        ("<getItemRequest><id>a@1:7.a@16</id></getItemRequest>".to_owned(), 59906),
        ("<getTimestampRequest><noop>perhaps</noop></getTimestampRequest>".to_owned(), 59905),
        (deltas("<count>-2</count>"), 59905),
        (deltas("<count>many</count>"), 59905),
        (deltas("<count>1e3</count>"), 59905),
        (deltas("<firstSequence>.5</firstSequence>"), 59905),
        (deltas("<firstSequence>99999999999999999999.9</firstSequence>"), 0),
        (deltas("<firstSequence>-1</firstSequence>"), 59905),
        (deltas("<lastTimePORebuild>1</lastTimePORebuild>"), 55062),
        ("<getItemRequest><id>z@56:GroupWiseSystemAddressBook@52</id></getItemRequest>".to_owned(), 59906),
        (format!("<readCursorRequest><container>{BOOK}</container><cursor>9</cursor></readCursorRequest>"), 59909),
        ("<getFolderListRequest/>".to_owned(), 59905),
        ("<loginRequest><auth type='types:Proxy'><username>a</username></auth></loginRequest>".to_owned(), 59905),
        ("<loginRequest><auth><username>a</username><password>x</password></auth></loginRequest>".to_owned(), 53273),
    ] {
        assert_eq!(status(&send(&mut world, &soap(&session, &operation))), expected, "{operation}");
    }
    let info = format!("<getDeltaInfoRequest><container>{BOOK}</container></getDeltaInfoRequest>");
    assert_eq!(status(&send(&mut world, &soap("", &info))), 59920);
    assert_eq!(status(&send(&mut world, &soap("gone", &info))), 59910);
    for body in ["", "<a", "<Envelope><Body/></Envelope>", "<Envelope><Body><other/></Body></Envelope>"] {
        assert!(send(&mut world, body).contains("<faultcode>SOAP-ENV:Client</faultcode>"), "{body}");
    }
    assert_eq!(world.saved(), saved);
}

#[test]
fn passwords_and_sessions_are_hidden_from_the_state() {
    let head = RequestHead { path: "/soap".into(), ..RequestHead::default() };
    for body in [
        soap("s3cret", "<loginRequest><auth><username>a</username><password>s3cret</password></auth></loginRequest>"),
        soap("s3cret", "<configureEventsRequest><events><key>open</key></events></configureEventsRequest>"),
        "<Envelope><password>s3cret".to_owned(),
    ] {
        let mut hidden = body.clone().into_bytes();
        for Span { start, length } in postbell_notify::identify(&head, body.as_bytes()).secrets {
            hidden[start as usize..(start + length) as usize].fill(b'*');
        }
        let hidden = String::from_utf8(hidden).expect("text");
        assert!(!hidden.contains("s3cret"), "{hidden}");
        assert_eq!(hidden.contains("open"), body.contains("open"));
    }
}
