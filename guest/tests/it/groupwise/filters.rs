//! getItems and cursors with filters, views and ids.

use super::*;

fn people(world: &mut World) -> String {
    let session = log_in(world);
    let field = |name: &str, value: &str| Field { name: name.into(), label: String::new(), value: value.into() };
    let person = |id: &str, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| field(name, value)).collect();
        BookChange::Added(Entry { id: id.into(), uuid: None, kind: "contact".into(), fields, members: Vec::new() })
    };
    book(
        world,
        vec![
            person(
                "ann",
                &[
                    ("fullName/displayName", "Ann Archer"),
                    ("emailList/email", "ann@example.org"),
                    ("modified", "2026-08-22T10:00:00Z"),
                ],
            ),
            person(
                "bob",
                &[
                    ("fullName/displayName", "Bob Baker"),
                    ("emailList/email", "bob@example.org"),
                    ("modified", "2026-08-23T10:00:00Z"),
                ],
            ),
            person(
                "eve",
                &[("userid", "eve"), ("emailList/email", "eve@example.com"), ("emailList/email", "eve@example.org")],
            ),
        ],
    );
    session
}

fn compare(op: &str, field: &str, value: &str) -> String {
    format!("<element type='FilterEntry'><op>{op}</op><field>{field}</field><value>{value}</value></element>")
}

fn join(op: &str, elements: &[String]) -> String {
    format!("<element type='FilterGroup'><op>{op}</op>{}</element>", elements.concat())
}

fn found(world: &mut World, session: &str, filter: &str) -> String {
    short(&on_book(world, session, "getItems", &format!("<view>id</view><filter>{filter}</filter>")))
}

#[test]
fn comparisons_pass_what_they_mean() {
    let mut world = World::new();
    let session = people(&mut world);
    for (op, field, value, expected) in [
        ("eq", "name", "ann archer", "0 ann"),
        ("ne", "name", "Ann Archer", "0 bob eve"),
        ("begins", "displayName", "BOB", "0 bob"),
        ("contains", "fullName/displayName", "a", "0 ann bob"),
        ("notContains", "email", "example.com", "0 ann bob"),
        ("containsWord", "email", "example.com", "0 eve"),
        ("gte", "modified", "2026-08-22T10:00:00Z", "0 ann bob"),
        ("gt", "modified", "2026-08-22T10:00:00Z", "0 bob"),
        ("lt", "modified", "2026-08-23T10:00:00Z", "0 ann"),
        ("lte", "modified", "2026-08-23T10:00:00Z", "0 ann bob"),
        ("eq", "name", "eve", "0 eve"),
        ("eq", "email", "eve@example.org", "0 eve"),
        ("eq", "mail", "eve@example.org", "0"),
    ] {
        assert_eq!(found(&mut world, &session, &compare(op, field, value)), expected, "{op} {field} {value}");
    }
    for (op, expected) in [("exists", "0 ann bob"), ("notExist", "0 eve")] {
        let filter = format!("<element><op>{op}</op><field>modified</field></element>");
        assert_eq!(found(&mut world, &session, &filter), expected, "{op}");
    }
}

#[test]
fn groups_join_comparisons() {
    let mut world = World::new();
    let session = people(&mut world);
    let (ann, bob) = (compare("begins", "name", "ann"), compare("begins", "name", "bob"));
    for (op, elements, expected) in [
        ("or", vec![ann.clone(), bob.clone()], "0 ann bob"),
        ("and", vec![ann.clone(), bob.clone()], "0"),
        ("not", vec![ann.clone(), bob.clone()], "0 eve"),
        ("and", vec![join("not", std::slice::from_ref(&bob)), join("or", &[ann.clone(), bob.clone()])], "0 ann"),
    ] {
        assert_eq!(found(&mut world, &session, &join(op, &elements)), expected, "{op}");
    }
    assert_eq!(found(&mut world, &session, ""), "0 ann bob eve", "a filter that says nothing");
    let many = |count: usize| join("or", &vec![ann.clone(); count]);
    assert_eq!(found(&mut world, &session, &many(63)), "0 ann");
    for bad in [
        many(64),
        compare("like", "name", "a"),
        "<element/>".into(),
        "<element><op>eq</op></element>".into(),
        "<element><op>eq</op><field>name</field></element>".into(),
        compare("eq", "name", &"x".repeat(1025)),
        compare("eq", &"x".repeat(1025), "a"),
    ] {
        assert_eq!(found(&mut world, &session, &bad), "59905", "{bad}");
        let rest = format!("<filter>{bad}</filter>");
        assert_eq!(status(&on_book(&mut world, &session, "createCursor", &rest)), 59905, "{bad}");
    }
}

#[test]
fn a_cursor_keeps_its_filter_and_its_view() {
    let mut world = World::new();
    let session = people(&mut world);
    let rest = format!("<view>id name</view><filter>{}</filter>", compare("contains", "email", "example.org"));
    let cursor = element(&on_book(&mut world, &session, "createCursor", &rest), "cursor");
    let page = format!("<cursor>{cursor}</cursor><count>2</count>");
    assert_eq!(short(&on_book(&mut world, &session, "readCursor", &page)), "0 ann=Ann Archer bob=Bob Baker");
    book(
        &mut world,
        vec![
            BookChange::Added(entry("contact", "dora", "Dora")),
            BookChange::Added(Entry { fields: Vec::new(), ..entry("contact", "dan", "") }),
        ],
    );
    let body = on_book(&mut world, &session, "readCursor", &page);
    assert_eq!(short(&body), "0 dora=Dora eve=eve");
    assert!(!body.contains("emailList"), "{body}");
    assert_eq!(short(&on_book(&mut world, &session, "readCursor", &page)), "0");
}

#[test]
fn items_are_found_by_their_ids() {
    let mut world = World::new();
    let session = people(&mut world);
    let list = |ids: &[&str]| {
        let items: String = ids.iter().map(|id| format!("<item>{id}</item>")).collect();
        format!("<view>id</view><items>{items}</items>")
    };
    let eve = format!("eve@56:{BOOK}");
    for (ids, expected) in [
        (vec![eve.as_str(), "ann", "nobody"], "0 eve ann"),
        (vec!["ann@1:7.domain@16", "bob@56"], "0 bob"),
        (vec!["nobody"], "0"),
        (vec!["ann@1:7.domain@16"], "0"),
    ] {
        assert_eq!(short(&on_book(&mut world, &session, "getItems", &list(&ids))), expected, "{ids:?}");
    }
    let counted = format!("{}<count>1</count>", list(&["bob", "ann"]));
    assert_eq!(short(&on_book(&mut world, &session, "getItems", &counted)), "0 bob");
    let anywhere = format!("<getItemsRequest>{}</getItemsRequest>", list(&["ann"]));
    assert_eq!(short(&send(&mut world, &soap(&session, &anywhere))), "0 ann", "ids need no container");
    let elsewhere = "<getItemsRequest><container>folders</container></getItemsRequest>";
    assert_eq!(status(&send(&mut world, &soap(&session, elsewhere))), 59925);
    assert_eq!(short(&on_book(&mut world, &session, "getItems", "<view>id</view><count>2</count>")), "0 ann bob");
}
