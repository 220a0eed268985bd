//! The captured traffic of a real Dovecot against a golden file, and the lines that it does not have.

use expect_test::expect_file;
use proptest::prelude::*;

use super::*;

const TRAFFIC: &str = include_str!("traffic.jsonl");

fn users() -> Users {
    Users::new(vec!["example.org".into()], [("alice@example.com".into(), "alice@example.org".into())])
}

fn read(line: &str) -> Result<Option<(String, Change)>, DovecotError> {
    change(line.as_bytes(), &users(), 1)
}

fn folder_of(mailbox: &str) -> (String, String, String, String) {
    let event = serde_json::json!({"name": "MailboxCreate", "user": "ann", "mailbox": mailbox});
    let (_, change) = read(&event.to_string()).unwrap().unwrap();
    let Happening::FolderCreated(folder) = change.what else { panic!("{change:?}") };
    (folder.id, folder.parent, folder.name, folder.role)
}

#[test]
fn captured_traffic() {
    let mut golden = String::new();
    for (number, line) in (1..).zip(TRAFFIC.lines()) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        golden += &format!("{number} {}\n", event["name"].as_str().unwrap());
        if let Some((account, change)) = read(line).unwrap() {
            assert_eq!((change.at, change.counts.len()), (1, 0));
            golden += &format!("    {account}: {:?}\n", change.what);
        }
    }
    expect_file!["traffic.golden"].assert_eq(&golden);
}

#[test]
fn folders_have_paths_and_those_of_special_use_a_role() {
    let expected = |id: &str, parent: &str, name: &str, role: &str| {
        (id.to_owned(), parent.to_owned(), name.to_owned(), role.to_owned())
    };
    assert_eq!(folder_of("INBOX"), expected("inbox", "", "inbox", "inbox"));
    assert_eq!(folder_of("Inbox/A"), expected("inbox/A", "inbox", "A", ""));
    assert_eq!(folder_of("Inboxes"), expected("Inboxes", "", "Inboxes", ""));
    assert_eq!(folder_of("Sent"), expected("Sent", "", "Sent", "sentitems"));
    assert_eq!(folder_of("A/Trash"), expected("A/Trash", "A", "Trash", ""));
    assert_eq!(folder_of("Entwürfe"), expected("Entwürfe", "", "Entwürfe", ""));
}

#[test]
fn what_imap_told_is_read() {
    let known = serde_json::json!({
        "name": "MailboxKnown", "user": "ann", "mailbox": "Gesendet", "special_use": "\\Sent", "unread": 1, "messages": 9,
    });
    let (_, change) = read(&known.to_string()).unwrap().unwrap();
    let Happening::Baseline(folders) = change.what else { panic!("{change:?}") };
    let [folder] = &folders[..] else { panic!("{folders:?}") };
    assert_eq!((&*folder.role, folder.unread, folder.total), ("sentitems", Some(1), Some(9)));
    let flags = serde_json::json!({
        "name": "MessageFlags", "user": "ann", "mailbox": "INBOX", "uid_validity": 3, "uid": 4, "flags": ["\\Seen", "$x"],
    });
    let (_, change) = read(&flags.to_string()).unwrap().unwrap();
    let Happening::ItemModified(altered) = change.what else { panic!("{change:?}") };
    assert_eq!((altered.item.flags, &altered.item.tags[..], altered.flags_before), (1, &["$x".to_owned()][..], None));
}

#[test]
fn our_script_and_our_source_know_more() {
    let moved = serde_json::json!({
        "name": "MessageMove", "user": "ann", "mailbox": "Projects", "uid_validity": 3, "uid": 4, "flags": ["\\Seen"],
        "mailbox_old": "INBOX", "uid_validity_old": 1, "uid_old": 2, "time": 9, "unread": 5, "messages": 6,
    });
    let (account, change) = read(&moved.to_string()).unwrap().unwrap();
    assert_eq!((account.as_str(), change.at), ("ann@example.org", 9_000));
    let counts = FolderCounts { folder: "Projects".into(), unread: 5, total: 6, revision: None };
    assert_eq!(change.counts, [counts]);
    let Happening::ItemMoved(ItemRelocation { before, after }) = change.what else { panic!("{change:?}") };
    assert_eq!((before.id.as_str(), after.id.as_str(), after.flags), ("inbox/1/2", "Projects/3/4", 1));
}

#[test]
fn users_are_accounts() {
    let account = |user: &str| {
        let event = serde_json::json!({"name": "MailboxCreate", "user": user, "mailbox": "A"});
        read(&event.to_string()).unwrap().unwrap().0
    };
    assert_eq!(account("ann"), "ann@example.org");
    assert_eq!(account("bob@example.net"), "bob@example.net");
    assert_eq!(account("alice@example.com"), "alice@example.org");
}

#[test]
fn what_is_missing_is_named() {
    for (line, reason) in [
        (r#"{"name":"MessageNew","user":"a","mailbox":"INBOX","uid_validity":1}"#, "the event lacks `uid`"),
        (r#"{"name":"FlagsSet","user":"a","mailbox":"INBOX","uid":1}"#, "the event lacks `uid_validity`"),
        (r#"{"name":"MessageNew","user":"a","mailbox":"INBOX","uid_validity":1,"uid":0}"#, "`uid` is empty or 0"),
        (r#"{"name":"MailboxRename","user":"a","mailbox":"B"}"#, "the event lacks `mailbox_old`"),
        (r#"{"name":"MessageMove","user":"a","mailbox":"B","mailbox_old":"C"}"#, "the event lacks `uid_validity_old`"),
        (r#"{"name":"MailboxRename","user":"a","mailbox":"B","mailbox_old":""}"#, "`mailbox_old` is empty or 0"),
        (r#"{"name":"MailboxCreate","user":"","mailbox":"B"}"#, "`user` is empty or 0"),
        (r#"{"name":"MailboxCreate","user":"a","mailbox":""}"#, "`mailbox` is empty or 0"),
    ] {
        assert_eq!(read(line).unwrap_err().to_string(), reason);
    }
    for odd in ["", "[]", "{}", r#"{"name":"Nothing","user":"a","mailbox":"B"}"#, r#"{"action":"EXPUNGE"}"#] {
        let reason = read(odd).unwrap_err().to_string();
        assert!(reason.starts_with("not an event of Dovecot: "), "{odd}: {reason}");
    }
}

proptest! {
    #[test]
    fn no_line_does_harm(line in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(change(&line, &users(), 1).is_err());
    }
}
