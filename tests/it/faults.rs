//! A plugin that fails loses one change and nothing else.

use std::sync::Arc;

use anyhow::Result;
use postbell::contract::changes::{AccountChanges, Batch, Happening};
use postbell::contract::types::Place;
use postbell::journal::Input;
use postbell::plugin::InstanceLimits;
use postbell::tenant::{IngestError, Limits, Retention, SourceSpan};
use postbell::{OpenError, TenantOptions};
use postbell_tests::embedded::{
    self, ALICE, Alteration, Commanded, get_events, host, open, request, span, subscribe, whole,
};
use postbell_tests::eventually;
use postbell_tests::histories::{self, delivery};

/// Messages of these ids arrive.
fn messages(ids: &[&str]) -> Batch {
    let changes = ids.iter().flat_map(|id| delivery(ALICE, id, 2).accounts.remove(0).changes);
    Batch { accounts: vec![AccountChanges { account: ALICE.into(), changes: changes.collect() }], book: vec![] }
}

fn small() -> TenantOptions {
    let instance = InstanceLimits { memory_bytes: 4 << 20, ..InstanceLimits::default() };
    let limits = Limits { instance, ..Limits::default() };
    TenantOptions { limits, ..TenantOptions::default() }
}

#[tokio::test]
async fn the_culprit_of_a_batch_is_skipped_and_the_rest_applied() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let host = host(journal.clone());
    let tenant = open(&host, small())?;
    assert!(tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.is_ok());
    let (id, watermark) = subscribe(&tenant).await;

    // More than fits into the instance's memory.
    let culprit = "x".repeat(5 << 20);
    let batch = messages(&["m2", "m3", "m4", &culprit, "m6", "m7"]);
    let three = SourceSpan { source: "imap-1".into(), offset: 1, length: 3 };
    let ingested = tenant.ingest(batch, Some(three)).await?;
    let [rejection] = &ingested.rejections[..] else { panic!("{:?}", ingested.rejections.len()) };
    assert_eq!(rejection.place, Place::Change((0, 3)));
    assert!(rejection.reason.contains("memory"), "{}", rejection.reason);
    assert!(tenant.statistics().faults["memory"] >= 3, "it was halved");
    assert_eq!(tenant.source_offset("imap-1").await, Ok(4));

    let skipped: Vec<_> = journal.records().into_iter().filter_map(|record| skipped(&record.input)).collect();
    let [(gap, skipped)] = &skipped[..] else { panic!("{} skipped", skipped.len()) };
    assert_eq!(gap.accounts[0].changes[0].what, Happening::Gap);
    assert_eq!(*skipped, messages(&[&culprit]));

    // What came before and the rest are there, also for the next life.
    let state = tenant.inspect().await;
    tenant.close().await;
    let tenant = open(&host, small())?;
    assert_eq!(tenant.inspect().await, state);
    assert_eq!(tenant.source_offset("imap-1").await, Ok(4));
    let told = get_events(&tenant, &id, &watermark).await;
    assert!(told.contains("ErrorInvalidWatermark"), "the gap sends its clients to look again: {told}");
    Ok(())
}

/// The journal fails while the batch is halved: its source hears that nothing of it was applied, and so it is.
#[tokio::test]
async fn a_batch_that_cannot_be_halved_leaves_no_trace() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let host = host(journal.clone());
    let tenant = open(&host, small())?;
    assert!(tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.is_ok());
    let (id, watermark) = subscribe(&tenant).await;
    let before = journal.records().len();
    // The first half is taken before the culprit is met again, and then nothing can be read any more.
    let batch = messages(&["m2", "m3", "m4", &"x".repeat(5 << 20)]);
    let four = || Some(SourceSpan { source: "imap-1".into(), offset: 1, length: 4 });
    journal.alter(Alteration { tells: Some(1), ..Alteration::default() });
    let failed = tenant.ingest(batch, four()).await;
    assert!(matches!(failed, Err(IngestError::Journal(_))), "{failed:?}");
    journal.alter(Alteration::default());
    // The next input takes nothing with it.
    eventually(async || tenant.source_offset("imap-1").await == Ok(1)).await?;
    assert!(tenant.ingest(delivery(ALICE, "m5", 5), None).await.is_ok());
    assert_eq!(journal.records().len(), before + 1);
    assert!(tenant.ingest(messages(&["m2", "m3", "m4", "m6"]), four()).await.is_ok());
    assert_eq!(get_events(&tenant, &id, &watermark).await.matches("<t:NewMailEvent>").count(), 5);
    Ok(())
}

fn skipped(input: &Input) -> Option<(Batch, Batch)> {
    match input {
        Input::Ingest { batch, skipped: Some(skipped), .. } => Some((batch.clone(), skipped.batch.clone())),
        _ => None,
    }
}

#[tokio::test]
async fn a_request_that_fails_leaves_no_trace() -> Result<()> {
    let host = host(Arc::new(Commanded::default()));
    let tenant = open(&host, small())?;
    assert!(tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.is_ok());
    let (id, watermark) = subscribe(&tenant).await;
    let failed = tenant.request(request("x".repeat(5 << 20))).await;
    assert!(failed.is_err());
    assert_eq!(tenant.statistics().faults["memory"], 1);
    assert!(tenant.ingest(delivery(ALICE, "m2", 2), span(1)).await.is_ok());
    assert_eq!(get_events(&tenant, &id, &watermark).await.matches("<t:NewMailEvent>").count(), 1);
    Ok(())
}

#[tokio::test]
async fn snapshots_stand_for_what_they_replace() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let host = host(journal.clone());
    let retention = Retention { snapshot_inputs: 7, ..Retention::default() };
    let limits = Limits { retention, ..Limits::default() };
    let tenant = open(&host, TenantOptions { limits, ..TenantOptions::default() })?;
    for number in 0..40 {
        assert!(tenant.ingest(delivery(ALICE, &format!("m{number}"), number), span(number)).await.is_ok());
    }
    // The follower takes its snapshots when it comes to it: until two are there, nothing is cut.
    let mut number = 40;
    while journal.first() == 1 {
        assert!(tenant.ingest(delivery(ALICE, &format!("m{number}"), number), span(number)).await.is_ok());
        number += 1;
    }
    let before = tenant.inspect().await;
    tenant.close().await;
    let tenant = open(&host, TenantOptions::default())?;
    assert_eq!(tenant.inspect().await, before);
    assert_eq!(tenant.source_offset("imap-1").await, Ok(number));
    Ok(())
}

/// One that is due while another is under way is taken after it, though nothing more comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_follows_another() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    journal.alter(Alteration { holds_snapshots: true, ..Alteration::default() });
    let host = host(journal.clone());
    let retention = Retention { snapshot_inputs: 5, ..Retention::default() };
    let limits = Limits { retention, ..Limits::default() };
    let tenant = open(&host, TenantOptions { limits, ..TenantOptions::default() })?;
    for number in 0..20 {
        assert!(tenant.ingest(delivery(ALICE, &format!("m{number}"), number), span(number)).await.is_ok());
    }
    assert_eq!(tenant.statistics().snapshot, 0, "the first one is held");
    journal.alter(Alteration::default());
    // Of all, `open` included.
    postbell_tests::eventually(async || tenant.statistics().snapshot == 21).await
}

#[tokio::test]
async fn a_replay_that_differs_is_refused_unless_it_is_accepted() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let first = host(journal.clone());
    let tenant = open(&first, TenantOptions::default())?;
    assert!(tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.is_ok());
    tenant.close().await;
    journal.alter(Alteration { digest_at: Some(2), ..Alteration::default() });
    match open(&host(journal.clone()), TenantOptions::default()) {
        Err(OpenError::History(why)) => assert!(why.contains("at sequence 2 "), "{why}"),
        other => panic!("{other:?}"),
    }
    let accepting = embedded::accepting_host(journal);
    let tenant = open(&accepting, TenantOptions::default())?;
    assert_eq!(tenant.source_offset("imap-1").await, Ok(1));
    Ok(())
}

#[tokio::test]
async fn clients_are_told_of_a_state_that_has_regressed() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let first = host(journal.clone());
    let tenant = open(&first, TenantOptions::default())?;
    assert!(tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.is_ok());
    let (id, watermark) = subscribe(&tenant).await;
    tenant.close().await;
    journal.alter(Alteration { regressed: true, ..Alteration::default() });
    let second = host(journal);
    let tenant = open(&second, TenantOptions::default())?;
    let told = whole(tenant.request(request(histories::get_events(&id, &watermark))).await);
    assert!(told.contains("ErrorInvalidWatermark"), "{told}");
    Ok(())
}
