//! Tenants that nobody uses sleep: their instances are gone, what is parked with them stays, and the next input or timer
//! wakes them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use postbell::clock::ManualClock;
use postbell::journal::MemoryJournal;
use postbell::tenant::{Limits, Tenant};
use postbell::{Host, HostOptions, Statistics, TenantOptions};
use postbell_tests::PATIENCE;
use postbell_tests::embedded::{ALICE, between, get_events, request, subscribe, whole};
use postbell_tests::ews::message;
use postbell_tests::histories::{self, delivery};
use postbell_tests::hostile::until;
use postbell_tests::inside::Inside;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::swap::{Scene, next};

const SLEEP_MILLISECONDS: u64 = 5_000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(1_800_000_000_000))
}

fn limits() -> Limits {
    Limits { sleep_milliseconds: SLEEP_MILLISECONDS, ..Limits::default() }
}

fn sleeps(figures: &Statistics) -> bool {
    figures.asleep == 1 && figures.memory == 0
}

/// One thread for all tenants, so few of which may be open.
fn host(open_tenants: usize, instances: u32) -> Result<Host> {
    let journal = Arc::new(MemoryJournal::default());
    Ok(Host::new(HostOptions { journal, open_tenants, instances, shards: 1, ..postbell_tests::host_options() })?)
}

/// The built-in plugin's tenants `t0`, `t1` and so on.
fn open(host: &Host, tenants: usize) -> Result<Vec<Tenant>> {
    let plugin = host.load(postbell::plugin::bundled())?;
    let each = (0..tenants).map(|number| {
        let settings = vec![("domains".to_owned(), "example.org".to_owned())];
        let (opened, result) = std::sync::mpsc::channel();
        let options = TenantOptions { settings, ..TenantOptions::default() };
        let told = move |result| drop(opened.send(result));
        Ok((host.open_later(&format!("t{number}"), &plugin, options, told)?, result))
    });
    let opened = each.collect::<Result<Vec<_>>>()?;
    let open = |(tenant, result): (Tenant, std::sync::mpsc::Receiver<_>)| {
        result.recv_timeout(PATIENCE).context("it never opens")??;
        Ok(tenant)
    };
    opened.into_iter().map(open).collect()
}

fn asleep(tenants: &[Tenant]) -> u64 {
    tenants.iter().map(|tenant| tenant.statistics().asleep).sum()
}

/// Waits until so many of them sleep.
async fn until_asleep(tenants: &[Tenant], count: u64) -> Result<()> {
    let waiting = async {
        while asleep(tenants) < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.with_context(|| format!("{} of {} sleep", asleep(tenants), tenants.len()))
}

#[test]
fn a_stream_goes_on_while_its_tenant_sleeps() -> Result<()> {
    let clock = clock();
    let inside = Inside::new(limits(), HostOptions { clock: clock.clone(), ..postbell_tests::host_options() })?;
    let mut stream = inside.stream()?;
    let tenant = &inside.tenant;
    let runtime = &inside.runtime;
    let falls_asleep = || {
        // What was on its way to it may come later than the time is advanced, and counts as use.
        while !sleeps(&tenant.statistics()) {
            clock.advance(100);
            runtime.block_on(tenant.source_offset("none"))?;
        }
        Ok::<_, anyhow::Error>(())
    };
    for wakes in 1..=3 {
        falls_asleep()?;
        ensure!(tenant.statistics().open_requests == 1, "what is parked stays");
        inside.ingest(&format!("m{wakes}"))?;
        let part = inside.next(&mut stream)?;
        ensure!(items(&part)? == [format!("m{wakes}")], "{part}");
        ensure!(tenant.statistics().wakes == wakes && tenant.statistics().asleep == 0);
    }
    // The heartbeat is due; nobody does anything.
    falls_asleep()?;
    clock.advance(25_000);
    ensure!(inside.next(&mut stream)?.contains("ConnectionStatus"), "a timer wakes, too");
    ensure!(tenant.statistics().wakes == 4);
    // Who hangs up is noticed.
    falls_asleep()?;
    let settled = |figures: &Statistics| figures.inputs.get("settled").copied().unwrap_or(0);
    let before = settled(&tenant.statistics());
    drop(stream);
    runtime.block_on(until(tenant, "the end of the stream", |figures| figures.open_requests == 0))?;
    runtime.block_on(until(tenant, "news of its end", |figures| settled(figures) > before))?;
    ensure!(tenant.statistics().faults.is_empty() && tenant.statistics().refusals.is_empty());
    Ok(())
}

/// A client that is gone before its tenant is awake leaves nothing that waits.
#[test]
fn who_hangs_up_before_the_tenant_is_awake_is_gone() -> Result<()> {
    let clock = clock();
    let inside = Inside::new(limits(), HostOptions { clock: clock.clone(), ..postbell_tests::host_options() })?;
    let (tenant, runtime) = (&inside.tenant, &inside.runtime);
    let subscribed = whole(runtime.block_on(tenant.request(request(histories::subscribe_streaming()))));
    let id = between(&subscribed, "<m:SubscriptionId>", "<");
    for wakes in 1..=10 {
        runtime.block_on(async {
            while !sleeps(&tenant.statistics()) {
                clock.advance(SLEEP_MILLISECONDS);
                tokio::task::yield_now().await;
            }
        });
        // It is on its way as soon as it is made, and is gone before it could be read.
        drop(tenant.request(request(histories::get_streaming_events(id, id, 30))));
        runtime.block_on(until(tenant, "waking", |figures| figures.wakes == wakes))?;
        // What was sent first is answered first.
        runtime.block_on(tenant.source_offset("none"))?;
        runtime.block_on(until(tenant, "that nobody waits", |figures| figures.open_requests == 0))?;
    }
    Ok(())
}

/// What a reader has is told to the plugin, which need not change by it: then nothing else says that the tenant may sleep.
#[tokio::test]
async fn an_acknowledgement_that_changes_nothing_keeps_no_tenant_awake() -> Result<()> {
    let clock = clock();
    let scene = Scene::at(limits(), clock.clone())?;
    let mut stream = scene.stream().await?;
    for number in 0..2 {
        scene.deliver(number).await?;
    }
    // Whoever asks for one has those before the one before.
    for count in ["0", "1", "2"] {
        ensure!(next(&mut stream).await? == count);
    }
    let told = |figures: &Statistics| figures.inputs.get("settled").copied().unwrap_or(0) > 0;
    until(&scene.tenant, "the acknowledgement", told).await?;
    clock.advance(SLEEP_MILLISECONDS);
    until(&scene.tenant, "sleep", |figures| figures.asleep == 1).await
}

#[test]
fn a_snapshot_is_taken_first_where_much_would_be_fed_again() -> Result<()> {
    let clock = clock();
    let inside = Inside::new(limits(), HostOptions { clock: clock.clone(), ..postbell_tests::host_options() })?;
    for number in 0..100 {
        inside.ingest(&format!("m{number}"))?;
    }
    clock.advance(SLEEP_MILLISECONDS);
    let tenant = &inside.tenant;
    inside.runtime.block_on(until(tenant, "sleep", sleeps))?;
    let figures = tenant.statistics();
    ensure!(figures.snapshot == figures.sequence && figures.sequence > 100, "{figures:?}");
    inside.ingest("one more")?;
    clock.advance(SLEEP_MILLISECONDS);
    inside.runtime.block_on(until(tenant, "sleep", sleeps))?;
    ensure!(tenant.statistics().snapshot == figures.snapshot, "one input is no reason for another");
    Ok(())
}

#[test]
fn questions_about_what_is_known_wake_nobody() -> Result<()> {
    let clock = clock();
    let inside = Inside::new(limits(), HostOptions { clock: clock.clone(), ..postbell_tests::host_options() })?;
    inside.ingest("m1")?;
    clock.advance(SLEEP_MILLISECONDS);
    let tenant = &inside.tenant;
    inside.runtime.block_on(until(tenant, "sleep", sleeps))?;
    inside.runtime.block_on(tenant.source_offset("imap-1"))?;
    ensure!(tenant.statistics().wakes == 0);
    inside.runtime.block_on(tenant.close());
    ensure!(tenant.statistics().wakes == 0, "nobody is there to take leave of");
    Ok(())
}

#[test]
fn those_sleep_that_were_idle_longest() -> Result<()> {
    let host = host(4, 100)?;
    let tenants = open(&host, 24)?;
    Runtime::new()?.block_on(async {
        until_asleep(&tenants, 20).await?;
        let mut subscribed = Vec::new();
        for tenant in &tenants {
            subscribed.push(subscribe(tenant).await);
        }
        until_asleep(&tenants, 20).await?;
        ensure!(asleep(&tenants[..20]) == 20, "the last ones were used last");
        for (tenant, (id, watermark)) in tenants.iter().zip(&subscribed) {
            tenant.ingest(delivery(ALICE, "m1", 1), None).await?;
            ensure!(get_events(tenant, id, watermark).await.contains("NewMailEvent"));
        }
        ensure!(tenants.iter().map(|tenant| tenant.statistics().wakes).sum::<u64>() >= 36);
        Ok(())
    })
}

/// How many may be awake is shared among the threads, and so are the tenants: however these come and go, all sleep whom there
/// is no room for, and nobody else.
#[test]
fn as_many_are_awake_as_may_be() -> Result<()> {
    let journal = Arc::new(MemoryJournal::default());
    let options =
        HostOptions { journal, open_tenants: 40, instances: 400, shards: 2, ..postbell_tests::host_options() };
    let host = Host::new(options)?;
    let tenants = open(&host, 40)?;
    let plugin = host.load(postbell::plugin::bundled())?;
    Runtime::new()?.block_on(async {
        // All of one thread.
        for tenant in tenants.iter().step_by(2) {
            tenant.close().await;
        }
        let other = |number| host.open(&format!("other{number}"), &plugin, TenantOptions::default());
        let others = (0..20).map(other).collect::<Result<Vec<_>, _>>()?;
        let all: Vec<_> = tenants.into_iter().skip(1).step_by(2).chain(others).collect();
        for tenant in &all {
            subscribe(tenant).await;
        }
        let figures: Vec<_> = all.iter().map(Tenant::statistics).collect();
        ensure!(figures.iter().all(|figures| figures.asleep == 0 && figures.wakes == 0), "{figures:?}");
        let one_more = host.open("one more", &plugin, TenantOptions::default())?;
        subscribe(&one_more).await;
        until_asleep(&all, 1).await
    })
}

/// While none of those that are open can sleep, because what they were fed is not committed, further ones wait.
#[test]
fn a_tenant_opens_once_there_is_room() -> Result<()> {
    let host = host(100, 8)?;
    let tenants = open(&host, 24)?;
    Runtime::new()?.block_on(async {
        until_asleep(&tenants, 17).await?;
        ensure!(host.instances() <= 8);
        for tenant in &tenants {
            let answer = tenant.request(request(histories::subscribe_pull("inbox"))).await;
            ensure!(whole(answer).contains("NoError"));
        }
        for tenant in &tenants {
            tenant.close().await;
        }
        let gone = async {
            while host.instances() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.context("instances are left")
    })
}

/// Inputs, timers and time at random: whatever sleeps in between, alice hears the same.
#[test]
fn sleep_changes_nothing_that_clients_hear() -> Result<()> {
    let mut heard = Vec::new();
    for sleep_milliseconds in [u64::MAX, 1] {
        let clock = clock();
        let limits = Limits { sleep_milliseconds, ..Limits::default() };
        let inside = Inside::new(limits, HostOptions { clock: clock.clone(), ..postbell_tests::host_options() })?;
        let mut stream = inside.stream()?;
        let mut random = histories::Random(7);
        let mut ids = Vec::new();
        for number in 0..60 {
            if random.below(3) > 0 {
                clock.advance(random.below(20_000));
                while sleep_milliseconds == 1 && inside.tenant.statistics().asleep == 0 {
                    clock.advance(1);
                }
            }
            inside.ingest(&format!("m{number}"))?;
            while ids.last() != Some(&format!("m{number}")) {
                let part = inside.next(&mut stream)?;
                ids.extend(items(&part)?);
            }
        }
        ensure!((inside.tenant.statistics().wakes > 10) == (sleep_milliseconds == 1));
        heard.push(ids);
    }
    ensure!(heard[0] == heard[1] && heard[0].len() >= 60);
    Ok(())
}

/// The messages of which a part tells, each once.
fn items(part: &str) -> Result<Vec<String>> {
    let notifications = message(part)?.notifications.into_iter();
    let mut items: Vec<String> =
        notifications.flat_map(|notification| notification.events).filter_map(|event| event.item).collect();
    items.dedup();
    Ok(items)
}

#[test]
fn who_asks_the_plugin_itself_wakes_it() -> Result<()> {
    let clock = clock();
    let inside = Inside::new(limits(), HostOptions { clock: clock.clone(), ..postbell_tests::host_options() })?;
    inside.ingest("m1")?;
    clock.advance(SLEEP_MILLISECONDS);
    inside.runtime.block_on(until(&inside.tenant, "sleep", sleeps))?;
    let gauges = inside.runtime.block_on(inside.tenant.inspect());
    ensure!(!gauges.is_empty() && inside.tenant.statistics().wakes == 1);
    Ok(())
}
