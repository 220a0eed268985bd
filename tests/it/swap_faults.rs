//! Components that fail while they take over, or soon after: the tenant goes on.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use postbell::clock::ManualClock;
use postbell::plugin::InstanceLimits;
use postbell::tenant::{Limits, Retention, Shadow, Step, SwapEvent, SwapOptions};
use postbell_tests::PATIENCE;
use postbell_tests::embedded::{Alteration, gauge};
use postbell_tests::swaps::guest;

use crate::swap::{Scene, ask, next};

/// What fails: at which step, and with which words.
async fn fails(version: &str, step: Step, words: &str) -> Result<()> {
    let retention = Retention { snapshot_inputs: 5, ..Retention::default() };
    // What the one allocates that needs too much is more, and done in time.
    let instance = InstanceLimits { call_milliseconds: 50, memory_bytes: 256 << 20, ..InstanceLimits::default() };
    let scene = Scene::new(Limits { retention, instance, ..Limits::default() })?;
    let mut number = 0;
    // Until there is a snapshot to load, and no way back to `open`, and few inputs since.
    while scene.journal.first() == 1 {
        scene.deliver(number).await?;
        number += 1;
        while scene.tenant.statistics().sequence > scene.tenant.statistics().snapshot + 10 {
            tokio::task::yield_now().await;
        }
    }
    let mut stream = scene.stream().await?;
    next(&mut stream).await?;
    let options = SwapOptions { shadow: Some(Shadow::Inputs(150)), ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin(version)?, options);
    while let Some(event) = swapping.next().await {
        if matches!(event, SwapEvent::Step(Step::Shadow)) {
            break;
        }
    }
    let swapping = tokio::spawn(swapping.end());
    while !swapping.is_finished() {
        scene.deliver(number).await?;
        number += 1;
        ensure!(next(&mut stream).await? == number.to_string());
    }
    let failed = swapping.await?.expect_err("it fails");
    ensure!(failed.step == step && failed.why.contains(words), "{failed}");
    scene.deliver(number).await?;
    ensure!(next(&mut stream).await? == (number + 1).to_string(), "the tenant goes on untouched");
    ensure!(scene.running() == "first" && scene.tenant.statistics().faults.is_empty());
    ensure!(scene.tenant.statistics().swaps["refused"] == 1);
    Ok(())
}

/// The live version is given up meanwhile: nobody takes over from it.
#[tokio::test]
async fn a_swap_ends_with_the_tenant_that_is_given_up() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    scene.swap("second", SwapOptions::default()).await?;
    scene.deliver(0).await?;
    let sequence = scene.tenant.statistics().sequence;
    let options = SwapOptions { shadow: Some(Shadow::Inputs(1_000)), ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin("first")?, options);
    while swapping.next().await.context("it goes on")? != SwapEvent::Step(Step::Shadow) {}
    scene.journal.alter(Alteration { digest_at: Some(sequence), ..Alteration::default() });
    ensure!(scene.tenant.request(ask("fault the first")).await.is_err());
    let ended = tokio::time::timeout(PATIENCE, swapping.end()).await?;
    ensure!(
        ended.as_ref().is_err_and(|error| error.why.contains("given up") || error.why.contains("faulted")),
        "{ended:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_format_that_is_not_known_is_refused_where_history_is_cut() -> Result<()> {
    fails("format", Step::Warm, "the history does not reach back to `open`").await
}

#[tokio::test]
async fn a_trap_in_load_is_refused() -> Result<()> {
    fails("load", Step::Warm, "trap").await
}

#[tokio::test]
async fn a_trap_on_the_hundredth_followed_input_is_refused() -> Result<()> {
    fails("hundredth", Step::Shadow, "trap").await
}

#[tokio::test]
async fn one_that_never_returns_is_refused() -> Result<()> {
    fails("endless", Step::Shadow, "it computed longer than").await
}

#[tokio::test]
async fn one_that_needs_too_much_memory_is_refused() -> Result<()> {
    fails("memory", Step::Shadow, "bytes of memory").await
}

#[tokio::test]
async fn one_that_answers_otherwise_is_refused() -> Result<()> {
    fails("answers", Step::Shadow, "it answers otherwise").await
}

#[tokio::test]
async fn what_is_no_plugin_never_comes_so_far() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    let refused = |component: &[u8]| scene.host.load(component).expect_err("it is none").to_string();
    ensure!(refused(&guest("describe")).contains("`describe` failed"));
    let imports = wat::parse_str("(component (import \"clock\" (func)))")?;
    ensure!(refused(&imports).contains("imports `clock`"));
    let other = scene.tenant.swap(&scene.host.load(postbell::plugin::bundled())?, SwapOptions::default());
    let refused = other.end().await.expect_err("it is another plugin");
    ensure!(refused.step == Step::Prepare && refused.why.contains("it is the plugin"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn with_fresh_it_begins_with_nothing_where_it_cannot_begin_otherwise() -> Result<()> {
    let retention = Retention { snapshot_inputs: 5, ..Retention::default() };
    let mut scene = Scene::new(Limits { retention, ..Limits::default() })?;
    let mut number = 0;
    while scene.journal.first() == 1 {
        scene.deliver(number).await?;
        number += 1;
    }
    let mut stream = scene.stream().await?;
    next(&mut stream).await?;
    scene.swap("format", SwapOptions { fresh: true, ..SwapOptions::default() }).await?;
    ensure!(gauge(&scene.tenant, "count").await == 0.0);
    let closed = next(&mut stream).await.expect_err("the new version does not know the stream");
    ensure!(closed.to_string().contains("does not know it"), "{closed}");
    scene.deliver(number).await?;
    scene.reopen("first").await?;
    ensure!(scene.running() == "format" && gauge(&scene.tenant, "count").await == 1.0);
    ensure!(scene.tenant.source_offset("imap-1").await? == number + 1, "sources go on where they were");
    Ok(())
}

#[tokio::test]
async fn after_three_faults_the_version_before_comes_back() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    scene.deliver(0).await?;
    let mut stream = scene.stream().await?;
    next(&mut stream).await?;
    scene.swap("second", SwapOptions::default()).await?;
    for _ in 0..3 {
        ensure!(scene.running() == "second");
        ensure!(scene.tenant.request(ask("fault the first")).await.is_err());
    }
    ensure!(scene.told("count").await? == "1");
    ensure!(scene.running() == "first" && scene.tenant.version().tenure.back);
    ensure!(scene.tenant.statistics().swaps["rolled-back"] == 1);
    scene.deliver(1).await?;
    ensure!(next(&mut stream).await? == "2", "its clients are still there");
    for _ in 0..4 {
        ensure!(scene.tenant.request(ask("fault")).await.is_err());
    }
    ensure!(scene.running() == "first", "it was gone back to: there is no other way");
    Ok(())
}

#[tokio::test]
async fn faults_far_apart_do_not_bring_it_back() -> Result<()> {
    let clock = Arc::new(ManualClock::at(0));
    let scene = Scene::at(Limits::default(), clock.clone())?;
    scene.swap("second", SwapOptions::default()).await?;
    let fault = async || scene.tenant.request(ask("fault the first")).await.is_err();
    ensure!(fault().await && fault().await);
    clock.advance(60_001);
    ensure!(fault().await && scene.told("count").await? == "0");
    ensure!(scene.running() == "second" && scene.tenant.version().faults == 3);
    ensure!(fault().await && fault().await && scene.told("count").await? == "0");
    ensure!(scene.running() == "first", "these three were within a minute");
    Ok(())
}

#[tokio::test]
async fn a_swap_that_nobody_waits_for_is_given_up() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    let options = SwapOptions { shadow: Some(Shadow::Milliseconds(u64::MAX)), ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin("second")?, options);
    while swapping.next().await != Some(SwapEvent::Step(Step::Shadow)) {}
    let other = scene.swap("second", SwapOptions::default()).await.expect_err("one at a time");
    ensure!(other.to_string().contains("another swap"), "{other}");
    drop(swapping);
    scene.swap("second", SwapOptions::default()).await?;
    ensure!(scene.running() == "second");
    Ok(())
}
