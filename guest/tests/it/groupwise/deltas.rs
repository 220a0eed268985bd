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

/// As Evolution asks: it takes all that there is for read, though it reads 100.
pub fn evolutions(world: &mut World, session: &str, first: u64) -> String {
    let info = format!("<firstSequence>{first}.000000</firstSequence><count>100</count>");
    let rest = format!("<deltaInfo>{info}</deltaInfo><view>name email sync</view>");
    short(&on_book(world, session, "getDeltas", &rest))
}

#[test]
fn evolution_is_told_to_read_the_book_when_it_skips_deltas() {
    let mut world = World::new();
    let session = log_in_with(&mut world, "Evolution");
    let other = log_in_with(&mut world, "another");
    book(&mut world, (0..101).map(|_| BookChange::Modified(entry("contact", "a", "a"))).collect());
    let page = evolutions(&mut world, &session, 1);
    assert!(page.ends_with("[100 1 100]"), "{page}");
    assert_eq!(info(&mut world, &session), "0 [102 101]");
    assert_eq!(info(&mut world, &other), "0 [1 101]", "others are not told so");
    // It logs in again, reads the book, and is in step.
    send(&mut world, &soap(&session, "<logoutRequest/>"));
    let session = log_in_with(&mut world, "Evolution");
    assert_eq!(info(&mut world, &session), "0 [102 101]");
    let cursor = element(&on_book(&mut world, &session, "createCursor", ""), "cursor");
    on_book(&mut world, &session, "readCursor", &format!("<cursor>{cursor}</cursor>"));
    assert_eq!(info(&mut world, &session), "0 [1 101]");
    book(&mut world, vec![BookChange::Deleted("a".into())]);
    assert_eq!(evolutions(&mut world, &session, 102), "0 delete:a [1 1 102]");
    assert_eq!(info(&mut world, &session), "0 [1 102]");
}

/// Who pages on has skipped nothing.
#[test]
fn a_client_that_asks_as_evolution_does_and_reads_on_is_left_alone() {
    let mut world = World::new();
    let session = log_in(&mut world);
    book(&mut world, (0..250).map(|_| BookChange::Modified(entry("contact", "a", "a"))).collect());
    for (first, end) in [(1, "[100 1 100]"), (101, "[100 1 200]"), (201, "[50 1 250]")] {
        let page = evolutions(&mut world, &session, first);
        assert!(page.ends_with(end), "{page}");
    }
    assert_eq!(info(&mut world, &session), "0 [1 250]");
}
