//! Subscribe and Unsubscribe: who may, to what.

use postbell_notify::contract::*;

use super::world::*;

/// Folders are counted too: a subscription may name thousands.
#[test]
fn the_folders_that_subscriptions_name_are_limited() {
    let mut world = World::with(&[("ews-subscriptions-per-account", "3")]);
    let names: Vec<_> = (0..40).map(|number| format!("f{number}")).collect();
    world.happens(Happening::Baseline(names.iter().map(|name| folder(name)).collect()));
    let by_id = |name: &String| {
        format!(
            r#"<t:FolderId Id="{}"/>"#,
            base64_simd::URL_SAFE_NO_PAD.encode_to_string(format!("alice@example.org\0f{name}"))
        )
    };
    let [forty, twenty, one] = [40, 20, 1].map(|count| names[..count].iter().map(by_id).collect::<String>());
    let subscribed = world.post(&subscribe_pull(&forty, 10)).body();
    assert_eq!(code(&subscribed), "NoError");
    assert_eq!(code(&world.post(&subscribe_pull(&forty, 10)).body()), "ErrorExceededSubscriptionCount");
    assert_eq!(code(&world.post(&subscribe_pull(&twenty, 10)).body()), "NoError");
    assert_eq!(code(&world.post(&subscribe_pull(&one, 10)).body()), "ErrorExceededSubscriptionCount");
    assert_eq!(code(&world.post(&unsubscribe(&element(&subscribed, "SubscriptionId"))).body()), "NoError");
    assert_eq!(code(&world.post(&subscribe_pull(&forty, 10)).body()), "NoError");
}

#[test]
fn the_answer_is_byte_for_byte_what_clients_accept() {
    let mut world = World::new();
    let streaming = world.post(&subscribe_streaming(""));
    expect_test::expect![[r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header><s:Body><m:SubscribeResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages><m:SubscribeResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:SubscriptionId>jGdiBgQ9e6MwKd1-u4408A</m:SubscriptionId></m:SubscribeResponseMessage></m:ResponseMessages></m:SubscribeResponse></s:Body></s:Envelope>"#]].assert_eq(&streaming.body());
    assert!(streaming.reaction.changed);
    let pull = world.post(&subscribe_pull("", 10));
    expect_test::expect![[r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header><s:Body><m:SubscribeResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages><m:SubscribeResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:SubscriptionId>wZOjWHGCL318PAh_qzpzQA</m:SubscriptionId><m:Watermark>AAAAAAAAAAEAAAAAB4bfVBgW36yN</m:Watermark></m:SubscribeResponseMessage></m:ResponseMessages></m:SubscribeResponse></s:Body></s:Envelope>"#]].assert_eq(&pull.body());
    let unsubscribed = world.post(&unsubscribe(&element(&pull.body(), "SubscriptionId")));
    expect_test::expect![[r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17" Version="V2017_07_11" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header><s:Body><m:UnsubscribeResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages><m:UnsubscribeResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode></m:UnsubscribeResponseMessage></m:ResponseMessages></m:UnsubscribeResponse></s:Body></s:Envelope>"#]].assert_eq(&unsubscribed.body());
}

#[test]
fn folders_are_judged() {
    let wrong_kind = r#"<t:FolderId Id="YWxpY2VAZXhhbXBsZS5vcmcAaW0x"/>"#;
    for (folders, expected) in [
        (named("inbox"), "NoError"),
        (named("inbox") + &named("drafts"), "NoError"),
        (named("msgfolderroot"), "NoError"),
        (named("root"), "NoError"),
        (named("voicemail"), "ErrorFolderNotFound"),
        (of_other("inbox", "alice@example.org"), "NoError"),
        (of_other("inbox", "bob@example.org"), "ErrorAccessDenied"),
        (r#"<t:FolderId Id="AAABBB"/>"#.into(), "ErrorInvalidIdMalformed"),
        (wrong_kind.into(), "ErrorCannotUseItemIdForFolderId"),
    ] {
        let mut world = World::new();
        let answer = world.post(&subscribe_streaming(&folders));
        assert_eq!(code(&answer.body()), expected, "{folders}");
        assert_eq!(answer.reaction.changed, expected == "NoError", "{folders}");
    }
}

#[test]
fn another_mailbox_is_judged_by_the_host() {
    for (standing, expected) in [
        (Standing::Permitted, "NoError"),
        (Standing::Forbidden, "ErrorAccessDenied"),
        (Standing::Unknown, "ErrorNonExistentMailbox"),
        (Standing::Unavailable, "ErrorMailboxStoreUnavailable"),
    ] {
        let mut world = World::new();
        world.standing = standing;
        let answer = world.post(&subscribe_streaming(&of_other("inbox", "bob@example.org")));
        assert_eq!(code(&answer.body()), expected);
    }
    let mut world = World::new();
    world.standing = Standing::Permitted;
    world.changes("bob@example.org", vec![change(START, Happening::Baseline(vec![folder("inbox")]))]);
    assert_eq!(code(&world.post(&subscribe_streaming(&of_other("inbox", "bob@example.org"))).body()), "NoError");
    let both = named("inbox") + &of_other("inbox", "bob@example.org");
    assert_eq!(code(&world.post(&subscribe_streaming(&both)).body()), "ErrorInvalidSubscriptionRequest");
    let all = subscribe_streaming(&named("inbox")).replace("Request>", "Request SubscribeToAllFolders='true'>");
    let all = all
        .replace("</m:StreamingSubscriptionRequest SubscribeToAllFolders='true'>", "</m:StreamingSubscriptionRequest>");
    assert_eq!(code(&world.post(&all).body()), "ErrorInvalidSubscriptionRequest");
}

#[test]
fn impersonation_is_judged_by_the_host_and_the_caller_owns() {
    let header = "<s:Header><t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>alice@example.org\
</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation></s:Header><s:Body>";
    let impersonating = subscribe_streaming("").replace("<s:Body>", header);
    for (standing, expected) in
        [(Standing::Forbidden, "ErrorImpersonateUserDenied"), (Standing::Unknown, "ErrorNonExistentMailbox")]
    {
        let mut world = World::new();
        world.standing = standing;
        let answer = world.post_as("service@example.org", &impersonating);
        assert_eq!((answer.status(), code(&answer.body()).as_str()), (500, expected));
    }
    let mut world = World::new();
    world.standing = Standing::Permitted;
    let answer = world.post_as("service@example.org", &impersonating);
    let id = element(&answer.body(), "SubscriptionId");
    assert_eq!(code(&world.post(&unsubscribe(&id)).body()), "ErrorSubscriptionAccessDenied");
    assert_eq!(code(&world.post_as("service@example.org", &unsubscribe(&id)).body()), "NoError");
}

#[test]
fn subscriptions_of_an_account_are_limited() {
    let mut world = World::with(&[("ews-subscriptions-per-account", "2")]);
    let (first, _) = world.pull();
    world.streaming();
    assert_eq!(code(&world.post(&subscribe_streaming("")).body()), "ErrorExceededSubscriptionCount");
    world.post(&unsubscribe(&first));
    assert_eq!(code(&world.post(&subscribe_streaming("")).body()), "NoError");
}

#[test]
fn subscriptions_of_a_tenant_are_limited() {
    let mut world = World::with(&[("ews-subscriptions", "2")]);
    let (first, _) = world.pull();
    assert_eq!(code(&world.post_as("bob@example.org", &subscribe_streaming("")).body()), "NoError");
    let refused = world.post_as("carol@example.org", &subscribe_streaming(""));
    assert_eq!(code(&refused.body()), "ErrorExceededSubscriptionCount");
    assert!(refused.reaction.changed, "it is counted");
    assert_eq!((world.gauge("refused", "subscriptions"), world.gauge("refused", "accounts")), (1.0, 0.0));
    world.post(&unsubscribe(&first));
    assert_eq!(code(&world.post_as("carol@example.org", &subscribe_streaming("")).body()), "NoError");
}

#[test]
fn accounts_of_a_tenant_are_limited() {
    let mut world = World::with(&[("accounts", "1")]);
    world.pull();
    let refused = world.post_as("bob@example.org", &subscribe_streaming(""));
    assert_eq!(code(&refused.body()), "ErrorExceededSubscriptionCount");
    let reaction = world.changes("bob@example.org", vec![change(START, delivered("inbox", "m1"))]);
    assert_eq!(reaction.rejections[0].reason, "the tenant has as many accounts as it may have");
    assert!(refused.reaction.changed && reaction.changed, "both are counted");
    assert!(world.changes("alice@example.org", vec![change(START, delivered("inbox", "m1"))]).rejections.is_empty());
    assert_eq!((world.gauge("accounts", ""), world.gauge("refused", "accounts")), (1.0, 2.0));
}

/// Those count that a history still names: there is room again once it has forgotten them.
#[test]
fn folders_of_a_tenant_are_limited() {
    let mut world = World::with(&[("folders", "1000"), ("ews-history-events", "10")]);
    let made = |number: usize| change(START, Happening::FolderCreated(folder(&format!("f{number}"))));
    assert!(world.changes("alice@example.org", (1..997).map(made).collect()).rejections.is_empty());
    assert_eq!(world.gauge("folders", ""), 1000.0, "the root is one, and three there were");
    let known = world.changes("alice@example.org", vec![change(START, delivered("f7", "m1")), made(1000)]);
    let reasons: Vec<_> = known.rejections.iter().map(|rejection| rejection.reason.as_str()).collect();
    assert_eq!(reasons, ["the tenant has as many folders as it may have"]);
    let refused = world.post_as("bob@example.org", &subscribe_pull(&named("drafts"), 10));
    assert_eq!(code(&refused.body()), "ErrorExceededSubscriptionCount");
    assert!(known.changed && refused.reaction.changed, "both are counted");
    assert_eq!(world.gauge("refused", "folders"), 2.0);
    assert_eq!(
        code(&world.post_as("bob@example.org", &subscribe_streaming("")).body()),
        "NoError",
        "it promises no folder"
    );

    let gone = (1..100).map(|number| change(START, Happening::FolderDeleted(folder(&format!("f{number}")))));
    world.changes("alice@example.org", gone.collect());
    let delivered = (0..10).map(|number| change(START, delivered("f500", &format!("n{number}"))));
    world.changes("alice@example.org", delivered.collect());
    assert_eq!(world.gauge("folders", ""), 1000.0 - 99.0 + 1.0, "bob has a root");
    assert!(world.changes("alice@example.org", vec![made(1000)]).rejections.is_empty());
    let before = world.gauge("folders", "");
    world.notify = loaded(&mut world);
    assert_eq!(world.gauge("folders", ""), before, "it is counted anew");
}

#[test]
fn an_account_that_was_opened_by_its_name_gets_its_id() {
    let mut world = World::new();
    let mut request = world.request("alice@example.org", &subscribe_streaming(""));
    if let Access::Granted(grant) = &mut request.access {
        grant.account.id = "id-1".into();
    }
    let at = world.at();
    assert_eq!(code(&text(&world.notify.answer(at, &request).replies[0])), "NoError");
    assert!(world.changes("id-1", vec![change(START, delivered("inbox", "m1"))]).rejections.is_empty());
    assert_eq!(world.gauge("accounts", ""), 1.0);
}
