//! Functions that never come back, each of the contract's.

use anyhow::{Context, Result, ensure};
use postbell::OpenError;
use postbell::contract::requests::Refusal;
use postbell::tenant::{IngestError, Tenant};
use postbell_tests::histories::delivery;
use postbell_tests::hostile::{Scene, ask, count, request, tight, until};

use super::is_refused;

const FUNCTIONS: &[&str] = &[
    "describe",
    "open",
    "outstanding",
    "configure",
    "tick",
    "restarted",
    "drain",
    "save",
    "load",
    "inspect",
    "ingest",
    "identify",
    "refuse",
    "answer",
    "settled",
    "finished",
];

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn endless_loop() -> Result<()> {
    each_function("endless_loop", "time").await
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn endless_recursion() -> Result<()> {
    each_function("endless_recursion", "trap").await
}

async fn each_function(program: &str, reason: &'static str) -> Result<()> {
    let scene = Scene::new().await?;
    for function in FUNCTIONS {
        let program = format!("{program} {function}");
        stuck(&scene, &program, function, reason).await.context(program)?;
        scene.nothing_is_left().await?;
    }
    scene.end().await
}

async fn stuck(scene: &Scene, program: &str, function: &str, reason: &'static str) -> Result<()> {
    if function == "describe" {
        let refused = scene.load(program).expect_err("it never says what it is").to_string();
        ensure!(refused.contains("`describe` failed"), "{refused}");
        return Ok(());
    }
    let opened = scene.open(program, tight());
    if ["open", "outstanding"].contains(&function) {
        let refused = opened.expect_err("it never opens");
        ensure!(matches!(refused, OpenError::Fault(_)), "{refused}");
        return Ok(());
    }
    let tenant = opened?;
    provoke(&tenant, function).await?;
    if function == "drain" {
        tenant.close().await;
    }
    if function == "restarted" {
        tenant.close().await;
        let refused = scene.open(program, tight()).expect_err("it never opens again");
        ensure!(matches!(refused, OpenError::Fault(_)), "{refused}");
        return Ok(());
    }
    until(&tenant, reason, |figures| count(&figures.faults, reason) > 0).await?;
    let faults = tenant.statistics().faults;
    ensure!(faults.keys().eq([&reason]), "{faults:?}");
    scene.close(tenant).await
}

/// Has the plugin called there, and hears what a client hears of it.
async fn provoke(tenant: &Tenant, function: &str) -> Result<()> {
    let request = request("/");
    match function {
        "configure" => {
            let failed = tenant.configure(vec![("a".into(), "b".into())]).await;
            ensure!(failed.is_err() && ask(tenant, "/").await?? == "1", "the old settings stay");
        }
        "tick" => ensure!(ask(tenant, "/wake").await?? == "soon"),
        "save" | "load" => {
            for number in 1..20 {
                ensure!(ask(tenant, "/").await?? == number.to_string());
            }
            until(tenant, "no snapshot", |figures| figures.snapshot_failures > 0).await?;
        }
        "inspect" => {
            ensure!(tenant.inspect().await.is_empty());
            ensure!(ask(tenant, "/").await?? == "1");
        }
        "ingest" => {
            let failed = tenant.ingest(delivery("alice@example.org", "m1", 1), None).await;
            ensure!(matches!(failed, Err(IngestError::Fault(_))), "{failed:?}");
            ensure!(ask(tenant, "/").await?? == "1");
        }
        "identify" => {
            let refused = tenant.identify(&request.head, &request.body).await;
            ensure!(refused == Err(postbell::tenant::RequestError::Refused(Refusal::Fault)));
        }
        "refuse" => {
            let reply = tenant.refuse(&request.head, &request.body, Refusal::Fault).await;
            ensure!(reply.status >= 500 && reply.body != b"refused by the plugin", "{reply:?}");
        }
        "answer" => is_refused(tenant, "/").await?,
        "settled" => ensure!(ask(tenant, "/confirm").await?? == "confirm"),
        "finished" => ensure!(ask(tenant, "/call").await?? == "called"),
        "drain" | "restarted" => ensure!(ask(tenant, "/").await?? == "1"),
        other => anyhow::bail!("no such function: {other}"),
    }
    Ok(())
}
