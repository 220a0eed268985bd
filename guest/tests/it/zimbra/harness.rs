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

/// An operation in the namespace of mail, without `add` and the like.
fn mail(world: &mut World, who: As, context: &str, operation: &str) -> String {
    let operation = operation.replacen("Request", "Request xmlns=\"urn:zimbraMail\"", 1);
    short(&send(world, who, &with_context(context, &operation)).body())
}

#[test]
fn basic_01_and_02_contacts_01_and_02_briefcase() {
    for (types, what) in [
        ("all", delivered("inbox", "m")),
        ("m", delivered("inbox", "m")),
        ("c", Happening::ItemCreated(of_kind("contact", "inbox", "c"))),
        ("c", Happening::ItemModified(ItemAlteration { item: of_kind("contact", "inbox", "c"), ..Default::default() })),
        ("c", Happening::ItemDeleted(of_kind("contact", "inbox", "c"))),
        ("all", Happening::ItemCreated(of_kind("document", "inbox", "d"))),
        ("d", Happening::ItemCreated(of_kind("document", "inbox", "d"))),
    ] {
        let mut world = World::new();
        let set = of_alice(&mut world, types);
        world.happens(what.clone());
        assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice", "{what:?}");
        let waiting = block(&mut world, USER, &set, "2", "");
        assert!(waiting.is_parked(), "{what:?}");
        // It comes 10 s later.
        assert_eq!(shorts(&world.wait(10_000)), [""; 0]);
        assert_eq!(shorts(&world.happens(what.clone())), [format!("r{} seq=3 alice", waiting.request)], "{what:?}");
    }
}

#[test]
fn basic_03_types_with_blanks_which_a_wait_may_repeat() {
    let mut world = World::new();
    let set = of_alice(&mut world, "c,a");
    let wait = |seq: &str| soap(&wait_operation(&set, seq, "defTypes=\"c, a\"", ""));
    for (kind, seq, expected) in [("contact", "0", "seq=2 alice"), ("appointment", "2", "seq=3 alice")] {
        world.happens(Happening::ItemCreated(of_kind(kind, "inbox", kind)));
        assert_eq!(short(&send(&mut world, USER, &wait(seq)).body()), expected);
    }
    world.happens(delivered("inbox", "m"));
    assert_eq!(short(&send(&mut world, USER, &wait("3")).body()), "seq=3");
}

#[test]
fn all_accounts_spelled_wrong_is_no_attribute() {
    let mut world = World::new();
    let operation = "<AdminCreateWaitSetRequest xmlns=\"urn:zimbraAdmin\" defTypes=\"m\" allaccounts=\"1\"/>";
    let set = id_of(&send(&mut world, ROOT, &soap(operation)).body());
    assert!(set.starts_with("WaitSet-"), "{set}");
    world.happens(delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
}

#[test]
fn who_acts_for_another_account() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let bob = As { login: BOB, ..USER };
    for context in
        ["<account by=\"name\">alice@example.org</account>", "<account by=\"id\">alice@example.org</account>"]
    {
        for (operation, permitted) in [
            ("<CreateWaitSetRequest defTypes=\"m\"/>".to_owned(), "seq=0"),
            (format!("<WaitSetRequest waitSet=\"{set}\" seq=\"0\"/>"), "seq=0"),
        ] {
            assert_eq!(mail(&mut world, bob, context, &operation), "service.PERM_DENIED", "{operation}");
            assert_eq!(mail(&mut world, ROOT, context, &operation), permitted, "{operation}");
        }
        let set = of_alice(&mut world, "m");
        let destroy = format!("<DestroyWaitSetRequest waitSet=\"{set}\"/>");
        assert_eq!(mail(&mut world, bob, context, &destroy), "service.PERM_DENIED");
        assert_eq!(mail(&mut world, ROOT, context, &destroy), "seq=");
    }
    // Bugs 20598 and 36684: whoever it was made by, it belongs to the account that was named.
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=0");
}

#[test]
fn administrators_look_at_sets_that_change_and_end() {
    let mut world = World::new();
    let set = create(&mut world, ROOT, "m", &add(&[ALICE, BOB]));
    let query = soap(&format!("<QueryWaitSetRequest xmlns=\"urn:zimbraAdmin\" waitSet=\"{set}\"/>"));
    let members = |world: &mut World| -> Vec<String> {
        let answer = inside(&send(world, ROOT, &query).body());
        answer.split("<session account=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or("").into()).collect()
    };
    assert_eq!(members(&mut world), [ALICE, BOB]);
    assert_eq!(poll(&mut world, ROOT, &set, "0", "<remove><a id='bob@example.org'/></remove>"), "seq=0");
    assert_eq!(members(&mut world), [ALICE]);
    happens_to(&mut world, BOB, delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
    let destroy = |id: &str| soap(&format!("<AdminDestroyWaitSetRequest xmlns=\"urn:zimbraAdmin\" waitSet=\"{id}\"/>"));
    let destroyed = send(&mut world, ROOT, &destroy(&set)).body();
    let expected = format!("<AdminDestroyWaitSetResponse xmlns=\"urn:zimbraAdmin\" waitSet=\"{set}\"/>");
    assert_eq!(inside(&destroyed), expected);
    for (body, code) in [
        (query, "admin.NO_SUCH_WAITSET"),
        (soap(&wait_operation(&set, "0", "", "")), "admin.NO_SUCH_WAITSET"),
        (destroy(&set), "mail.NO_SUCH_WAITSET"),
        (destroy("#"), "mail.NO_SUCH_WAITSET"),
    ] {
        let answer = send(&mut world, ROOT, &body);
        assert_eq!((answer.status(), short(&answer.body()).as_str()), (500, code));
    }
}
