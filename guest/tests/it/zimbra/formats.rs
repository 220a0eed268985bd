//! The bytes on the wire.

use super::*;
use crate::world::delivered;

fn json(operation: &str) -> String {
    format!(
        r#"{{"Header":{{"context":{{"_jsns":"urn:zimbra","authToken":"t","nosession":{{}}}}}},"Body":{{{operation}}}}}"#
    )
}

#[test]
fn json_in_json_out() {
    let mut world = World::new();
    let operation =
        r#""CreateWaitSetRequest":{"_jsns":"urn:zimbraMail","defTypes":"m,f","add":{"a":{"id":"alice@example.org"}}}"#;
    let answer = send(&mut world, USER, &json(operation));
    let created = answer.body();
    let set = created.split(r#""waitSet":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("an id").to_owned();
    expect_test::expect![[r#"{"Header":{"context":{"change":{"token":1},"_jsns":"urn:zimbra"}},"Body":{"CreateWaitSetResponse":{"waitSet":"ID","defTypes":"f,m","seq":0,"_jsns":"urn:zimbraMail"}},"_jsns":"urn:zimbraSoap"}"#]].assert_eq(&created.replace(&set, "ID"));
    let headers: Vec<_> =
        answer.reaction.replies[0].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["Content-Type: text/javascript; charset=utf-8", "Cache-Control: no-store, no-cache"]);
    let wait =
        |members: &str| json(&format!(r#""WaitSetRequest":{{"_jsns":"urn:zimbraMail","waitSet":"{set}",{members}}}"#));
    expect_test::expect![[r#"{"Header":{"context":{"change":{"token":1},"_jsns":"urn:zimbra"}},"Body":{"WaitSetResponse":{"waitSet":"ID","seq":"0","_jsns":"urn:zimbraMail"}},"_jsns":"urn:zimbraSoap"}"#]].assert_eq(&send(&mut world, USER, &wait(r#""seq":0,"add":{},"timeout":300"#)).body().replace(&set, "ID"));
    for block in ["1", "\"1\"", "true"] {
        assert!(send(&mut world, USER, &wait(&format!(r#""seq":"0","block":{block}"#))).is_parked());
    }
    let heard = world.happens(delivered("inbox", "m"));
    expect_test::expect![[r#"{"Header":{"context":{"change":{"token":2},"_jsns":"urn:zimbra"}},"Body":{"WaitSetResponse":{"waitSet":"ID","seq":"2","a":[{"id":"alice@example.org","changeid":2}],"_jsns":"urn:zimbraMail"}},"_jsns":"urn:zimbraSoap"}"#]].assert_eq(&text(&heard.replies[0]).replace(&set, "ID"));
    send(&mut world, USER, &wait(r#""seq":"2","block":1"#));
    let canceled = send(&mut world, USER, &wait(r#""seq":"2","block":1"#));
    assert!(text(&canceled.reaction.replies[0]).contains(r#""canceled":true,"_jsns""#));
}

/// What is before the first character, as some clients write it, and all headers that Zimbra's own clients send.
#[test]
fn contexts_of_real_clients() {
    let mut world = World::new();
    let no_op = "<NoOpRequest xmlns=\"urn:zimbraMail\"/>";
    for context in [
        // zmsoap and zmmailbox
        r#"<userAgent name="zmsoap" version="8"/><session/><account by="name">alice@example.org</account>"#,
        r#"<userAgent name="zclient"/><session id="12" seq="3" wsId="WaitSet-1" proxy="1"/><notify seq="2"/>"#,
        // the IMAP daemon
        r#"<nosession/><via>127.0.0.1(imapd/9)</via><soapId>7f</soapId><change token="12" type="mod"/><nonotify/>"#,
        // the web client
        r#"<csrfToken>0_c</csrfToken><authTokenControl voidOnExpired="1"/><targetServer/><format type="xml"/><noqualify/>"#,
        "<sessionId id=\"4\">4</sessionId>",
    ] {
        for version in ["http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"] {
            let body = with_context(context, no_op).replace("http://www.w3.org/2003/05/soap-envelope", version);
            let answer = send(&mut world, USER, &body);
            assert_eq!(answer.status(), 200, "{context}: {}", answer.body());
            assert!(answer.body().contains(version) && answer.body().contains("<change token=\"1\"/>"), "{context}");
        }
    }
    let json = json(r#""NoOpRequest":{"_jsns":"urn:zimbraMail"}"#);
    for body in [format!(" \r\n{json}"), format!("\u{feff}{}", soap(no_op))] {
        assert_eq!(send(&mut world, USER, &body).status(), 200, "{body}");
    }
}

#[test]
fn faults_in_every_format() {
    let mut world = World::new();
    let wait = wait_operation("#", "0", "", "");
    let fault = |world: &mut World, body: &str| send(world, USER, body).body();
    expect_test::expect![[r#"<soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><soap:Header><context xmlns="urn:zimbra"/></soap:Header><soap:Body><soap:Fault><soap:Code><soap:Value>soap:Sender</soap:Value></soap:Code><soap:Reason><soap:Text>No such waitset: #</soap:Text></soap:Reason><soap:Detail><Error xmlns="urn:zimbra"><Code>admin.NO_SUCH_WAITSET</Code><Trace>3f4b2da410a70bb5</Trace><a t="STR" n="id">#</a></Error></soap:Detail></soap:Fault></soap:Body></soap:Envelope>"#]].assert_eq(&fault(&mut world, &soap(&wait)));
    let first =
        soap(&wait).replace("http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/");
    expect_test::expect![[r#"<soap:Fault><faultcode>soap:Client</faultcode><faultstring>No such waitset: #</faultstring><detail><Error xmlns="urn:zimbra"><Code>admin.NO_SUCH_WAITSET</Code><Trace>b0aac9d9c59a90e1</Trace><a t="STR" n="id">#</a></Error></detail></soap:Fault>"#]].assert_eq(&inside(&fault(&mut world, &first)));
    let js = with_context("<format type=\"js\"/>", &wait);
    expect_test::expect![[r##"{"Header":{"context":{"_jsns":"urn:zimbra"}},"Body":{"Fault":{"Code":{"Value":"soap:Sender"},"Reason":{"Text":"No such waitset: #"},"Detail":{"Error":{"Code":"admin.NO_SUCH_WAITSET","Trace":"b0fc83a93bc7a05c","a":[{"t":"STR","n":"id","_content":"#"}],"_jsns":"urn:zimbra"}}}},"_jsns":"urn:zimbraSoap"}"##]].assert_eq(&fault(&mut world, &js));
    let xml = r##"{"Header":{"context":{"format":{"type":"xml"}}},"Body":{"WaitSetRequest":{"_jsns":"urn:zimbraMail","waitSet":"#","seq":"0"}}}"##;
    assert!(
        fault(&mut world, xml).starts_with("<soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\">")
    );
}

#[test]
fn the_hosts_refusals_are_written_as_the_request_is() {
    let head = RequestHead { path: "/service/soap/WaitSetRequest".into(), ..RequestHead::default() };
    for (why, status, code) in [
        (Refusal::TooLarge, 413, "service.INVALID_REQUEST"),
        (Refusal::Busy, 500, "service.TEMPORARILY_UNAVAILABLE"),
        (Refusal::Stopping, 500, "service.TEMPORARILY_UNAVAILABLE"),
        (Refusal::Fault, 500, "service.FAILURE"),
    ] {
        let xml = postbell_notify::refuse(&head, b"<soap", why);
        assert_eq!((xml.status, short(&text(&xml)).as_str()), (status, code));
        let json = text(&postbell_notify::refuse(&head, b" {\"Body\"", why));
        assert!(json.contains(&format!(r#""Error":{{"Code":"{code}""#)), "{json}");
    }
}

#[test]
fn sessions_and_request_ids_come_back() {
    let mut world = World::new();
    let no_op = "<NoOpRequest xmlns=\"urn:zimbraMail\" requestId=\"a&amp;b\"/>";
    let answer = send(&mut world, USER, &with_context("<session/>", no_op)).body();
    assert!(answer.contains("<session id=\"1\">1</session><change token=\"1\"/>"), "{answer}");
    assert_eq!(inside(&answer), "<NoOpResponse xmlns=\"urn:zimbraMail\" requestId=\"a&amp;b\"/>");
    let answer = send(&mut world, USER, &with_context("<session id=\"77\" wsId=\"WaitSet-1\"/>", no_op)).body();
    assert!(answer.contains("<session id=\"77\">77</session>"), "{answer}");
    let answer = send(&mut world, USER, &with_context("<session/><nosession/>", no_op)).body();
    assert!(!answer.contains("session"), "{answer}");
}

#[test]
fn attributes_may_be_elements_and_unknown_ones_are_passed_over() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let operation = format!(
        "<w:WaitSetRequest xmlns:w=\"urn:zimbraMail\" unknown=\"1\"><w:waitSet>{set}</w:waitSet><w:seq>0</w:seq><w:other/>\
<w:add><w:a t=\"x\"><w:id>alice@example.org</w:id></w:a></w:add></w:WaitSetRequest>"
    );
    assert_eq!(short(&send(&mut world, USER, &soap(&operation)).body()), "seq=0 alice:ALREADY_IN_SET_DURING_ADD");
}

#[test]
fn batches_are_answered_in_their_order() {
    let mut world = World::new();
    let set = of_alice(&mut world, "m");
    let wait = wait_operation(&set, "0", "block=\"1\" requestId=\"1\"", "");
    let batch = |onerror: &str| {
        soap(&format!(
            "<BatchRequest xmlns=\"urn:zimbra\" {onerror}>{wait}{}<NoOpRequest xmlns=\"urn:zimbraMail\"/></BatchRequest>",
            wait_operation("#", "0", "requestId=\"2\"", "")
        ))
    };
    let names = |body: &str| -> Vec<String> {
        let document = roxmltree::Document::parse(body).expect("well-formed");
        let batch = document.descendants().find(|node| node.tag_name().name() == "BatchResponse").expect("a batch");
        let said = |node: roxmltree::Node<'_, '_>| {
            format!("{} {}", node.tag_name().name(), node.attribute("requestId").unwrap_or_default())
        };
        batch.children().map(said).collect()
    };
    let answer = send(&mut world, USER, &batch(""));
    assert_eq!(answer.status(), 200);
    assert_eq!(names(&answer.body()), ["WaitSetResponse 1", "Fault 2", "NoOpResponse "]);
    assert_eq!(names(&send(&mut world, USER, &batch("onerror=\"stop\"")).body()), ["WaitSetResponse 1", "Fault 2"]);
    let create = r#""CreateWaitSetRequest":[{"_jsns":"urn:zimbraMail","defTypes":"m"},{"_jsns":"urn:zimbraMail","defTypes":"f"}]"#;
    let answer = send(&mut world, USER, &json(&format!(r#""BatchRequest":{{"_jsns":"urn:zimbra",{create}}}"#))).body();
    let ids: Vec<&str> =
        answer.split(r#""waitSet":""#).skip(1).map(|rest| rest.split('"').next().expect("an id")).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{answer}");
    let many = format!(
        "<BatchRequest xmlns=\"urn:zimbra\">{}</BatchRequest>",
        "<NoOpRequest xmlns=\"urn:zimbraMail\"/>".repeat(101)
    );
    assert_eq!(short(&send(&mut world, USER, &soap(&many)).body()), "service.INVALID_REQUEST");
    let nested = "<BatchRequest xmlns=\"urn:zimbra\"><BatchRequest xmlns=\"urn:zimbra\"/></BatchRequest>";
    assert!(send(&mut world, USER, &soap(nested)).body().contains("service.UNKNOWN_DOCUMENT"));
}

#[test]
fn administrators_look_at_sets() {
    let mut world = World::new();
    let member =
        "<add><a id='alice@example.org' token='1' types='m,c' folderInterests='2,257'/><a id='bob@example.org'/></add>";
    let set = create(&mut world, ROOT, "all", member);
    happens_to(&mut world, BOB, delivered("inbox", "m"));
    let query = |id: &str| soap(&format!("<QueryWaitSetRequest xmlns=\"urn:zimbraAdmin\"{id}/>"));
    let answer = send(&mut world, ROOT, &query(&format!(" waitSet=\"{set}\""))).body();
    expect_test::expect![[r#"<QueryWaitSetResponse xmlns="urn:zimbraAdmin"><waitSet id="ID" owner="admin@example.org" defTypes="all" ld="1787392800000" cbSeqNo="1" currentSeqNo="1"><session account="alice@example.org" types="mc" token="1" mboxSyncToken="1" mboxSyncTokenDiff="0"><WaitSetSession interestMask="mc" highestChangeId="1" lastAccessTime="1787392800000" creationTime="1787392800000" sessionId="0-0" token="1" folderInterests="2,257"/></session><session account="bob@example.org" types="all"><WaitSetSession interestMask="all" highestChangeId="1" lastAccessTime="1787392800000" creationTime="1787392800000" sessionId="0-1"/></session><ready accounts="bob@example.org"/></waitSet></QueryWaitSetResponse>"#]].assert_eq(&inside(&answer).replace(&set, "ID"));
    assert_eq!(inside(&send(&mut world, ROOT, &query("")).body()), inside(&answer));
    assert_eq!(short(&send(&mut world, ROOT, &query(" waitset=\"#\"")).body()), "admin.NO_SUCH_WAITSET");
}
