//! What only one of two versions asks of the host: calls, and to be woken.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use postbell::HostOptions;
use postbell::clock::ManualClock;
use postbell::outbound::{Outcome, Response};
use postbell::tenant::{Limits, OnDifference, Shadow, Step, SwapEvent, SwapOptions};
use postbell_tests::embedded::gauge;

use crate::outbound::Handed;
use crate::swap::{Scene, next};

/// The version takes over, behind an input of which both make different things; not before what the live one made of that
/// has left, which the input after it shows.
async fn swap_behind(scene: &Scene, version: &str, body: &str) -> Result<()> {
    let (shadow, on_difference) = (Some(Shadow::Inputs(2)), OnDifference::Report);
    let options = SwapOptions { shadow, on_difference, ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin(version)?, options);
    while swapping.next().await.context("it goes on")? != SwapEvent::Step(Step::Shadow) {}
    scene.told(body).await?;
    scene.told("count").await?;
    ensure!(swapping.end().await?.differences > 0 && scene.running() == version);
    Ok(())
}

fn answered() -> Outcome {
    Outcome::Answered(Response { status: 200, body: vec![] })
}

fn outcomes(scene: &Scene) -> u64 {
    scene.tenant.statistics().inputs.get("finished").copied().unwrap_or(0)
}

#[tokio::test]
async fn a_call_that_only_one_made_is_made_or_forgotten() -> Result<()> {
    let (outbound, mut calls) = Handed::new();
    let scene = Scene::on(Limits::default(), HostOptions { outbound, ..postbell_tests::host_options() })?;
    // Both know this one.
    scene.told("call").await?;
    let (_, known) = calls.recv().await.context("a call")?;
    scene.swap("second", SwapOptions::default()).await?;
    ensure!(gauge(&scene.tenant, "calls").await == 1.0);
    known.finish(answered());
    while gauge(&scene.tenant, "calls").await > 0.0 {}
    ensure!(outcomes(&scene) == 1 && calls.try_recv().is_err(), "it was made once");

    // Only the old one made this one, and the new one hears nothing of it.
    swap_behind(&scene, "mute", "call").await?;
    let (_, forgotten) = calls.recv().await.context("a call")?;
    forgotten.finish(answered());
    ensure!(scene.told("count").await? == "0" && gauge(&scene.tenant, "calls").await == 0.0);
    ensure!(outcomes(&scene) == 1);

    // Only the new one made this one. It also knows that which was forgotten, and hears that it failed.
    swap_behind(&scene, "first", "call").await?;
    let (_, made) = calls.recv().await.context("a call")?;
    while gauge(&scene.tenant, "calls").await > 1.0 {}
    ensure!(outcomes(&scene) == 2 && calls.try_recv().is_err());
    made.finish(answered());
    while gauge(&scene.tenant, "calls").await > 0.0 {}
    ensure!(outcomes(&scene) == 3 && calls.try_recv().is_err());
    Ok(())
}

#[tokio::test]
async fn it_is_woken_when_the_new_version_wants_it() -> Result<()> {
    let clock = Arc::new(ManualClock::at(0));
    let scene = Scene::at(Limits::default(), clock.clone())?;
    let mut stream = scene.stream().await?;
    ensure!(next(&mut stream).await? == "0");
    // In five seconds, and not in one.
    swap_behind(&scene, "late", "wake").await?;
    clock.advance(4_999);
    ensure!(scene.told("count").await? == "0" && scene.told("count").await? == "0");
    ensure!(scene.tenant.statistics().inputs.get("tick").is_none_or(|ticks| *ticks == 0), "it was woken early");
    clock.advance(1);
    ensure!(next(&mut stream).await? == "1000");
    // In one second, and not in five.
    swap_behind(&scene, "first", "wake").await?;
    clock.advance(1_000);
    ensure!(next(&mut stream).await? == "2000");
    Ok(())
}
