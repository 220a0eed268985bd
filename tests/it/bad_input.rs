//! What is sent wrongly, by accident or by malice: each is refused in its own dialect, and nothing else notices.

use anyhow::{Context, Result};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::{ALL_FOLDERS, Client, ERRORS, PATH, envelope, get_events, subscribe_pull};
use postbell_tests::http::{Answer, request};
use roxmltree::Document;
use serde_json::{Value, json};

use crate::demo;

/// XML that no client sends. One connection carries all of it, and a good request after each.
#[test]
fn bad_xml_is_a_fault_and_the_connection_lives_on() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let good = envelope(&subscribe_pull(ALL_FOLDERS));
    let mut connection = alice.connect()?;
    for (name, body) in bad_xml() {
        let answer = connection.ask(&alice.post(&body)).with_context(|| name.to_owned())?;
        check_fault(name, &answer).with_context(|| format!("{name}: {answer:?}"))?;
        let answer = connection.ask(&alice.post(&good)).with_context(|| format!("after {name}"))?;
        assert_eq!(answer.head.status, 200, "after {name}: {answer:?}");
    }
    Ok(())
}

fn bad_xml() -> Vec<(&'static str, String)> {
    let good = envelope(&subscribe_pull(ALL_FOLDERS));
    let body = |operation: &str| envelope(operation);
    let with_dtd = |dtd: &str, text: &str| {
        let body = envelope(&get_events(text, "w"));
        body.replacen("?>", &format!("?><!DOCTYPE lolz [{dtd}]>"), 1)
    };
    let laughs = (1..10).map(|n| format!(r#"<!ENTITY l{n} "{}">"#, format!("&l{};", n - 1).repeat(10)));
    let laughs = format!(r#"<!ENTITY l0 "lol">{}"#, laughs.collect::<String>());
    let attributes: String = (0..10_000).map(|n| format!(r#" a{n}="x""#)).collect();
    vec![
        ("nothing", String::new()),
        ("no XML", "let me in".into()),
        ("a declaration only", r#"<?xml version="1.0"?>"#.into()),
        ("truncated", good[..good.len() / 2].into()),
        ("truncated in a tag", good[..good.len() - 3].into()),
        ("two documents", format!("{good}{}", good.split_once("?>").map_or("", |(_, rest)| rest))),
        ("mismatched tags", good.replace("</s:Body>", "</s:Bodice>")),
        ("an attribute twice", good.replace("SubscribeToAllFolders", r#"a="1" a="2" SubscribeToAllFolders"#)),
        ("an unknown entity", body(&get_events("&nbsp;", "w"))),
        ("billion laughs", with_dtd(&laughs, "&l9;")),
        ("an external entity", with_dtd(r#"<!ENTITY l9 SYSTEM "file:///etc/passwd">"#, "&l9;")),
        ("nesting", body(&format!("{}{}", "<m:a>".repeat(50_000), "</m:a>".repeat(50_000)))),
        ("nesting without end", "<a>".repeat(100_000)),
        ("attributes", body(&format!("<m:Subscribe{attributes}/>"))),
        ("a name", body(&format!("<m:{}/>", "a".repeat(500_000)))),
        ("namespaces", body(&format!("<m:Subscribe{}/>", attributes.replace(" a", " xmlns:a")))),
        ("another root", "<Subscribe/>".into()),
        ("no body", good.replace("s:Body", "s:Belly")),
        ("no operation", body("")),
        ("an unknown operation", body("<m:Conquer/>")),
        ("an empty operation", body("<m:Subscribe/>")),
        ("a missing child", body("<m:GetEvents><m:SubscriptionId>x</m:SubscriptionId></m:GetEvents>")),
        ("a wrong number", subscribe_with_timeout("soon")),
        ("a number out of range", subscribe_with_timeout("99999999999999999999")),
        ("an unknown event", good.replace("CopiedEvent", "EnviedEvent")),
        ("an unknown version", good.replace("Exchange2016", "Exchange1066")),
    ]
}

fn subscribe_with_timeout(minutes: &str) -> String {
    envelope(&subscribe_pull(ALL_FOLDERS)).replace(">10<", &format!(">{minutes}<"))
}

/// HTTP 500 and a SOAP fault with the detail block that every client library reads.
fn check_fault(name: &str, answer: &Answer) -> Result<()> {
    assert_eq!(answer.head.status, 500, "{name}: {answer:?}");
    assert!(answer.head.header("content-type").is_some_and(|value| value.starts_with("text/xml")), "{name}");
    assert!(answer.body.starts_with("<?xml "), "{name}");
    let document = Document::parse(&answer.body)?;
    let in_fault = |name: &str| document.descendants().find(|node| node.tag_name().name() == name);
    for unqualified in ["faultcode", "faultstring", "detail"] {
        let node = in_fault(unqualified).context(unqualified)?;
        assert_eq!(node.tag_name().namespace(), None, "{name}: {unqualified}");
    }
    let code = in_fault("ResponseCode").context("a response code")?;
    assert_eq!(code.tag_name().namespace(), Some(ERRORS), "{name}");
    let code = code.text().context("a response code")?;
    let expected = if name == "an unknown version" {
        &["ErrorInvalidServerVersion"][..]
    } else {
        &["ErrorInvalidRequest", "ErrorSchemaValidation", "ErrorInvalidOperation"]
    };
    assert!(expected.contains(&code), "{name}: {code}");
    assert!(in_fault("faultcode").and_then(|node| node.text()).is_some_and(|text| text.ends_with(code)), "{name}");
    assert!(in_fault("Message").and_then(|node| node.text()).is_some_and(|text| !text.is_empty()), "{name}");
    assert!(!answer.body.contains("root:"), "{name}");
    Ok(())
}

#[test]
fn bytes_that_are_no_utf_8_are_a_fault() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let authorization = postbell_tests::http::basic("alice", "postbell");
    let login = [("Authorization", authorization.as_str())];
    let good = envelope(&subscribe_pull(ALL_FOLDERS)).into_bytes();
    let mut broken = good.clone();
    broken[200] = 0xff;
    let mut connection = alice.connect()?;
    for body in [&b"\xff\xfe<\0"[..], &[0; 1000], &broken] {
        check_fault("bytes", &connection.ask(&request("POST", PATH, &login, body))?)?;
    }
    assert_eq!(connection.ask(&request("POST", PATH, &login, &good))?.head.status, 200);
    Ok(())
}

#[test]
fn a_body_that_is_too_large_is_refused_while_others_are_served() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, watermark) = alice.subscribe_pull()?;
    let large = alice.post(&envelope(&format!("<m:Subscribe>{}</m:Subscribe>", "x".repeat(2_000_000))));
    let answer = alice.connect()?.ask(&large)?;
    assert_eq!(answer.head.status, 413, "{answer:?}");
    assert_eq!(alice.get_events(&subscription, &watermark)?.events.len(), 1);
    Ok(())
}

#[test]
fn who_is_not_let_in_is_told_how() -> Result<()> {
    let server = demo()?;
    let body = envelope(&subscribe_pull(ALL_FOLDERS));
    let basic = |login: &str, password: &str| Some(postbell_tests::http::basic(login, password));
    let mut connection = Client::demo(&server, "alice").connect()?;
    for authorization in [
        None,
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("alice", "postbell2"),
        basic("nobody", "postbell"),
        basic("alice@example.com", "postbell"),
        basic("", ""),
        Some("Basic".into()),
        Some("Basic not!base64".into()),
        Some("Basic YWxpY2U=".into()),
        Some("Bearer demo".into()),
        Some("Negotiate abc".into()),
    ] {
        let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        let answer = connection.ask(&request("POST", PATH, &headers, body.as_bytes()))?;
        assert_eq!(answer.head.status, 401, "{authorization:?}");
        let challenge = answer.head.header("www-authenticate").context("a challenge")?;
        assert!(challenge.starts_with("Basic realm=\""), "{challenge}");
    }
    for login in ["alice", "alice@example.org", "ALICE@Example.Org"] {
        let authorization = postbell_tests::http::basic(login, "postbell");
        let answer = connection.ask(&request("POST", PATH, &[("Authorization", &authorization)], body.as_bytes()))?;
        assert_eq!(answer.head.status, 200, "{login}");
    }
    Ok(())
}

#[test]
fn a_change_that_cannot_be_applied_is_named_and_the_rest_is_applied() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let answer = Admin::source(&server).post(&json!({
        "source": "imap-1",
        "offset": 0,
        "changes": [
            delivered("alice@example.org", "m1", 1),
            delivered("someone@example.com", "m2", 1),
            delivered("alice@example.org", "m3", 2),
        ],
    }))?;
    assert_eq!(answer.head.status, 200, "{answer:?}");
    let result: Value = serde_json::from_str(&answer.body)?;
    assert_eq!(result["accepted"], 2, "{result}");
    assert!(result["sequence"].is_u64(), "{result}");
    let rejected = result["rejected"].as_array().context("rejections")?;
    assert_eq!(rejected.len(), 1, "{result}");
    assert_eq!((&rejected[0]["list"], &rejected[0]["position"]), (&json!("changes"), &json!(1)));
    assert!(rejected[0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{result}");

    let events = alice.all_events(&subscription, &mut watermark)?;
    let mail: Vec<_> =
        events.iter().filter(|event| event.kind == "NewMailEvent").map(|event| event.item.as_deref()).collect();
    assert_eq!(mail, [Some("m1"), Some("m3")]);
    assert_eq!(Admin::source(&server).offset("imap-1")?, 3, "what was rejected counts as sent");
    Ok(())
}

#[test]
fn a_batch_that_is_malformed_is_refused_as_a_whole() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let path = "/v1/tenants/example.org/changes";
    let good = json!({"source": "s", "changes": [delivered("alice@example.org", "m1", 1)]}).to_string();
    for body in [
        String::new(),
        "{".into(),
        "[]".into(),
        "\u{0}".into(),
        good[..good.len() - 4].into(),
        good.replace("\"changes\"", "\"chances\""),
        good.replace("\"folder\"", "\"folders\""),
        good.replace("message-delivered", "message-lost"),
        good.replace("\"source\"", "\"offset\":-1,\"source\""),
        good.replace("\"source\"", "\"offset\":\"0\",\"source\""),
        format!("{good}{good}"),
        "[".repeat(100_000),
    ] {
        let answer = source.ask("POST", path, body.as_bytes())?;
        assert_eq!(answer.head.status, 400, "{body:.200}: {answer:?}");
        check_error(&answer)?;
    }
    assert_eq!(source.ask("POST", path, good.as_bytes())?.head.status, 200);
    Ok(())
}

#[test]
fn who_may_not_send_changes_is_told_so() -> Result<()> {
    let server = demo()?;
    let batch = json!({"source": "s", "changes": []});
    for (tenant, key, status) in [
        ("example.org", "wrong", 401),
        ("example.org", "", 401),
        ("example.com", "demo", 404),
        ("example.org", "demo-admin", 200),
    ] {
        let answer = Admin::new(server.admin, tenant, key).post(&batch)?;
        assert_eq!(answer.head.status, status, "{tenant} {key}: {answer:?}");
        if status != 200 {
            check_error(&answer)?;
        }
    }
    let source = Admin::source(&server);
    assert_eq!(source.ask("GET", "/v1/tenants/example.org/changes", b"")?.head.status, 405);
    assert_eq!(source.ask("GET", "/v1/elsewhere", b"")?.head.status, 404);
    let answer = source.ask("POST", "/v1/tenants/example.org/changes", &vec![b' '; 20_000_000])?;
    assert_eq!(answer.head.status, 413, "{answer:?}");
    check_error(&answer)
}

#[test]
fn a_gap_is_refused_with_the_offset_to_go_on_from() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let batch =
        |offset: u64| json!({"source": "s", "offset": offset, "changes": [delivered("alice@example.org", "m1", 1)]});
    for (offset, expected) in [(1, 0), (100, 0)] {
        check_gap(&source.post(&batch(offset))?, expected)?;
    }
    assert_eq!(source.post(&batch(0))?.head.status, 200);
    check_gap(&source.post(&batch(2))?, 1)?;
    assert_eq!(source.offset("s")?, 1);
    check_gap(&source.cyrus("s", 7, "", "{\"event\":\"Login\"}\n")?, 1)
}

fn check_gap(answer: &Answer, expected: u64) -> Result<()> {
    assert_eq!(answer.head.status, 409, "{answer:?}");
    check_error(answer)?;
    assert_eq!(serde_json::from_str::<Value>(&answer.body)?["expected"], expected, "{answer:?}");
    Ok(())
}

/// `{"error":{"code","message"}}`.
fn check_error(answer: &Answer) -> Result<()> {
    let error: Value = serde_json::from_str(&answer.body).with_context(|| format!("{answer:?}"))?;
    for member in ["code", "message"] {
        assert!(error["error"][member].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    }
    Ok(())
}
