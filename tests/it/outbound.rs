//! Calls that the plugin asks for: when they are made, and what becomes of their outcomes.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use postbell::journal::Input;
use postbell::outbound::{Call, CallTarget, Done, HttpTarget, Outbound, Outcome, Response};
use postbell::plugin::InstanceLimits;
use postbell::tenant::{Limits, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::PATIENCE;
use postbell_tests::embedded::{ALICE, Commanded, Mode, gauge, open, request, span, whole};
use postbell_tests::ews::{self, ALL_FOLDERS};
use postbell_tests::histories::{self, delivery};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// Hands every call to the test.
pub struct Handed(Mutex<UnboundedSender<(Call, Done)>>);

impl Outbound for Handed {
    fn call(&self, tenant: &str, call: Call, done: Done) {
        assert_eq!(tenant, "example.org");
        self.0.lock().expect("nobody panics").send((call, done)).expect("the test listens");
    }
}

impl Handed {
    /// It, and the test's end of it.
    pub fn new() -> (Arc<Handed>, UnboundedReceiver<(Call, Done)>) {
        let (handed, calls) = unbounded_channel();
        (Arc::new(Handed(Mutex::new(handed))), calls)
    }
}

struct Scene {
    journal: Arc<Commanded>,
    host: Host,
    tenant: Tenant,
    calls: UnboundedReceiver<(Call, Done)>,
}

impl Scene {
    fn new(limits: Limits) -> Result<Scene> {
        let (outbound, calls) = Handed::new();
        let journal = Arc::new(Commanded::default());
        let options =
            HostOptions { journal: journal.clone(), outbound, instances: 20, ..postbell_tests::host_options() };
        let host = Host::new(options)?;
        let tenant = open(&host, TenantOptions { limits, ..TenantOptions::default() })?;
        Ok(Scene { journal, host, tenant, calls })
    }

    /// Alice's listener is told that it is subscribed, and says that it heard.
    async fn subscribed(limits: Limits) -> Result<Scene> {
        let mut scene = Scene::new(limits)?;
        let answer = whole(scene.tenant.request(request(subscribe())).await);
        ensure!(answer.contains("<m:SubscriptionId>"), "{answer}");
        let (call, done) = scene.next().await?;
        ensure!(text(&call).contains("<t:StatusEvent>"), "{call:?}");
        done.finish(heard());
        Ok(scene)
    }

    async fn next(&mut self) -> Result<(Call, Done)> {
        timeout(PATIENCE, self.calls.recv()).await.ok().flatten().context("a call")
    }

    async fn deliver(&self, id: &str) -> Result<()> {
        self.tenant.ingest(delivery(ALICE, id, 1), None).await?;
        Ok(())
    }
}

fn subscribe() -> String {
    ews::envelope(&ews::subscribe_push(ALL_FOLDERS, 5, "http://listener.example/here"))
}

fn text(call: &Call) -> String {
    String::from_utf8_lossy(&call.body).into_owned()
}

fn heard() -> Outcome {
    let body = "<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'><Body><SendNotificationResult \
                xmlns='http://schemas.microsoft.com/exchange/services/2006/messages'><SubscriptionStatus>OK\
                </SubscriptionStatus></SendNotificationResult></Body></Envelope>";
    Outcome::Answered(Response { status: 200, body: body.into() })
}

#[tokio::test]
async fn a_call_is_made_after_the_commit() -> Result<()> {
    let mut scene = Scene::subscribed(Limits::default()).await?;
    scene.journal.set(Mode::Stalls);
    let tenant = scene.tenant.clone();
    let change = tokio::spawn(async move { tenant.ingest(delivery(ALICE, "m1", 1), None).await });
    // The input is fed while the journal stalls: the plugin waits for its call.
    while gauge(&scene.tenant, "push_calls").await < 1.0 {}
    ensure!(scene.calls.try_recv().is_err(), "it was made before the commit");
    scene.journal.set(Mode::Works);
    change.await??;
    let (call, done) = scene.next().await?;
    let CallTarget::HttpPost(HttpTarget { url, .. }) = &call.target else { anyhow::bail!("{call:?}") };
    ensure!(url == "http://listener.example/here" && text(&call).contains("<t:NewMailEvent>"), "{call:?}");
    done.finish(heard());
    while gauge(&scene.tenant, "push_calls").await > 0.0 {}
    assert_eq!(scene.tenant.statistics().outbound_calls["answered"], 2);
    Ok(())
}

#[tokio::test]
async fn an_append_that_fails_voids_the_call() -> Result<()> {
    let mut scene = Scene::subscribed(Limits::default()).await?;
    while gauge(&scene.tenant, "push_calls").await > 0.0 {}
    scene.journal.set(Mode::Breaks);
    ensure!(scene.deliver("lost").await.is_err());
    scene.journal.set(Mode::Works);
    while scene.deliver("m1").await.is_err() {}
    let (call, _) = scene.next().await?;
    ensure!(text(&call).contains(&ews::item_id(ALICE, "m1")), "{call:?}");
    ensure!(!text(&call).contains(&ews::item_id(ALICE, "lost")), "{call:?}");
    Ok(())
}

#[tokio::test]
async fn a_call_outlives_the_instance_that_asked_for_it() -> Result<()> {
    let instance = InstanceLimits { memory_bytes: 4 << 20, ..InstanceLimits::default() };
    let mut scene = Scene::subscribed(Limits { instance, ..Limits::default() }).await?;
    scene.deliver("m1").await?;
    let (first, done) = scene.next().await?;
    ensure!(scene.tenant.request(request("x".repeat(5 << 20))).await.is_err());
    assert_eq!(scene.tenant.statistics().faults["memory"], 1);
    scene.deliver("m2").await?;
    ensure!(scene.calls.try_recv().is_err(), "one at a time");
    done.finish(heard());
    let (second, _) = scene.next().await?;
    ensure!(second.id > first.id && text(&second).contains(&ews::item_id(ALICE, "m2")), "{second:?}");
    ensure!(!text(&second).contains(&ews::item_id(ALICE, "m1")), "that was heard: {second:?}");
    Ok(())
}

#[tokio::test]
async fn a_call_of_unknown_fate_is_made_again_and_its_late_outcome_is_nobodys() -> Result<()> {
    let mut scene = Scene::subscribed(Limits::default()).await?;
    scene.deliver("m1").await?;
    let (first, late) = scene.next().await?;
    scene.tenant.close().await;
    scene.tenant = open(&scene.host, TenantOptions::default())?;
    let (second, done) = scene.next().await?;
    ensure!(second.id > first.id && second.body == first.body, "{first:?}\n{second:?}");
    late.finish(Outcome::Refused("late".into()));
    scene.deliver("m2").await?;
    done.finish(Outcome::Failed("no route".into()));
    // The outcomes are inputs like all others: they are in the journal, and only those that somebody waited for.
    let outcomes = || {
        scene.journal.records().into_iter().filter_map(|record| match &*record.input {
            Input::Finished { call, outcome } => Some((*call, matches!(outcome, Outcome::Failed(_)))),
            _ => None,
        })
    };
    while outcomes().count() < 2 {
        scene.tenant.source_offset("none").await?;
    }
    assert_eq!(outcomes().next_back(), Some((second.id, true)));
    assert_eq!(gauge(&scene.tenant, "push_subscriptions_dropped").await, 0.0);
    Ok(())
}

/// An embedder that calls nobody: its clients' subscriptions end at once.
#[tokio::test]
async fn a_host_without_a_caller_refuses_every_call() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let host = postbell_tests::embedded::host(journal);
    let tenant = open(&host, TenantOptions::default())?;
    tenant.ingest(delivery(ALICE, "m0", 1), span(0)).await?;
    let answer = whole(tenant.request(request(subscribe())).await);
    let id = postbell_tests::embedded::between(&answer, "<m:SubscriptionId>", "<").to_owned();
    while tenant.statistics().outbound_calls.get("refused") != Some(&1) {
        tenant.source_offset("none").await?;
    }
    let again = whole(tenant.request(request(histories::unsubscribe(&id))).await);
    ensure!(again.contains("ErrorSubscriptionNotFound"), "{again}");
    Ok(())
}
