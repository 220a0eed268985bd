//! What clients ask, and whether they are answered as they must be.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use postbell_notify::contract::{
    Access, Account, AccountName, Grant, Rank, Request, RequestHead, Resolution, Standing,
};
use postbell_tests::ews::{self, Message, envelope, folder_id};
use postbell_tests::http::{Answer, Head};
use postbell_tests::{schemas, strict_reader};

use super::clients::{Stream, Subscription, Way};
use super::mailbox::FOLDERS;
use super::pushing::{Push, URL};
use super::world::{ALICE, World};

const KINDS: [&str; 7] = [
    "CopiedEvent",
    "CreatedEvent",
    "DeletedEvent",
    "ModifiedEvent",
    "MovedEvent",
    "NewMailEvent",
    "FreeBusyChangedEvent",
];

/// How a client wants to hear.
#[derive(Clone, Copy, Debug)]
enum How {
    Pull,
    Streaming,
    Push { minutes: u64 },
}

impl World {
    pub(super) fn subscribe(&mut self, after: Option<&str>) -> Result<()> {
        let mailbox = self.random.below(2) as usize;
        let kinds: Vec<_> = KINDS.into_iter().filter(|_| self.random.below(3) > 0).collect();
        let kinds = if kinds.is_empty() { vec!["NewMailEvent"] } else { kinds };
        let folders = (self.random.below(2) == 0).then(|| self.some_folders(mailbox));
        let how = match self.random.below(if after.is_some() { 4 } else { 6 }) {
            0..3 => How::Pull,
            3 => How::Push { minutes: [1, 5, 30][self.random.below(3) as usize] },
            _ => How::Streaming,
        };
        let body = self.subscribe_body(mailbox, &kinds, folders.as_ref(), how, after);
        let message = self.ask("Subscribe", &body)?;

        let start = match after {
            None => Some(self.logs[mailbox].events.len()),
            Some(after) => {
                let known = self.watermarks.get(after).filter(|(of, _)| *of == mailbox).map(|(_, place)| *place);
                known.filter(|place| *place >= self.logs[mailbox].floor)
            }
        };
        let watermark = message.watermark.clone().unwrap_or_default();
        let way = match how {
            How::Pull => Way::Pull { watermark: watermark.clone(), taken: 0, more: false },
            How::Streaming => Way::Streaming { stream: None, sent: 0, told: false },
            How::Push { minutes } => Way::Push(Push::new(watermark.clone(), minutes * 60_000, self.moment.now)),
        };
        let id = message.subscription.clone().unwrap_or_default();
        let mut new = Subscription::new(id.clone(), mailbox, (kinds, folders), way, self.moment.now);
        // What a queue does not hold is lost from the start.
        let start = start.filter(|start| {
            new.start(&self.logs[mailbox], *start);
            new.pending() <= self.queue
        });
        let Some(start) = start else {
            ensure!(message.code == "ErrorInvalidWatermark", "the watermark is too old, or another's: {message:?}");
            return Ok(());
        };
        ensure!(message.code == "NoError", "{message:?}");
        ensure!(message.watermark.is_some() == !matches!(how, How::Streaming), "{message:?}");
        ensure!(after.is_none_or(|after| after == watermark), "{watermark}");
        if !watermark.is_empty() {
            let place = *self.watermarks.entry(watermark).or_insert((mailbox, start));
            ensure!(place == (mailbox, start), "a watermark for two places");
        }
        ensure!(!id.is_empty() && self.subscriptions.insert(id, new).is_none(), "the id is another's");
        Ok(())
    }

    fn some_folders(&mut self, mailbox: usize) -> BTreeSet<String> {
        let all = self.mailboxes[mailbox].folders();
        (0..=self.random.below(3)).map(|_| self.random.pick(&all).to_owned()).collect()
    }

    /// Folders by name or by id; all of bob's in his name.
    fn subscribe_body(
        &mut self,
        mailbox: usize,
        kinds: &[&str],
        folders: Option<&BTreeSet<String>>,
        how: How,
        after: Option<&str>,
    ) -> String {
        let account = self.mailboxes[mailbox].account;
        let folder = |id: &String| match FOLDERS.contains(&id.as_str()) && self.random.below(2) == 0 {
            true => format!(
                r#"<t:DistinguishedFolderId Id="{id}"><t:Mailbox><t:EmailAddress>{account}</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>"#
            ),
            false => format!(r#"<t:FolderId Id="{}"/>"#, folder_id(account, id)),
        };
        let named = folders.map(|folders| folders.iter().map(folder).collect::<String>());
        let named = named.map(|folders| format!("<t:FolderIds>{folders}</t:FolderIds>"));
        let wanted: String = kinds.iter().map(|kind| format!("<t:EventType>{kind}</t:EventType>")).collect();
        let wanted = format!("<t:EventTypes>{wanted}</t:EventTypes>");
        let named = named.as_deref().unwrap_or(ews::ALL_FOLDERS);
        let operation = match how {
            How::Pull => ews::subscribe_pull(named),
            How::Streaming => ews::subscribe_streaming(named),
            How::Push { minutes } => ews::subscribe_push(named, minutes as u32, URL),
        };
        let after = after.map(|watermark| format!("<t:Watermark>{watermark}</t:Watermark>")).unwrap_or_default();
        let body = envelope(&operation.replace(ews::EVENT_TYPES, &format!("{wanted}{after}")));
        if folders.is_some() {
            return body;
        }
        let name = format!("<t:PrimarySmtpAddress>{account}</t:PrimarySmtpAddress>");
        let acting =
            format!("<t:ExchangeImpersonation><t:ConnectingSID>{name}</t:ConnectingSID></t:ExchangeImpersonation>");
        body.replace("</s:Header>", &format!("{acting}</s:Header>"))
    }

    /// Alice asks what has one answer, which comes at once.
    fn ask(&mut self, operation: &str, body: &str) -> Result<Message> {
        let request = self.request(body);
        let (mut others, _) = self.feed(|notify, at| notify.answer(at, &request))?;
        ensure!(others.len() == 1 && others[0].to == request.id && !others[0].more, "{others:?}");
        let reply = others.remove(0);
        let headers = reply.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let answer = Answer { head: Head { status: reply.status, headers }, body: String::from_utf8(reply.body)? };
        schemas::judge(&answer.body)?;
        Ok(strict_reader::messages(&answer, operation)?.remove(0))
    }

    fn request(&mut self, body: &str) -> Request {
        self.requests += 1;
        let account = |name: &str| Account { id: name.into(), name: name.into(), aliases: vec![] };
        let resolve = |named: AccountName| {
            let (AccountName::Name(name)
            | AccountName::Id(name)
            | AccountName::Address(name)
            | AccountName::PrincipalName(name)
            | AccountName::Sid(name)) = named;
            let standing = if name == ALICE { Standing::Itself } else { Standing::Permitted };
            Resolution { account: Some(account(&name)), standing }
        };
        let claims = postbell_notify::identify(&RequestHead::default(), body.as_bytes());
        Request {
            id: self.requests,
            head: RequestHead::default(),
            body: body.as_bytes().to_vec(),
            access: Access::Granted(Grant {
                account: account(ALICE),
                rank: Rank::User,
                visit: "v1".into(),
                token_placeholder: None,
                token_lifetime_ms: 0,
            }),
            act_as: claims.act_as.map(resolve),
            accounts: claims.accounts.into_iter().map(resolve).collect(),
        }
    }

    /// The client may lose the answer, or take a part of it for all: it asks again from there.
    pub(super) fn poll(&mut self, id: &str, take: Option<usize>) -> Result<()> {
        let Way::Pull { watermark, .. } = &self.subscriptions[id].way else { return Ok(()) };
        let body = envelope(&ews::get_events(id, watermark));
        let message = self.ask("GetEvents", &body)?;
        let subscription = self.subscriptions.get_mut(id).context("it exists")?;
        if message.code == "ErrorSubscriptionNotFound" {
            ensure!(subscription.may_be_over(self.moment.now), "it lives");
            self.subscriptions.remove(id);
            return Ok(());
        }
        ensure!(!subscription.must_be_over(self.moment.now), "it should be over: {message:?}");
        if message.code == "NoError" {
            subscription.use_at(self.moment.now);
        }
        let random = &mut self.random;
        let taken = |told: usize| {
            take.map(|most| most.min(told)).unwrap_or_else(|| match random.below(4) {
                0 => 0,
                1 => random.below(told as u64 + 1) as usize,
                _ => told,
            })
        };
        self.told.polls += 1;
        let log = &self.logs[subscription.mailbox];
        let polled = subscription.polled(message.clone(), log, &mut self.watermarks, taken);
        polled.with_context(|| format!("{message:?}"))?;
        if subscription.missed_for_good() {
            ensure!(message.code == "ErrorInvalidWatermark", "{message:?}");
            self.told.misses += 1;
            if self.random.below(2) == 0 {
                return self.unsubscribe(id);
            }
        }
        Ok(())
    }

    pub(super) fn listen(&mut self, ids: &[String]) -> Result<()> {
        let now = self.moment.now;
        let minutes = [1, 2, 30][self.random.below(3) as usize];
        let named: Vec<&str> = ids.iter().map(String::as_str).collect();
        let request = self.request(&envelope(&ews::get_streaming_events(&named, minutes)));
        // Those that may be over or not are used only when they surely are one of both.
        let in_doubt =
            |id: &&String| self.subscriptions.get(*id).is_some_and(|it| it.may_be_over(now) && !it.must_be_over(now));
        if ids.iter().any(|id| in_doubt(&id)) {
            return Ok(());
        }
        let is_good = |id: &&String| self.subscriptions.get(*id).is_some_and(|it| !it.must_be_over(now));
        let (good, bad): (Vec<_>, Vec<_>) = ids.iter().partition(is_good);
        let [good, bad] = [good, bad].map(|ids| ids.into_iter().cloned().collect::<Vec<_>>());
        for id in &bad {
            self.subscriptions.remove(id);
        }
        for stream in self.streams.values_mut() {
            for id in &good {
                if stream.has(id) {
                    stream.lose(id, "ErrorNewEventStreamConnectionOpened");
                }
            }
        }
        let stream = Stream::new(request.id, good, bad, now + u64::from(minutes) * 60_000);
        stream.join(&mut self.subscriptions);
        self.streams.insert(request.id, stream);
        self.feed_quietly(|notify, at| notify.answer(at, &request)).map(drop)
    }

    pub(super) fn unsubscribe(&mut self, id: &str) -> Result<()> {
        let now = self.moment.now;
        let subscription = self.subscriptions.remove(id).context("it exists")?;
        for stream in self.streams.values_mut().filter(|stream| stream.has(id)) {
            stream.lose(id, "ErrorInvalidSubscription");
        }
        let message = self.ask("Unsubscribe", &envelope(&ews::unsubscribe(id)))?;
        match message.code.as_str() {
            "NoError" => ensure!(!subscription.must_be_over(now), "it should be over"),
            _ => ensure!(message.code == "ErrorSubscriptionNotFound" && subscription.may_be_over(now), "{message:?}"),
        }
        let message = self.ask("Unsubscribe", &envelope(&ews::unsubscribe(id)))?;
        ensure!(message.code == "ErrorSubscriptionNotFound", "{message:?}");
        Ok(())
    }
}
