//! The captured traffic of a real Cyrus against a golden file, and the lines that it does not have.

use expect_test::expect_file;
use proptest::prelude::*;

use super::*;

const TRAFFIC: &str = include_str!("../../program/demo-traffic.jsonl");

fn users() -> Users {
    Users::new(vec!["example.org".into(), "example.net".into()], [("fred".into(), "frederic@example.org".into())])
}

fn read(line: &str) -> Result<Vec<(String, Change)>, CyrusError> {
    changes(line.as_bytes(), &users(), 1)
}

fn one(line: &str) -> (String, Change) {
    let mut all = read(line).unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn refusal(line: &str) -> String {
    read(line).unwrap_err().to_string()
}

#[test]
fn captured_traffic() {
    let mut golden = String::new();
    for (number, line) in (1..).zip(TRAFFIC.lines()) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        golden += &format!("{number} {}\n", event["event"].as_str().unwrap());
        for (account, change) in read(line).unwrap() {
            golden += &format!("    {account} at {}: {:?}\n", change.at, change.what);
            for counts in change.counts {
                golden += &format!("        {counts:?}\n");
            }
        }
    }
    expect_file!["traffic.golden"].assert_eq(&golden);
}

#[test]
fn whose_mailbox() {
    let created = |path: &str| {
        let (account, change) = one(&format!(r#"{{"event":"MailboxCreate","uri":"imap://h/{path}"}}"#));
        let Happening::FolderCreated(folder) = change.what else { panic!("{change:?}") };
        (account, folder.id, folder.parent, folder.name)
    };
    let expected = |account: &str, id: &str, parent: &str, name: &str| {
        (account.to_owned(), id.to_owned(), parent.to_owned(), name.to_owned())
    };
    assert_eq!(created("user/ann"), expected("ann@example.org", "inbox", "", "inbox"));
    assert_eq!(created("user/fred/A"), expected("frederic@example.org", "A", "", "A"));
    assert_eq!(created("user/a/B/C/D;UIDVALIDITY=1"), expected("a@example.org", "B/C/D", "B/C", "D"));
    assert_eq!(created("user/a@example.net/B"), expected("a@example.net", "B", "", "B"));
    assert_eq!(created("user/a/B/C@example.net"), expected("a@example.net", "B/C", "B", "C"));
    assert_eq!(created("user/a/me@home"), expected("a@example.org", "me@home", "", "me@home"));
    assert_eq!(created("user/a/Entw%C3%BCrfe%3B1"), expected("a@example.org", "Entwürfe;1", "", "Entwürfe;1"));
}

#[test]
fn several_messages_are_several_changes_with_the_counts_on_the_last() {
    let line = r#"{"event":"MessageExpunge","uri":"imap://h/user/a;UIDVALIDITY=7","uidset":"2:3,9",
                   "messages":4,"vnd.cmu.unseenMessages":1}"#;
    let all = read(line).unwrap();
    let ids: Vec<_> = all
        .iter()
        .map(|(_, change)| match &change.what {
            Happening::ItemDeleted(item) => (item.id.as_str(), item.imap_uid, change.counts.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [("inbox/7/2", Some(2), 0), ("inbox/7/3", Some(3), 0), ("inbox/7/9", Some(9), 1)]);
    assert_eq!(all[2].1.at, 1);
}

#[test]
fn flags_are_bits_and_tags() {
    let altered = |event: &str, names: &str| {
        let uri = "imap://h/user/a;UIDVALIDITY=7";
        let line = serde_json::json!({"event": event, "uri": uri, "uidset": "1", "flagNames": names}).to_string();
        match one(&line).1.what {
            Happening::ItemModified(it) => (it.flags_before, it.item.flags, it.tags_before, it.item.tags, it.fields),
            other => panic!("{other:?}"),
        }
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let none = Vec::new;
    assert_eq!(altered("FlagsSet", "\\Seen \\answered"), (Some(0), 3, None, none(), words(&["flags"])));
    assert_eq!(altered("FlagsClear", "\\Draft $Forwarded"), (Some(40), 0, None, none(), words(&["flags"])));
    assert_eq!(altered("FlagsSet", "a b"), (None, 0, Some(none()), words(&["a", "b"]), words(&["tags"])));
    assert_eq!(altered("FlagsClear", "a"), (None, 0, Some(words(&["a"])), none(), words(&["tags"])));
}

#[test]
fn what_comes_from_elsewhere_is_new() {
    for old in ["user/b", "shared/news"] {
        let line = format!(
            r#"{{"event":"vnd.cmu.MessageMove","uri":"imap://h/user/a;UIDVALIDITY=7","uidset":"1",
                 "oldMailboxID":"imap://h/{old};UIDVALIDITY=8","vnd.cmu.oldUidset":"5"}}"#
        );
        let (account, change) = one(&line);
        assert_eq!(account, "a@example.org");
        assert!(matches!(&change.what, Happening::ItemCreated(item) if item.id == "inbox/7/1"), "{change:?}");
    }
}

#[test]
fn the_kind_of_a_mailbox() {
    let kind = |mbtype: &str| {
        let line = format!(r#"{{"event":"MailboxCreate","uri":"imap://h/user/a/X","vnd.cmu.mbtype":"{mbtype}"}}"#);
        read(&line).unwrap().pop().map(|(_, change)| match change.what {
            Happening::FolderCreated(folder) => folder.holds,
            other => panic!("{other:?}"),
        })
    };
    for (mbtype, holds) in
        [("", "message"), ("e", "message"), ("ed", "message"), ("c", "appointment"), ("a", "contact")]
    {
        assert_eq!(kind(mbtype).as_deref(), Some(holds), "{mbtype}");
    }
    assert_eq!(kind("p"), None);
}

#[test]
fn what_is_not_understood_says_why() {
    let message = |rest: &str| format!(r#"{{"event":"MessageExpunge","uri":"imap://h/user/a;UIDVALIDITY=7"{rest}}}"#);
    for (line, words) in [
        ("nonsense".to_owned(), "not an event of Cyrus: expected ident at line 1"),
        ("{}".to_owned(), "missing field `event`"),
        (r#"{"event":"MessageSung"}"#.to_owned(), "unknown variant `MessageSung`"),
        (r#"{"event":"MessageNew"}"#.to_owned(), "`` is not the URL of a mailbox"),
        (r#"{"event":"MessageNew","uri":"imap://h/shared/x"}"#.to_owned(), "is not the mailbox of a user"),
        (r#"{"event":"MessageNew","uri":"imap://h/user/a"}"#.to_owned(), "lacks `uidset`"),
        (r#"{"event":"MessageNew","uri":"imap://h/user/a/;UID=1"}"#.to_owned(), "lacks `UIDVALIDITY`"),
        (r#"{"event":"MessageNew","uri":"imap://h/user/a;UIDVALIDITY=x/;UID=1"}"#.to_owned(), "not the URL"),
        (message(r#","uidset":"""#), "`` is not a set"),
        (message(r#","uidset":"1:*""#), "`1:*` is not a set"),
        (message(r#","uidset":"0""#), "`0` is not a set"),
        (message(r#","uidset":"1:4294967295""#), "at most 10000 UIDs"),
        (message(r#","uidset":"1","timestamp":"soon""#), "`soon` is not a time"),
        (message(r#","uidset":"1","timestamp":"1960-01-01T00:00:00Z""#), "is not a time"),
        (message(r#","uidset":1"#), "invalid type: integer `1`, expected a string"),
        (r#"{"event":"FlagsSet","uri":"imap://h/user/a;UIDVALIDITY=7","uidset":"1"}"#.to_owned(), "lacks `flagNames`"),
        (
            r#"{"event":"vnd.cmu.MessageMove","uri":"imap://h/user/a;UIDVALIDITY=7","uidset":"1:2",
                "oldMailboxID":"imap://h/user/a/B;UIDVALIDITY=8","vnd.cmu.oldUidset":"5"}"#
                .to_owned(),
            "as many UIDs before as after: 1 and 2",
        ),
        (
            r#"{"event":"MailboxRename","uri":"imap://h/user/a/B","oldMailboxID":"imap://h/user/b/B"}"#.to_owned(),
            "moves from `b@example.org` to `a@example.org`",
        ),
    ] {
        let refusal = refusal(&line);
        assert!(refusal.contains(words), "{line}: {refusal}");
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = changes(&line, &users(), 0);
    }

    #[test]
    fn no_alteration_of_a_real_line_panics(index in 0usize..15, at in any::<prop::sample::Index>(), piece in "[\\PC\"]{0,12}") {
        let line = TRAFFIC.lines().nth(index).unwrap();
        let cut = at.index(line.len());
        prop_assume!(line.is_char_boundary(cut));
        let altered = format!("{}{piece}{}", &line[..cut], &line[cut..]);
        let _ = changes(altered.as_bytes(), &users(), 0);
    }

    #[test]
    fn no_member_panics(uri in "(imap://h/)?[a-z/@%;=:0-9A-Z]{0,40}", set in "[0-9,:*]{0,20}", old in "[0-9,:]{0,20}") {
        for event in ["MessageNew", "FlagsSet", "vnd.cmu.MessageMove", "MailboxRename"] {
            let line = serde_json::json!({
                "event": event, "uri": uri, "oldMailboxID": uri, "uidset": set, "vnd.cmu.oldUidset": old, "flagNames": set,
            });
            let _ = changes(line.to_string().as_bytes(), &users(), 0);
        }
    }
}
