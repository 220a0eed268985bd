//! Adding, updating, removing; tokens; types and folders of members; who may.

use super::*;
use crate::world::{delivered, folder};

#[test]
fn members_come_and_go() {
    let mut world = World::new();
    let set = create(&mut world, ROOT, "all", "");
    assert_eq!(poll(&mut world, ROOT, &set, "0", &add(&[ALICE, ALICE])), "seq=0 alice:ALREADY_IN_SET_DURING_ADD");
    // What did not work is told once.
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
    let update = |id: &str| format!("<update><a id=\"{id}\"/></update>");
    let remove = |id: &str| format!("<remove><a id=\"{id}\"/></remove>");
    assert_eq!(poll(&mut world, ROOT, &set, "0", &update(BOB)), "seq=0 bob:NOT_IN_SET_DURING_UPDATE");
    assert_eq!(poll(&mut world, ROOT, &set, "0", &remove(BOB)), "seq=0 bob:NOT_IN_SET_DURING_REMOVE");
    // Removing takes back what was signalled.
    world.happens(delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "0", &remove(ALICE)), "seq=0");
    world.happens(delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
    // Removed and added in one request: in this order.
    poll(&mut world, ROOT, &set, "0", &add(&[ALICE]));
    assert_eq!(poll(&mut world, ROOT, &set, "0", &[remove(ALICE), add(&[ALICE])].concat()), "seq=0");
}

#[test]
fn errors_ride_on_the_answer_of_who_waits() {
    let mut world = World::new();
    let set = create(&mut world, ROOT, "all", &add(&[ALICE]));
    let body = soap(&wait_operation(&set, "0", "block=\"1\"", &add(&[ALICE, BOB])));
    let waiting = send(&mut world, ROOT, &body);
    assert!(waiting.is_parked());
    let heard = shorts(&happens_to(&mut world, BOB, delivered("inbox", "m")));
    assert_eq!(heard, [format!("r{} seq=2 bob alice:ALREADY_IN_SET_DURING_ADD", waiting.request)]);
}

#[test]
fn types_decide_who_hears() {
    for (types, what, hears) in [
        ("m", delivered("inbox", "m"), true),
        // A delivery alters the folder's counts.
        ("f", delivered("inbox", "m"), true),
        ("c", delivered("inbox", "m"), false),
        ("c", Happening::ItemCreated(of_kind("contact", "inbox", "c")), true),
        ("c,a", Happening::ItemCreated(of_kind("appointment", "calendar", "a")), true),
        ("a", Happening::ItemDeleted(of_kind("appointment", "calendar", "a")), true),
        ("t", Happening::ItemCreated(of_kind("task", "inbox", "t")), true),
        ("d", Happening::ItemCreated(of_kind("document", "inbox", "d")), true),
        ("all", Happening::ItemCreated(of_kind("document", "inbox", "d")), true),
        ("m,c,a,t,d", Happening::ItemCreated(of_kind("note", "inbox", "n")), false),
        ("m", Happening::FolderCreated(folder("new")), false),
        ("f", Happening::FolderCreated(folder("new")), true),
        ("f", Happening::TagCreated(Tag { id: "1".into(), name: "t".into() }), false),
        ("f", Happening::TagModified(Tag { id: "1".into(), name: "t".into() }), true),
        (
            "m",
            Happening::ItemModified(ItemAlteration {
                item: of_kind("message", "inbox", "m"),
                ..ItemAlteration::default()
            }),
            true,
        ),
        (
            "f",
            Happening::ItemModified(ItemAlteration {
                item: of_kind("message", "inbox", "m"),
                ..ItemAlteration::default()
            }),
            false,
        ),
        (
            "f",
            Happening::ItemModified(ItemAlteration {
                item: of_kind("message", "inbox", "m"),
                flags_before: Some(1),
                ..ItemAlteration::default()
            }),
            true,
        ),
        // Its flags were altered, and the source does not say which: it may have been read.
        (
            "f",
            Happening::ItemModified(ItemAlteration {
                item: of_kind("message", "inbox", "m"),
                fields: vec!["flags".into()],
                ..ItemAlteration::default()
            }),
            true,
        ),
        (
            "f",
            Happening::ItemModified(ItemAlteration {
                item: of_kind("message", "inbox", "m"),
                flags_before: Some(4),
                fields: vec!["flags".into()],
                ..ItemAlteration::default()
            }),
            false,
        ),
        ("c", Happening::Gap, true),
        ("c", Happening::Hinted(vec!["contact".into()]), true),
        ("c", Happening::Hinted(vec![]), true),
        ("c", Happening::Hinted(vec!["message".into()]), false),
        ("all", Happening::Baseline(vec![folder("inbox")]), false),
        ("all", Happening::VisitBegan(Visit::default()), false),
    ] {
        let mut world = World::new();
        let set = of_alice(&mut world, types);
        let waiting = block(&mut world, USER, &set, "0", "");
        let said = format!("{types}: {what:?}");
        let heard = shorts(&world.happens(what));
        let expected = if hears { vec![format!("r{} seq=2 alice", waiting.request)] } else { vec![] };
        assert_eq!(heard, expected, "{said}");
    }
}

#[test]
fn members_have_types_of_their_own() {
    let mut world = World::new();
    let set = create(
        &mut world,
        ROOT,
        "m",
        "<add><a id='alice@example.org' types=' c , a '/><a name='bob@example.org'/></add>",
    );
    world.happens(delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=0");
    world.happens(Happening::ItemCreated(of_kind("contact", "inbox", "c")));
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=2 alice");
    // An update without types goes back to those of the set.
    poll(&mut world, ROOT, &set, "2", "<update><a id='alice@example.org'/></update>");
    world.happens(Happening::ItemCreated(of_kind("contact", "calendar", "c2")));
    assert_eq!(poll(&mut world, ROOT, &set, "2", ""), "seq=2");
    happens_to(&mut world, BOB, delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "2", ""), "seq=3 bob");
}

fn with_token(list: &str, token: u64) -> String {
    format!("<{list}><a id='alice@example.org' token='{token}'/></{list}>")
}

#[test]
fn tokens_say_how_far_a_client_is() {
    let mut world = World::new();
    // The baseline was change 1.
    world.happens(delivered("inbox", "m"));
    let behind = create(&mut world, USER, "c", &with_token("add", 1));
    assert_eq!(poll(&mut world, USER, &behind, "0", ""), "seq=2 alice", "whatever it is interested in");
    let level = create(&mut world, USER, "m", &with_token("add", 2));
    assert_eq!(poll(&mut world, USER, &level, "0", ""), "seq=0");
    world.happens(delivered("inbox", "m2"));
    // The client has followed meanwhile: what was signalled and not sent is withdrawn.
    assert_eq!(poll(&mut world, USER, &level, "0", &with_token("update", 3)), "seq=0");
    // Changes up to the token are not news; an update without a token forgets it.
    assert_eq!(poll(&mut world, USER, &level, "0", &with_token("update", 5)), "seq=0");
    world.happens(delivered("inbox", "m3"));
    assert_eq!(poll(&mut world, USER, &level, "0", ""), "seq=0");
    poll(&mut world, USER, &level, "0", "<update><a id='alice@example.org'/></update>");
    world.happens(delivered("inbox", "m4"));
    assert_eq!(poll(&mut world, USER, &level, "0", ""), "seq=2 alice");
    // What was sent is repeated whatever the token says.
    assert_eq!(poll(&mut world, USER, &level, "0", &with_token("update", 9)), "seq=3 alice");
    assert_eq!(poll(&mut world, USER, &level, "3", &with_token("update", 1)), "seq=4 alice");
}

#[test]
fn members_may_be_interested_in_some_folders() {
    let mut world = World::empty(&[]);
    let named = |id: &str, role: &str, number| Folder { role: role.into(), number, ..folder(id) };
    let below = Folder { parent: "p".into(), ..folder("below") };
    let folders = vec![named("i", "inbox", None), named("p", "", None), below, named("x", "", Some(1042))];
    world.happens(Happening::Baseline(folders));
    for (interests, changed, hears) in [
        ("2", "i", true),
        (" 2 , , 9", "i", true),
        ("257", "p", true),
        ("258", "below", true),
        // A change in a folder is one in the folder above it, too.
        ("257", "below", true),
        ("258", "p", false),
        ("1042", "x", true),
        ("2,257", "x", false),
        ("", "x", true),
        ("-1", "x", false),
    ] {
        let member = format!("<add><a id='alice@example.org' folderInterests='{interests}'/></add>");
        let set = create(&mut world, USER, "all", &member);
        world.happens(delivered(changed, "m"));
        let expected = if hears { "seq=2 alice" } else { "seq=0" };
        assert_eq!(poll(&mut world, USER, &set, "0", ""), expected, "{interests}: {changed}");
    }
    let set = create(&mut world, USER, "all", "<add><a id='alice@example.org' folderInterests='2'/></add>");
    world.happens(Happening::Gap);
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice", "it may have been in any folder");
}

#[test]
fn a_client_is_spared_the_news_of_its_own_doing() {
    let mut world = World::new();
    let (own, other) = (of_alice(&mut world, "m"), of_alice(&mut world, "m"));
    let made = Change { origin: Some(own.clone()), ..change(world.now, delivered("inbox", "m")) };
    world.changes(ALICE, vec![made]);
    assert_eq!(poll(&mut world, USER, &own, "0", ""), "seq=0");
    assert_eq!(poll(&mut world, USER, &other, "0", ""), "seq=2 alice");
}

#[test]
fn rights_are_judged_before_anything_changes() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    world.happens(delivered("inbox", "m"));
    for (rest, expected) in [
        ("<remove><a id='alice@example.org'/></remove><add><a id='bob@example.org'/></add>", "service.PERM_DENIED"),
        ("<remove><a id='alice@example.org'/></remove><add><a name='bob@example.org'/></add>", "service.PERM_DENIED"),
        ("<update><a id='nobody'/></update>", "service.PERM_DENIED"),
        ("<remove><a id='nobody'/></remove>", "service.PERM_DENIED"),
        // An unknown name is nobody: for users as if it was not there.
        ("<add><a name='nobody@example.org'/></add>", "seq=2 alice"),
    ] {
        assert_eq!(poll(&mut world, USER, &set, "0", rest), expected, "{rest}");
    }
    let set = create(&mut world, ROOT, "m", "");
    let unknown = "<add><a name='nobody@example.org'/></add>";
    assert_eq!(poll(&mut world, ROOT, &set, "0", unknown), "seq=0 nobody:NO_SUCH_ACCOUNT");
    assert_eq!(poll(&mut world, ROOT, &set, "0", "<add><a id='nobody'/></add>"), "service.PERM_DENIED");
}

#[test]
fn a_set_belongs_to_the_requested_account() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let bob = As { login: BOB, ..USER };
    assert_eq!(poll(&mut world, bob, &set, "0", ""), "service.PERM_DENIED");
    // Existence comes before ownership.
    let unknown = set.replace(&set[8..16], "00000000");
    assert_eq!(poll(&mut world, bob, &unknown, "0", ""), "admin.NO_SUCH_WAITSET");
    let for_alice = "<account by=\"id\">alice@example.org</account>";
    let wait = wait_operation(&set, "0", "", "");
    let said = |world: &mut World, who, body: &str| short(&send(world, who, body).body());
    assert_eq!(said(&mut world, bob, &with_context(for_alice, &wait)), "service.PERM_DENIED");
    assert_eq!(said(&mut world, ROOT, &with_context(for_alice, &wait)), "seq=0");
    assert_eq!(said(&mut world, ROOT, &soap(&wait)), "service.PERM_DENIED");
    let nobody = "<account by=\"name\">nobody@example.org</account>";
    assert_eq!(said(&mut world, ROOT, &with_context(nobody, &wait)), "account.NO_SUCH_ACCOUNT");
    assert_eq!(said(&mut world, bob, &with_context(nobody, &wait)), "service.PERM_DENIED");
}
