//! What the tests of Zimbra's own harness assert, by the names that they have there.

use super::*;
use crate::world::{delivered, folder};

fn set_of_folders(world: &mut World) -> String {
    of_alice(world, "f")
}

#[test]
fn folders_01_to_07() {
    // 01: without a change the number comes back.
    let mut world = World::new();
    let set = set_of_folders(&mut world);
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=0");
    // 02: a folder is made; 06: looking at it in between is no change.
    world.happens(Happening::FolderCreated(folder("a")));
    world.happens(Happening::VisitBegan(Visit::default()));
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice");
    // 05: another, and the client still brings the first number.
    world.happens(Happening::FolderCreated(folder("b")));
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=3 alice");
    // 03: a number that was not given yet; 04a, 04b, 07: several changes are one delivery.
    let renamed = Happening::FolderMoved(FolderRelocation {
        before: folder("c"),
        after: Folder { name: "d".into(), ..folder("c") },
    });
    for changes in [
        vec![Happening::FolderCreated(folder("c")), renamed.clone()],
        vec![Happening::FolderCreated(folder("c")), Happening::FolderDeleted(folder("c"))],
        vec![Happening::FolderCreated(folder("c")), Happening::FolderCreated(folder("d"))],
        vec![Happening::FolderCreated(folder("c")), renamed, Happening::FolderDeleted(folder("c"))],
    ] {
        let mut world = World::new();
        let set = set_of_folders(&mut world);
        for what in changes {
            world.happens(what);
        }
        assert_eq!(poll(&mut world, USER, &set, "2", ""), "seq=2 alice");
    }
}

#[test]
fn basic_04_the_oldest_set_goes() {
    let mut world = World::new();
    let sets: Vec<String> = (0..5).map(|_| of_alice(&mut world, "m")).collect();
    // Though it was the last that was used.
    assert_eq!(poll(&mut world, USER, &sets[0], "0", ""), "seq=0");
    let waiting = block(&mut world, USER, &sets[0], "0", "");
    let sixth = send(&mut world, USER, &soap("<CreateWaitSetRequest xmlns=\"urn:zimbraMail\" defTypes=\"m\"/>"));
    assert_eq!(shorts(&sixth.reaction)[0], format!("r{} canceled", waiting.request));
    assert_eq!(poll(&mut world, USER, &sets[0], "0", ""), "admin.NO_SUCH_WAITSET");
    for set in &sets[1..] {
        assert_eq!(poll(&mut world, USER, set, "0", ""), "seq=0");
    }
    // Administrators may have more.
    let sets: Vec<String> = (0..7).map(|_| create(&mut world, ROOT, "m", "")).collect();
    assert_eq!(poll(&mut world, ROOT, &sets[0], "0", ""), "seq=0");
}

#[test]
fn bug_17306_a_token_that_is_behind() {
    let mut world = World::new();
    of_alice(&mut world, "m");
    world.happens(delivered("inbox", "m"));
    let set = create(&mut world, USER, "m", "<add><a id='alice@example.org' token='1'/></add>");
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice");
    assert_eq!(poll(&mut world, USER, &set, "2", ""), "seq=2");
}

#[test]
fn blocking_admin_waits_for_two_accounts() {
    let mut world = World::new();
    let set = create(&mut world, ROOT, "all", &add(&[ALICE]));
    let waiting = block(&mut world, ROOT, &set, "0", "");
    happens_to(&mut world, BOB, delivered("inbox", "m"));
    assert_eq!(shorts(&world.happens(delivered("inbox", "m"))), [format!("r{} seq=2 alice", waiting.request)]);
    // The second is added by the waiting call itself.
    let body = soap(&wait_operation(&set, "2", "block=\"1\"", &add(&[BOB])));
    let waiting = send(&mut world, ROOT, &body);
    let at = world.at();
    let now = world.now;
    let one =
        |account: &str| AccountChanges { account: account.into(), changes: vec![change(now, delivered("inbox", "m"))] };
    let both = world.notify.ingest(at, Batch { accounts: vec![one(ALICE), one(BOB)], book: vec![] });
    assert_eq!(shorts(&both), [format!("r{} seq=3 alice bob", waiting.request)]);
    happens_to(&mut world, BOB, delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "3", ""), "seq=4 bob");
}

#[test]
fn folder_interests_of_two_accounts() {
    let mut world = World::empty(&[]);
    let named = |id: &str, role: &str| Folder { role: role.into(), ..folder(id) };
    for account in [ALICE, BOB] {
        let folders = vec![named("inbox", "inbox"), folder("fun"), folder("fun2")];
        happens_to(&mut world, account, Happening::Baseline(folders));
    }
    let set = create(&mut world, ROOT, "all", "<add><a id='alice@example.org'/></add>");
    let update =
        |account: &str, folders: &str| format!("<update><a id='{account}' folderInterests='{folders}'/></update>");
    let mut seq = "0".to_owned();
    let mut step = |world: &mut World, mail: &[(&str, &str)], rest: &str, expected: &str| {
        for (account, folder) in mail {
            happens_to(world, account, delivered(folder, "m"));
        }
        let body = soap(&wait_operation(&set, &seq, "expand=\"1\"", rest));
        let said = short(&send(world, ROOT, &body).body());
        let (number, accounts) = said.split_once(' ').unwrap_or((&said, ""));
        assert_eq!(accounts, expected, "{mail:?} {rest}");
        seq = number.trim_start_matches("seq=").to_owned();
    };
    step(&mut world, &[], &update(ALICE, "257"), "");
    step(&mut world, &[(ALICE, "inbox")], "", "");
    step(&mut world, &[], &update(ALICE, "257,2"), "");
    step(&mut world, &[(ALICE, "inbox")], "", "alice[2]");
    step(&mut world, &[(BOB, "inbox")], "", "");
    step(&mut world, &[], "<add><a id='bob@example.org' folderInterests='258'/></add>", "");
    step(&mut world, &[(BOB, "inbox")], "", "");
    step(&mut world, &[], &update(BOB, "258,2"), "");
    step(&mut world, &[(BOB, "inbox")], "", "bob[2]");
    step(&mut world, &[(ALICE, "fun")], "", "alice[257]");
    step(&mut world, &[(BOB, "fun")], "", "");
    step(&mut world, &[(BOB, "fun2")], "", "bob[258]");
    step(&mut world, &[(BOB, "fun2"), (ALICE, "inbox")], "", "alice[2] bob[258]");
}
