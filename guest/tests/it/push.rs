//! Push subscriptions: SendNotification, its retries and its end.

use postbell_notify::contract::*;

use super::world::*;

const URL: &str = "http://listener.example:8080/cb?key=1";
const MINUTE: u64 = 60_000;

/// A world with a push subscription to everything, the answer to it, and its call.
fn subscribed(minutes: u32) -> (World, Answer, u64) {
    let mut world = World::new();
    let answer = world.post(&subscribe_push("", &frequency(minutes), URL));
    let call = answer.reaction.calls[0].id;
    (world, answer, call)
}

fn failed() -> Outcome {
    Outcome::Failed("connection refused".into())
}

#[test]
fn the_first_notification_follows_the_answer() {
    let (world, answer, call) = subscribed(5);
    let id = element(&answer.body(), "SubscriptionId");
    let watermark = element(&answer.body(), "Watermark");
    assert!(answer.reaction.changed);
    let body = pushed(&answer.reaction);
    let expected = format!(
        r#"<?xml version="1.0" encoding="utf-8"?><soap11:Envelope xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><soap11:Header><t:RequestServerVersion Version="Exchange2013" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"/></soap11:Header><soap11:Body><m:SendNotification xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages><m:SendNotificationResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Notification><t:SubscriptionId>{id}</t:SubscriptionId><t:PreviousWatermark>{watermark}</t:PreviousWatermark><t:MoreEvents>false</t:MoreEvents><t:StatusEvent><t:Watermark>{watermark}</t:Watermark></t:StatusEvent></m:Notification></m:SendNotificationResponseMessage></m:ResponseMessages></m:SendNotification></soap11:Body></soap11:Envelope>"#
    );
    assert_eq!(body, expected);
    let CallTarget::HttpPost(target) = &answer.reaction.calls[0].target else {
        panic!("it is a POST");
    };
    let action = "\"http://schemas.microsoft.com/exchange/services/2006/messages/SendNotification\"";
    let headers = [("content-type", "text/xml; charset=utf-8"), ("SOAPAction", action)];
    assert_eq!(target.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(target.url, URL);
    assert_eq!(world.notify.outstanding().calls, [call]);
    assert_eq!((world.gauge("subscriptions", "push"), world.gauge("push_calls", "")), (1.0, 1.0));
}

#[test]
fn the_version_is_the_subscribers() {
    let mut world = World::new();
    let header = r#"<s:Header><t:RequestServerVersion Version="Exchange2010_SP2"/></s:Header><s:Body>"#;
    let answer = world.post(&subscribe_push("", &frequency(1), URL).replace("<s:Body>", header));
    assert!(pushed(&answer.reaction).contains(r#"<t:RequestServerVersion Version="Exchange2010_SP2" "#));
}

#[test]
fn one_call_is_in_flight_and_events_are_acknowledged_by_its_success() {
    let (mut world, answer, first) = subscribed(5);
    let start = element(&answer.body(), "Watermark");
    assert!(world.happens(delivered("inbox", "m1")).calls.is_empty());
    let second = world.finish(first, listener_says("OK"));
    let body = pushed(&second);
    assert_eq!(events(&body), ["Created m1@inbox", "NewMail m1@inbox", "Modified inbox@root"]);
    assert_eq!(element(&body, "PreviousWatermark"), start);
    assert_eq!(element(&body, "MoreEvents"), "false");
    assert!(second.calls[0].id > first);
    assert!(world.finish(second.calls[0].id, listener_says("OK")).calls.is_empty());
    let third = world.happens(delivered("inbox", "m2"));
    assert_eq!(events(&pushed(&third)).len(), 3);
    assert_ne!(element(&pushed(&third), "PreviousWatermark"), start);
    assert_eq!(world.notify.outstanding().calls, [third.calls[0].id]);
}

#[test]
fn a_backlog_goes_out_fifty_at_a_time() {
    let mut world = World::new();
    let (_, start) = world.pull();
    let changes = (0..60).map(|number| change(START, delivered("inbox", &format!("m{number}")))).collect();
    world.changes("alice@example.org", changes);
    let rest = format!("<t:Watermark>{start}</t:Watermark>{}", frequency(1));
    let mut reaction = world.post(&subscribe_push("", &rest, URL)).reaction;
    assert_eq!(element(&text(&reaction.replies[0]), "Watermark"), start);
    let mut heard = Vec::new();
    while !reaction.calls.is_empty() {
        let body = pushed(&reaction);
        heard.push((events(&body).len(), element(&body, "MoreEvents")));
        reaction = world.finish(reaction.calls[0].id, listener_says("OK"));
    }
    assert_eq!(heard, [(50, "true".into()), (50, "true".into()), (21, "false".into())]);
}

#[test]
fn a_watermark_with_too_much_after_it_is_too_old() {
    let mut world = World::with(&[("ews-queue-events", "5")]);
    let (_, start) = world.pull();
    world.happens(delivered("inbox", "m1"));
    world.happens(delivered("inbox", "m2"));
    let rest = format!("<t:Watermark>{start}</t:Watermark>{}", frequency(1));
    let answer = world.post(&subscribe_push("", &rest, URL));
    assert_eq!(code(&answer.body()), "ErrorInvalidWatermark");
    assert!(answer.reaction.calls.is_empty());
}

#[test]
fn the_listener_ends_it() {
    let sample = |name: &str| {
        let path =
            format!("{}/tests/samples/exchangelib-SendNotificationResult-{name}.xml", env!("CARGO_MANIFEST_DIR"));
        Outcome::Answered(Response { status: 200, body: std::fs::read(path).expect("the sample is there") })
    };
    let (mut world, _, first) = subscribed(5);
    world.finish(first, sample("ok"));
    let second = world.happens(delivered("inbox", "m1")).calls[0].id;
    assert!(world.finish(second, sample("unsubscribe")).changed);
    assert_eq!(world.gauge("subscriptions", "push"), 0.0);
    assert_eq!(world.notify.outstanding(), Pending::default());
    assert!(!world.finish(second, sample("ok")).changed);
    assert_eq!(world.gauge("push_subscriptions_dropped", "failed"), 0.0);
}

#[test]
fn what_is_no_result_is_a_failure() {
    let answered = |status: u16, body: &str| Outcome::Answered(Response { status, body: body.as_bytes().to_vec() });
    let ok = "<m:SendNotificationResult><m:SubscriptionStatus>OK</m:SubscriptionStatus></m:SendNotificationResult>";
    for outcome in [
        answered(500, &envelope(ok)),
        answered(202, &envelope(ok)),
        answered(200, ""),
        answered(200, "OK"),
        answered(200, &envelope("<m:SendNotificationResult/>")),
        answered(200, &envelope(&ok.replace("OK", "Ok"))),
        answered(200, "<a><b/></a>"),
        failed(),
    ] {
        let (mut world, answer, call) = subscribed(5);
        let reaction = world.finish(call, outcome);
        assert_eq!((reaction.calls.len(), reaction.wake_at), (0, Some(START + 30_000)));
        assert!(world.wait(29_999).calls.is_empty());
        // What happens in between waits, and comes with the retry.
        world.happens(delivered("inbox", "m1"));
        let again = world.wait(1);
        assert!(again.calls[0].id > call);
        let body = pushed(&again);
        assert_eq!(element(&body, "PreviousWatermark"), element(&answer.body(), "Watermark"));
        assert_eq!(events(&body).len(), 3);
    }
}

#[test]
fn retries_double_until_the_status_frequency() {
    for (minutes, waits) in [(1, vec![30, 60]), (3, vec![30, 60, 120]), (60, vec![30, 60, 120, 240, 480, 960, 1920])] {
        let (mut world, answer, mut call) = subscribed(minutes);
        let first = pushed(&answer.reaction);
        for wait in waits {
            assert_eq!(world.finish(call, failed()).wake_at, Some(world.now + wait * 1000));
            let again = world.wait(wait * 1000);
            assert_eq!(pushed(&again), first);
            call = again.calls[0].id;
        }
        let last = world.finish(call, failed());
        let id = element(&answer.body(), "SubscriptionId");
        let said = format!("push subscription {id} is dropped; its listener listener.example:8080: connection refused");
        assert_eq!(last.logs, [LogLine { level: LogLevel::Info, message: said }]);
        assert_eq!(world.notify.outstanding(), Pending::default());
        assert_eq!(world.gauge("push_subscriptions_dropped", "failed"), 1.0);
    }
}

#[test]
fn success_begins_the_series_anew() {
    let (mut world, _, call) = subscribed(1);
    world.finish(call, failed());
    let call = world.wait(30_000).calls[0].id;
    world.finish(call, failed());
    let call = world.wait(60_000).calls[0].id;
    world.finish(call, listener_says("OK"));
    let call = world.happens(delivered("inbox", "m1")).calls[0].id;
    assert_eq!(world.finish(call, failed()).wake_at, Some(world.now + 30_000));
}

#[test]
fn the_host_refuses_and_it_is_dropped_at_once() {
    let (mut world, _, call) = subscribed(1440);
    let reaction = world.finish(call, Outcome::Refused("the address\n10.0.0.1 is not allowed".into()));
    assert_eq!(reaction.logs.len(), 1);
    assert_eq!(reaction.logs[0].level, LogLevel::Warn);
    assert!(reaction.logs[0].message.ends_with("the address10.0.0.1 is not allowed"));
    assert_eq!(world.gauge("subscriptions", "push"), 0.0);
    assert_eq!(world.gauge("push_subscriptions_dropped", "refused"), 1.0);
}

#[test]
fn a_status_follows_when_nothing_was_sent_for_the_status_frequency() {
    let mut world = World::new();
    let answer = world.post(&subscribe_push(&named("drafts"), "", URL));
    world.now += 1000;
    // Half an hour is the default, and it is counted from what was sent.
    let reaction = world.finish(answer.reaction.calls[0].id, listener_says("OK"));
    assert_eq!(reaction.wake_at, Some(START + 30 * MINUTE));
    assert!(world.happens(delivered("inbox", "m1")).calls.is_empty());
    let status = world.wait(30 * MINUTE - 1000);
    assert_eq!(events(&pushed(&status)), ["Status"]);
    let start = element(&answer.body(), "Watermark");
    assert_eq!(element(&pushed(&status), "PreviousWatermark"), start);
    // Its watermark has moved with the mailbox.
    let moved = element(&pushed(&status), "Watermark");
    assert_ne!(moved, start);
    world.finish(status.calls[0].id, listener_says("OK"));
    let next = world.wait(30 * MINUTE);
    assert_eq!(element(&pushed(&next), "PreviousWatermark"), moved);
}

#[test]
fn missed_events_are_told_and_end_it() {
    for (settings, what) in [
        (("ews-queue-events", "5"), delivered("inbox", "m2")),
        (("ews-history-events", "3"), delivered("inbox", "m2")),
        (("ews-queue-events", "100"), Happening::Gap),
    ] {
        let mut world = World::with(&[settings]);
        let answer = world.post(&subscribe_push("", &frequency(5), URL));
        world.happens(delivered("inbox", "m1"));
        assert!(world.happens(what).calls.is_empty());
        let told = world.finish(answer.reaction.calls[0].id, listener_says("OK"));
        let id = element(&answer.body(), "SubscriptionId");
        let body = pushed(&told);
        let message = format!(
            r#"<m:SendNotificationResponseMessage ResponseClass="Error"><m:MessageText>Events could not be read for this subscription; create it anew.</m:MessageText><m:ResponseCode>ErrorReadEventsFailed</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey><m:MessageXml><t:Value Name="SubscriptionId">{id}</t:Value></m:MessageXml></m:SendNotificationResponseMessage>"#
        );
        assert!(body.contains(&message), "{body}");
        // It is tried again as events are.
        assert!(world.finish(told.calls[0].id, failed()).calls.is_empty());
        assert!(world.happens(delivered("inbox", "m3")).calls.is_empty());
        let again = world.wait(30_000);
        assert_eq!(pushed(&again), body);
        world.finish(again.calls[0].id, listener_says("OK"));
        assert_eq!(world.gauge("subscriptions", "push"), 0.0);
    }
}

#[test]
fn a_call_of_unknown_fate_is_made_again() {
    let (mut world, answer, call) = subscribed(5);
    let at = world.at();
    let reaction = world.notify.restarted(at, Restart { down_ms: 1000, regressed: false });
    assert_eq!(pushed(&reaction), pushed(&answer.reaction));
    assert!(reaction.calls[0].id > call);
    assert_eq!(world.notify.outstanding().calls, [reaction.calls[0].id]);
    assert!(!world.finish(call, listener_says("OK")).changed);

    // If the state has regressed, calls that it does not know of had numbers, too.
    let call = reaction.calls[0].id;
    let at = world.at();
    let reaction = world.notify.restarted(at, Restart { down_ms: 1000, regressed: true });
    assert!(reaction.calls[0].id > call + 1_000_000);
    assert_eq!(code(&pushed(&reaction)), "ErrorReadEventsFailed");
}

#[test]
fn retries_are_not_put_off_by_a_restart() {
    let (mut world, _, call) = subscribed(5);
    world.finish(call, failed());
    world.now += 100_000;
    let at = world.at();
    let reaction = world.notify.restarted(at, Restart { down_ms: 100_000, regressed: false });
    let calls = reaction.calls.len() + world.wait(0).calls.len();
    assert_eq!(calls, 1);
}

#[test]
fn an_ended_subscription_makes_no_calls() {
    let (mut world, _, call) = subscribed(5);
    world.happens(Happening::AccountClosed);
    assert_eq!(world.notify.outstanding(), Pending::default());
    assert!(!world.finish(call, listener_says("OK")).changed);
}

#[test]
fn other_operations_refuse_it() {
    let (mut world, answer, _) = subscribed(5);
    let (id, watermark) = (element(&answer.body(), "SubscriptionId"), element(&answer.body(), "Watermark"));
    assert_eq!(code(&world.post(&get_events(&id, &watermark)).body()), "ErrorInvalidPullSubscriptionId");
    assert_eq!(code(&world.post(&unsubscribe(&id)).body()), "ErrorInvalidPullSubscriptionId");
    let stream = world.post(&get_streaming_events(&[&id], 1));
    assert!(text(&stream.reaction.replies[0]).contains("ErrorInvalidSubscription<"));
    assert_eq!(world.gauge("subscriptions", "push"), 1.0);
}

#[test]
fn urls_are_judged() {
    let longest = format!("http://listener.example/{}", "x".repeat(2082 - 24));
    let too_long = format!("{longest}x");
    for (settings, url, expected) in [
        ("", URL, "NoError"),
        ("", &longest, "NoError"),
        ("", &too_long, "ErrorInvalidPushSubscriptionUrl"),
        ("", "", "ErrorInvalidPushSubscriptionUrl"),
        ("", "ftp://listener.example/", "ErrorInvalidPushSubscriptionUrl"),
        ("", "listener", "ErrorInvalidPushSubscriptionUrl"),
        ("", "http://127.0.0.1:9/cb", "ErrorInvalidPushSubscriptionUrl"),
        ("", "http://2130706433/cb", "ErrorInvalidPushSubscriptionUrl"),
        ("127.0.0.0/8", "http://2130706433/cb", "ErrorInvalidPushSubscriptionUrl"),
        ("10.0.0.0/8 127.0.0.0/8", "http://127.0.0.1:9/cb", "NoError"),
        ("10.0.0.0/8 127.0.0.0/8", "http://[::1]:9/cb", "ErrorInvalidPushSubscriptionUrl"),
    ] {
        let mut world = World::with(&[("push-allow", settings)]);
        let answer = world.post(&subscribe_push("", &frequency(1), url));
        assert_eq!(code(&answer.body()), expected, "{url}");
        assert_eq!(answer.reaction.calls.len(), usize::from(expected == "NoError"), "{url}");
    }
}

#[test]
fn what_does_not_fit_into_a_reaction_follows() {
    let mut world = World::new();
    let mut calls = Vec::new();
    for _ in 0..100 {
        calls.extend(world.post(&subscribe_push("", &frequency(5), URL)).reaction.calls);
    }
    for call in calls {
        world.finish(call.id, listener_says("OK"));
    }
    let mut reaction = world.happens(delivered("inbox", "m1"));
    assert_eq!((reaction.calls.len(), reaction.wake_at), (64, Some(world.now)));
    reaction = world.wait(0);
    assert_eq!((reaction.calls.len(), reaction.wake_at), (36, None));

    // Large ones, too.
    let calls = world.notify.outstanding().calls;
    let id = |number: u32| format!("{number}-{}", "x".repeat(800));
    let changes = (0..40).map(|number| change(START, delivered("inbox", &id(number)))).collect();
    world.changes("alice@example.org", changes);
    let mut largest = 0;
    for call in calls {
        world.finish(call, listener_says("OK"));
    }
    let at = world.at();
    let mut reaction = world.notify.restarted(at, Restart::default());
    let mut made = reaction.calls.len();
    while made < 100 {
        let bytes = reaction.calls.iter().map(|call| call.body.len()).sum::<usize>();
        largest = largest.max(bytes);
        assert!(reaction.wake_at == Some(world.now) && !reaction.calls.is_empty());
        reaction = world.wait(0);
        made += reaction.calls.len();
    }
    assert!((400_000..=1 << 19).contains(&largest), "{largest}");
    assert_eq!((made, world.notify.outstanding().calls.len()), (100, 100));
}
