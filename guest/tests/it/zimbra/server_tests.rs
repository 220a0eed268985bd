//! What the tests of Zimbra's own server assert (TestWaitSet, TestWaitSetRequest, those of its IMAP listener), by the names
//! that they have there.

use super::*;
use crate::world::{delivered, folder};

/// As one batch: each account gets a mail into its inbox.
fn mail_to(world: &mut World, accounts: &[&str]) -> Reaction {
    let (at, now) = (world.at(), world.now);
    let one = |account: &&str| AccountChanges {
        account: account.to_string(),
        changes: vec![change(now, delivered("inbox", "m"))],
    };
    world.notify.ingest(at, Batch { accounts: accounts.iter().map(one).collect(), book: vec![] })
}

/// A wait that blocks, with members that change.
fn block_with(world: &mut World, set: &str, seq: &str, rest: &str) -> Soap {
    send(world, ROOT, &soap(&wait_operation(set, seq, "block=\"1\"", rest)))
}

/// The folders inbox (2), fun (257) and fun2 (258).
fn with_folders(accounts: &[&str]) -> World {
    let mut world = World::empty(&[]);
    for account in accounts {
        let inbox = Folder { role: "inbox".into(), ..folder("inbox") };
        happens_to(&mut world, account, Happening::Baseline(vec![inbox, folder("fun"), folder("fun2")]));
    }
    world
}

fn update(account: &str, folders: &str) -> String {
    format!("<update><a id='{account}' folderInterests='{folders}'/></update>")
}

/// What QueryWaitSet says of the only set: its owner, and each member's folders.
fn queried(world: &mut World, set: &str) -> (usize, String, Vec<String>) {
    let query = format!("<QueryWaitSetRequest xmlns=\"urn:zimbraAdmin\" waitSet=\"{set}\"/>");
    let answer = send(world, ROOT, &soap(&query)).body();
    let document = roxmltree::Document::parse(&answer).expect("well-formed");
    let all = |name: &'static str| document.descendants().filter(move |node| node.tag_name().name() == name);
    let owner = all("waitSet").next().and_then(|set| set.attribute("owner")).expect("an owner").to_owned();
    let folders = all("WaitSetSession").map(|it| it.attribute("folderInterests").unwrap_or_default().to_owned());
    (all("waitSet").count(), owner, folders.collect())
}

#[test]
fn a_waiter_is_completed_by_its_accounts() {
    let mut world = World::new();
    let set = create(&mut world, ROOT, "all", &add(&[ALICE]));
    let waiting = block_with(&mut world, &set, "0", "");
    assert!(waiting.is_parked());
    assert_eq!(shorts(&mail_to(&mut world, &[ALICE])), [format!("r{} seq=2 alice", waiting.request)]);
    let waiting = block_with(&mut world, &set, "2", &add(&[BOB]));
    assert_eq!(shorts(&mail_to(&mut world, &[BOB])), [format!("r{} seq=3 bob", waiting.request)]);
}

#[test]
fn all_accounts_with_an_old_number_and_a_new_account() {
    let mut world = World::new();
    let operation = "<AdminCreateWaitSetRequest xmlns=\"urn:zimbraAdmin\" defTypes=\"all\" allAccounts=\"1\"/>";
    let set = id_of(&send(&mut world, ROOT, &soap(operation)).body());
    let waiting = block_with(&mut world, &set, "0", "");
    let said = shorts(&mail_to(&mut world, &[ALICE]));
    assert!(said.len() == 1 && said[0].starts_with(&format!("r{} seq=", waiting.request)), "{said:?}");
    // With the number before, at once again; with the new one, not before the next change.
    let again = short(&block_with(&mut world, &set, "0", "").body());
    let seq = again.strip_prefix("seq=").and_then(|rest| rest.strip_suffix(" alice")).expect("alice").to_owned();
    let waiting = block_with(&mut world, &set, &seq, "");
    assert!(waiting.is_parked());
    let new = "unew@example.org";
    assert_eq!(shorts(&happens_to(&mut world, new, Happening::AccountOpened(account(new)))), [""; 0]);
    let said = shorts(&mail_to(&mut world, &[new]));
    assert!(said.len() == 1 && said[0].ends_with(" unew"), "{said:?}");
}

#[test]
fn blocking_admin_wait_all_accounts() {
    let mut world = World::new();
    let operation = "<AdminCreateWaitSetRequest xmlns=\"urn:zimbraAdmin\" defTypes=\"all\" allAccounts=\"1\"/>";
    let set = id_of(&send(&mut world, ROOT, &soap(operation)).body());
    block_with(&mut world, &set, "0", "");
    let said = shorts(&mail_to(&mut world, &[ALICE, BOB, ADMIN]));
    assert!(said.len() == 1 && said[0].ends_with(" alice bob admin"), "{said:?}");
}

#[test]
fn blocking_wait_set_request() {
    let mut world = World::new();
    let set = create(&mut world, USER, "all", "<add><a name='alice@example.org'/></add>");
    let waiting = block(&mut world, USER, &set, "0", "");
    assert_eq!(shorts(&mail_to(&mut world, &[BOB, ALICE])), [format!("r{} seq=2 alice", waiting.request)]);
}

#[test]
fn blocking_admin_wait_for_one_and_for_two_accounts() {
    for (members, expected) in [(&[ALICE][..], "alice"), (&[ALICE, BOB], "alice bob")] {
        let mut world = World::new();
        let set = create(&mut world, ROOT, "all", &add(members));
        let waiting = block_with(&mut world, &set, "0", "");
        let said = shorts(&mail_to(&mut world, &[ALICE, BOB]));
        assert_eq!(said, [format!("r{} seq=2 {expected}", waiting.request)]);
    }
}

#[test]
fn blocking_admin_add_account() {
    let mut world = World::new();
    let set = create(&mut world, ROOT, "all", &add(&[ALICE]));
    for (seq, rest, mail, expected) in [
        ("0", "", &[ALICE, BOB][..], "seq=2 alice"),
        ("2", &*add(&[BOB]), &[ALICE, BOB], "seq=3 alice bob"),
        ("3", "", &[ALICE, BOB], "seq=4 alice bob"),
        ("4", "", &[BOB], "seq=5 bob"),
    ] {
        let waiting = block_with(&mut world, &set, seq, rest);
        assert!(waiting.is_parked(), "{seq}");
        assert_eq!(shorts(&mail_to(&mut world, mail)), [format!("r{} {expected}", waiting.request)]);
    }
}

#[test]
fn folder_interest_sync() {
    let mut world = with_folders(&[ALICE]);
    let set = create(&mut world, USER, "all", "<add><a id='alice@example.org' folderInterests='257'/></add>");
    mail_to(&mut world, &[ALICE]);
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=0");
    assert_eq!(queried(&mut world, &set), (1, ALICE.into(), vec!["257".into()]));
    // What the inbox got before is not news.
    assert_eq!(poll(&mut world, USER, &set, "0", &update(ALICE, "257,2")), "seq=0");
    assert_eq!(queried(&mut world, &set), (1, ALICE.into(), vec!["2,257".into()]));
    mail_to(&mut world, &[ALICE]);
    let expanded = soap(&wait_operation(&set, "0", "expand=\"1\"", ""));
    assert_eq!(short(&send(&mut world, USER, &expanded).body()), "seq=2 alice[2]");
}

#[test]
fn folder_interest_sync_admin() {
    let mut world = with_folders(&[ALICE, BOB]);
    let set = create(&mut world, ROOT, "all", "<add><a id='alice@example.org'/></add>");
    let mut seq = "0".to_owned();
    for (mail, rest, expected) in [
        (&[][..], update(ALICE, "257"), ""),
        (&[(ALICE, "inbox")], String::new(), ""),
        (&[], update(ALICE, "257,2"), ""),
        (&[(ALICE, "inbox")], String::new(), "alice[2]"),
        (&[(BOB, "inbox")], String::new(), ""),
        (&[], update(BOB, "258").replace("update", "add"), ""),
        (&[(BOB, "inbox")], String::new(), ""),
        (&[], update(BOB, "258,2"), ""),
        (&[(BOB, "inbox")], String::new(), "bob[2]"),
        (&[(ALICE, "fun")], String::new(), "alice[257]"),
        (&[(BOB, "fun")], String::new(), ""),
        (&[(BOB, "fun2")], String::new(), "bob[258]"),
        (&[(BOB, "fun2"), (ALICE, "inbox")], String::new(), "alice[2] bob[258]"),
    ] {
        for (account, folder) in mail {
            happens_to(&mut world, account, delivered(folder, "m"));
        }
        let body = soap(&wait_operation(&set, &seq, "expand=\"1\"", &rest));
        let said = short(&send(&mut world, ROOT, &body).body());
        let (number, accounts) = said.split_once(' ').unwrap_or((&said, ""));
        assert_eq!(accounts, expected, "{mail:?} {rest}");
        seq = number.trim_start_matches("seq=").to_owned();
    }
}

/// The original looks whether sessions pile up; here the members are all there is.
#[test]
fn admin_wait_set_folder_interest_changes() {
    let mut world = with_folders(&[ALICE]);
    let set = create(&mut world, ROOT, "all", &add(&[ALICE]));
    for turn in 0..60 {
        let folder = ["2", "257", "258"][turn % 3];
        assert_eq!(poll(&mut world, ROOT, &set, "0", &update(ALICE, folder)), "seq=0");
        assert_eq!(queried(&mut world, &set), (1, ADMIN.into(), vec![folder.into()]));
    }
    assert_eq!(world.gauge("wait_set_members", ""), 1.0);
}

#[test]
fn the_imap_listener_hears_of_its_folder() {
    let message = || of_kind("message", "fun", "m");
    let read =
        |flags_before| ItemAlteration { item: message(), flags_before: Some(flags_before), ..Default::default() };
    let tagged = |tags: &[&str], before: &[&str]| {
        let owned = |tags: &[&str]| tags.iter().map(|tag| tag.to_string()).collect::<Vec<_>>();
        let item = Item { tags: owned(tags), ..message() };
        ItemAlteration { item, tags_before: Some(owned(before)), ..Default::default() }
    };
    for (what, heard) in [
        (Happening::MessageDelivered(message()), true),
        (Happening::ItemModified(read(1)), true),
        (Happening::ItemModified(tagged(&["t"], &[])), true),
        (Happening::ItemModified(tagged(&[], &["t"])), true),
        (Happening::TagModified(Tag { id: "1".into(), name: "u".into() }), true),
        (Happening::ItemDeleted(message()), true),
        (Happening::FolderCreated(Folder { parent: "fun".into(), ..folder("below") }), true),
        (Happening::FolderDeleted(folder("fun")), true),
        (delivered("fun2", "m"), false),
        (Happening::FolderCreated(folder("elsewhere")), false),
    ] {
        let mut world = with_folders(&[ALICE]);
        let set = create(&mut world, ROOT, "all", "<add><a id='alice@example.org' folderInterests='257'/></add>");
        let waiting = block_with(&mut world, &set, "0", "");
        let expected = if heard { vec![format!("r{} seq=2 alice", waiting.request)] } else { vec![] };
        assert_eq!(shorts(&world.happens(what.clone())), expected, "{what:?}");
        if !heard {
            // Without interest in any folder it hears of nothing, and of none when it is removed.
            let removed = poll(&mut world, ROOT, &set, "0", "<remove><a id='alice@example.org'/></remove>");
            assert_eq!(removed, "seq=0");
            world.happens(delivered("fun", "m"));
            assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
        }
    }
}
