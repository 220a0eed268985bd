//! getDeltaInfo and getDeltas.

use super::*;

const DAY: u64 = 86_400_000;

fn deltas(world: &mut World, session: &str, info: &str) -> String {
    short(&on_book(world, session, "getDeltas", &format!("<deltaInfo>{info}</deltaInfo>")))
}

fn info(world: &mut World, session: &str) -> String {
    short(&on_book(world, session, "getDeltaInfo", ""))
}

fn rebuilt(world: &mut World, session: &str) -> u32 {
    element(&on_book(world, session, "getDeltaInfo", ""), "lastTimePORebuild").parse().expect("a number")
}

#[test]
fn changes_are_read_in_pages() {
    let mut world = World::new();
    let session = log_in(&mut world);
    assert_eq!(info(&mut world, &session), "0 [1 0]");
    assert_eq!(deltas(&mut world, &session, ""), "0 [0 1 0]");
    let changes = ["a", "b", "c"].map(|id| BookChange::Added(entry("contact", id, id)));
    book(&mut world, changes.into());
    book(&mut world, vec![BookChange::Modified(entry("contact", "b", "B")), BookChange::Deleted("c".into())]);
    assert_eq!(info(&mut world, &session), "0 [1 5]");
    let page = deltas(&mut world, &session, "<firstSequence>1.000000</firstSequence><count>2</count>");
    assert_eq!(page, "0 add:a=a add:b=B [2 1 2]");
    assert_eq!(
        deltas(&mut world, &session, "<firstSequence>3</firstSequence>"),
        "0 delete:c update:b=B delete:c [3 1 5]"
    );
    assert_eq!(deltas(&mut world, &session, "<firstSequence>6</firstSequence>"), "0 [0 1 5]");
    assert_eq!(deltas(&mut world, &session, "<firstSequence>99</firstSequence>"), "0 [0 1 5]");
}

#[test]
fn a_changed_group_is_deleted_and_added_without_its_members() {
    let mut world = World::new();
    let session = log_in(&mut world);
    let member = Member { id: "a".into(), name: "A".into(), email: "a@example.org".into(), kind: "to".into() };
    let group = Entry { members: vec![member], ..entry("group", "g", "G") };
    book(&mut world, vec![BookChange::Added(entry("group", "g", "g")), BookChange::Modified(group)]);
    assert_eq!(deltas(&mut world, &session, ""), "0 add:g=G delete:g add:g=G [3 1 3]");
    let body = on_book(&mut world, &session, "getDeltas", "");
    assert!(!body.contains("member"), "{body}");
    let id = format!("g@57:{BOOK}");
    let get = format!("<getItemRequest><id>{id}</id><view>name email default members</view></getItemRequest>");
    let body = send(&mut world, &soap(&session, &get));
    assert!(body.contains("<member><id>a@56:GroupWiseSystemAddressBook@52</id><name>A</name>"), "{body}");
}

#[test]
fn what_is_too_old_is_refused() {
    let mut world = World::with(&[("book-deltas", "2"), ("book-delta-days", "1")]);
    let session = log_in(&mut world);
    for id in ["a", "b", "c"] {
        book(&mut world, vec![BookChange::Added(entry("contact", id, id))]);
    }
    assert_eq!(info(&mut world, &session), "0 [2 3]");
    assert_eq!(deltas(&mut world, &session, "<firstSequence>1</firstSequence>"), "55062");
    world.wait(DAY + 1);
    let session = log_in(&mut world);
    assert_eq!(info(&mut world, &session), "0 [3 3]");
    assert_eq!(deltas(&mut world, &session, "<firstSequence>2</firstSequence>"), "55062");
    assert_eq!(deltas(&mut world, &session, "<firstSequence>4</firstSequence>"), "0 [0 3 3]");
    book(&mut world, vec![BookChange::Gap]);
    assert_eq!(deltas(&mut world, &session, "<firstSequence>4</firstSequence>"), "55062");
}

#[test]
fn a_rebuild_begins_anew_when_it_is_finished() {
    let mut world = World::new();
    let session = log_in(&mut world);
    book(&mut world, ["a", "b"].map(|id| BookChange::Added(entry("contact", id, id))).into());
    let before = rebuilt(&mut world, &session);
    book(&mut world, vec![BookChange::RebuildStarted, BookChange::Added(entry("contact", "a", "a"))]);
    assert_eq!((info(&mut world, &session).as_str(), rebuilt(&mut world, &session)), ("0 [1 2]", before));
    book(&mut world, vec![BookChange::RebuildFinished]);
    let after = rebuilt(&mut world, &session);
    assert_ne!(before, after);
    assert_eq!(info(&mut world, &session), "0 [1 0]");
    let stale = format!("<firstSequence>1</firstSequence><lastTimePORebuild>{before}</lastTimePORebuild>");
    assert_eq!(deltas(&mut world, &session, &stale), "55062");
    assert_eq!(short(&on_book(&mut world, &session, "getItems", "")), "0 a=a");
    assert_eq!(book(&mut world, vec![BookChange::RebuildFinished]).rejections.len(), 1);
}
