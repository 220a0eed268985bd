//! The book, its items and its cursors.

use super::*;

fn read(world: &mut World, session: &str, cursor: &str, rest: &str) -> String {
    short(&on_book(world, session, "readCursor", &format!("<cursor>{cursor}</cursor>{rest}")))
}

fn cursor(world: &mut World, session: &str) -> String {
    element(&on_book(world, session, "createCursor", "<view>name</view>"), "cursor")
}

#[test]
fn a_cursor_stays_in_its_place_while_entries_change() {
    let mut world = World::new();
    let session = log_in(&mut world);
    book(&mut world, ["b", "d", "f"].map(|id| BookChange::Added(entry("contact", id, id))).into());
    let cursor = cursor(&mut world, &session);
    assert_eq!(read(&mut world, &session, &cursor, "<count>1</count>"), "0 b=b");
    book(&mut world, vec![BookChange::Deleted("b".into()), BookChange::Added(entry("contact", "a", "a"))]);
    assert_eq!(read(&mut world, &session, &cursor, "<count>1</count>"), "0 d=d");
    book(&mut world, vec![BookChange::Deleted("d".into()), BookChange::Added(entry("contact", "e", "e"))]);
    assert_eq!(read(&mut world, &session, &cursor, ""), "0 e=e f=f");
    assert_eq!(read(&mut world, &session, &cursor, ""), "0");
    assert_eq!(read(&mut world, &session, &cursor, "<position>end</position><count>2</count>"), "0 f=f e=e");
    let position = format!("<cursor>{cursor}</cursor><seek>start</seek><offset>1</offset>");
    assert_eq!(status(&on_book(&mut world, &session, "positionCursor", &position)), 0);
    assert_eq!(read(&mut world, &session, &cursor, "<count>1</count>"), "0 e=e");
    let destroy = format!("<cursor>{cursor}</cursor>");
    assert_eq!(status(&on_book(&mut world, &session, "destroyCursor", &destroy)), 0);
    assert_eq!(read(&mut world, &session, &cursor, ""), "59909");
}

#[test]
fn the_address_book_is_found() {
    let mut world = World::new();
    let session = log_in(&mut world);
    let body = send(&mut world, &soap(&session, "<getAddressBookListRequest/>"));
    assert_eq!((element(&body, "id"), element(&body, "name")), (BOOK.into(), "GroupWise Address Book".into()));
}
