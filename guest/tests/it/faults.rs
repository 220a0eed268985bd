//! Requests that are refused as a whole.

use postbell_notify::contract::{Folder, FolderAlteration, Happening, Refusal, RequestHead};
use postbell_notify::{identify, refuse};

use super::world::*;

fn fault(body: &[u8]) -> (u16, String, String) {
    let mut world = World::new();
    let mut request = world.request("alice@example.org", "");
    request.body = body.to_vec();
    let at = world.at();
    let reaction = world.notify.answer(at, &request);
    assert!(!reaction.changed);
    let body = text(&reaction.replies[0]);
    let violation = if body.contains("Violation") { element(&body, "Violation") } else { String::new() };
    (reaction.replies[0].status, code(&body), violation)
}

#[test]
fn a_fault_is_byte_for_byte_what_clients_accept() {
    let body = envelope("<m:Unsubscribe>\n <m:X/></m:Unsubscribe>");
    let answer = World::new().post(&body);
    expect_test::expect![[r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:ErrorSchemaValidation</faultcode><faultstring xml:lang="en-US">The request failed schema validation: The element 'Unsubscribe' has 'X' where 'SubscriptionId' is expected.</faultstring><detail><e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">ErrorSchemaValidation</e:ResponseCode><e:Message xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">The request failed schema validation.</e:Message><t:MessageXml xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><t:LineNumber>4</t:LineNumber><t:LinePosition>2</t:LinePosition><t:Violation>The element 'Unsubscribe' has 'X' where 'SubscriptionId' is expected.</t:Violation></t:MessageXml></detail></s:Fault></s:Body></s:Envelope>"#]].assert_eq(&answer.body());
}

#[test]
fn hostile_xml_is_refused() {
    let deep = "<a>".repeat(1000);
    let long_name = format!("<{}/>", "a".repeat(1000));
    let attributes: String = (0..100).map(|number| format!(" a{number}=''")).collect();
    let attributes = envelope(&format!("<m:Unsubscribe{attributes}/>"));
    let text = envelope(&format!("<m:Unsubscribe>{}</m:Unsubscribe>", "x".repeat(70_000)));
    let many = envelope(&"<a/>".repeat(30_000));
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>"#;
    let bodies: [(&[u8], &str); 18] = [
        (b"", "there is no element"),
        (b"  ", "there is no element"),
        (b"no xml", "text outside the document element"),
        (b"<a>", "an element is not closed"),
        (b"<a></b>", "not well-formed XML"),
        (b"<a/><b/>", "a second document element"),
        (b"<a>&b;</a>", "an unknown entity"),
        (b"<a>&#0;</a>", "an unknown entity"),
        (b"<a>&#x1;</a>", "a character that XML does not allow"),
        (b"<a b='1' b='2'/>", "an attribute that is not well-formed"),
        (b"<a>\xff</a>", "the body is not UTF-8"),
        (b"<?xml version='1.0' encoding='utf-16'?><a/>", "the encoding is not UTF-8"),
        (bomb.as_bytes(), "document type declarations are not accepted"),
        (deep.as_bytes(), "nested too deeply"),
        (long_name.as_bytes(), "a name that is empty or too long"),
        (attributes.as_bytes(), "too many attributes, or one with too long a name"),
        (text.as_bytes(), "too long a text"),
        (many.as_bytes(), "too many elements"),
    ];
    for (body, reason) in bodies {
        let name = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!(fault(body), (500, "ErrorInvalidRequest".into(), reason.into()), "{name}");
        assert_eq!(identify(&RequestHead::default(), body), Default::default(), "{name}");
    }
}

#[test]
fn entities_and_cdata_are_joined() {
    let mut world = World::new();
    let id = world.streaming();
    let spelled: String = id.chars().map(|letter| format!("&#x{:x};", letter as u32)).collect();
    let body = unsubscribe(&format!(" <![CDATA[{}]]>{}\n", &id[..3], &spelled[18..]));
    assert_eq!(spelled.len(), 22 * 6);
    assert_eq!(code(&world.post(&body).body()), "NoError");
}

/// lxml declares what it writes as `ASCII` unless it is told otherwise.
#[test]
fn an_encoding_that_comes_to_utf_8_is_accepted() {
    let declared = |encoding: &str, text: &str| {
        let mut world = World::new();
        let id = world.streaming();
        let body = unsubscribe(&format!("{id}<!-- {text} -->"));
        code(&world.post(&format!("<?xml version='1.0' encoding='{encoding}'?>\n{body}")).body())
    };
    for encoding in ["utf-8", "UTF8", "ASCII", "us-ascii", "ANSI_X3.4-1968", "ISO-8859-1", "Windows-1252"] {
        assert_eq!(declared(encoding, "plain"), "NoError", "{encoding}");
    }
    for encoding in ["ISO-8859-1", "iso-8859-15", "windows-1252", "utf-16", "EBCDIC-CP-US", ""] {
        assert_eq!(declared(encoding, "\u{e4}"), "ErrorInvalidRequest", "{encoding}");
    }
}

#[test]
fn the_schema_is_kept() {
    let subscribe = |inner: &str| envelope(&format!("<m:Subscribe>{inner}</m:Subscribe>"));
    let pull = |inner: &str| subscribe(&format!("<m:PullSubscriptionRequest>{inner}</m:PullSubscriptionRequest>"));
    let stream = |ids: &str, minutes: &str| {
        envelope(&format!(
            "<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds>\
<m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents>"
        ))
    };
    let an_id = "<t:SubscriptionId>x</t:SubscriptionId>";
    for (body, violation) in [
        (envelope("<m:GetEvents/>"), "The element 'GetEvents' lacks 'SubscriptionId'."),
        (
            envelope("<m:GetEvents><m:Watermark>x</m:Watermark></m:GetEvents>"),
            "The element 'GetEvents' has 'Watermark' where 'SubscriptionId' is expected.",
        ),
        (
            envelope("<m:Unsubscribe><m:SubscriptionId>x</m:SubscriptionId><m:SubscriptionId/></m:Unsubscribe>"),
            "The element 'Unsubscribe' has 'SubscriptionId', which is unknown, repeated or misplaced.",
        ),
        (envelope("<m:Unsubscribe><m:SubscriptionId/></m:Unsubscribe>"), "The element 'SubscriptionId' is empty."),
        (envelope("<m:Unsubscribe>x</m:Unsubscribe>"), "The element 'Unsubscribe' cannot hold text."),
        (subscribe(""), "The element 'Subscribe' lacks 'StreamingSubscriptionRequest'."),
        (pull(KINDS), "The element 'PullSubscriptionRequest' lacks 'Timeout'."),
        (pull(&format!("{KINDS}<t:Timeout>0</t:Timeout>")), "The value of 'Timeout' is not a number in its range."),
        (pull(&format!("{KINDS}<t:Timeout>1441</t:Timeout>")), "The value of 'Timeout' is not a number in its range."),
        (pull("<t:EventTypes/>"), "The element 'EventTypes' lacks 'EventType'."),
        (
            pull("<t:EventTypes><t:EventType>StatusEvent</t:EventType></t:EventTypes>"),
            "'StatusEvent' is not an event type.",
        ),
        (pull(&format!("<t:FolderIds/>{KINDS}")), "The list of folders is empty."),
        (
            pull(&format!("<t:FolderIds><t:DistinguishedFolderId Id='in'/></t:FolderIds>{KINDS}")),
            "'in' is not the name of a distinguished folder.",
        ),
        (stream("", "1"), "The element 'SubscriptionIds' lacks 'SubscriptionId'."),
        (stream(an_id, "0"), "The value of 'ConnectionTimeout' is not a number in its range."),
        (stream(an_id, "31"), "The value of 'ConnectionTimeout' is not a number in its range."),
    ] {
        let expected = (500, "ErrorSchemaValidation".into(), violation.into());
        assert_eq!(fault(body.as_bytes()), expected, "{body}");
    }
}

/// However many are asked for, the answer fits into a reaction.
#[test]
fn long_lists_are_answered_or_refused() {
    let inbox = "<t:DistinguishedFolderId Id='inbox'/>";
    let get_folder = |count: usize| {
        envelope(&format!(
            "<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>\
             <m:FolderIds>{}</m:FolderIds></m:GetFolder>",
            inbox.repeat(count)
        ))
    };
    let convert = |count: usize| {
        envelope(&format!(
            "<m:ConvertId DestinationFormat='EwsId'><m:SourceIds>{}</m:SourceIds></m:ConvertId>",
            "<a/>".repeat(count)
        ))
    };
    let mut world = World::new();
    // A name that makes each answer long.
    let long = Folder { name: "n".repeat(900), ..folder("inbox") };
    world.happens(Happening::FolderModified(FolderAlteration { folder: long, ..FolderAlteration::default() }));
    let answer = world.post(&get_folder(1_000)).body();
    assert_eq!(answer.matches("ResponseMessage ResponseClass").count(), 1_000);
    assert!(answer.len() < 1 << 20 && answer.contains("ErrorServerBusy"), "{}", answer.len());
    assert!(world.post(&convert(1_000)).body().len() < 1 << 20);
    for (body, list) in [(get_folder(1_001), "folders"), (convert(1_001), "ids")] {
        let expected = (500, "ErrorSchemaValidation".into(), format!("The list of {list} is too long."));
        assert_eq!(fault(body.as_bytes()), expected);
    }
    let id = format!("<t:FolderId Id='{}'/>", "YWxpY2VAZXhhbXBsZS5vcmcAZmluYm94");
    let many = subscribe_pull(&id.repeat(4_097), 10);
    assert!(postbell_notify::identify(&RequestHead::default(), many.as_bytes()).accounts.is_empty());
    assert_eq!(fault(many.as_bytes()).2, "The list of folders is too long.");
}

#[test]
fn versions_headers_and_other_operations() {
    let with_header =
        |header: &str| unsubscribe("x").replace("<s:Body>", &format!("<s:Header>{header}</s:Header><s:Body>"));
    let impersonating = |who: &str| {
        with_header(&format!(
            "<t:ExchangeImpersonation><t:ConnectingSID>{who}</t:ConnectingSID></t:ExchangeImpersonation>"
        ))
    };
    for (body, expected) in [
        (with_header("<t:RequestServerVersion Version='Exchange2099'/>"), "ErrorInvalidServerVersion"),
        (with_header("<t:RequestServerVersion/>"), "ErrorInvalidServerVersion"),
        (impersonating(""), "ErrorInvalidExchangeImpersonationHeaderData"),
        (impersonating("<t:SID></t:SID>"), "ErrorInvalidExchangeImpersonationHeaderData"),
        (envelope("<m:FindItem/>"), "ErrorInvalidRequest"),
        (envelope(""), "ErrorInvalidRequest"),
        ("<a/>".into(), "ErrorInvalidRequest"),
    ] {
        let (status, code, _) = fault(body.as_bytes());
        assert_eq!((status, code.as_str()), (500, expected), "{body}");
    }
    let tolerated = with_header("<t:RequestServerVersion Version='Exchange2016'/><x:Unknown xmlns:x='y'/>");
    assert_eq!(code(&World::new().post(&tolerated).body()), "ErrorSubscriptionNotFound");
}

#[test]
fn the_host_refuses_in_our_words() {
    for (why, status, expected) in [
        (Refusal::TooLarge, 413, "ErrorInvalidRequest"),
        (Refusal::Busy, 500, "ErrorServerBusy"),
        (Refusal::Throttled, 500, "ErrorServerBusy"),
        (Refusal::Stopping, 500, "ErrorServerBusy"),
        (Refusal::Fault, 500, "ErrorInternalServerError"),
        (Refusal::Moved, 500, "ErrorMailboxStoreUnavailable"),
    ] {
        let reply = refuse(&RequestHead::default(), b"", why);
        assert_eq!((reply.status, code(&text(&reply)).as_str(), reply.more), (status, expected, false));
    }
    let busy = text(&refuse(&RequestHead::default(), b"", Refusal::Throttled));
    assert!(busy.contains(r#"<t:Value Name="BackOffMilliseconds">10000</t:Value>"#), "{busy}");
}
