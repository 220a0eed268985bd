//! GetEvents.

use postbell_notify::contract::*;

use super::world::*;

#[test]
fn events_stay_until_a_later_watermark_is_asked_with() {
    let mut world = World::new();
    let (id, start) = world.pull();
    world.happens(delivered("inbox", "m1"));
    let first = world.post(&get_events(&id, &start));
    assert!(!first.reaction.changed);
    expect_test::expect![[r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header><s:Body><m:GetEventsResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages><m:GetEventsResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Notification><t:SubscriptionId>jGdiBgQ9e6MwKd1-u4408A</t:SubscriptionId><t:PreviousWatermark>AAAAAAAAAAEAAAAAB4bfVBgW36yN</t:PreviousWatermark><t:MoreEvents>false</t:MoreEvents><t:CreatedEvent><t:Watermark>AAAAAAAAAAMAAAABx01AdNJuH11e</t:Watermark><t:TimeStamp>2026-08-22T10:00:00Z</t:TimeStamp><t:ItemId Id="YWxpY2VAZXhhbXBsZS5vcmcAaW0x" ChangeKey="AAAAAAAAAAI="/><t:ParentFolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZmluYm94" ChangeKey="AAAAAAAAAAE="/></t:CreatedEvent><t:NewMailEvent><t:Watermark>AAAAAAAAAAMAAAAC_f9vAq9ONxTh</t:Watermark><t:TimeStamp>2026-08-22T10:00:00Z</t:TimeStamp><t:ItemId Id="YWxpY2VAZXhhbXBsZS5vcmcAaW0x" ChangeKey="AAAAAAAAAAI="/><t:ParentFolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZmluYm94" ChangeKey="AAAAAAAAAAE="/></t:NewMailEvent><t:ModifiedEvent><t:Watermark>AAAAAAAAAAMAAAADT2cuUKMrxIkR</t:Watermark><t:TimeStamp>2026-08-22T10:00:00Z</t:TimeStamp><t:FolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZmluYm94" ChangeKey="AAAAAAAAAAI="/><t:ParentFolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZg" ChangeKey="AAAAAAAAAAA="/></t:ModifiedEvent></m:Notification></m:GetEventsResponseMessage></m:ResponseMessages></m:GetEventsResponse></s:Body></s:Envelope>"#]].assert_eq(&first.body());
    assert_eq!(world.post(&get_events(&id, &start)).body(), first.body());
    let watermarks = watermarks(&first.body());
    let second = world.post(&get_events(&id, &watermarks[1]));
    assert_eq!(events(&second.body()), ["Modified inbox@root"]);
    assert_eq!(element(&second.body(), "PreviousWatermark"), watermarks[1]);
    let third = world.post(&get_events(&id, &watermarks[2]));
    expect_test::expect![[r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header><s:Body><m:GetEventsResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages><m:GetEventsResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Notification><t:SubscriptionId>jGdiBgQ9e6MwKd1-u4408A</t:SubscriptionId><t:PreviousWatermark>AAAAAAAAAAMAAAADT2cuUKMrxIkR</t:PreviousWatermark><t:MoreEvents>false</t:MoreEvents><t:StatusEvent><t:Watermark>AAAAAAAAAAMAAAADT2cuUKMrxIkR</t:Watermark></t:StatusEvent></m:Notification></m:GetEventsResponseMessage></m:ResponseMessages></m:GetEventsResponse></s:Body></s:Envelope>"#]].assert_eq(&third.body());
    assert_eq!(code(&world.post(&get_events(&id, &start)).body()), "ErrorInvalidWatermark");
}

/// As long as an event is there, it names its folder, which went, came again and went again.
#[test]
fn a_folder_that_goes_twice_is_known_as_long_as_the_history_names_it() {
    let mut world = World::with(&[("ews-history-events", "12")]);
    let work = || folder("Work");
    world.happens(Happening::FolderCreated(work()));
    world.happens(Happening::FolderDeleted(work()));
    world.happens(Happening::FolderCreated(work()));
    let (id, start) = world.pull();
    world.happens(delivered("Work", "w1"));
    world.happens(Happening::FolderDeleted(work()));
    let heard = |world: &mut World| events(&world.post(&get_events(&id, &start)).body());
    let first = heard(&mut world);
    assert_eq!(first.last().map(String::as_str), Some("Deleted Work@root"), "{first:?}");
    for number in 0..100 {
        world.happens(Happening::ItemCreated(item("inbox", &format!("m{number}"))));
        let now = heard(&mut world);
        if now.is_empty() {
            assert!(number > 2, "the first deletion was cut before that");
            return;
        }
        assert_eq!(now[..first.len()], first[..]);
    }
    panic!("the history is never cut");
}

/// However long its folder was away: a subscription to it hears of it when it is there again.
#[test]
fn a_folder_that_comes_again_is_the_one_that_was_subscribed_to() {
    let mut world = World::with(&[("ews-history-events", "4")]);
    world.happens(Happening::FolderCreated(folder("Work")));
    let work = r#"<t:FolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZldvcms"/>"#;
    let subscribed = world.post(&subscribe_pull(work, 10)).body();
    let (id, mut watermark) = (element(&subscribed, "SubscriptionId"), element(&subscribed, "Watermark"));
    let mut heard = |world: &mut World| {
        let answer = world.post(&get_events(&id, &watermark)).body();
        watermark = watermarks(&answer).pop().unwrap_or_else(|| panic!("{answer}"));
        events(&answer)
    };
    world.happens(Happening::FolderDeleted(folder("Work")));
    assert_eq!(heard(&mut world), ["Deleted Work@root"]);
    for number in 0..20 {
        world.happens(Happening::ItemCreated(item("inbox", &format!("m{number}"))));
        heard(&mut world);
    }
    world.happens(Happening::FolderCreated(folder("Work")));
    world.happens(Happening::ItemCreated(item("Work", "w1")));
    assert_eq!(heard(&mut world), ["Created Work@root", "Created w1@Work", "Modified Work@root"]);
}

#[test]
fn refusals() {
    let mut world = World::new();
    let (id, start) = world.pull();
    let streaming = world.streaming();
    for (login, id, watermark, expected) in [
        ("alice@example.org", "AAAAAAAAAAAAAAAAAAAAAA", start.as_str(), "ErrorSubscriptionNotFound"),
        ("alice@example.org", "no id at all", &start, "ErrorSubscriptionNotFound"),
        ("bob@example.org", &id, &start, "ErrorSubscriptionAccessDenied"),
        ("alice@example.org", &streaming, &start, "ErrorInvalidPullSubscriptionId"),
        ("alice@example.org", &id, "W0", "ErrorInvalidWatermark"),
        ("alice@example.org", &id, "AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "ErrorInvalidWatermark"),
    ] {
        let answer = world.post_as(login, &get_events(id, watermark));
        assert_eq!((code(&answer.body()).as_str(), answer.reaction.changed), (expected, false));
    }
}

#[test]
fn more_than_fifty_events_are_given_in_two_ways() {
    let mut world = World::new();
    let (id, start) = world.pull();
    let changes = (0..60).map(|number| change(START, delivered("inbox", &format!("m{number}")))).collect();
    world.changes("alice@example.org", changes);
    let first = world.post(&get_events(&id, &start)).body();
    assert_eq!((events(&first).len(), element(&first, "MoreEvents").as_str()), (50, "true"));

    // As exchangelib goes on: with the same watermark, until there is no more.
    let all = world.post(&get_events(&id, &start)).body();
    assert_eq!((events(&all).len(), element(&all, "MoreEvents").as_str()), (121, "false"));
    assert_eq!(events(&all)[..50], events(&first)[..]);
    assert_eq!(world.post(&get_events(&id, &start)).body(), all);

    // As the C# library goes on: with the last watermark.
    let second = world.post(&get_events(&id, &watermarks(&first)[49])).body();
    assert_eq!((events(&second).len(), element(&second, "MoreEvents").as_str()), (50, "true"));
    let third = world.post(&get_events(&id, &watermarks(&second)[49])).body();
    assert_eq!((events(&third).len(), element(&third, "MoreEvents").as_str()), (21, "false"));
    let together: Vec<_> = [first, second, third].iter().flat_map(|body| events(body)).collect();
    assert_eq!(together, events(&all));
}

#[test]
fn a_new_subscription_goes_on_from_a_watermark() {
    let mut world = World::with(&[("ews-history-events", "4")]);
    let (id, start) = world.pull();
    world.happens(delivered("inbox", "m1"));
    world.post(&unsubscribe(&id));
    let answer = world.post(&resubscribe_pull(&start)).body();
    let (id, again) = (element(&answer, "SubscriptionId"), element(&answer, "Watermark"));
    assert_eq!(again, start);
    assert_eq!(events(&world.post(&get_events(&id, &start)).body()).len(), 3);
    // The history forgets what was pending: it was missed.
    world.happens(delivered("inbox", "m2"));
    assert_eq!(code(&world.post(&get_events(&id, &start)).body()), "ErrorInvalidWatermark");
    assert_eq!(code(&world.post(&resubscribe_pull(&start)).body()), "ErrorInvalidWatermark");
    assert_eq!(world.gauge("subscriptions", "pull"), 1.0);
}

#[test]
fn a_gap_voids_what_was_pending() {
    let mut world = World::new();
    let (id, start) = world.pull();
    world.happens(delivered("inbox", "m1"));
    world.happens(Happening::Gap);
    assert_eq!(code(&world.post(&get_events(&id, &start)).body()), "ErrorInvalidWatermark");
}

#[test]
fn too_many_pending_events_are_a_miss() {
    let mut world = World::with(&[("ews-queue-events", "5")]);
    let (id, start) = world.pull();
    world.happens(delivered("inbox", "m1"));
    assert_eq!(code(&world.post(&get_events(&id, &start)).body()), "NoError");
    world.happens(delivered("inbox", "m2"));
    assert_eq!(code(&world.post(&get_events(&id, &start)).body()), "ErrorInvalidWatermark");
}

#[test]
fn it_lives_as_long_as_promised_and_most_polls_change_nothing() {
    let mut world = World::new();
    let (id, start) = world.pull();
    let minute = 60_000;
    let mut changed = 0;
    for _ in 0..100 {
        world.now += minute / 6;
        changed += u32::from(world.post(&get_events(&id, &start)).reaction.changed);
    }
    assert!(changed <= 30, "{changed} of 100 polls changed the state");
    world.wait(10 * minute);
    assert_eq!(code(&world.post(&get_events(&id, &start)).body()), "NoError");
    world.wait(11 * minute);
    assert_eq!(code(&world.post(&get_events(&id, &start)).body()), "ErrorSubscriptionNotFound");
    assert_eq!(world.notify.outstanding().wake_at, None);
}

#[test]
fn a_filter_by_kind_and_folder_holds() {
    let mut world = World::new();
    let only = subscribe_pull(&named("inbox"), 10).replace("CreatedEvent", "DeletedEvent");
    let answer = world.post(&only).body();
    let (id, start) = (element(&answer, "SubscriptionId"), element(&answer, "Watermark"));
    world.happens(delivered("drafts", "m0"));
    world.happens(delivered("inbox", "m1"));
    world.happens(moved(("inbox", "m1"), ("drafts", "m2")));
    let body = world.post(&get_events(&id, &start)).body();
    let expected = ["NewMail m1@inbox", "Modified inbox@root", "Moved m2@drafts <-m1@inbox", "Modified inbox@root"];
    assert_eq!(events(&body), expected);
}

fn watermarks(body: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(body).expect("well-formed");
    let found = document.descendants().filter(|node| node.tag_name().name() == "Watermark");
    found.map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_history_forgets_by_age_and_by_size() {
    let mut world = World::with(&[("ews-history-hours", "1"), ("ews-history-total-bytes", "65536")]);
    world.happens(delivered("inbox", "m1"));
    assert_eq!(world.gauge("history_events", ""), 3.0);
    world.wait(3_600_001);
    assert_eq!(world.gauge("history_events", ""), 0.0);
    for _ in 0..400 {
        world.happens(delivered("inbox", "m1"));
    }
    let bytes = world.gauge("history_bytes", "");
    assert!((60_000.0..=65_536.0).contains(&bytes), "{bytes}");
}
