//! What leaves a tenant, and when: only what is committed, in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;

use anyhow::{Context, Result, ensure};
use postbell::clock::ManualClock;
use postbell::contract::requests::Refusal;
use postbell::journal::Input;
use postbell::tenant::{Body, IngestError, Limits, Parts, RequestError, SourceSpan, Tenant};
use postbell::{Host, TenantOptions};
use postbell_tests::PATIENCE;
use postbell_tests::embedded::{
    self, ALICE, Alteration, Commanded, Mode, between, gauge, get_events, open, request, span, subscribe, whole,
};
use postbell_tests::ews::item_id;
use postbell_tests::histories::{self, delivery};

fn tenant() -> (Arc<Commanded>, Host, Tenant) {
    tenant_with(Limits::default())
}

fn tenant_with(limits: Limits) -> (Arc<Commanded>, Host, Tenant) {
    let journal = Arc::new(Commanded::default());
    let host = embedded::host(journal.clone());
    let tenant = open(&host, TenantOptions { limits, ..TenantOptions::default() }).expect("the tenant opens");
    (journal, host, tenant)
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
    let streaming = whole(tenant.request(request(histories::subscribe_streaming())).await);
    let streaming = between(&streaming, "<m:SubscriptionId>", "<").to_owned();
    journal.set(Mode::Stalls);

    let mut change = Box::pin(tenant.ingest(delivery(ALICE, "m1", 2), span(1)));
    futures_pending(&mut change).await;
    let bodies = [
        histories::get_events(&id, &watermark),
        histories::get_events("unknown", &watermark),
        histories::subscribe_pull("inbox"),
        histories::subscribe_streaming(),
        histories::get_streaming_events(&streaming, &streaming, 1),
        histories::unsubscribe("unknown"),
        histories::envelope("<m:GetFolder/>"),
        "no XML at all".to_owned(),
    ];
    let mut answers: Vec<_> = bodies.map(|body| Box::pin(tenant.request(request(body)))).into();
    let mut offset = Box::pin(tenant.source_offset("imap-1"));
    let mut configured = Box::pin(tenant.configure(vec![("domains".into(), "example.org".into())]));
    // Inputs are fed while the journal stalls: the plugin's own gauges show it. What they brought has not left.
    for fed in [false, true] {
        while fed && gauge(&tenant, "history_events").await < 6.0 {}
        for answer in &mut answers {
            futures_pending(answer).await;
        }
        futures_pending(&mut change).await;
        futures_pending(&mut offset).await;
        futures_pending(&mut configured).await;
    }

    journal.set(Mode::Works);
    assert!(change.await.is_ok());
    let mut answers = answers.into_iter();
    let mut next = || answers.next().expect("there are more");
    assert!(whole(next().await).contains("NewMailEvent"));
    assert!(whole(next().await).contains("ErrorSubscriptionNotFound"));
    for answer in answers {
        assert!(answer.await.is_ok());
    }
    assert_eq!(offset.await, Ok(2));
    assert_eq!(configured.await, Ok(()));
    Ok(())
}

/// Polls once; it must not be ready.
async fn futures_pending<F: std::future::Future + Unpin>(future: &mut F)
where
    F::Output: std::fmt::Debug,
{
    if let Some(output) = polled(future).await {
        panic!("it left before the commit: {output:?}");
    }
}

/// Polls once.
async fn polled<F: std::future::Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let poll = std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context)));
    match poll.await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
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
    let events = get_events(&tenant, &id, &watermark).await;
    assert!(events.contains("StatusEvent"), "nobody hears of what was not committed: {events}");
    assert!(tenant.ingest(delivery(ALICE, "again", 3), span(1)).await.is_ok());
    let events = get_events(&tenant, &id, &watermark).await;
    assert_eq!(events.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}

/// A store's answer may be lost, and nobody is sent what that append brought: so no client may count as having it, however many
/// parts it has acknowledged.
#[tokio::test]
async fn what_was_stored_though_its_append_failed_comes_to_clients() -> Result<()> {
    let (journal, _host, tenant) = tenant();
    with_inbox(&tenant).await;
    let streaming = whole(tenant.request(request(histories::subscribe_streaming())).await);
    let id = between(&streaming, "<m:SubscriptionId>", "<").to_owned();
    let mut stream = open_stream(&tenant, &id).await?;
    let mut receipt = stream.receipt().context("a receipt")?;
    ensure!(stream.next().await.context("it has begun")?.is_ok());
    journal.set(Mode::AnswersWrongOnce);
    let span = |offset| Some(SourceSpan { source: "stored".into(), offset, length: 1 });
    let failed = tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await;
    ensure!(matches!(failed, Err(IngestError::Journal(_))), "{failed:?}");
    while tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.is_err() {}
    tenant.ingest(delivery(ALICE, "m2", 2), span(1)).await?;
    let mut heard = String::new();
    while !heard.contains(&item_id(ALICE, "m2")) {
        match stream.next().await {
            Some(Ok(part)) => heard += std::str::from_utf8(&part)?,
            _ => stream = open_stream(&tenant, &id).await?,
        }
        receipt.acknowledge(1);
    }
    drop((stream, receipt));
    let mut stream = open_stream(&tenant, &id).await?;
    tenant.ingest(delivery(ALICE, "m3", 3), span(2)).await?;
    while !heard.contains(&item_id(ALICE, "m3")) {
        heard += std::str::from_utf8(&stream.next().await.context("it goes on")??)?;
    }
    ensure!(heard.contains(&item_id(ALICE, "m1")), "{heard}");
    Ok(())
}

async fn open_stream(tenant: &Tenant, id: &str) -> Result<Parts> {
    let stream = tenant.request(request(histories::get_streaming_events(id, id, 30))).await?;
    match stream.body {
        Body::Parts(parts) => Ok(parts),
        Body::Whole(whole) => anyhow::bail!("a stream comes in parts: {whole:?}"),
    }
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
    let events = get_events(&tenant, &id, &watermark).await;
    assert_eq!(events.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_source_need_not_wait_for_one_batch_before_it_sends_the_next() -> Result<()> {
    let (journal, _host, tenant) = tenant();
    with_inbox(&tenant).await;
    let (id, watermark) = subscribe(&tenant).await;
    journal.set(Mode::Stalls);
    let mut first = Box::pin(tenant.ingest(delivery(ALICE, "m1", 2), span(1)));
    let mut second = Box::pin(tenant.ingest(delivery(ALICE, "m2", 3), span(2)));
    futures_pending(&mut first).await;
    futures_pending(&mut second).await;
    journal.set(Mode::Works);
    let (first, second) = (first.await?, second.await?);
    assert_eq!(second.sequence, first.sequence + 1);
    let events = get_events(&tenant, &id, &watermark).await;
    let places = ["m1", "m2"].map(|item| events.find(&item_id(ALICE, item)));
    ensure!(places[0].is_some() && places[0] < places[1], "{events}");

    journal.set(Mode::BreaksOnce);
    let (third, fourth) = (delivery(ALICE, "m3", 4), delivery(ALICE, "m4", 5));
    let (refused, behind) = tokio::join!(tenant.ingest(third.clone(), span(3)), tenant.ingest(fourth.clone(), span(4)));
    ensure!(matches!(refused, Err(IngestError::Journal(_))), "{refused:?}");
    ensure!(matches!(behind, Err(IngestError::Journal(_) | IngestError::Gap { expected: 3 })), "{behind:?}");
    let (again, behind) = tokio::join!(tenant.ingest(third, span(3)), tenant.ingest(fourth, span(4)));
    assert_eq!(behind?.sequence, again?.sequence + 1);
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

    let tenant = open(&host, TenantOptions::default())?;
    assert_eq!(tenant.source_offset("imap-1").await, Ok(2));
    let events = get_events(&tenant, &id, &watermark).await;
    assert_eq!(events.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}

/// The clock was set back over the restart, to the very moment at which the first life began.
#[tokio::test]
async fn no_request_has_the_number_of_an_earlier_one() -> Result<()> {
    const BEGINNING: u64 = 1_795_296_510_624;
    let (journal, clock) = (Arc::new(Commanded::default()), Arc::new(ManualClock::at(BEGINNING)));
    let host = embedded::host_at(journal.clone(), clock.clone());
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let tenant = open(&host, TenantOptions::default())?;
        with_inbox(&tenant).await;
        for _ in 0..3 {
            clock.advance(1);
            ids.insert(subscribe(&tenant).await.0);
        }
        tenant.close().await;
        clock.set_wall(BEGINNING);
    }
    assert_eq!(ids.len(), 9, "each subscription has an id of its own");
    let answers = journal.records().into_iter().filter_map(|record| match &*record.input {
        Input::Answer(request) => Some(request.id),
        _ => None,
    });
    assert_eq!(answers.collect::<BTreeSet<_>>().len(), 9);
    Ok(())
}

#[tokio::test]
async fn what_waits_for_the_journal_is_bounded() -> Result<()> {
    let (journal, _host, tenant) = tenant_with(Limits { uncommitted_inputs: 4, ..Limits::default() });
    with_inbox(&tenant).await;
    journal.set(Mode::Stalls);
    let mut waiting = Vec::new();
    for number in 1.. {
        let mut change = Box::pin(tenant.ingest(delivery(ALICE, &format!("m{number}"), number), span(number)));
        // Whether it was fed or refused shows once a look that was sent after it is answered.
        let mut outcome = polled(&mut change).await;
        tenant.inspect().await;
        if outcome.is_none() {
            outcome = polled(&mut change).await;
        }
        match outcome {
            None => waiting.push(change),
            Some(refused) => {
                assert_eq!(refused, Err(IngestError::Busy));
                break;
            }
        }
    }
    assert!((1..=4).contains(&waiting.len()), "{}", waiting.len());
    let refused = tenant.request(request(histories::subscribe_pull("inbox"))).await;
    assert!(matches!(refused, Err(RequestError::Refused(Refusal::Busy))), "{refused:?}");
    assert!(tenant.statistics().refusals["uncommitted"] >= 2);
    journal.set(Mode::Works);
    for change in waiting {
        assert!(change.await.is_ok());
    }
    Ok(())
}

#[tokio::test]
async fn a_journal_that_stays_broken_is_asked_again_and_nothing_is_lost() -> Result<()> {
    let (journal, _host, tenant) = tenant();
    with_inbox(&tenant).await;
    let (id, watermark) = subscribe(&tenant).await;
    journal.set(Mode::Breaks);
    for _ in 0..3 {
        let failed = tenant.ingest(delivery(ALICE, "m1", 2), span(1)).await;
        assert_eq!(failed, Err(IngestError::Journal("no space left".into())));
    }
    journal.set(Mode::Works);
    while tenant.ingest(delivery(ALICE, "m1", 2), span(1)).await.is_err() {}
    let events = get_events(&tenant, &id, &watermark).await;
    assert_eq!(events.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_the_journal_fails_at_its_opening_opens_once_it_works() -> Result<()> {
    let unreadable = Alteration { unreadable: true, ..Alteration::default() };
    for (mode, alteration) in [(Mode::Breaks, Alteration::default()), (Mode::Works, unreadable)] {
        let (journal, clock) = (Arc::new(Commanded::default()), Arc::new(ManualClock::at(1_800_000_000_000)));
        journal.set(mode);
        journal.alter(alteration);
        let host = embedded::host_at(journal.clone(), clock.clone());
        let (opened, mut result) = tokio::sync::oneshot::channel();
        let plugin = host.load(postbell::plugin::bundled())?;
        let settings = vec![("domains".to_owned(), "example.org".to_owned())];
        let options = TenantOptions { settings, ..TenantOptions::default() };
        let tenant = host.open_later("example.org", &plugin, options, |outcome| drop(opened.send(outcome)))?;
        // Twice: what comes after the first retry, too.
        for _ in 0..2 {
            let refused = tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await;
            assert!(matches!(refused, Err(IngestError::Journal(_))), "{refused:?}");
            assert!(result.try_recv().is_err(), "it is neither open nor given up");
            clock.advance(60_000);
        }
        journal.set(Mode::Works);
        journal.alter(Alteration::default());
        let opening = async {
            while result.try_recv().ok().transpose()?.is_none() {
                clock.advance(60_000);
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, opening).await??;
        assert_eq!(tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.map(|ingested| ingested.repeated), Ok(false));
    }
    Ok(())
}
