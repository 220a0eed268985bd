//! Which events one change gives.

use postbell_notify::contract::*;

use super::world::*;

/// What a subscriber to everything hears of changes in one input.
fn heard(changes: Vec<Change>) -> Vec<String> {
    let mut world = World::new();
    hear(&mut world, changes)
}

fn hear(world: &mut World, changes: Vec<Change>) -> Vec<String> {
    let (id, start) = world.pull();
    let reaction = world.changes("alice@example.org", changes);
    assert_eq!(reaction.rejections, []);
    events(&world.post(&get_events(&id, &start)).body())
}

fn one(what: Happening) -> Vec<String> {
    heard(vec![change(START, what)])
}

fn access_changed(who: &str) -> Happening {
    Happening::AccessChanged(AccessChange { kind: "removed".into(), who: who.into() })
}

#[test]
fn items() {
    let it = || item("inbox", "m1");
    assert_eq!(one(delivered("inbox", "m1")), ["Created m1@inbox", "NewMail m1@inbox", "Modified inbox@root"]);
    assert_eq!(one(Happening::ItemCreated(it())), ["Created m1@inbox", "Modified inbox@root"]);
    let modified = || Happening::ItemModified(ItemAlteration { item: it(), ..ItemAlteration::default() });
    assert_eq!(one(modified()), ["Modified m1@inbox"]);
    assert_eq!(
        heard(vec![counted(START, modified(), &[("inbox", 4)])]),
        ["Modified m1@inbox", "Modified inbox@root unread=4"]
    );
    assert_eq!(one(Happening::ItemDeleted(it())), ["Deleted m1@inbox", "Modified inbox@root"]);
    assert_eq!(
        one(moved(("inbox", "m1"), ("drafts", "m2"))),
        ["Moved m2@drafts <-m1@inbox", "Modified inbox@root", "Modified drafts@root"]
    );
    let copied = ItemRelocation { before: it(), after: item("drafts", "m2") };
    assert_eq!(one(Happening::ItemCopied(copied)), ["Copied m2@drafts <-m1@inbox", "Modified drafts@root"]);
    assert_eq!(one(Happening::FreeBusyChanged(item("calendar", "a1"))), ["FreeBusyChanged a1@calendar"]);
}

#[test]
fn folders() {
    assert_eq!(one(Happening::FolderCreated(folder("Projects"))), ["Created Projects@root"]);
    let below = Folder { parent: "inbox".into(), ..folder("Sub") };
    assert_eq!(one(Happening::FolderCreated(below)), ["Created Sub@inbox"]);
    let renamed = FolderAlteration { folder: folder("drafts"), fields: vec!["name".into()] };
    assert_eq!(one(Happening::FolderModified(renamed)), ["Modified drafts@root"]);
    assert_eq!(one(Happening::FolderDeleted(folder("drafts"))), ["Deleted drafts@root"]);
    let to = Folder { parent: "inbox".into(), ..folder("drafts") };
    let relocation = FolderRelocation { before: folder("drafts"), after: to };
    assert_eq!(
        one(Happening::FolderMoved(relocation)),
        ["Moved drafts@inbox <-drafts@root", "Modified root@root", "Modified inbox@root"]
    );
    let copied = FolderRelocation { before: folder("drafts"), after: folder("copy") };
    assert_eq!(one(Happening::FolderCopied(copied)), ["Copied copy@root <-drafts@root", "Modified root@root"]);
}

#[test]
fn a_folder_with_a_new_id_is_followed() {
    let mut world = World::new();
    let answer = world.post(&subscribe_pull(&named("drafts"), 10)).body();
    let (id, start) = (element(&answer, "SubscriptionId"), element(&answer, "Watermark"));
    world.happens(Happening::FolderMoved(FolderRelocation { before: folder("drafts"), after: folder("Old drafts") }));
    world.happens(delivered("Old drafts", "m1"));
    let expected = [
        "Moved Old drafts@root <-drafts@root",
        "Created m1@Old drafts",
        "NewMail m1@Old drafts",
        "Modified Old drafts@root",
    ];
    assert_eq!(events(&world.post(&get_events(&id, &start)).body()), expected);
}

#[test]
fn counts_come_from_the_source_or_are_kept() {
    let mut world = World::new();
    let unread = |world: &mut World, change| hear(world, vec![change]).pop().expect("events");
    assert_eq!(unread(&mut world, change(START, delivered("inbox", "m1"))), "Modified inbox@root");
    let given = counted(START, delivered("inbox", "m2"), &[("inbox", 7)]);
    assert_eq!(unread(&mut world, given), "Modified inbox@root unread=7");
    assert_eq!(unread(&mut world, change(START, delivered("inbox", "m3"))), "Modified inbox@root unread=8");
}

/// Alice's inbox has one unread message, and then this happens without counts.
fn unread_after(happening: Happening) -> String {
    let mut world = World::new();
    hear(&mut world, vec![counted(START, delivered("inbox", "m1"), &[("inbox", 1)])]);
    hear(&mut world, vec![change(START, happening)]);
    hear(&mut world, vec![change(START, delivered("inbox", "last"))]).pop().expect("events")
}

#[test]
fn counts_that_nobody_told_are_reckoned_or_left_out() {
    let flagged = |folder: &str, flags| Item { flags, ..item(folder, "m1") };
    let altered = |flags, flags_before, fields: &[&str]| {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let item = flagged("inbox", flags);
        Happening::ItemModified(ItemAlteration { item, flags_before, tags_before: None, fields })
    };
    let to = |flags| ItemRelocation { before: item("drafts", "m1"), after: flagged("inbox", flags) };
    for (happening, unread) in [
        (delivered("inbox", "m2"), " unread=3"),
        (Happening::MessageDelivered(flagged("inbox", 1)), " unread=2"),
        (altered(1, Some(0), &["flags"]), " unread=1"),
        (altered(0, Some(1), &["flags"]), " unread=3"),
        (altered(4, Some(0), &["flags"]), " unread=2"),
        (altered(0, None, &["tags"]), " unread=2"),
        (altered(1, None, &[]), ""),
        (Happening::ItemCreated(flagged("inbox", 1)), " unread=2"),
        (Happening::ItemCreated(flagged("inbox", 0)), ""),
        (Happening::ItemMoved(to(1)), " unread=2"),
        (Happening::ItemMoved(to(0)), ""),
        (Happening::ItemCopied(to(1)), " unread=2"),
        (Happening::ItemCopied(to(0)), ""),
        (Happening::ItemDeleted(item("inbox", "m1")), ""),
        (Happening::ItemDeleted(item("drafts", "m1")), " unread=2"),
        (moved(("inbox", "m1"), ("drafts", "m1")), ""),
    ] {
        let shown = format!("{happening:?}");
        assert_eq!(unread_after(happening), format!("Modified inbox@root{unread}"), "{shown}");
    }
}

#[test]
fn what_leaves_a_folder_without_unread_items_was_read() {
    let mut world = World::new();
    hear(&mut world, vec![counted(START, delivered("inbox", "m1"), &[("inbox", 0)])]);
    hear(&mut world, vec![change(START, Happening::ItemDeleted(item("inbox", "m1")))]);
    let heard = hear(&mut world, vec![change(START, delivered("inbox", "m2"))]);
    assert_eq!(heard.last().expect("events"), "Modified inbox@root unread=1");
}

#[test]
fn modified_folders_are_told_once_an_input() {
    let changes = vec![
        counted(START, delivered("inbox", "m1"), &[("inbox", 1)]),
        counted(START, delivered("drafts", "m2"), &[("drafts", 1)]),
        counted(START, delivered("inbox", "m3"), &[("inbox", 2)]),
    ];
    let heard = heard(changes);
    assert_eq!(heard.len(), 8);
    assert_eq!(heard[4], "Modified drafts@root unread=1");
    assert_eq!(heard[7], "Modified inbox@root unread=2");
}

#[test]
fn a_deletion_that_repeats_a_move_is_dropped_once() {
    let deleted = || change(START, Happening::ItemDeleted(item("inbox", "m1")));
    let heard = heard(vec![change(START, moved(("inbox", "m1"), ("drafts", "m2"))), deleted(), deleted()]);
    assert_eq!(heard.iter().filter(|event| event.starts_with("Deleted")).count(), 1);
}

#[test]
fn hints_modify_the_folders_that_hold_such_things() {
    let hinted = |kind: &str| one(Happening::Hinted(vec![kind.into()]));
    assert_eq!(hinted("message"), ["Modified inbox@root", "Modified drafts@root", "Modified calendar@root"]);
    assert_eq!(hinted("appointment"), ["Modified root@root"]);
}

#[test]
fn what_ews_tells_nobody_of_is_accepted() {
    let tag = Tag { id: "1".into(), name: "red".into() };
    let visit = Visit { kind: "login".into(), by: "alice@example.org".into() };
    for what in [
        Happening::TagCreated(tag.clone()),
        Happening::TagModified(tag.clone()),
        Happening::TagDeleted(tag),
        Happening::VisitBegan(visit.clone()),
        Happening::VisitEnded(visit),
        Happening::AccountAvailable,
        access_changed("bob@example.org"),
        Happening::Baseline(vec![folder("Projects")]),
    ] {
        assert_eq!(one(what), ["Status"]);
    }
}

#[test]
fn what_cannot_be_applied_is_named_and_the_rest_goes_on() {
    let mut world = World::new();
    let at = world.at();
    let group = |account: &str, changes| AccountChanges { account: account.into(), changes };
    let numbered = |number| Change { number: Some(number), ..change(START, delivered("inbox", "m1")) };
    let accounts = vec![
        group(
            "alice@example.org",
            vec![change(START, delivered("inbox", "")), change(START, delivered("inbox", "m1"))],
        ),
        group("eve@elsewhere.example", vec![change(START, delivered("inbox", "m1"))]),
        group("ALICE@example.org", vec![numbered(9), numbered(8)]),
        group("new@Example.org", vec![change(START, delivered("Inbox", "m1"))]),
    ];
    let book = vec![BookChange::Deleted(String::new()), BookChange::Gap];
    let reaction = world.notify.ingest(at, Batch { accounts, book });
    let rejections: Vec<_> = reaction.rejections.iter().map(|it| (it.place, it.reason.as_str())).collect();
    assert_eq!(
        rejections,
        [
            (Place::Change((0, 0)), "an id or a name is empty"),
            (Place::Change((1, 0)), "unknown account, and not of a domain of this tenant"),
            (Place::Change((2, 1)), "the number is lower than the account's last"),
            (Place::Book(0), "an id or a name is empty"),
        ]
    );
    assert_eq!(world.gauge("accounts", ""), 2.0);
    assert_eq!(world.gauge("book_changes", ""), 1.0);
}

#[test]
fn accounts_open_close_and_go_away() {
    let mut world = World::new();
    let id = world.streaming();
    world.happens(Happening::AccountUnavailable(Absence::Maintenance));
    assert_eq!(code(&world.post(&subscribe_streaming("")).body()), "ErrorMailboxStoreUnavailable");
    world.happens(Happening::AccountAvailable);
    world.happens(Happening::AccountClosed);
    assert_eq!(code(&world.post(&unsubscribe(&id)).body()), "ErrorSubscriptionNotFound");
    assert_eq!(code(&world.post(&subscribe_streaming("")).body()), "ErrorNonExistentMailbox");
    assert_eq!(world.happens(delivered("inbox", "m1")).rejections[0].reason, "the account is closed");
    world.happens(Happening::AccountOpened(account("alice@example.org")));
    assert_eq!(code(&world.post(&subscribe_streaming("")).body()), "NoError");
    world.standing = Standing::Permitted;
    let other = subscribe_streaming(&of_other("root", "alice@example.org"));
    let foreign = element(&world.post_as("bob@example.org", &other).body(), "SubscriptionId");
    world.happens(access_changed("bob@example.org"));
    let answer = world.post_as("bob@example.org", &unsubscribe(&foreign));
    assert_eq!(code(&answer.body()), "ErrorSubscriptionNotFound");
}

#[test]
fn an_id_belongs_to_one_account() {
    let mut world = World::new();
    world.changes("bob@example.org", vec![change(START, delivered("inbox", "m1"))]);
    let reaction = world.happens(Happening::AccountModified(account("bob@example.org")));
    assert_eq!((reaction.rejections[0].reason.as_str(), reaction.changed), ("the id is another account's", false));
    let renamed =
        Account { id: "id-1".into(), name: "Alice@example.org".into(), aliases: vec!["a@example.org".into()] };
    assert_eq!(world.happens(Happening::AccountModified(renamed)).rejections, []);
    for name in ["id-1", "alice@example.org", "A@EXAMPLE.ORG"] {
        assert_eq!(world.changes(name, vec![change(START, Happening::Gap)]).rejections, [], "{name}");
    }
    assert_eq!(world.gauge("accounts", ""), 2.0);
}
