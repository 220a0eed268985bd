//! GetStreamingEvents: the life of a stream.

use postbell_notify::contract::*;

use super::world::*;

const MINUTE: u64 = 60_000;

/// Alice's world with a subscription and an open stream of one minute.
fn streaming() -> (World, String, u64) {
    let mut world = World::new();
    let id = world.streaming();
    let answer = world.post(&get_streaming_events(&[&id], 1));
    assert_eq!(said(&answer.reaction), ["r2 OK"]);
    (world, id, answer.request)
}

#[test]
fn parts_are_byte_for_byte_what_clients_accept() {
    let (mut world, _, _) = streaming();
    let reaction =
        world.changes("alice@example.org", vec![counted(START + 1000, delivered("inbox", "m1"), &[("inbox", 1)])]);
    expect_test::expect![[r#"<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><soap11:Header xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns="http://schemas.microsoft.com/exchange/services/2006/types"/></soap11:Header><soap11:Body xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><m:GetStreamingEventsResponse xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:ResponseMessages><m:GetStreamingEventsResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Notifications><m:Notification><t:SubscriptionId>jGdiBgQ9e6MwKd1-u4408A</t:SubscriptionId><t:CreatedEvent><t:TimeStamp>2026-08-22T10:00:01Z</t:TimeStamp><t:ItemId Id="YWxpY2VAZXhhbXBsZS5vcmcAaW0x" ChangeKey="AAAAAAAAAAI="/><t:ParentFolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZmluYm94" ChangeKey="AAAAAAAAAAE="/></t:CreatedEvent><t:NewMailEvent><t:TimeStamp>2026-08-22T10:00:01Z</t:TimeStamp><t:ItemId Id="YWxpY2VAZXhhbXBsZS5vcmcAaW0x" ChangeKey="AAAAAAAAAAI="/><t:ParentFolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZmluYm94" ChangeKey="AAAAAAAAAAE="/></t:NewMailEvent><t:ModifiedEvent><t:TimeStamp>2026-08-22T10:00:01Z</t:TimeStamp><t:FolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZmluYm94" ChangeKey="AAAAAAAAAAI="/><t:ParentFolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAZg" ChangeKey="AAAAAAAAAAA="/><t:UnreadCount>1</t:UnreadCount></t:ModifiedEvent></m:Notification></m:Notifications></m:GetStreamingEventsResponseMessage></m:ResponseMessages></m:GetStreamingEventsResponse></soap11:Body></Envelope>"#]].assert_eq(&texts(&reaction)[0]);
    let first = world.post(&get_streaming_events(&["bad1"], 1)).reaction;
    expect_test::expect![[r#"
        <Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><soap11:Header xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns="http://schemas.microsoft.com/exchange/services/2006/types"/></soap11:Header><soap11:Body xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><m:GetStreamingEventsResponse xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:ResponseMessages><m:GetStreamingEventsResponseMessage ResponseClass="Error"><m:MessageText>Subscription is invalid.</m:MessageText><m:ResponseCode>ErrorInvalidSubscription</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey><m:ErrorSubscriptionIds><m:SubscriptionId>bad1</m:SubscriptionId></m:ErrorSubscriptionIds></m:GetStreamingEventsResponseMessage></m:ResponseMessages></m:GetStreamingEventsResponse></soap11:Body></Envelope>
        <Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><soap11:Header xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns="http://schemas.microsoft.com/exchange/services/2006/types"/></soap11:Header><soap11:Body xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><m:GetStreamingEventsResponse xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:ResponseMessages><m:GetStreamingEventsResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:ConnectionStatus>Closed</m:ConnectionStatus></m:GetStreamingEventsResponseMessage></m:ResponseMessages></m:GetStreamingEventsResponse></soap11:Body></Envelope>"#]].assert_eq(&texts(&first).join("\n"));
    let headers: Vec<_> = first.replies.iter().map(|reply| reply.headers.len()).collect();
    assert_eq!(headers, [4, 0]);
    let headers = &first.replies[0].headers;
    let expected = [
        ("Content-Type", "text/xml; charset=utf-8"),
        ("Cache-Control", "private"),
        ("X-NoBuffering", "1"),
        ("X-Accel-Buffering", "no"),
    ];
    assert_eq!(headers[..], expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn heartbeats_then_closed() {
    let (mut world, _, request) = streaming();
    assert_eq!(world.notify.outstanding().wake_at, Some(START + 25_000));
    assert_eq!(said(&world.wait(24_999)), [""; 0]);
    assert_eq!(said(&world.wait(1)), ["r2 OK"]);
    world.now += 20_000;
    assert_eq!(said(&world.happens(delivered("inbox", "m1"))).len(), 1);
    // The next heartbeat would be 25 s after the events, but the minute is over before.
    let closed = world.wait(15_000);
    assert_eq!(said(&closed), ["r2 Closed."]);
    assert_eq!(world.notify.outstanding().requests, [request]);
    world.settle(request, 1, Some(End::Complete));
    assert_eq!(world.notify.outstanding().requests, [0; 0]);
}

#[test]
fn what_was_not_acknowledged_comes_again() {
    let (mut world, id, request) = streaming();
    world.happens(delivered("inbox", "m1"));
    world.happens(delivered("inbox", "m2"));
    world.settle(request, 1, None);
    world.settle(request, 1, Some(End::Gone));
    world.happens(delivered("inbox", "m3"));
    let again = world.post(&get_streaming_events(&[&id], 1));
    let expected = "r3 [GkZQ] Created m2@inbox NewMail m2@inbox Modified inbox@root Created m3@inbox NewMail m3@inbox \
Modified inbox@root!";
    assert_eq!(said(&again.reaction)[0][9..], expected[9..]);
    world.settle(again.request, 1, Some(End::Complete));
    assert_eq!(said(&world.post(&get_streaming_events(&[&id], 1)).reaction), ["r4 OK"]);
}

#[test]
fn bad_ids_are_named_and_the_good_stream_on() {
    let mut world = World::new();
    let (good, (pull, _)) = (world.streaming(), world.pull());
    let answer = world.post(&get_streaming_events(&["bad1", &good, &pull, &good], 1));
    let expected = [format!("r3 ErrorInvalidSubscription [bad1] [{}]", &pull[..4]), "r3 OK".into()];
    assert_eq!(said(&answer.reaction), expected);
    assert_eq!(said(&world.happens(delivered("inbox", "m1"))).len(), 1);
    let foreign = world.post_as("bob@example.org", &get_streaming_events(&[&good], 1));
    let expected = [format!("r4 ErrorInvalidSubscription [{}]", &good[..4]), "r4 Closed.".into()];
    assert_eq!(said(&foreign.reaction), expected);
}

/// As the operation was once described.
#[test]
fn ids_need_no_element_around_them() {
    let mut world = World::new();
    let id = world.streaming();
    let bare = get_streaming_events(&[&id], 1).replace("<m:SubscriptionIds>", "").replace("</m:SubscriptionIds>", "");
    assert_eq!(said(&world.post(&bare).reaction), ["r2 OK"]);
}

/// Another server's ids may be longer than ours.
#[test]
fn an_id_of_another_server_is_unknown_and_not_malformed() {
    let mut world = World::new();
    let long = "A".repeat(1_000);
    assert_eq!(code(&world.post(&unsubscribe(&long)).body()), "ErrorSubscriptionNotFound");
    assert_eq!(code(&world.post(&get_events(&long, &long)).body()), "ErrorSubscriptionNotFound");
    let (id, _) = world.pull();
    assert_eq!(code(&world.post(&get_events(&id, &long)).body()), "ErrorInvalidWatermark");
    let answer = world.post(&get_streaming_events(&[&long], 1));
    assert_eq!(said(&answer.reaction), ["r5 ErrorInvalidSubscription [AAAA]", "r5 Closed."]);
}

#[test]
fn a_second_stream_takes_the_subscription_over() {
    let (mut world, id, _) = streaming();
    let other = world.streaming();
    world.happens(delivered("inbox", "m1"));
    let second = world.post(&get_streaming_events(&[&id, &other], 1));
    let mut said = said(&second.reaction);
    said.sort();
    let short = &id[..4];
    assert_eq!(said[0], "r2 Closed.");
    assert_eq!(said[1], format!("r2 ErrorNewEventStreamConnectionOpened [{short}]"));
    assert!(said[2].starts_with(&format!("r4 [{short}] Created m1@inbox")), "{said:?}");
    // What the first stream's client turns out to have is not lost, and its end changes nothing for the second.
    world.settle(2, 1, Some(End::Complete));
    assert_eq!(world.notify.outstanding().requests, [4]);
}

#[test]
fn misses_are_told_until_they_are_known() {
    let (mut world, id, request) = streaming();
    world.happens(delivered("inbox", "m1"));
    let expected = format!("r2 ErrorMissedNotificationEvents [{}]!", &id[..4]);
    assert_eq!(said(&world.happens(Happening::Gap)), [expected]);
    world.settle(request, 1, Some(End::Gone));
    let again = world.post(&get_streaming_events(&[&id], 1));
    assert_eq!(said(&again.reaction), [format!("r3 ErrorMissedNotificationEvents [{}]!", &id[..4])]);
    world.settle(again.request, 1, Some(End::Complete));
    assert_eq!(said(&world.post(&get_streaming_events(&[&id], 1)).reaction), ["r4 OK"]);
}

#[test]
fn a_part_has_fifty_events_and_a_stream_waits_for_its_reader() {
    let (mut world, _, request) = streaming();
    let changes = (0..1900).map(|number| change(START, delivered("inbox", &format!("m{number}")))).collect();
    let reaction = world.changes("alice@example.org", changes);
    assert_eq!(reaction.replies.len(), 64);
    assert!(texts(&reaction).iter().all(|body| events(body).len() == 50));
    assert_eq!(reaction.wake_at, Some(START + 25_000));
    let more = world.settle(request, 10, None);
    assert_eq!(more.replies.len(), 10);
    let rest = world.settle(request, 74, None);
    assert_eq!(rest.replies.len(), 3);
    let all: usize = [&reaction, &more, &rest].iter().flat_map(|it| texts(it)).map(|body| events(&body).len()).sum();
    assert_eq!(all, 3801);
}

#[test]
fn a_thousand_streams_hear_of_one_change_in_turns() {
    let mut world = World::with(&[("ews-streams-per-account", "1000")]);
    for _ in 0..1000 {
        let id = world.streaming();
        world.post(&get_streaming_events(&[&id], 30));
    }
    let mut reaction = world.happens(delivered("inbox", "m1"));
    let mut heard = Vec::new();
    loop {
        assert!(reaction.replies.len() <= 256);
        heard.extend(reaction.replies.iter().map(|reply| reply.to));
        if reaction.wake_at != Some(world.now) {
            break;
        }
        reaction = world.wait(0);
    }
    heard.sort_unstable();
    let expected: Vec<u64> = (1..=1000).map(|number| number * 2).collect();
    assert_eq!(heard, expected);
}

#[test]
fn streams_are_limited() {
    let mut world = World::with(&[("ews-streams-per-account", "1"), ("ews-ids-per-stream", "2")]);
    let (one, two, three) = (world.streaming(), world.streaming(), world.streaming());
    let answer = world.post(&get_streaming_events(&[&one, &two, &three], 1));
    assert_eq!(said(&answer.reaction), ["r4 ErrorExceededSubscriptionCount", "r4 Closed."]);
    assert_eq!(said(&world.post(&get_streaming_events(&[&one], 1)).reaction), ["r5 OK"]);
    let answer = world.post(&get_streaming_events(&[&two], 1));
    assert_eq!(said(&answer.reaction), ["r6 ErrorExceededConnectionCount", "r6 Closed."]);
    // The same client coming back takes its own place.
    assert_eq!(said(&world.post(&get_streaming_events(&[&one], 1)).reaction)[0], "r7 OK");
}

#[test]
fn an_ended_subscription_is_told_on_its_stream() {
    let (mut world, id, _) = streaming();
    let answer = world.post(&unsubscribe(&id));
    let said = said(&answer.reaction);
    assert_eq!(said[1..], [format!("r2 ErrorInvalidSubscription [{}]", &id[..4]), "r2 Closed.".into()]);
    let (mut world, _, _) = streaming();
    let reaction = world.happens(Happening::AccountClosed);
    assert_eq!(super::world::said(&reaction)[1], "r2 Closed.");
}

#[test]
fn draining_closes_and_restarting_forgets_streams() {
    let (mut world, id, request) = streaming();
    let at = world.at();
    assert_eq!(said(&world.notify.drain(at)), ["r2 Closed."]);
    assert_eq!(world.notify.outstanding().requests, [0; 0]);
    let (mut other, _, _) = streaming();
    assert_eq!(request, 2);
    other.happens(delivered("inbox", "m1"));
    let at = other.at();
    other.notify.restarted(at, Restart { down_ms: 5000, regressed: false });
    assert_eq!(other.notify.outstanding().requests, [0; 0]);
    let again = other.post(&get_streaming_events(&[&id], 1));
    assert!(said(&again.reaction)[0].contains("Created m1@inbox"));
}

#[test]
fn a_regressed_state_tells_everybody() {
    let (mut world, id, _) = streaming();
    let (pull, start) = world.pull();
    world.happens(delivered("inbox", "m1"));
    let at = world.at();
    world.notify.restarted(at, Restart { down_ms: 5000, regressed: true });
    assert_eq!(code(&world.post(&get_events(&pull, &start)).body()), "ErrorInvalidWatermark");
    assert_eq!(code(&world.post(&resubscribe_pull(&start)).body()), "ErrorInvalidWatermark");
    let again = world.post(&get_streaming_events(&[&id], 1));
    assert!(said(&again.reaction)[0].contains("ErrorMissedNotificationEvents"));
}

#[test]
fn an_idle_subscription_ends_after_its_life_without_a_stream() {
    let (mut world, id, request) = streaming();
    world.settle(request, 0, Some(End::Gone));
    world.wait(1440 * MINUTE);
    let answer = world.post(&get_streaming_events(&[&id], 30));
    assert_eq!(said(&answer.reaction), ["r3 OK"]);
    world.settle(answer.request, 0, Some(End::Gone));
    world.wait(1540 * MINUTE);
    assert_eq!(world.gauge("subscriptions", "streaming"), 0.0);
}
