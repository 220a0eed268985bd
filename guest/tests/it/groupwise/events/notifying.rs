//! Who is told that there are records, and how often.

use super::*;
use crate::world::{item, pushed};

fn mail(id: &str) -> Happening {
    Happening::MessageDelivered(item("inbox", id))
}

fn told() -> Outcome {
    Outcome::Answered(Response { status: 0, body: Vec::new() })
}

fn lines(keys: &[&str]) -> String {
    let line =
        |space: &str, key: &str| format!("<notify xmlns='{space}'><userid>alice</userid><key>{key}</key></notify>\r\n");
    let both = |key: &&str| {
        line("urn:novell:schemas:ns:events", key) + &line("http://schemas.novell.com/2005/01/GroupWise/events", key)
    };
    keys.iter().map(both).collect()
}

fn listening() -> Site {
    let mut site = Site::new();
    assert_eq!(site.configure("k", &format!("{LISTENER}{}", definition("FolderItemAdd", ""))), 0);
    site
}

#[test]
fn an_application_is_told_once_until_it_asks_again() {
    let mut site = listening();
    let call = site.happens(mail("m1"));
    assert_eq!(pushed(&call), lines(&["k"]));
    let target = CallTarget::Tcp(TcpTarget { address: "127.0.0.1".into(), port: 5221 });
    assert_eq!(call.calls[0].target, target);
    assert_eq!(site.world.notify.outstanding().calls, [call.calls[0].id]);
    assert!(site.happens(mail("m2")).calls.is_empty());
    assert!(site.world.finish(call.calls[0].id, told()).calls.is_empty());
    assert!(site.happens(mail("m3")).calls.is_empty());
    // Reading does not put it on the list again; `notify` does.
    assert_eq!(site.events("k", "<remove>1</remove>").len(), 3);
    assert!(site.happens(mail("m4")).calls.is_empty());
    let read = site.ask(&get_events("k", "<remove>1</remove><notify>1</notify>"));
    assert!(read.calls.is_empty() && site.settle(&read, 1).calls.is_empty());
    site.reload();
    assert_eq!(pushed(&site.happens(mail("m5"))), lines(&["k"]));
    assert_eq!(site.world.gauge("groupwise_notifications", "told"), 1.0);
}

#[test]
fn who_asks_while_it_is_told_hears_of_what_comes_after() {
    let mut site = listening();
    let call = site.happens(mail("m1"));
    // The line is there before the host knows that it is.
    let read = site.ask(&get_events("k", "<remove>1</remove><notify>1</notify>"));
    site.settle(&read, 1);
    assert!(site.happens(mail("m2")).calls.is_empty(), "one connection at a time");
    assert_eq!(pushed(&site.world.finish(call.calls[0].id, told())), lines(&["k"]));
}

#[test]
fn what_stays_behind_an_answer_is_told_again() {
    let mut site = listening();
    let call = site.happens(mail("m1"));
    site.world.finish(call.calls[0].id, told());
    (2..=4).for_each(|number| drop(site.happens(mail(&format!("m{number}")))));
    let more = site.ask(&get_events("k", "<count>2</count><remove>1</remove><notify>1</notify>"));
    assert_eq!(pushed(&more), lines(&["k"]));
    site.world.finish(more.calls[0].id, told());
    site.settle(&more, 1);
    // Who removes nothing and sees nothing new is not told without end.
    let same = get_events("k", "<count>1</count><notify>1</notify>");
    let first = site.ask(&same);
    assert_eq!(first.calls.len(), 1);
    site.world.finish(first.calls[0].id, told());
    site.settle(&first, 1);
    let second = site.ask(&same);
    assert!(second.calls.is_empty());
    site.settle(&second, 1);
    // What did not arrive is there again, and is told.
    let rest = site.ask(&get_events("k", "<remove>1</remove><notify>1</notify>"));
    assert!(rest.calls.is_empty());
    assert_eq!(pushed(&site.settle(&rest, 0)), lines(&["k"]));
}

#[test]
fn a_call_that_fails_is_made_again_and_given_up_after_a_while() {
    let mut site = listening();
    let mut call = site.happens(mail("m1"));
    for wait in [30, 60, 120, 240, 480] {
        assert!(site.world.finish(call.calls[0].id, Outcome::Failed("refused".into())).calls.is_empty());
        assert!(site.happens(mail("more")).calls.is_empty());
        assert!(site.world.wait(wait * 1000 - 1).calls.is_empty());
        site.reload();
        call = site.world.wait(1);
        assert_eq!(pushed(&call), lines(&["k"]), "after {wait} s");
    }
    let given_up = site.world.finish(call.calls[0].id, Outcome::Failed("refused".into()));
    assert_eq!((given_up.logs.len(), given_up.calls.len()), (1, 0));
    assert!(site.world.wait(3_600_000).calls.is_empty() && site.happens(mail("m2")).calls.is_empty());
    // It is on the list again when it asks for that.
    assert_eq!(site.ask(&get_events("k", "<count>1</count><notify>1</notify>")).calls.len(), 1);
    assert_eq!(site.world.gauge("groupwise_notifications", "failed"), 1.0);
}

#[test]
fn a_refused_address_is_not_called_again() {
    let mut site = listening();
    let call = site.happens(mail("m1"));
    let refused = site.world.finish(call.calls[0].id, Outcome::Refused("it is private".into()));
    assert_eq!((refused.logs[0].level, refused.calls.len()), (LogLevel::Warn, 0));
    assert!(site.world.wait(DAY / 2).calls.is_empty());
    assert_eq!(site.world.gauge("groupwise_notifications", "refused"), 1.0);
}

#[test]
fn all_keys_of_one_address_are_told_by_one_call() {
    let mut site = listening();
    let all = definition("FolderItemAdd", "");
    for (key, target) in [("a<b", LISTENER), ("far", "<ipAddress>a.example</ipAddress><port>9</port>"), ("deaf", "")] {
        assert_eq!(site.configure(&key.replace('<', "&lt;"), &format!("{target}{all}")), 0);
    }
    let told = site.happens(mail("m1"));
    let bodies: Vec<_> = told.calls.iter().map(|call| String::from_utf8_lossy(&call.body).into_owned()).collect();
    assert_eq!(bodies, [lines(&["k", "a&lt;b"]), lines(&["far"])]);
    // What became of the calls is not known after a restart: they are made again.
    let at = site.world.at();
    let again = site.world.notify.restarted(at, Restart { down_ms: 1000, regressed: false });
    assert_eq!(
        again.calls.iter().map(|call| call.body.len()).collect::<Vec<_>>(),
        bodies.iter().map(String::len).collect::<Vec<_>>()
    );
    assert!(again.calls.iter().all(|call| told.calls.iter().all(|before| before.id != call.id)));
}

#[test]
fn an_application_whose_key_is_lost_is_told() {
    let mut site = listening();
    assert_eq!(pushed(&site.happens(Happening::Gap)), lines(&["k"]));
    assert_eq!(site.events("k", "<notify>1</notify>"), ["53761"]);
}
