//! What a tenant may not have: its client hears that it is too much for now, the limit's counter rises, and what was there
//! before goes on. (Limits that stop a plugin have their tests in `hostile.rs`.)

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use postbell::clock::ManualClock;
use postbell::contract::requests::Refusal;
use postbell::tenant::{Limits, RequestError, Retention, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::embedded::{self, Alteration, Commanded, Mode, span};
use postbell_tests::eventually;
use postbell_tests::ews::Client;
use postbell_tests::histories::delivery;
use postbell_tests::hostile::{Scene, ask, component, count, tight, until};
use postbell_tests::http::{Connection, request};
use postbell_tests::program::{Server, Start};

use crate::{PROGRAM, cheap_hash};

const BUSY: RequestError = RequestError::Refused(Refusal::Busy);

fn refused(tenant: &Tenant, limit: &str) -> u64 {
    count(&tenant.statistics().refusals, limit)
}

async fn ingest(tenant: &Tenant, number: u64) -> Result<()> {
    tenant.ingest(delivery("alice@example.org", "m", number), None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_requests() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("plain", Limits { open_requests: 2, ..tight() })?;
    let park = || {
        tokio::spawn({
            let tenant = tenant.clone();
            async move { ask(&tenant, "/park").await }
        })
    };
    let parked = [park(), park()];
    until(&tenant, "two parked", |figures| figures.open_requests == 2).await?;
    ensure!(ask(&tenant, "/").await? == Err(BUSY) && refused(&tenant, "open-requests") == 1);
    ingest(&tenant, 1).await?;
    for parked in parked {
        ensure!(parked.await??? == "a change", "who was there before is answered");
    }
    ensure!(ask(&tenant, "/").await??.parse::<u64>().is_ok(), "there is room again");
    scene.close(tenant).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_waiting() -> Result<()> {
    let scene = Scene::new().await?;
    let limits = Limits { inputs_waiting: 1, faults_per_minute: 1_000, ..tight() };
    let tenant = scene.open("endless_loop answer", limits)?;
    let mut asked = Vec::new();
    // Each that is taken keeps the next ones waiting.
    while refused(&tenant, "inputs-waiting") == 0 {
        let tenant = tenant.clone();
        asked.push(tokio::spawn(async move { ask(&tenant, "/").await }));
        tokio::task::yield_now().await;
    }
    let (mut failed, mut busy) = (0, 0);
    for asked in asked {
        match asked.await?? {
            Err(RequestError::Refused(Refusal::Fault)) => failed += 1,
            Err(refused) => {
                ensure!(refused == BUSY, "{refused}");
                busy += 1;
            }
            Ok(answer) => anyhow::bail!("it never answers, and yet: {answer}"),
        }
    }
    ensure!(failed > 0 && busy == refused(&tenant, "inputs-waiting"), "{failed} {busy}");
    scene.close(tenant).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_bytes() -> Result<()> {
    let scene = Scene::new().await?;
    // It never gives a snapshot that could stand for its history.
    let tenant = scene.open("bad_save garbage", Limits { journal_bytes: 4_096, ..tight() })?;
    let first = loop {
        if let Err(error) = ask(&tenant, "/").await? {
            break error;
        }
    };
    ensure!(first == BUSY && refused(&tenant, "journal-bytes") > 0, "{first}");
    let change = tenant.ingest(delivery("alice@example.org", "m", 1), None).await;
    ensure!(change == Err(postbell::tenant::IngestError::Busy), "{change:?}");
    scene.close(tenant).await?;

    let retention = Retention { snapshot_inputs: 1_000_000, snapshot_bytes: 4_096, ..Retention::default() };
    let tenant = scene.open("plain", Limits { journal_bytes: 16_384, retention, ..tight() })?;
    for number in 1..=500 {
        // A snapshot may be under way; it makes room.
        while let Err(error) = ask(&tenant, "/").await? {
            ensure!(error == BUSY, "{number}: {error}");
        }
    }
    ensure!(tenant.statistics().snapshot > 0);
    scene.close(tenant).await?;
    scene.end().await
}

/// Snapshots fail until nothing more is taken, and then they would succeed, and nothing else happens.
#[tokio::test]
async fn a_full_journal_is_emptied_once_it_can_be() -> Result<()> {
    let (clock, journal) = (Arc::new(ManualClock::at(1_800_000_000_000)), Arc::new(Commanded::default()));
    let host = embedded::host_at(journal.clone(), clock.clone());
    let retention = Retention { snapshot_inputs: 1, ..Retention::default() };
    let limits = Limits { journal_bytes: 4_096, retention, ..Limits::default() };
    let tenant = embedded::open(&host, TenantOptions { limits, ..TenantOptions::default() })?;
    journal.alter(Alteration { refuses_snapshots: true, ..Alteration::default() });
    let mut number = 0;
    let full = async |number: u64| {
        let taken = tenant.ingest(delivery("alice@example.org", &format!("m{number}"), number), span(number)).await;
        taken == Err(postbell::tenant::IngestError::Busy)
    };
    while !full(number).await {
        number += 1;
    }
    // Each is followed by another until one has failed of all that there is.
    let mut failures = 0;
    while tenant.statistics().snapshot_failures > failures {
        failures = tenant.statistics().snapshot_failures;
        for _ in 0..1_000 {
            tenant.source_offset("imap-1").await?;
        }
    }
    ensure!(failures > 0);
    journal.alter(Alteration::default());
    eventually(async || {
        clock.advance(10_000);
        !full(number).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_per_minute() -> Result<()> {
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let scene = Scene::at(clock.clone()).await?;
    let tenant = scene.open("broken_contract status-below", Limits { faults_per_minute: 3, ..tight() })?;
    for minute in 1..=2 {
        while refused(&tenant, "faults-per-minute") < minute {
            let error = ask(&tenant, "/break").await?.expect_err("it breaks a rule");
            ensure!(matches!(error, RequestError::Refused(_)), "{error}");
        }
        let error = ask(&tenant, "/").await?.expect_err("it has no instance");
        ensure!(matches!(error, RequestError::Refused(_)), "{error}");
        ensure!(count(&tenant.statistics().faults, "contract") <= 4 * minute, "{:?}", tenant.statistics().faults);
        scene.pass(&clock, 60_000).await?;
        ensure!(ask(&tenant, "/").await?? == minute.to_string(), "it is served again");
    }
    scene.close(tenant).await?;
    scene.end().await
}

/// A client hangs up while its final part waits for the journal: the part is nobody's, and the plugin is told that the
/// client is gone after it has answered. Nobody did wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_crosses_a_final_part_is_no_fault() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let options = HostOptions { journal: journal.clone(), instances: 20, shards: 1, ..postbell_tests::host_options() };
    let host = Host::new(options)?;
    let tenant = host.open("plain", &host.load(&component("plain"))?, TenantOptions::default())?;
    for round in 1..=3 {
        let parked = tokio::spawn({
            let tenant = tenant.clone();
            async move { ask(&tenant, "/park").await }
        });
        until(&tenant, "a parked request", |figures| figures.open_requests == 1 && figures.uncommitted == 0).await?;
        journal.set(Mode::Stalls);
        let change = tokio::spawn({
            let tenant = tenant.clone();
            async move { ingest(&tenant, round).await }
        });
        until(&tenant, "the final part waits", |figures| figures.uncommitted > 0).await?;
        parked.abort();
        ensure!(parked.await.expect_err("its client is gone").is_cancelled());
        until(&tenant, "its end is known", |figures| figures.open_requests == 0).await?;
        journal.set(Mode::Works);
        change.await??;
        ensure!(ask(&tenant, "/").await?? == (3 * round).to_string());
    }
    ensure!(tenant.statistics().faults.is_empty(), "{:?}", tenant.statistics().faults);
    tenant.close().await;
    Ok(())
}

fn metrics(server: &Server) -> Result<String> {
    Ok(Connection::open(server.admin)?.ask(&request("GET", "/metrics", &[], b""))?.body)
}

fn started(server: &str, tenants: &str) -> Result<Server> {
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\n{server}[[tenant]]\nname = 'a.example'\n\
         domains = ['a.example']\nhosts = ['127.0.0.1']\nusers = 'users.toml'\ningest-key = 'ingest'\n{tenants}"
    );
    let user = format!("[[user]]\nname = 'alice@a.example'\npassword = '{}'\n", cheap_hash("postbell")?);
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &user)?.start()
}

#[test]
fn a_tenants_requests_have_a_size_of_their_own() -> Result<()> {
    let server = started("", "limits = { body-bytes = 2048 }\n")?;
    let client = Client::new(&server, "alice@a.example", "postbell");
    client.subscribe_streaming()?;
    let large = client
        .ask(&format!("<m:Unsubscribe><m:SubscriptionId>{}</m:SubscriptionId></m:Unsubscribe>", "x".repeat(2_048)))?;
    ensure!(large.head.status == 413, "{large:?}");
    ensure!(metrics(&server)?.contains("postbell_client_refusals_total{limit=\"body-bytes\"} 1\n"));
    server.stop()?;
    Ok(())
}

/// However many tenants there are, so many have series of their own; the others are counted together.
#[test]
fn metrics_are_bounded_in_tenants() -> Result<()> {
    let tenant = |name: char| {
        format!("[[tenant]]\nname = '{name}.example'\ndomains = ['{name}.example']\ningest-key = 'ingest'\n")
    };
    let others: String = ('b'..='f').map(tenant).collect();
    let server = started("metrics-tenants = 2\n", &others)?;
    for name in 'a'..='f' {
        let name = format!("{name}.example");
        Admin::new(server.admin, &name, "ingest").change(&[delivered(&format!("alice@{name}"), "m1", 1)])?;
    }
    let metrics = metrics(&server)?;
    let of = |labels: &str| -> Result<u64> {
        let line = format!("postbell_changes_total{{{labels},outcome=\"accepted\"}} ");
        let line = metrics.lines().find_map(|shown| shown.strip_prefix(&line)).context(line.clone())?;
        Ok(line.parse()?)
    };
    let labels: std::collections::BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.split_once("{tenant=\"")?.1.split_once('"'))
        .map(|(tenant, _)| tenant)
        .collect();
    ensure!(labels.len() == 3 && labels.contains("other"), "{labels:?}");
    ensure!(of("tenant=\"other\"")? == 4, "nothing is left out");
    server.stop()?;
    Ok(())
}
