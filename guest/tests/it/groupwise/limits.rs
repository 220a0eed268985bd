//! What is too large, too much or too many.

use super::*;

fn large(id: &str, bytes: usize) -> BookChange {
    BookChange::Added(entry("contact", id, &"x".repeat(bytes)))
}

fn reasons(reaction: &Reaction) -> Vec<&str> {
    reaction.rejections.iter().map(|rejection| rejection.reason.as_str()).collect()
}

#[test]
fn an_entry_that_is_too_large_is_rejected_by_itself() {
    let mut world = World::with(&[("book-entry-bytes", "1024"), ("book-bytes", "65536")]);
    let session = log_in(&mut world);
    let reaction = book(&mut world, vec![large("a", 900), large("b", 1024), large("c", 900)]);
    assert_eq!(reasons(&reaction), ["the entry is larger than book-entry-bytes"]);
    assert_eq!(short(&on_book(&mut world, &session, "getItems", "<view>id</view>")), "0 a c");
    let many = (0..100).map(|number| large(&format!("e{number}"), 900)).collect();
    let reaction = book(&mut world, many);
    assert!(!reaction.rejections.is_empty() && reaction.rejections.len() < 50, "{}", reaction.rejections.len());
    assert!(reasons(&reaction).iter().all(|reason| *reason == "the address book is larger than book-bytes"));
    let reaction = book(&mut world, vec![BookChange::Deleted("a".into()), large("z", 900)]);
    assert_eq!(reasons(&reaction), [""; 0], "there is room again");
}

#[test]
fn an_entry_that_no_answer_could_hold_is_rejected() {
    let mut world = World::with(&[("book-entry-bytes", "131072")]);
    let mut grown = entry("group", "g", "g");
    let member = Member { id: "a".into(), name: String::new(), email: String::new(), kind: String::new() };
    grown.members = vec![member; 10_000];
    assert_eq!(reasons(&book(&mut world, vec![BookChange::Added(grown)])), ["the entry is too large for an answer"]);
    let mut full = entry("contact", "f", "f");
    full.fields = vec![full.fields[0].clone(); 257];
    assert_eq!(reasons(&book(&mut world, vec![BookChange::Added(full)])), ["the entry has more than 256 fields"]);
    let mut long = entry("contact", "l", "l");
    long.fields[0].name = "x".repeat(1025);
    let reaction = book(&mut world, vec![BookChange::Added(long), BookChange::Deleted("x".repeat(1025))]);
    assert_eq!(reasons(&reaction), ["an id or a name is longer than 1024 bytes"; 2]);
}

#[test]
fn the_names_of_fields_are_bounded() {
    let mut world = World::new();
    let named = |from: usize| {
        let field = |number: usize| Field { name: format!("f{number}"), label: String::new(), value: String::new() };
        let fields = (from..from + 256).map(field).collect();
        BookChange::Added(Entry { fields, ..entry("contact", &format!("n{from}"), "") })
    };
    assert_eq!(reasons(&book(&mut world, (0..16).map(|part| named(part * 256)).collect())), [""; 0]);
    let reaction = book(&mut world, vec![named(0), named(4096)]);
    assert_eq!(reasons(&reaction), ["the address book has too many names of fields"]);
}

/// More than one answer holds: deltas and cursors go on where it ended, and what cannot go on says so.
#[test]
fn what_does_not_fit_into_one_answer_comes_in_pages() {
    let mut world = World::new();
    let session = log_in(&mut world);
    let ids: Vec<_> = (0..40).map(|number| format!("e{number:02}")).collect();
    for id in &ids {
        assert_eq!(reasons(&book(&mut world, vec![large(id, 50_000)])), [""; 0]);
    }
    assert_eq!(status(&on_book(&mut world, &session, "getItems", "")), 59908);
    let cursor = element(&on_book(&mut world, &session, "createCursor", ""), "cursor");
    let (mut read, mut told, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let body = on_book(&mut world, &session, "readCursor", &format!("<cursor>{cursor}</cursor>"));
        assert!(body.len() <= 1 << 20, "{}", body.len());
        let items = ids_of(&body);
        if items.is_empty() {
            break;
        }
        read.extend(items);
        pages += 1;
    }
    let mut first = 1;
    while first <= 40 {
        let info = format!("<deltaInfo><firstSequence>{first}</firstSequence></deltaInfo>");
        let body = on_book(&mut world, &session, "getDeltas", &info);
        let (count, last) = (element(&body, "count"), element(&body, "lastSequence"));
        let items = ids_of(&body);
        assert!(!items.is_empty() && count == items.len().to_string() && body.len() <= 1 << 20);
        told.extend(items);
        first = last.parse::<u64>().expect("a number") + 1;
        pages += 1;
    }
    assert_eq!((&read, &told), (&ids, &ids));
    assert!(pages >= 4, "{pages}");
}

#[test]
fn with_one_cursor_too_many_the_oldest_closes() {
    let mut world = World::with(&[("groupwise-cursors-per-session", "2")]);
    let session = log_in(&mut world);
    let cursors = [0; 3].map(|_| element(&on_book(&mut world, &session, "createCursor", ""), "cursor"));
    let read = cursors
        .map(|cursor| status(&on_book(&mut world, &session, "readCursor", &format!("<cursor>{cursor}</cursor>"))));
    assert_eq!(read, [59909, 0, 0]);
    let other = log_in(&mut world);
    assert_eq!(status(&on_book(&mut world, &other, "readCursor", "<cursor>2</cursor>")), 59909, "it is not theirs");
}

/// Sessions that were idle longest end, and the one that asks never.
#[test]
fn what_all_sessions_take_is_bounded() {
    let mut world =
        World::with(&[("groupwise-sessions-total-bytes", "65536"), ("groupwise-sessions-per-account", "1000")]);
    let first = log_in(&mut world);
    world.wait(1_000);
    let last = log_in(&mut world);
    let bytes = |world: &World| world.gauge("groupwise_session_bytes", "");
    let before = bytes(&world);
    let view = format!("<view>{}</view>", "x".repeat(1000));
    let cursors: Vec<_> =
        (0..20).map(|_| element(&on_book(&mut world, &first, "createCursor", &view), "cursor")).collect();
    assert!(bytes(&world) > before + 20_000.0);
    for cursor in cursors {
        assert_eq!(status(&on_book(&mut world, &first, "destroyCursor", &format!("<cursor>{cursor}</cursor>"))), 0);
    }
    assert_eq!(bytes(&world), before);
    for _ in 0..20 {
        on_book(&mut world, &last, "createCursor", &view);
    }
    let many: Vec<_> = (0..100).map(|_| log_in(&mut world)).collect();
    assert!(bytes(&world) <= 65_536.0, "{}", bytes(&world));
    assert_eq!(world.gauge("groupwise_sessions", ""), 102.0 - world.gauge("groupwise_sessions_displaced", ""));
    let alive = |world: &mut World, session: &str| status(&on_book(world, session, "getDeltaInfo", "")) == 0;
    assert!(!alive(&mut world, &first) && !alive(&mut world, &last), "others were idle less long");
    assert!(alive(&mut world, &many[99]));
    let before = bytes(&world);
    world.notify = crate::world::loaded(&mut world);
    assert_eq!(bytes(&world), before, "it is counted anew");
}

/// Who was to read the whole book is not remembered for ever: if there are too many, everybody is.
#[test]
fn what_ended_sessions_owe_is_bounded_and_never_lost() {
    let mut world = World::with(&[
        ("groupwise-sessions-total-bytes", "65536"),
        ("groupwise-sessions-per-account", "10000"),
        ("book-deltas", "2"),
    ]);
    book(&mut world, ["a", "b", "c", "d"].map(|id| BookChange::Added(entry("contact", id, id))).into());
    let rebuilt =
        |world: &mut World, session: &str| element(&on_book(world, session, "getDeltaInfo", ""), "lastTimePORebuild");
    let watcher = log_in(&mut world);
    let before = rebuilt(&mut world, &watcher);
    world.wait(2_000);
    for number in 0..1_000 {
        let session = log_in_with(&mut world, &format!("{number}{}", "x".repeat(60)));
        // Its deltas are gone, and it is told so: it owes the whole book.
        super::deltas::evolutions(&mut world, &session, 1);
        send(&mut world, &soap(&session, "<logoutRequest/>"));
    }
    assert!(world.gauge("groupwise_session_bytes", "") <= 65_536.0);
    let session = log_in_with(&mut world, "another");
    assert_ne!(rebuilt(&mut world, &session), before, "everybody is to read the whole");
}

#[test]
fn lists_views_and_filters_have_bounds() {
    let mut world = World::new();
    let session = log_in(&mut world);
    let ids = |count: usize| format!("<items>{}</items>", "<item>a</item>".repeat(count));
    assert_eq!(status(&on_book(&mut world, &session, "getItems", &ids(1000))), 0);
    assert_eq!(status(&on_book(&mut world, &session, "getItems", &ids(1001))), 59905);
    let view = |length: usize| format!("<view>{}</view>", "x".repeat(length));
    assert_eq!(status(&on_book(&mut world, &session, "createCursor", &view(1024))), 0);
    assert_eq!(status(&on_book(&mut world, &session, "createCursor", &view(1025))), 59905);
}

/// A cursor goes on where a search stopped; what has no place to go on from is refused.
#[test]
fn a_search_through_too_much_stops_and_goes_on() {
    let mut world = World::with(&[("groupwise-search-bytes", "65536")]);
    let session = log_in(&mut world);
    // About 140 bytes each.
    let mut names: Vec<_> = (0..2000).map(|number| format!("e{number:04}")).collect();
    book(&mut world, names.iter().map(|id| BookChange::Added(entry("contact", id, id))).collect());
    let only = |value: &str| {
        format!("<filter><element><op>eq</op><field>name</field><value>{value}</value></element></filter>")
    };
    assert_eq!(status(&on_book(&mut world, &session, "getItems", &only("e1999"))), 53531);
    assert_eq!(status(&on_book(&mut world, &session, "getItems", &format!("{}<count>1</count>", only("e0001")))), 0);
    let cursor = element(&on_book(&mut world, &session, "createCursor", &only("e1999")), "cursor");
    let position = |rest: &str| format!("<cursor>{cursor}</cursor>{rest}");
    let far = position("<offset>1</offset>");
    assert_eq!(status(&on_book(&mut world, &session, "positionCursor", &far)), 53531);
    let mut refused = 0;
    let found = loop {
        let body = on_book(&mut world, &session, "readCursor", &position("<count>1</count>"));
        match status(&body) {
            53531 => refused += 1,
            _ => break short(&body),
        }
    };
    assert_eq!(found, "0 e1999=e1999");
    assert!((2..100).contains(&refused), "{refused}");
    let gauges = world.notify.inspect();
    let counted = gauges.iter().find(|gauge| gauge.name == "groupwise_searches_refused").map(|gauge| gauge.value);
    assert_eq!(counted, Some(f64::from(refused + 2)));
    // Without a filter nothing is looked at.
    let plain = element(&on_book(&mut world, &session, "createCursor", ""), "cursor");
    let rest = format!("<cursor>{plain}</cursor><offset>1990</offset>");
    assert_eq!(status(&on_book(&mut world, &session, "positionCursor", &rest)), 0);
    let body = on_book(&mut world, &session, "readCursor", &format!("<cursor>{plain}</cursor>"));
    assert_eq!(ids_of(&body), names.split_off(1990));
}

fn ids_of(body: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(body).expect("answers are well-formed");
    let ids = document.descendants().filter(|node| node.tag_name().name() == "id").filter_map(|node| node.text());
    ids.map(|id| id.split('@').next().unwrap_or_default().to_owned()).collect()
}
