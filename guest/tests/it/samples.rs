//! Requests as real client libraries send them, with the ids that they were given here.

use super::world::*;

fn sample(name: &str) -> String {
    let path = format!("{}/tests/samples/{name}.xml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn world() -> World {
    let mut world = World::new();
    // The samples impersonate u@example.com and name u2@example.com.
    world.standing = postbell_notify::contract::Standing::Permitted;
    world
}

#[test]
fn subscriptions_are_made_polled_and_ended() {
    for client in ["exchangelib", "java", "js", "net"] {
        let mut world = world();
        let (id, watermark) = world.pull();
        let body = sample(&format!("{client}-GetEvents")).replace("SUB1", &id).replace("W0", &watermark);
        let answer = world.post(&body).body();
        assert_eq!(code(&answer), "NoError", "{client}");
        assert_eq!(events(&answer), ["Status"], "{client}");
        let body = sample(&format!("{client}-Unsubscribe")).replace("SUB1", &id);
        assert_eq!(code(&world.post(&body).body()), "NoError", "{client}");
        assert_eq!(code(&world.post(&body).body()), "ErrorSubscriptionNotFound", "{client}");
    }
}

#[test]
fn streams_open() {
    for client in ["exchangelib", "java", "js", "net"] {
        let mut world = world();
        let id = world.streaming();
        let body = sample(&format!("{client}-GetStreamingEvents")).replace("SUB1", &id);
        assert_eq!(said(&world.post(&body).reaction), ["r2 OK"], "{client}");
    }
}

#[test]
fn subscribe_requests_are_understood() {
    for (name, expected) in [
        ("exchangelib-Subscribe-pull", "NoError"),
        ("exchangelib-Subscribe-streaming", "NoError"),
        ("java-Subscribe-pull", "NoError"),
        ("java-Subscribe-streaming", "NoError"),
        ("js-Subscribe-pull", "NoError"),
        ("js-Subscribe-streaming", "NoError"),
        // Folders of two mailboxes, and an id that is none.
        ("net-Subscribe-pull", "ErrorInvalidSubscriptionRequest"),
        ("net-Subscribe-streaming", "ErrorInvalidSubscriptionRequest"),
        // A watermark (in a wrong namespace) that was never given.
        ("exchangelib-Subscribe-pull-2", "ErrorInvalidWatermark"),
        // The URLs name a loopback address.
        ("exchangelib-Subscribe-push", "ErrorInvalidPushSubscriptionUrl"),
        ("java-Subscribe-push", "ErrorInvalidPushSubscriptionUrl"),
        ("js-Subscribe-push", "ErrorInvalidPushSubscriptionUrl"),
        ("net-Subscribe-push", "ErrorInvalidSubscriptionRequest"),
    ] {
        let answer = world().post(&sample(name));
        assert_eq!((answer.status(), code(&answer.body()).as_str()), (200, expected), "{name}");
    }
}

#[test]
fn a_client_learns_the_version_by_converting_an_id() {
    let answer = World::new().post(&sample("exchangelib-ConvertId"));
    expect_test::expect![[r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header><s:Body><m:ConvertIdResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages><m:ConvertIdResponseMessage ResponseClass="Error"><m:MessageText>The id is malformed.</m:MessageText><m:ResponseCode>ErrorInvalidIdMalformed</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey></m:ConvertIdResponseMessage></m:ResponseMessages></m:ConvertIdResponse></s:Body></s:Envelope>"#]].assert_eq(&answer.body());
}

#[test]
fn folders_are_looked_up_before_they_are_subscribed_to() {
    let mut world = World::new();
    let body = sample("exchangelib-GetFolder-root").replace("u@example.com", "alice@example.org");
    let root = world.post(&body).body();
    assert_eq!(element(&root, "DistinguishedFolderId"), "root");
    assert_eq!(element(&root, "ChildFolderCount"), "3");
    let body = sample("exchangelib-GetFolder-inbox").replace("u@example.com", "alice@example.org");
    let inbox = world.post(&body).body();
    assert_eq!(element(&inbox, "DisplayName"), "inbox");
    let document = roxmltree::Document::parse(&inbox).expect("well-formed");
    let id = document.descendants().find(|node| node.tag_name().name() == "FolderId").expect("an id");
    let id = format!(r#"<t:FolderId Id="{}"/>"#, id.attribute("Id").expect("an id"));
    let answer = world.post(&subscribe_streaming(&id)).body();
    assert_eq!(code(&answer), "NoError");
    let body = sample("exchangelib-GetFolder-inbox").replace("u@example.com", "bob@example.org");
    assert_eq!(code(&world.post(&body).body()), "ErrorImpersonateUserDenied");
}
