//! Answers read as the C# and Java libraries of EWS read them: forward only, each element where they expect it, none too
//! many. What they die of is an error here; each rule that is not plain order has its comment.
//!
//! XML is parsed by roxmltree, and its tree then walked as a reader of a stream would meet it.

use anyhow::{Context, Result, bail, ensure};
use roxmltree::{Document, Node};

use crate::ews::{ERRORS, Event, MESSAGES, Message, Notification, SOAP, TYPES, source_id};
use crate::http::Answer;

/// The events that the libraries know.
const EVENTS: [&str; 8] = [
    "CopiedEvent",
    "CreatedEvent",
    "DeletedEvent",
    "FreeBusyChangedEvent",
    "ModifiedEvent",
    "MovedEvent",
    "NewMailEvent",
    "StatusEvent",
];

/// The messages of a whole answer (not of a stream) to this operation.
pub fn messages(answer: &Answer, operation: &str) -> Result<Vec<Message>> {
    let content_type = answer.head.header("content-type").context("the Java library needs a content type")?;
    ensure!(content_type.starts_with("text/xml"), "the Java library takes text/xml only: {content_type}");
    ensure!(answer.head.status == 200, "not an answer with messages: {answer:?}");
    ensure!(answer.body.starts_with("<?xml "), "the C# library needs the declaration: {}", answer.body);
    read(&answer.body, |reader| reader.response(operation, Kind::Whole)).with_context(|| answer.body.clone())
}

/// The message of one part of a stream.
pub fn part(text: &str) -> Result<Message> {
    // What the JavaScript library looks for, to the letter, and exchangelib for the blank.
    ensure!(text.starts_with("<Envelope ") && text.ends_with("</Envelope>"), "not one envelope: {text:?}");
    ensure!(text.matches("<Envelope").count() == 1, "more than one envelope: {text:?}");
    ensure!(!text.contains("<?xml"), "the C# library ends at a declaration: {text:?}");
    let read = read(text, |reader| reader.response("GetStreamingEvents", Kind::Stream));
    let mut messages = read.with_context(|| text.to_owned())?;
    ensure!(messages.len() == 1, "not one message: {text}");
    Ok(messages.remove(0))
}

/// The message of a notification that was pushed.
pub fn pushed(text: &str) -> Result<Message> {
    ensure!(text.starts_with("<?xml "), "no declaration: {text}");
    let mut messages = read(text, |reader| reader.push()).with_context(|| text.to_owned())?;
    ensure!(messages.len() == 1, "not one message: {text}");
    Ok(messages.remove(0))
}

/// The response code of a fault.
pub fn fault(answer: &Answer) -> Result<String> {
    // In an answer with status 200 three of the libraries look for a header and find none.
    ensure!(answer.head.status == 500, "a fault's status is 500: {answer:?}");
    let content_type = answer.head.header("content-type").unwrap_or_default();
    ensure!(content_type.starts_with("text/xml"), "{answer:?}");
    ensure!(answer.body.starts_with("<?xml "), "{answer:?}");
    read(&answer.body, |reader| reader.fault()).with_context(|| answer.body.clone())
}

fn read<T>(text: &str, how: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
    let document = Document::parse(text)?;
    let mut tokens = Vec::new();
    flatten(document.root_element(), &mut tokens);
    let mut reader = Reader { tokens, next: 0 };
    let read = how(&mut reader)?;
    ensure!(reader.next == reader.tokens.len(), "more follows: {:?}", reader.peek());
    Ok(read)
}

/// What a reader meets.
#[derive(Clone, Copy, Debug)]
enum Token<'a, 'input> {
    Start(Node<'a, 'input>),
    Text(&'a str),
    End(Node<'a, 'input>),
}

fn flatten<'a, 'input>(node: Node<'a, 'input>, tokens: &mut Vec<Token<'a, 'input>>) {
    if let Some(text) = node.text().filter(|_| node.is_text()) {
        // The libraries ignore what is but space.
        tokens.extend((!text.trim().is_empty()).then_some(Token::Text(text)));
    } else if node.is_element() {
        tokens.push(Token::Start(node));
        node.children().for_each(|child| flatten(child, tokens));
        tokens.push(Token::End(node));
    }
}

/// How the answer came.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Whole,
    Stream,
}

struct Reader<'a, 'input> {
    tokens: Vec<Token<'a, 'input>>,
    next: usize,
}

impl<'a, 'input> Reader<'a, 'input> {
    fn peek(&self) -> Option<Token<'a, 'input>> {
        self.tokens.get(self.next).copied()
    }

    /// Whether the next thing is the start of this element.
    fn is_at(&self, namespace: &str, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Start(node)) if is(node, namespace, name))
    }

    /// The start of this element, which must come next.
    fn start(&mut self, namespace: &str, name: &str) -> Result<Node<'a, 'input>> {
        match self.peek() {
            Some(Token::Start(node)) if is(node, namespace, name) => {
                self.next += 1;
                Ok(node)
            }
            other => bail!("expected the start of {name}: {other:?}"),
        }
    }

    /// The end of this element, which must come next.
    fn end(&mut self, namespace: &str, name: &str) -> Result<()> {
        match self.peek() {
            Some(Token::End(node)) if is(node, namespace, name) => {
                self.next += 1;
                Ok(())
            }
            other => bail!("expected the end of {name}: {other:?}"),
        }
    }

    /// The text of this element, which must come next and have nothing but text, and some.
    fn value(&mut self, namespace: &str, name: &str) -> Result<String> {
        self.start(namespace, name)?;
        let Some(Token::Text(text)) = self.peek() else { bail!("{name} has no text") };
        self.next += 1;
        self.end(namespace, name)?;
        Ok(text.to_owned())
    }

    /// What the source calls the thing whose id is in this element, which must come next and be empty.
    fn id(&mut self, name: &str) -> Result<String> {
        let node = self.start(TYPES, name)?;
        self.end(TYPES, name)?;
        ensure!(node.attribute("ChangeKey").is_some_and(|key| !key.is_empty()), "{name} has no change key");
        source_id(node.attribute("Id").context("an id")?)
    }

    /// Leaves out the element that comes next.
    fn skip(&mut self) -> Result<()> {
        let Some(Token::Start(start)) = self.peek() else { bail!("expected an element: {:?}", self.peek()) };
        while !matches!(self.peek(), Some(Token::End(end)) if end == start) {
            self.next += 1;
        }
        self.next += 1;
        Ok(())
    }

    /// The envelope of an answer, with its header: the libraries fail without one.
    fn response(&mut self, operation: &str, kind: Kind) -> Result<Vec<Message>> {
        self.start(SOAP, "Envelope")?;
        self.start(SOAP, "Header")?;
        let version = self.start(TYPES, "ServerVersionInfo")?;
        for attribute in ["MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber"] {
            version.attribute(attribute).context(attribute.to_owned())?.parse::<u32>()?;
        }
        self.end(TYPES, "ServerVersionInfo")?;
        self.end(SOAP, "Header")?;
        self.start(SOAP, "Body")?;
        let messages = self.messages(&format!("{operation}Response"), operation, |reader, name| {
            reader.message(name, |reader, message| match (operation, kind) {
                ("Subscribe", _) => reader.subscribed(message),
                ("GetEvents", _) => {
                    message.notifications = vec![reader.notification(true)?];
                    Ok(())
                }
                (_, Kind::Stream) => reader.streamed(message),
                ("GetFolder", _) => reader.skip(),
                _ => Ok(()),
            })
        })?;
        self.end(SOAP, "Body")?;
        self.end(SOAP, "Envelope")?;
        Ok(messages)
    }

    /// The envelope of what is pushed, whose header tells the version of the request.
    fn push(&mut self) -> Result<Vec<Message>> {
        self.start(SOAP, "Envelope")?;
        self.start(SOAP, "Header")?;
        let version = self.start(TYPES, "RequestServerVersion")?;
        ensure!(version.attribute("Version").is_some(), "the header does not tell the version");
        self.end(TYPES, "RequestServerVersion")?;
        self.end(SOAP, "Header")?;
        self.start(SOAP, "Body")?;
        let messages = self.messages("SendNotification", "SendNotification", |reader, name| {
            reader.message(name, |reader, message| {
                message.notifications = vec![reader.notification(true)?];
                Ok(())
            })
        })?;
        self.end(SOAP, "Body")?;
        self.end(SOAP, "Envelope")?;
        Ok(messages)
    }

    fn messages(
        &mut self,
        root: &str,
        operation: &str,
        mut one: impl FnMut(&mut Self, &str) -> Result<Message>,
    ) -> Result<Vec<Message>> {
        self.start(MESSAGES, root)?;
        self.start(MESSAGES, "ResponseMessages")?;
        let name = format!("{operation}ResponseMessage");
        let mut messages = vec![one(self, &name)?];
        while self.is_at(MESSAGES, &name) {
            messages.push(one(self, &name)?);
        }
        self.end(MESSAGES, "ResponseMessages")?;
        self.end(MESSAGES, root)?;
        Ok(messages)
    }

    /// A message: of success with its code and then at once its content, or of an error with text, code and link, all of
    /// which the libraries read without looking.
    fn message(&mut self, name: &str, content: impl FnOnce(&mut Self, &mut Message) -> Result<()>) -> Result<Message> {
        let class = self.start(MESSAGES, name)?.attribute("ResponseClass").context("a response class")?;
        let mut message = Message { class: class.to_owned(), ..Message::default() };
        if class == "Success" {
            message.code = self.value(MESSAGES, "ResponseCode")?;
            ensure!(message.code == "NoError", "a success with the code {}", message.code);
            content(self, &mut message)?;
        } else {
            ensure!(class == "Error", "no class of a message: {class}");
            self.value(MESSAGES, "MessageText")?;
            message.code = self.value(MESSAGES, "ResponseCode")?;
            ensure!(message.code.starts_with("Error"), "an error with the code {}", message.code);
            self.value(MESSAGES, "DescriptiveLinkKey")?.parse::<i32>()?;
            while let Some(Token::Start(_)) = self.peek() {
                if self.is_at(MESSAGES, "ErrorSubscriptionIds") {
                    message.bad = self.bad_subscriptions()?;
                } else {
                    self.skip()?;
                }
            }
        }
        self.end(MESSAGES, name)?;
        Ok(message)
    }

    /// The schema has them in the namespace of types; in that, the C# library dies and exchangelib sees none.
    fn bad_subscriptions(&mut self) -> Result<Vec<String>> {
        self.start(MESSAGES, "ErrorSubscriptionIds")?;
        let mut bad = vec![self.value(MESSAGES, "SubscriptionId")?];
        while self.is_at(MESSAGES, "SubscriptionId") {
            bad.push(self.value(MESSAGES, "SubscriptionId")?);
        }
        self.end(MESSAGES, "ErrorSubscriptionIds")?;
        Ok(bad)
    }

    /// Whether there must be a watermark only the request tells; the caller looks at it.
    fn subscribed(&mut self, message: &mut Message) -> Result<()> {
        message.subscription = Some(self.value(MESSAGES, "SubscriptionId")?);
        if self.is_at(MESSAGES, "Watermark") {
            message.watermark = Some(self.value(MESSAGES, "Watermark")?);
        }
        Ok(())
    }

    /// Either notifications or a status: whatever follows the first of them is not expected.
    fn streamed(&mut self, message: &mut Message) -> Result<()> {
        if self.is_at(MESSAGES, "ConnectionStatus") {
            let status = self.value(MESSAGES, "ConnectionStatus")?;
            ensure!(status == "OK" || status == "Closed", "no status of a connection: {status}");
            message.status = Some(status);
            return Ok(());
        }
        self.start(MESSAGES, "Notifications")?;
        message.notifications.push(self.notification(false)?);
        while self.is_at(MESSAGES, "Notification") {
            message.notifications.push(self.notification(false)?);
        }
        self.end(MESSAGES, "Notifications")
    }

    /// A notification; with watermarks all through, or with none at all.
    fn notification(&mut self, watermarks: bool) -> Result<Notification> {
        self.start(MESSAGES, "Notification")?;
        let subscription = self.value(TYPES, "SubscriptionId")?;
        let (mut previous, mut more) = (None, None);
        if watermarks {
            previous = Some(self.value(TYPES, "PreviousWatermark")?);
            more = Some(self.value(TYPES, "MoreEvents")?.parse()?);
        }
        let mut events = vec![self.event(watermarks)?];
        while let Some(Token::Start(_)) = self.peek() {
            events.push(self.event(watermarks)?);
        }
        self.end(MESSAGES, "Notification")?;
        Ok(Notification { subscription, previous, more, events })
    }

    fn event(&mut self, watermarks: bool) -> Result<Event> {
        let Some(Token::Start(node)) = self.peek() else { bail!("expected an event: {:?}", self.peek()) };
        let kind = node.tag_name().name();
        ensure!(EVENTS.contains(&kind), "not an event: {kind}");
        self.start(TYPES, kind)?;
        let mut event = Event { kind: kind.to_owned(), ..Event::default() };
        if watermarks {
            event.watermark = Some(self.value(TYPES, "Watermark")?);
        }
        if kind != "StatusEvent" {
            self.event_content(&mut event)?;
        }
        self.end(TYPES, kind)?;
        Ok(event)
    }

    fn event_content(&mut self, event: &mut Event) -> Result<()> {
        let time = self.value(TYPES, "TimeStamp")?;
        ensure!(is_time(&time), "not a time: {time}");
        event.time = Some(time);
        let of_folder = self.is_at(TYPES, "FolderId");
        match of_folder {
            true => event.folder = Some(self.id("FolderId")?),
            false => event.item = Some(self.id("ItemId")?),
        }
        event.parent = Some(self.id("ParentFolderId")?);
        match event.kind.as_str() {
            "MovedEvent" | "CopiedEvent" => {
                event.old = Some(self.id(if of_folder { "OldFolderId" } else { "OldItemId" })?);
                event.old_parent = Some(self.id("OldParentFolderId")?);
            }
            "ModifiedEvent" if of_folder && self.is_at(TYPES, "UnreadCount") => {
                event.unread = Some(self.value(TYPES, "UnreadCount")?.parse()?);
            }
            _ => {}
        }
        Ok(())
    }

    /// A fault has no header; its own parts are in no namespace, and its detail says more than its text.
    fn fault(&mut self) -> Result<String> {
        self.start(SOAP, "Envelope")?;
        if self.is_at(SOAP, "Header") {
            self.skip()?;
        }
        self.start(SOAP, "Body")?;
        self.start(SOAP, "Fault")?;
        let said = self.value("", "faultcode")?;
        self.value("", "faultstring")?;
        self.start("", "detail")?;
        let code = self.value(ERRORS, "ResponseCode")?;
        ensure!(said.split_once(':').map(|(_, name)| name) == Some(code.as_str()), "{said} is not {code}");
        self.value(ERRORS, "Message")?;
        if self.is_at(TYPES, "MessageXml") {
            self.skip()?;
        }
        self.end("", "detail")?;
        self.end(SOAP, "Fault")?;
        self.end(SOAP, "Body")?;
        self.end(SOAP, "Envelope")?;
        Ok(code)
    }
}

fn is(node: Node, namespace: &str, name: &str) -> bool {
    node.tag_name().name() == name && node.tag_name().namespace().unwrap_or_default() == namespace
}

/// Whether this is a time as `2026-11-24T05:00:00Z`, with or without fractions.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let rest = shape.strip_prefix("0000-00-00T00:00:00").and_then(|rest| rest.strip_suffix('Z'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && rest[1..].bytes().all(|byte| byte == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Head;

    const ERROR: &str = "<m:MessageText>Subscription is invalid.</m:MessageText><m:ResponseCode>ErrorInvalidSubscription\
        </m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>";

    fn envelope(operation: &str, class: &str, content: &str) -> String {
        format!(
            r#"<Envelope xmlns="{SOAP}"><Header><t:ServerVersionInfo xmlns:t="{TYPES}" MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17"/></Header><Body><m:{operation}Response xmlns:t="{TYPES}" xmlns:m="{MESSAGES}"><m:ResponseMessages><m:{operation}ResponseMessage ResponseClass="{class}">{content}</m:{operation}ResponseMessage></m:ResponseMessages></m:{operation}Response></Body></Envelope>"#
        )
    }

    fn stream(class: &str, content: &str) -> String {
        envelope("GetStreamingEvents", class, content)
    }

    fn notifications() -> String {
        let id = |name: &str| format!(r#"<t:{name} Id="YQBmeA" ChangeKey="AA"/>"#);
        format!(
            "<m:ResponseCode>NoError</m:ResponseCode><m:Notifications><m:Notification><t:SubscriptionId>s</t:SubscriptionId>\
             <t:MovedEvent><t:TimeStamp>2026-11-24T05:00:00Z</t:TimeStamp>{}{}{}{}</t:MovedEvent></m:Notification>\
             </m:Notifications>",
            id("ItemId"),
            id("ParentFolderId"),
            id("OldItemId"),
            id("OldParentFolderId")
        )
    }

    fn whole(operation: &str, class: &str, content: &str) -> Result<Vec<Message>> {
        let headers = vec![("content-type".into(), "text/xml; charset=utf-8".into())];
        let body = format!(r#"<?xml version="1.0"?>{}"#, envelope(operation, class, content));
        messages(&Answer { head: Head { status: 200, headers }, body }, operation)
    }

    #[test]
    fn what_clients_understand_is_read() -> Result<()> {
        assert_eq!(part(&stream("Success", &notifications()))?.notifications[0].events[0].old_parent, Some("x".into()));
        let bad = "<m:ErrorSubscriptionIds><m:SubscriptionId>s</m:SubscriptionId></m:ErrorSubscriptionIds>";
        assert_eq!(part(&stream("Error", &format!("{ERROR}{bad}")))?.bad, ["s"]);
        assert_eq!(whole("Unsubscribe", "Error", ERROR)?[0].code, "ErrorInvalidSubscription");
        Ok(())
    }

    /// Each of these was sent to the real libraries, and one or more of them broke.
    #[test]
    fn what_some_client_breaks_on_is_refused() {
        let good = stream("Success", &notifications());
        let status = "</m:Notifications><m:ConnectionStatus>OK</m:ConnectionStatus>";
        for (from, to) in [
            ("<Envelope ", "<Envelope\n"),
            ("<Envelope ", "<?xml version=\"1.0\"?><Envelope "),
            ("</m:Notifications>", status),
            ("m:Notification>", "t:Notification>"),
            ("<t:TimeStamp>", "<t:Watermark>w</t:Watermark><t:TimeStamp>"),
            ("<t:TimeStamp>2026-11-24T05:00:00Z</t:TimeStamp>", ""),
            ("t:OldParentFolderId", "t:ParentFolderId"),
            (r#"<t:OldItemId Id="YQBmeA" ChangeKey="AA"/>"#, ""),
            (r#" ChangeKey="AA""#, ""),
            ("t:MovedEvent", "t:RemovedEvent"),
            ("<Header>", "<Header><Other/>"),
            (r#"MajorVersion="15""#, ""),
        ] {
            assert_ne!(good.replace(from, to), good, "{from} is there");
            part(&good.replace(from, to)).expect_err(to);
        }
        part(&good.repeat(2)).expect_err("two envelopes");
        let error = |content: &str| whole("Unsubscribe", "Error", content);
        error(&ERROR.replace("<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>", "")).expect_err("no link");
        error(&ERROR.replace("<m:MessageText>Subscription is invalid.</m:MessageText>", "")).expect_err("no text");
        let code = "<m:ResponseCode>NoError</m:ResponseCode>";
        whole("GetEvents", "Success", code).expect_err("no notification");
        whole("Subscribe", "Success", &format!("{code}<m:Watermark>w</m:Watermark>")).expect_err("no id");
        let answer = Answer { head: Head { status: 200, headers: vec![] }, body: String::new() };
        messages(&answer, "Subscribe").expect_err("no content type");
        fault(&answer).expect_err("a fault with status 200");
    }
}
