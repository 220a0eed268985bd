//! The JSON of the contract: every case, what may be absent, and what is refused with which words.

use super::*;
use crate::contract::changes::{self, FolderCounts, Item};

fn only(body: &str) -> Entry {
    let posting = posting(body.as_bytes(), 77).unwrap();
    assert_eq!(posting.units.len(), 1);
    posting.units.into_iter().next().unwrap().entries.unwrap().remove(0)
}

fn happening(what: &str) -> changes::Happening {
    match only(&format!(r#"{{"changes":[{{"account":"a","what":{what}}}]}}"#)) {
        Entry::Change(_, change) => change.what,
        Entry::Book(_) => unreachable!("it was posted as a change"),
    }
}

fn refusal(body: &str) -> String {
    posting(body.as_bytes(), 0).unwrap_err().to_string()
}

fn item(id: &str) -> Item {
    Item {
        kind: String::new(),
        id: id.into(),
        folder: String::new(),
        number: None,
        imap_uid: None,
        revision: None,
        flags: 0,
        tags: Vec::new(),
    }
}

#[test]
fn the_example_of_the_documentation() {
    let body = r#"{"source":"imap-1","offset":0,
        "changes":[{"account":"alice@example.org","at":1795296510624,
                    "what":{"message-delivered":{"kind":"message","id":"m1","folder":"inbox"}},
                    "counts":[{"folder":"inbox","unread":1,"total":1}]}],
        "book":[{"added":{"id":"e1","kind":"contact","fields":[{"name":"fullName/displayName","value":"Ann"}]}}]}"#;
    let posting = posting(body.as_bytes(), 0).unwrap();
    assert_eq!((posting.source.as_deref(), posting.offset), (Some("imap-1"), Some(0)));
    let delivered = Item { kind: "message".into(), folder: "inbox".into(), ..item("m1") };
    let change = changes::Change {
        number: None,
        at: 1795296510624,
        origin: None,
        counts: vec![FolderCounts { folder: "inbox".into(), unread: 1, total: 1, revision: None }],
        what: changes::Happening::MessageDelivered(delivered),
    };
    assert_eq!(posting.units[0].entries, Ok(vec![Entry::Change("alice@example.org".into(), change)]));
    let Ok([Entry::Book(changes::BookChange::Added(entry))]) = posting.units[1].entries.as_deref() else {
        panic!("{:?}", posting.units[1])
    };
    assert_eq!((entry.id.as_str(), entry.fields[0].value.as_str()), ("e1", "Ann"));
    assert_eq!(posting.units[1].mark, Mark { list: List::Book, position: 0 });
}

#[test]
fn what_may_be_absent() {
    assert_eq!(posting(b"{}", 0).unwrap(), Posting { source: None, offset: None, units: Vec::new() });
    let Entry::Change(account, change) = only(r#"{"source":"","changes":[{"account":"a","what":"gap"}]}"#) else {
        unreachable!("it was posted as a change")
    };
    assert_eq!((account.as_str(), change.at, change.number, change.origin), ("a", 77, None, None));
    assert_eq!(happening(r#"{"item-created":{"id":"x"}}"#), changes::Happening::ItemCreated(item("x")));
}

#[test]
fn every_case_has_its_name() {
    let record = "{}";
    let pair = r#"{"before":{},"after":{}}"#;
    for (case, payload) in [
        ("baseline", "[{}]"),
        ("message-delivered", record),
        ("item-created", record),
        ("item-modified", r#"{"item":{},"flags-before":1,"tags-before":["t"],"fields":["flags"]}"#),
        ("item-deleted", record),
        ("item-moved", pair),
        ("item-copied", pair),
        ("folder-created", record),
        ("folder-modified", r#"{"folder":{},"fields":["name"]}"#),
        ("folder-deleted", record),
        ("folder-moved", pair),
        ("folder-copied", pair),
        ("free-busy-changed", r#"{"imap-uid":3,"flags":1,"tags":["a"]}"#),
        ("tag-created", record),
        ("tag-modified", record),
        ("tag-deleted", record),
        ("hinted", r#"["message"]"#),
        ("account-opened", r#"{"id":"a","name":"b","aliases":["c"]}"#),
        ("account-modified", record),
        ("account-unavailable", r#""maintenance""#),
        ("account-unavailable", r#"{"moved":"elsewhere"}"#),
        ("access-changed", r#"{"kind":"added","who":"bob"}"#),
        ("visit-began", record),
        ("visit-ended", r#"{"kind":"login","by":"x"}"#),
    ] {
        let printed = format!("{:?}", happening(&format!("{{\"{case}\":{payload}}}")));
        let name: String = case.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        assert!(printed.contains(&name), "{case} gave {printed}");
    }
    for case in ["gap", "account-closed", "account-available"] {
        happening(&format!("\"{case}\""));
    }
    for case in [
        "{\"added\":{}}",
        "{\"modified\":{}}",
        "{\"deleted\":\"e1\"}",
        "\"gap\"",
        "\"rebuild-started\"",
        "\"rebuild-finished\"",
    ] {
        only(&format!("{{\"book\":[{case}]}}"));
    }
}

#[test]
fn a_refusal_says_where() {
    for (body, words) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "expected struct Body"),
        (r#"{"chnages":[]}"#, "unknown field `chnages`"),
        (r#"{"changes":[{"account":"a","what":"gapp"}]}"#, "changes[0].what: unknown variant `gapp`"),
        (r#"{"changes":[{"account":"a"}]}"#, "changes[0]: missing field `what` at line 1 column 27"),
        (r#"{"changes":[{"what":"gap"}]}"#, "changes[0]: missing field `account`"),
        (
            r#"{"changes":[{"account":"a","what":{"item-created":{"uid":1}}}]}"#,
            "changes[0].what.item-created.uid: unknown field `uid`",
        ),
        (
            r#"{"changes":[{"account":"a","what":{"item-created":{"flags":"seen"}}}]}"#,
            "changes[0].what.item-created.flags: invalid type: string",
        ),
        (r#"{"changes":[{"account":"a","at":-1,"what":"gap"}]}"#, "changes[0].at: invalid value: integer `-1`"),
        (r#"{"changes":[{"account":"a","at":1.5,"what":"gap"}]}"#, "changes[0].at: invalid type: floating point"),
        (
            r#"{"changes":[{"account":"a","what":"gap","counts":[{"folder":"f","unread":1}]}]}"#,
            "changes[0].counts[0]: missing field `total`",
        ),
        (r#"{"changes":[{"account":"a","what":{"item-moved":{"before":{}}}}]}"#, "missing field `after`"),
        (r#"{"book":["gone"]}"#, "book[0]: unknown variant `gone`"),
        (r#"{"source":"x","source":"y"}"#, "duplicate field `source`"),
        (r#"{"two\nlines":1}"#, "unknown field `two lines`"),
        (r#"{} {}"#, "trailing characters at line 1 column 4"),
        (r#"{"offset":3}"#, "offset: it needs a source"),
    ] {
        let refusal = refusal(body);
        assert!(refusal.contains(words), "{body}: {refusal}");
    }
}

#[test]
fn a_line_is_one_change_of_either_kind() {
    assert!(matches!(line(br#"{"account":"a","what":"gap"}"#, 0), Ok(Entry::Change(..))));
    assert!(matches!(line(br#"{"book":{"deleted":"e1"}}"#, 0), Ok(Entry::Book(_))));
    for odd in [r#"{}"#, r#"{"account":"a"}"#, r#"{"account":"a","what":"gap","book":"gap"}"#] {
        assert!(matches!(line(odd.as_bytes(), 0), Err(JsonError::NeitherOrBoth)), "{odd}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{{\"changes\":{}", "[".repeat(100_000));
    assert!(posting(deep.as_bytes(), 0).is_err());
}
