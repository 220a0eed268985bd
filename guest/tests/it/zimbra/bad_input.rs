//! Bad input gives its fault and leaves everything as it was.

use super::*;
use crate::world::delivered;

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let waiting = block(&mut world, USER, &set, "0", "");
    let wait = |seq: &str, attributes: &str, rest: &str| soap(&wait_operation(&set, seq, attributes, rest));
    let mail = |operation: &str| soap(&operation.replace("/>", " xmlns=\"urn:zimbraMail\"/>"));
    for (body, code) in [
        (wait("x", "", ""), "service.INVALID_REQUEST"),
        (wait("", "", ""), "service.INVALID_REQUEST"),
        (wait("2.0", "", ""), "service.INVALID_REQUEST"),
        (wait("99999999999999999999", "", ""), "service.INVALID_REQUEST"),
        (wait("0", "block=\"maybe\"", ""), "service.INVALID_REQUEST"),
        (wait("0", "", "<add><a id='alice@example.org' types='x'/></add>"), "service.INVALID_REQUEST"),
        (wait("0", "", "<update><a id='alice@example.org' types='M'/></update>"), "service.INVALID_REQUEST"),
        (wait("0", "", "<update><a id='alice@example.org' types='m,,c'/></update>"), "service.INVALID_REQUEST"),
        (wait("0", "", "<update><a id='alice@example.org' token='1:2'/></update>"), "service.INVALID_REQUEST"),
        (
            wait("0", "", "<update><a id='alice@example.org' folderInterests='2,x'/></update>"),
            "service.INVALID_REQUEST",
        ),
        (wait("0", "", "<remove><a id='alice@example.org'/></remove><add><a/></add>"), "service.INVALID_REQUEST"),
        (wait("0", "", "<add>alice</add>"), "service.INVALID_REQUEST"),
        (mail("<WaitSetRequest seq=\"0\"/>"), "service.INVALID_REQUEST"),
        (mail(&format!("<WaitSetRequest waitSet=\"{set}\"/>")), "service.INVALID_REQUEST"),
        (mail("<DestroyWaitSetRequest/>"), "service.INVALID_REQUEST"),
        (mail("<CreateWaitSetRequest defTypes=\"q\"/>"), "service.INVALID_REQUEST"),
        (mail("<CreateWaitSetRequest defTypes=\"\"/>"), "service.INVALID_REQUEST"),
        (mail("<WaitSetRequest waitSet=\"#\" seq=\"0\"/>"), "admin.NO_SUCH_WAITSET"),
        (mail("<OtherRequest/>"), "service.UNKNOWN_DOCUMENT"),
        (soap("<WaitSetRequest/>"), "service.UNKNOWN_DOCUMENT"),
        (soap(""), "service.PARSE_ERROR"),
        (String::new(), "service.PARSE_ERROR"),
        ("<a".into(), "service.PARSE_ERROR"),
        ("<a/>".into(), "service.PARSE_ERROR"),
    ] {
        let answer = send(&mut world, USER, &body);
        assert_eq!((answer.status(), short(&answer.body()).as_str()), (500, code), "{body}");
        assert!(!answer.reaction.changed, "{body}");
    }
    // Who waited still waits, and the set is what it was.
    assert_eq!(shorts(&world.happens(delivered("inbox", "m"))), [format!("r{} seq=2 alice", waiting.request)]);
}

#[test]
fn json_of_the_wrong_shape_is_refused() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let wait = |members: &str| {
        format!(r#"{{"Body":{{"WaitSetRequest":{{"_jsns":"urn:zimbraMail","waitSet":"{set}","seq":"0"{members}}}}}}}"#)
    };
    for (body, code) in [
        (wait(r#","add":5"#), "service.INVALID_REQUEST"),
        (wait(r#","add":{"a":"x"}"#), "service.INVALID_REQUEST"),
        (wait(r#","add":{"a":["x"]}"#), "service.INVALID_REQUEST"),
        (wait(r#","add":{"a":[[1]]}"#), "service.INVALID_REQUEST"),
        (wait(r#","block":{"x":1}"#), "service.INVALID_REQUEST"),
        // Of a list the first would else count, and the rest be lost.
        (wait(r#","update":{"a":{"id":"alice@example.org","folderInterests":[2,257]}}"#), "service.INVALID_REQUEST"),
        (wait(r#","update":{"a":{"id":"alice@example.org","types":["m","c"]}}"#), "service.INVALID_REQUEST"),
        (wait(",,"), "service.PARSE_ERROR"),
        ("[]".into(), "service.PARSE_ERROR"),
        ("{}".into(), "service.PARSE_ERROR"),
        (r#"{"Body":5}"#.into(), "service.PARSE_ERROR"),
        (r#"{"Body":{}}"#.into(), "service.PARSE_ERROR"),
        ("nonsense".into(), "service.PARSE_ERROR"),
        (["[".repeat(100_000), "]".repeat(100_000)].concat(), "service.PARSE_ERROR"),
    ] {
        let answer = send(&mut world, USER, &body);
        let said = answer.body();
        assert!(said.contains(&format!(r#"{{"Code":"{code}""#)), "{body}: {said}");
        assert!(said.contains(r#""Body":{"Fault":{"Code":{"Value":"soap:Sender"}"#), "{said}");
    }
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=0");
}

#[test]
fn ten_thousand_times_the_same_account_is_one() {
    let mut world = World::new();
    let set = create(&mut world, USER, "m", &add(&[ALICE; 10_000]));
    world.happens(delivered("inbox", "m"));
    assert_eq!(poll(&mut world, USER, &set, "0", ""), "seq=2 alice");
    let names: Vec<String> = (0..10_001).map(|number| format!("u{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let body = |count: usize| {
        soap(&format!(
            "<CreateWaitSetRequest xmlns=\"urn:zimbraMail\" defTypes=\"m\">{}</CreateWaitSetRequest>",
            add(&names[..count])
        ))
    };
    assert_eq!(short(&send(&mut world, ROOT, &body(10_001)).body()), "service.INVALID_REQUEST");
    assert_eq!(short(&send(&mut world, ROOT, &body(10_000)).body()), "seq=0");
    assert_eq!(world.gauge("wait_set_members", ""), 10_001.0);
}

#[test]
fn errors_of_ten_thousand_accounts_fit_into_a_reaction() {
    let mut world = World::new();
    let long = "x".repeat(40);
    let names: Vec<String> = (0..10_000).map(|number| format!("u{number}{long}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let set = create(&mut world, ROOT, "m", &add(&names));
    let answer = send(&mut world, ROOT, &soap(&wait_operation(&set, "0", "block=\"1\"", &add(&names))));
    let body = answer.body();
    assert!((400_000..1 << 20).contains(&body.len()), "{}", body.len());
    assert!(body.contains("ALREADY_IN_SET_DURING_ADD"));
}
