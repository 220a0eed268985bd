//! Plugins that misbehave harm nobody: each program of the hostile guest has a test of its name here, and one that has
//! none does not compile. Beside each a neighbour on the same thread is asked all the time, and gets every answer.

mod no_plugins;
mod stuck;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use postbell::clock::ManualClock;
use postbell::contract::requests::Refusal;
use postbell::plugin::InstanceLimits;
use postbell::tenant::{Limits, RequestError, Tenant};
use postbell_tests::histories::delivery;
use postbell_tests::hostile::{Scene, ask, component, count, request, tight, until};
use stuck::{endless_loop, endless_recursion};

include!(concat!(env!("OUT_DIR"), "/hostile_programs.rs"));

macro_rules! is_tested {
    ($program:ident) => {
        const _: fn() -> Result<()> = $program;
    };
}

for_each_hostile_program!(is_tested);

/// The client hears that the plugin failed, in the plugin's own words.
async fn is_refused(tenant: &Tenant, path: &str) -> Result<()> {
    let refused = ask(tenant, path).await?.expect_err("the plugin fails");
    ensure!(refused == RequestError::Refused(Refusal::Fault), "{refused}");
    let request = request(path);
    let reply = tenant.refuse(&request.head, &request.body, Refusal::Fault).await;
    ensure!((reply.status, &*reply.body) == (500, &b"refused by the plugin"[..]), "{reply:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("plain", tight())?;
    for number in 1..20 {
        ensure!(ask(&tenant, "/").await?? == number.to_string());
    }
    ensure!(ask(&tenant, "/confirm").await?? == "confirm");
    ensure!(ask(&tenant, "/wake").await?? == "soon");
    until(&tenant, "a tick", |figures| count(&figures.inputs, "tick") == 1).await?;
    ensure!(ask(&tenant, "/call").await?? == "called");
    until(&tenant, "the call's outcome", |figures| count(&figures.inputs, "finished") == 1).await?;
    until(&tenant, "a snapshot", |figures| figures.snapshot > 0).await?;
    ensure!(tenant.statistics().faults.is_empty() && tenant.statistics().snapshot_failures == 0);
    scene.close(tenant).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_bomb() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("memory_bomb", Limits { instance: roomy().instance, ..tight() })?;
    for faults in 1..=3 {
        is_refused(&tenant, "/").await?;
        ensure!(count(&tenant.statistics().faults, "memory") == faults);
    }
    scene.close(tenant).await?;
    scene.end().await
}

/// Time is not what stops it.
fn roomy() -> Limits {
    let instance = InstanceLimits { memory_bytes: 512 << 20, call_milliseconds: 20_000, ..InstanceLimits::default() };
    Limits { instance, ..tight() }
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_reaction() -> Result<()> {
    let scene = Scene::new().await?;
    for what in ["body", "lie", "replies", "logs"] {
        let tenant = scene.open(&format!("huge_reaction {what}"), roomy())?;
        is_refused(&tenant, "/").await.context(what)?;
        let faults = tenant.statistics().faults;
        ensure!(faults.values().sum::<u64>() == 1, "{what}: {faults:?}");
        scene.close(tenant).await?;
    }
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_at_the_hundredth_input() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("trap_at_the_hundredth_input", tight())?;
    for number in 1..100 {
        ensure!(ask(&tenant, "/").await?? == number.to_string());
    }
    for faults in 1..=3 {
        is_refused(&tenant, "/").await?;
        ensure!(count(&tenant.statistics().faults, "trap") == faults);
    }
    ensure!(tenant.statistics().sequence == 100, "`open`, and 99 answers");
    scene.close(tenant).await?;
    scene.end().await
}

const RULES: &[&str] = &[
    "neighbours-request",
    "second-final-part",
    "status-below",
    "status-above",
    "header-injection",
    "header-name",
    "unchanged-but-parked",
    "unchanged-but-open",
    "unchanged-but-called",
    "reused-call",
    "rejections",
];

#[tokio::test(flavor = "multi_thread")]
async fn broken_contract() -> Result<()> {
    let scene = Scene::new().await?;
    for rule in RULES {
        let tenant = scene.open(&format!("broken_contract {rule}"), tight())?;
        ensure!(ask(&tenant, "/").await?? == "1");
        is_refused(&tenant, "/break").await.context(*rule)?;
        ensure!(count(&tenant.statistics().faults, "contract") == 1, "{rule}");
        ensure!(ask(&tenant, "/").await?? == "2", "{rule} left a trace");
        scene.close(tenant).await?;
    }
    let tenant = scene.open("broken_contract secrets-beyond-the-body", tight())?;
    let request = request("/break");
    let refused = tenant.identify(&request.head, &request.body).await.expect_err("there is no such byte");
    ensure!(refused == RequestError::Refused(Refusal::Fault));
    ensure!(count(&tenant.statistics().faults, "contract") == 1);
    scene.close(tenant).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_logs() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("flood_of_logs", Limits { log_lines_per_minute: 10, ..roomy() })?;
    for number in 1..=3 {
        ensure!(ask(&tenant, "/").await?? == number.to_string(), "it talks, that is all");
    }
    let dropped = count(&tenant.statistics().refusals, "log-lines-per-minute");
    ensure!(dropped > 20_000, "{dropped} lines dropped");
    scene.close(tenant).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_calls() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("flood_of_calls", Limits { calls_per_minute: 10, ..roomy() })?;
    for number in 1..=3 {
        ensure!(ask(&tenant, "/").await?? == number.to_string());
    }
    let failed = |figures: &postbell::Statistics| count(&figures.refusals, "calls-per-minute");
    until(&tenant, "calls that fail", |figures| failed(figures) > 2_000).await?;
    until(&tenant, "their outcomes", |figures| count(&figures.inputs, "finished") == 3_000).await?;
    scene.close(tenant).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn wake_ups_without_end() -> Result<()> {
    let scene = Scene::new().await?;
    let limits = || Limits { ticks_per_minute: 1_500, ..tight() };
    for (how, faults) in [("idle", true), ("unchanged", true), ("soon", false)] {
        let tenant = scene.open(&format!("wake_ups_without_end {how}"), limits())?;
        ensure!(ask(&tenant, "/wake").await?? == "soon");
        if faults {
            until(&tenant, how, |figures| count(&figures.faults, "contract") > 0).await?;
        } else {
            until(&tenant, how, |figures| count(&figures.refusals, "ticks-per-minute") > 0).await?;
            ensure!(tenant.statistics().faults.is_empty());
        }
        scene.close(tenant).await?;
    }
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_save() -> Result<()> {
    let scene = Scene::new().await?;
    for (how, reason) in [("garbage", "contract"), ("fickle", "contract"), ("endless", "state-bytes")] {
        let tenant = scene.open(&format!("bad_save {how}"), tight())?;
        for number in 1..20 {
            ensure!(ask(&tenant, "/").await?? == number.to_string());
        }
        until(&tenant, how, |figures| figures.snapshot_failures > 0).await?;
        let figures = tenant.statistics();
        ensure!(count(&figures.faults, reason) > 0 && figures.snapshot == 0, "{how}: {figures:?}");
        ensure!(ask(&tenant, "/").await?? == "20", "it is served as long as its journal may grow");
        scene.close(tenant).await?;
    }
    scene.end().await
}

/// What it does not know of, the host does: whoever waits is told when the tenant closes, and nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn forgetful() -> Result<()> {
    let scene = Scene::new().await?;
    for what in ["unanswered", "unwoken", "unsettled", "unrestarted", "unsaved"] {
        let tenant = scene.open(&format!("forgetful {what}"), roomy())?;
        let parked = tokio::spawn({
            let tenant = tenant.clone();
            async move { ask(&tenant, "/park").await }
        });
        until(&tenant, "a parked request", |figures| figures.open_requests == 1).await?;
        ensure!(ask(&tenant, "/confirm").await?? == "confirm", "{what}");
        ensure!(ask(&tenant, "/").await?.is_ok(), "{what}");
        scene.close(tenant).await?;
        let told = parked.await??;
        ensure!(told.is_ok() == (what != "unanswered"), "{what}: {told:?}");
    }
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_changed() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("lying_changed", tight())?;
    ensure!(ask(&tenant, "/").await?? == "1", "nobody can know");
    found_out(&scene, tenant, "/true").await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_tricks() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("memory_tricks", tight())?;
    ensure!(ask(&tenant, "/litter").await?? == "littered", "nobody can know");
    found_out(&scene, tenant, "/").await?;
    scene.end().await
}

/// Its history does not give its state, which shows when the first snapshot is to be taken: nobody sees more of it.
async fn found_out(scene: &Scene, tenant: Tenant, path: &str) -> Result<()> {
    let refused = loop {
        match ask(&tenant, path).await? {
            // One that was on its way when it showed.
            Ok(_) | Err(RequestError::Closed(_)) => {}
            Err(refused) => break refused,
        }
    };
    ensure!(refused == RequestError::Refused(Refusal::Fault), "{refused}");
    ensure!(count(&tenant.statistics().faults, "divergence") > 0, "{:?}", tenant.statistics());
    scene.close(tenant).await
}

/// It moves to a thread of its own and back; what is open stays open, and nothing overtakes anything.
#[tokio::test(flavor = "multi_thread")]
async fn busy() -> Result<()> {
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let scene = Scene::at(clock.clone()).await?;
    let tenant = scene.open("busy", Limits { busy_milliseconds: 20, ..roomy() })?;
    let mut asked = 0;
    for moves in 1..=2 {
        let parked = tokio::spawn({
            let tenant = tenant.clone();
            async move { ask(&tenant, "/park").await }
        });
        until(&tenant, "a parked request", |figures| figures.open_requests == 1).await?;
        asked += 1;
        while scene.host.own_threads() == 0 {
            asked += 1;
            ensure!(ask(&tenant, "/").await?? == asked.to_string());
        }
        until(&tenant, "a move", |figures| count(&figures.refusals, "busy-milliseconds") == moves).await?;
        asked += 1;
        ensure!(ask(&tenant, "/").await?? == asked.to_string(), "it is served there");
        while scene.host.own_threads() > 0 {
            let computed = tenant.statistics().guest_nanoseconds;
            ensure!(!tenant.inspect().await.is_empty());
            // Its thread adds up after a turn, which may answer more than one who asks; so a second passes for each turn.
            until(&tenant, "a turn's end", |figures| figures.guest_nanoseconds > computed).await?;
            scene.pass(&clock, 1_000).await?;
        }
        ensure!(tenant.ingest(delivery("alice@example.org", "m1", moves), None).await.is_ok());
        asked += 1;
        ensure!(parked.await??? == "a change");
        until(&tenant, "no parked request", |figures| figures.open_requests == 0).await?;
        ensure!(scene.host.own_threads() == 0);
    }
    ensure!(tenant.statistics().faults.is_empty());
    scene.close(tenant).await?;
    scene.end().await
}

/// A tenant that is closed needs no thread.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_tenant_is_closed_where_it_is() -> Result<()> {
    let scene = Scene::new().await?;
    let tenant = scene.open("busy", Limits { busy_milliseconds: 1, ..roomy() })?;
    while scene.host.own_threads() == 0 {
        ask(&tenant, "/").await??;
    }
    scene.close(tenant).await?;
    while scene.host.own_threads() > 0 {
        tokio::task::yield_now().await;
    }
    let tenant = scene.open("busy", roomy())?;
    ensure!(ask(&tenant, "/").await?.is_ok(), "it opens again");
    scene.close(tenant).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_manifest() -> Result<()> {
    let scene = Scene::new().await?;
    for (lie, words) in [
        ("name", "its manifest has a name"),
        ("version", "its manifest has a version"),
        ("formats", "its manifest names no state format"),
        ("prefix", "one whose prefix does not begin with `/`"),
        ("twice", "its manifest has a route twice"),
        ("many", "its manifest has too many routes"),
        ("long", "its manifest has a version"),
    ] {
        let refused = scene.load(&format!("lying_manifest {lie}")).expect_err(lie).to_string();
        ensure!(refused.contains(words), "{lie}: {refused}");
    }
    scene.nothing_is_left().await?;
    scene.end().await
}
