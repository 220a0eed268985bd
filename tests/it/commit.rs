//! What leaves a tenant, and when: a reaction waits for the commit of every input before it, and a failed append takes
//! with it what was built on it. Held with a journal that does what the test says.

use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;

use anyhow::Result;
use postbell::contract::changes::Account;
use postbell::contract::requests::{Access, Grant, Rank};
use postbell::journal::{Append, Journal, JournalError, MemoryJournal, Record, Seat, SeatFacts, Snapshot, SourceSpan};
use postbell::tenant::{Answer, Body, IngestError, Request, RequestError, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::histories::{self, delivery};

const ALICE: &str = "alice@example.org";

/// A journal in memory whose appends wait while it is stalled, and fail while it is broken.
#[derive(Default)]
struct Commanded {
    memory: MemoryJournal,
    mode: Mutex<Mode>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mode {
    #[default]
    Works,
    Stalls,
    Breaks,
}

impl Commanded {
    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }
}

impl Journal for Commanded {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        let mode = self.mode.lock().unwrap();
        let mode = *self.changed.wait_while(mode, |mode| *mode == Mode::Stalls).unwrap();
        match mode {
            Mode::Breaks => appends.iter().map(|_| Err(JournalError::Store("no space left".into()))).collect(),
            Mode::Works | Mode::Stalls => self.memory.append(appends),
        }
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        self.memory.read(seat, from)
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        self.memory.facts(seat)
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        self.memory.seats()
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        self.memory.put_snapshot(seat, snapshot)
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        self.memory.snapshot(seat, sequence)
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        self.memory.cut(seat, horizon)
    }
}

fn tenant() -> (Arc<Commanded>, Host, Tenant) {
    let journal = Arc::new(Commanded::default());
    let options = HostOptions { journal: journal.clone(), instances: 20, ..HostOptions::default() };
    let host = Host::new(options).expect("this machine runs the engine");
    let plugin = host.load(postbell::plugin::bundled()).expect("the built-in plugin loads");
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() });
    (journal, host, tenant.expect("the tenant opens"))
}

fn request(body: String) -> Request {
    let request = histories::request(0, ALICE, body);
    let account = Account { id: ALICE.into(), name: ALICE.into(), aliases: vec![] };
    let visit = "v1".into();
    let grant = Grant { account, rank: Rank::User, visit, token_placeholder: None, token_lifetime_ms: 0 };
    Request {
        head: request.head,
        body: request.body.into(),
        access: Access::Granted(grant),
        act_as: None,
        accounts: vec![],
    }
}

async fn whole(answer: Result<Answer, RequestError>) -> String {
    match answer.expect("an answer").body {
        Body::Whole(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Body::Parts(_) => panic!("this answer comes at once"),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let start = text.find(before).unwrap_or_else(|| panic!("no {before} in {text}")) + before.len();
    &text[start..start + text[start..].find(after).expect("it ends")]
}

async fn subscribe(tenant: &Tenant) -> (String, String) {
    let answer = whole(tenant.request(request(histories::subscribe_pull("inbox"))).await).await;
    let id = between(&answer, "<m:SubscriptionId>", "<").to_owned();
    (id, between(&answer, "<m:Watermark>", "<").to_owned())
}

fn span(offset: u64) -> Option<SourceSpan> {
    Some(SourceSpan { source: "imap-1".into(), offset, length: 1 })
}

/// Folders that the account has, so that subscriptions can name them.
async fn with_inbox(tenant: &Tenant) {
    let ingested = tenant.ingest(delivery(ALICE, "first", 1), span(0)).await.expect("it is applied");
    assert_eq!(ingested.rejections, []);
}

#[tokio::test]
async fn nothing_leaves_before_the_commit() -> Result<()> {
    let (journal, _host, tenant) = tenant();
    with_inbox(&tenant).await;
    let (id, watermark) = subscribe(&tenant).await;
    journal.set(Mode::Stalls);

    let mut change = Box::pin(tenant.ingest(delivery(ALICE, "m1", 2), span(1)));
    let mut poll = Box::pin(tenant.request(request(histories::get_events(&id, &watermark))));
    let mut unknown = Box::pin(tenant.request(request(histories::get_events("unknown", &watermark))));
    let mut offset = Box::pin(tenant.source_offset("imap-1"));
    futures_pending(&mut change).await;
    futures_pending(&mut poll).await;
    futures_pending(&mut unknown).await;
    futures_pending(&mut offset).await;
    // Inputs are fed while the journal stalls: the plugin's own gauges show it. What they brought has not left.
    while gauge(&tenant, "history_events").await < 6.0 {}
    futures_pending(&mut change).await;
    futures_pending(&mut poll).await;
    futures_pending(&mut unknown).await;
    futures_pending(&mut offset).await;

    journal.set(Mode::Works);
    assert!(change.await.is_ok());
    assert!(whole(poll.await).await.contains("NewMailEvent"));
    assert!(whole(unknown.await).await.contains("ErrorSubscriptionNotFound"));
    assert_eq!(offset.await, Ok(2));
    Ok(())
}

/// Polls once; it must not be ready.
async fn futures_pending<F: std::future::Future + Unpin>(future: &mut F)
where
    F::Output: std::fmt::Debug,
{
    let polled = std::future::poll_fn(|context| {
        Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    });
    if let Some(output) = polled.await {
        panic!("it left before the commit: {output:?}");
    }
}

async fn gauge(tenant: &Tenant, name: &str) -> f64 {
    let gauges = tenant.inspect().await;
    gauges.iter().find(|gauge| gauge.name == name).map_or(0.0, |gauge| gauge.value)
}

#[tokio::test]
async fn a_failed_append_voids_what_was_built_on_it() -> Result<()> {
    let (journal, _host, tenant) = tenant();
    with_inbox(&tenant).await;
    let (id, watermark) = subscribe(&tenant).await;
    journal.set(Mode::Breaks);
    let failed = tenant.ingest(delivery(ALICE, "lost", 2), span(1)).await;
    assert_eq!(failed, Err(IngestError::Journal("no space left".into())));
    journal.set(Mode::Works);

    assert_eq!(tenant.source_offset("imap-1").await, Ok(1), "the offset is what is committed");
    let events = whole(tenant.request(request(histories::get_events(&id, &watermark))).await).await;
    assert!(events.contains("StatusEvent"), "nobody hears of what was not committed: {events}");
    assert!(tenant.ingest(delivery(ALICE, "again", 3), span(1)).await.is_ok());
    let events = whole(tenant.request(request(histories::get_events(&id, &watermark))).await).await;
    assert_eq!(events.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_source_is_applied_once() -> Result<()> {
    let (_journal, _host, tenant) = tenant();
    with_inbox(&tenant).await;
    let (id, watermark) = subscribe(&tenant).await;
    for _ in 0..3 {
        assert!(tenant.ingest(delivery(ALICE, "m1", 2), span(1)).await.is_ok());
    }
    assert_eq!(tenant.ingest(delivery(ALICE, "m9", 2), span(9)).await, Err(IngestError::Gap { expected: 2 }));
    let two = Some(SourceSpan { source: "imap-1".into(), offset: 1, length: 2 });
    assert_eq!(tenant.ingest(delivery(ALICE, "m1", 2), two).await, Err(IngestError::Overlap { known: 1 }));
    let events = whole(tenant.request(request(histories::get_events(&id, &watermark))).await).await;
    assert_eq!(events.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_tenant_opens_again_where_it_was() -> Result<()> {
    let (_journal, host, tenant) = tenant();
    with_inbox(&tenant).await;
    let (id, watermark) = subscribe(&tenant).await;
    assert!(tenant.ingest(delivery(ALICE, "m1", 2), span(1)).await.is_ok());
    let plugin = tenant.plugin().clone();
    assert!(host.open("example.org", &plugin, TenantOptions::default()).is_err(), "it is open already");
    tenant.close().await;
    assert_eq!(tenant.source_offset("imap-1").await, Err(IngestError::Closed));

    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
    assert_eq!(tenant.source_offset("imap-1").await, Ok(2));
    let events = whole(tenant.request(request(histories::get_events(&id, &watermark))).await).await;
    assert_eq!(events.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}
