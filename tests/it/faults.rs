//! A plugin that fails loses one input and nothing else.

use anyhow::Result;
use postbell::contract::changes::{AccountChanges, Batch};
use postbell::plugin::InstanceLimits;
use postbell::tenant::{IngestError, Limits, SourceSpan};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::histories::delivery;

const ALICE: &str = "alice@example.org";

fn span(offset: u64) -> Option<SourceSpan> {
    Some(SourceSpan { source: "imap-1".into(), offset, length: 1 })
}

/// Changes that need more memory than the instance may have.
fn too_much() -> Batch {
    let long = "x".repeat(2 << 10);
    let changes = (0..4_000).flat_map(|number| {
        let batch = delivery(ALICE, &format!("{long}{number}"), 2);
        batch.accounts.into_iter().flat_map(|account| account.changes)
    });
    Batch { accounts: vec![AccountChanges { account: ALICE.into(), changes: changes.collect() }], book: vec![] }
}

#[tokio::test]
async fn the_tenant_goes_on() -> Result<()> {
    let host = Host::new(HostOptions { instances: 20, ..HostOptions::default() })?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let instance = InstanceLimits { memory_bytes: 4 << 20, ..InstanceLimits::default() };
    let limits = Limits { instance, ..Limits::default() };
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, limits })?;

    assert!(tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await.is_ok());
    let failed = tenant.ingest(too_much(), span(1)).await;
    assert!(matches!(failed, Err(IngestError::Fault(_))), "{failed:?}");
    assert_eq!(tenant.statistics().faults.get("memory"), Some(&1));

    assert_eq!(tenant.source_offset("imap-1").await, Ok(1), "the batch was not applied");
    let events = |gauges: Vec<postbell::contract::lifecycle::Gauge>| {
        gauges.iter().find(|gauge| gauge.name == "history_events").map(|gauge| gauge.value)
    };
    assert_eq!(events(tenant.inspect().await), Some(3.0), "what came before is there");
    assert!(tenant.ingest(delivery(ALICE, "m2", 3), span(1)).await.is_ok());
    assert_eq!(events(tenant.inspect().await), Some(6.0));
    Ok(())
}

#[tokio::test]
async fn snapshots_stand_for_what_they_replace() -> Result<()> {
    let host = Host::new(HostOptions { instances: 20, ..HostOptions::default() })?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let limits = Limits { inputs_between_snapshots: 7, ..Limits::default() };
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings: settings.clone(), limits })?;
    for number in 0..40 {
        assert!(tenant.ingest(delivery(ALICE, &format!("m{number}"), number), span(number)).await.is_ok());
    }
    let before = tenant.inspect().await;
    tenant.close().await;
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
    assert_eq!(tenant.inspect().await, before);
    assert_eq!(tenant.source_offset("imap-1").await, Ok(40));
    Ok(())
}
