//! Sequence numbers, waiters, timeouts.

use super::*;
use crate::world::{START, delivered};

#[test]
fn the_trace_of_sequence_numbers() {
    let mut world = World::new();
    let id = create(&mut world, ROOT, "all", &add(&[ALICE, BOB]));
    for (changed, seq, expected) in [
        ("", "0", "seq=0"),
        (ALICE, "0", "seq=2 alice"),
        ("", "2", "seq=2"),
        (ALICE, "2", "seq=3 alice"),
        // The answer was lost.
        (BOB, "2", "seq=4 alice bob"),
        ("", "3", "seq=5 alice bob"),
        ("", "5", "seq=5"),
        ("", "-7", "seq=-7"),
        (BOB, "99", "seq=6 bob"),
        ("", "6", "seq=6"),
    ] {
        if !changed.is_empty() {
            happens_to(&mut world, changed, delivered("inbox", "m"));
        }
        assert_eq!(poll(&mut world, ROOT, &id, seq, ""), expected);
    }
}

#[test]
fn a_waiter_hears_at_once() {
    let mut world = World::new();
    let id = of_alice(&mut world, "m");
    let waiting = block(&mut world, USER, &id, "0", "");
    assert!(waiting.is_parked());
    assert_eq!(world.notify.outstanding().requests, [waiting.request]);
    assert_eq!(shorts(&world.happens(delivered("inbox", "m1"))), [format!("r{} seq=2 alice", waiting.request)]);
    assert_eq!(world.notify.outstanding().requests, []);
    // What is there already is told at once, also to one who would wait.
    world.happens(delivered("inbox", "m2"));
    assert_eq!(short(&block(&mut world, USER, &id, "2", "").body()), "seq=3 alice");
}

#[test]
fn one_waits_at_a_time() {
    let mut world = World::new();
    let id = of_alice(&mut world, "m");
    let first = block(&mut world, USER, &id, "0", "");
    let second = block(&mut world, USER, &id, "0", "");
    assert_eq!(shorts(&second.reaction), [format!("r{} canceled", first.request)]);
    let polled = send(&mut world, USER, &soap(&wait_operation(&id, "0", "", "")));
    let canceled = polled.reaction.replies.iter().find(|reply| reply.to == second.request).expect("it is answered");
    assert_eq!(canceled.status, 200);
    assert_eq!(
        inside(&text(canceled)),
        format!("<WaitSetResponse xmlns=\"urn:zimbraMail\" waitSet=\"{id}\" canceled=\"1\"/>")
    );
    // The change that comes then is not lost with them.
    world.happens(delivered("inbox", "m"));
    assert_eq!(poll(&mut world, USER, &id, "0", ""), "seq=2 alice");
}

#[test]
fn who_destroys_a_set_ends_the_waiting() {
    let mut world = World::new();
    let id = of_alice(&mut world, "m");
    let waiting = block(&mut world, USER, &id, "0", "");
    let destroy = soap(&format!("<DestroyWaitSetRequest xmlns=\"urn:zimbraMail\" waitSet=\"{id}\"/>"));
    let answer = send(&mut world, USER, &destroy);
    assert_eq!(shorts(&answer.reaction)[0], format!("r{} canceled", waiting.request));
    assert_eq!(inside(&answer.body()), format!("<DestroyWaitSetResponse xmlns=\"urn:zimbraMail\" waitSet=\"{id}\"/>"));
    let again = send(&mut world, USER, &destroy);
    assert_eq!((again.status(), short(&again.body()).as_str()), (500, "mail.NO_SUCH_WAITSET"));
    assert_eq!(poll(&mut world, USER, &id, "0", ""), "admin.NO_SUCH_WAITSET");
}

#[test]
fn timeouts_are_clamped() {
    for (who, attributes, seconds) in [
        (USER, "", 300),
        (USER, "timeout=\"5\"", 30),
        (USER, "timeout=\"60\"", 60),
        (USER, "timeout=\"99999\"", 1200),
        (USER, "timeout=\"-3\"", 30),
        (USER, "timeout=\"soon\"", 300),
        (ROOT, "timeout=\"0\"", 1),
        (ROOT, "timeout=\"5\"", 5),
        (ROOT, "timeout=\"99999\"", 3600),
        (ROOT, "", 300),
    ] {
        let mut world = World::new();
        let id = create(&mut world, who, "m", "");
        let waiting = block(&mut world, who, &id, "0", attributes);
        assert_eq!(waiting.reaction.wake_at, Some(START + seconds * 1000), "{attributes}");
        assert_eq!(shorts(&world.wait(seconds * 1000 - 1)), [""; 0], "{attributes}");
        assert_eq!(shorts(&world.wait(1)), [format!("r{} seq=0", waiting.request)], "{attributes}");
    }
}

#[test]
fn settings_set_the_bounds() {
    let settings = [
        ("zimbra-waitset-min-request-timeout", "1"),
        ("zimbra-waitset-default-request-timeout", "2"),
        ("zimbra-waitset-max-request-timeout", "3"),
        ("zimbra-waitset-max-per-account", "2"),
        ("zimbra-active-waitset-timeout-minutes", "1"),
    ];
    let mut world = World::with(&settings);
    let first = of_alice(&mut world, "m");
    for (attributes, seconds) in [("timeout=\"0\"", 1), ("", 2), ("timeout=\"9\"", 3)] {
        let now = world.now;
        assert_eq!(block(&mut world, USER, &first, "0", attributes).reaction.wake_at, Some(now + seconds * 1000));
        world.wait(seconds * 1000);
    }
    let second = of_alice(&mut world, "m");
    of_alice(&mut world, "m");
    assert_eq!(poll(&mut world, USER, &first, "0", ""), "admin.NO_SUCH_WAITSET");
    world.wait(59_000);
    assert_eq!(poll(&mut world, USER, &second, "0", ""), "seq=0");
    world.wait(64_000);
    assert_eq!(poll(&mut world, USER, &second, "0", ""), "admin.NO_SUCH_WAITSET");
    assert_eq!(world.gauge("wait_sets_ended", "evicted"), 1.0);
    assert_eq!(world.gauge("wait_sets_ended", "idle"), 2.0);
}

/// An account for which the tenant has no room can be waited for as little as one that is moved elsewhere.
#[test]
fn who_names_an_account_that_has_no_room_is_told() {
    let mut world = World::with(&[("accounts", "1")]);
    let set = create(&mut world, ROOT, "m", &add(&[ALICE]));
    let answer = send(&mut world, ROOT, &soap(&wait_operation(&set, "0", "", &add(&[BOB]))));
    assert!(answer.body().contains("MAINTENANCE_MODE") && answer.body().contains(BOB), "{}", answer.body());
    assert_eq!(world.gauge("refused", "accounts"), 1.0);
    world.happens(delivered("inbox", "m"));
    assert_eq!(poll(&mut world, ROOT, &set, "1", ""), "seq=2 alice");
}

#[test]
fn all_sets_and_all_members_together_have_limits() {
    let mut world = World::with(&[("zimbra-waitsets", "2"), ("zimbra-waitset-members", "3")]);
    let create = |world: &mut World, who: As, rest: &str| {
        let operation =
            format!("<CreateWaitSetRequest xmlns=\"urn:zimbraMail\" defTypes=\"m\">{rest}</CreateWaitSetRequest>");
        send(world, who, &soap(&operation)).body()
    };
    let set = id_of(&create(&mut world, ROOT, &add(&[ALICE, BOB])));
    assert_eq!(short(&create(&mut world, ROOT, &add(&[ALICE, BOB]))), "service.TEMPORARILY_UNAVAILABLE");
    let waiting = block(&mut world, ROOT, &set, "0", "");
    let two = add(&[ADMIN, "carol@example.org"]);
    assert_eq!(poll(&mut world, ROOT, &set, "0", &two), "service.TEMPORARILY_UNAVAILABLE");
    // Who waited still waits, and what a member leaves free is there for another.
    assert_eq!(shorts(&world.happens(delivered("inbox", "m"))), [format!("r{} seq=2 alice", waiting.request)]);
    assert_eq!(poll(&mut world, ROOT, &set, "2", "<remove><a id='alice@example.org'/></remove>"), "seq=2");
    assert_eq!(poll(&mut world, ROOT, &set, "2", &two), "seq=2");
    create(&mut world, USER, "");
    assert_eq!(short(&create(&mut world, USER, "")), "service.TEMPORARILY_UNAVAILABLE");
    assert_eq!(world.gauge("wait_sets_refused", ""), 3.0);
}

#[test]
fn answers_leave_in_turns() {
    let mut world = World::with(&[("zimbra-waitset-max-per-account", "1000")]);
    let ids: Vec<String> = (0..300).map(|_| of_alice(&mut world, "m")).collect();
    for id in &ids {
        assert!(block(&mut world, USER, id, "0", "").is_parked());
    }
    let first = world.happens(delivered("inbox", "m"));
    assert_eq!((first.replies.len(), first.wake_at), (256, Some(world.now)));
    let second = world.wait(0);
    assert_eq!(second.replies.len(), 44);
    assert_ne!(second.wake_at, Some(world.now));
    assert_eq!(world.gauge("wait_set_requests", ""), 0.0);
}

#[test]
fn large_answers_are_told_in_pieces() {
    let mut world = World::new();
    let ids: Vec<String> = (0..4000).map(|number| format!("u{number:04}-aaaa-bbbb-cccc@example.org")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let set = create(&mut world, ROOT, "m", &add(&names));
    for name in &names {
        happens_to(&mut world, name, delivered("inbox", "m"));
    }
    let (mut seq, mut heard) = ("0".to_owned(), 0);
    loop {
        let said = poll(&mut world, ROOT, &set, &seq, "");
        let mut words = said.split(' ');
        seq = words.next().expect("a seq").trim_start_matches("seq=").to_owned();
        let count = words.count();
        if count == 0 {
            break;
        }
        heard += count;
    }
    assert_eq!(heard, 4000);
    assert!(seq.parse::<u64>().expect("a number") > 2);
}
