//! The host stops in an orderly way and starts again: with clients of every dialect at once.

use postbell_notify::contract::*;
use postbell_notify::{Notify, describe};

use crate::groupwise;
use crate::world::*;
use crate::zimbra::{self, USER, block, of_alice, poll, shorts};

const URL: &str = "http://127.0.0.1/listener";

const KEY: &str = "<configureEventsRequest><events enabled=\"1\"><key>k</key><ipAddress>127.0.0.1</ipAddress>\
<port>5221</port><definition><events><event>FolderItemAdd</event></events></definition></events></configureEventsRequest>";

/// Clients that wait in all four ways; each has heard of `m1`, and both listeners are being told of it.
struct Waiting {
    world: World,
    subscription: String,
    stream: u64,
    set: String,
    wait: u64,
    session: String,
    notification: Call,
    line: Call,
}

fn waiting() -> Waiting {
    let mut world = World::with(&[("push-allow", "127.0.0.0/8")]);
    let subscription = world.streaming();
    let stream = world.post(&get_streaming_events(&[&subscription], 30)).request;
    let first = world.post(&subscribe_push("", &frequency(5), URL)).reaction.calls[0].id;
    world.finish(first, listener_says("OK"));
    let set = of_alice(&mut world, "m");
    let session = groupwise::log_in(&mut world);
    groupwise::send(&mut world, &groupwise::soap(&session, KEY));

    let heard = world.happens(delivered("inbox", "m1"));
    let [notification, line] = <[Call; 2]>::try_from(heard.calls).expect("both listeners are told");
    world.settle(stream, 1, None);
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice");
    let wait = block(&mut world, USER, &set, "2", "").request;
    Waiting { world, subscription, stream, set, wait, session, notification, line }
}

impl Waiting {
    fn drain(&mut self) -> Reaction {
        let at = self.world.at();
        self.world.notify.drain(at)
    }

    /// What was saved goes on in a new process, a minute later.
    fn start(&mut self) -> Reaction {
        let (parts, format) = (self.world.saved(), &describe().state_formats[0]);
        let mut loaded = Notify::default();
        for (place, part) in parts.iter().enumerate() {
            loaded.load(format, part, place + 1 < parts.len()).expect("a snapshot loads");
        }
        self.world.notify = loaded;
        self.world.now += 60_000;
        let at = self.world.at();
        self.world.notify.restarted(at, Restart { down_ms: 60_000, regressed: false })
    }

    fn records(&mut self) -> Vec<String> {
        let operation = "<getEventsRequest><key>k</key><remove>1</remove></getEventsRequest>";
        let answer = groupwise::exchange(&mut self.world, &groupwise::soap(&self.session, operation));
        self.world.settle(answer.replies[0].to, 1, Some(End::Complete));
        let body = text(&answer.replies[0]);
        let document = roxmltree::Document::parse(&body).expect("answers are well-formed");
        let ids = document.descendants().filter(|node| node.tag_name().name() == "id");
        ids.filter_map(|node| node.text()).map(str::to_owned).collect()
    }
}

#[test]
fn everybody_has_an_answer_and_no_call_is_begun() {
    let mut waiting = waiting();
    let drained = waiting.drain();
    let (streams, waits): (Vec<_>, Vec<_>) =
        drained.replies.iter().cloned().partition(|reply| reply.to == waiting.stream);
    let only = |replies| Reaction { replies, ..Reaction::default() };
    assert_eq!(said(&only(streams)), [format!("r{} Closed.", waiting.stream)]);
    assert_eq!(shorts(&only(waits)), [format!("r{} seq=2", waiting.wait)]);
    assert!(drained.calls.is_empty() && drained.changed);
    waiting.world.settle(waiting.stream, 1, Some(End::Complete));
    let calls = vec![waiting.notification.id, waiting.line.id];
    let pending = waiting.world.notify.outstanding();
    assert_eq!((pending.requests, pending.calls), (vec![], calls));
}

#[test]
fn after_the_start_nothing_is_lost_and_nothing_comes_twice() {
    let mut waiting = waiting();
    waiting.drain();
    waiting.world.settle(waiting.stream, 1, Some(End::Complete));
    // One call ends while the host stops, of the other nobody knows.
    assert!(waiting.world.finish(waiting.notification.id, listener_says("OK")).calls.is_empty());
    let started = waiting.start();
    assert_eq!(started.calls.len(), 1, "{:?}", started.calls);
    assert_eq!((&started.calls[0].body, &started.calls[0].target), (&waiting.line.body, &waiting.line.target));
    let line = started.calls[0].id;
    assert!(!waiting.world.finish(waiting.line.id, Outcome::Failed("late".into())).changed);
    waiting.world.finish(line, Outcome::Answered(Response { status: 0, body: Vec::new() }));

    let parts = said(&waiting.world.post(&get_streaming_events(&[&waiting.subscription], 30)).reaction);
    assert!(!parts.concat().contains("m1"), "{parts:?}");
    let wait = block(&mut waiting.world, USER, &waiting.set, "2", "");
    assert!(wait.is_parked());
    let heard = waiting.world.happens(delivered("inbox", "m2"));
    let (waits, streams): (Vec<_>, Vec<_>) = heard.replies.iter().cloned().partition(|reply| reply.to == wait.request);
    let only = |replies| Reaction { replies, ..Reaction::default() };
    assert_eq!(zimbra::shorts(&only(waits)), [format!("r{} seq=3 alice", wait.request)]);
    let parts = said(&only(streams)).concat();
    assert!(parts.contains("NewMail m2@inbox") && !parts.contains("m1"), "{parts}");
    // Who was told by a line is not told again before it has asked.
    assert_eq!(events(&pushed(&heard)), ["Created m2@inbox", "NewMail m2@inbox", "Modified inbox@root"]);
    let records = waiting.records();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[0].starts_with("m1") && records[1].starts_with("m2"), "{records:?}");
    assert_eq!(waiting.records(), [""; 0]);
}
