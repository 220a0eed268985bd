//! Another component takes over: what clients, sources and the journal see of it.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use postbell::clock::{Clock, ManualClock, SystemClock};
use postbell::contract::requests::{Access, Denial, Refusal, RequestHead};
use postbell::journal::{Base, Input, Instead, Journal, MemoryJournal};
use postbell::plugin::Plugin;
use postbell::tenant::{
    Answer, Body, Limits, OnDifference, Parts, Request, RequestError, Retention, Shadow, Step, SwapEvent, SwapOptions,
    Tenant,
};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::PATIENCE;
use postbell_tests::embedded::{
    Commanded, Mode, between, gauge, get_events, host, open, request, span, subscribe, whole,
};
use postbell_tests::histories::{self, delivery};
use postbell_tests::swaps::{edition, guest};

/// A tenant of the small guest.
pub struct Scene {
    pub journal: Arc<Commanded>,
    pub host: Host,
    pub tenant: Tenant,
    limits: Limits,
}

impl Scene {
    /// It runs the first version.
    pub fn new(limits: Limits) -> Result<Scene> {
        Scene::at(limits, Arc::new(SystemClock::default()))
    }

    /// It runs the first version, with this clock.
    pub fn at(limits: Limits, clock: Arc<dyn Clock>) -> Result<Scene> {
        Scene::on(limits, HostOptions { clock, ..postbell_tests::host_options() })
    }

    /// It runs the first version, on a host with these options and a journal in memory.
    pub fn on(limits: Limits, options: HostOptions) -> Result<Scene> {
        let journal = Arc::new(Commanded::default());
        let host = Host::new(HostOptions { journal: journal.clone(), instances: 20, ..options })?;
        let first = host.load(&guest("first"))?;
        let options = TenantOptions { limits: limits.clone(), ..TenantOptions::default() };
        let tenant = host.open("example.org", &first, options)?;
        Ok(Scene { journal, host, tenant, limits })
    }

    pub fn plugin(&self, version: &str) -> Result<Plugin> {
        Ok(self.host.load(&guest(version))?)
    }

    /// The version takes over.
    pub async fn swap(&self, version: &str, options: SwapOptions) -> Result<postbell::tenant::Swap> {
        Ok(self.tenant.swap(&self.plugin(version)?, options).end().await?)
    }

    pub async fn deliver(&self, number: u64) -> Result<()> {
        let ingested = self.tenant.ingest(delivery("alice@example.org", &format!("m{number}"), number), span(number));
        ensure!(ingested.await?.rejections.is_empty());
        Ok(())
    }

    pub async fn ask(&self, body: &str) -> Result<Answer> {
        Ok(self.tenant.request(ask(body)).await?)
    }

    pub async fn told(&self, body: &str) -> Result<String> {
        Ok(whole(Ok(self.ask(body).await?)))
    }

    pub async fn stream(&self) -> Result<Parts> {
        match self.ask("stream").await?.body {
            Body::Parts(parts) => Ok(parts),
            Body::Whole(_) => anyhow::bail!("no stream"),
        }
    }

    /// The same journal, opened again by another host.
    pub async fn reopen(&mut self, version: &str) -> Result<()> {
        self.tenant.close().await;
        let options = TenantOptions { limits: self.limits.clone(), ..TenantOptions::default() };
        self.tenant = self.host.open("example.org", &self.plugin(version)?, options)?;
        Ok(())
    }

    pub fn running(&self) -> String {
        self.tenant.plugin().manifest().version.clone()
    }
}

pub fn ask(body: &str) -> Request {
    let head = RequestHead {
        method: "POST".into(),
        path: "/guest".into(),
        query: String::new(),
        content_type: String::new(),
        headers: vec![],
        secure: true,
    };
    let access = Access::Denied(Denial::Missing);
    Request { head, body: body.as_bytes().to_vec().into(), access, act_as: None, accounts: vec![] }
}

pub async fn next(parts: &mut Parts) -> Result<String> {
    let part: Bytes = parts.next().await.context("the end")??;
    Ok(String::from_utf8(part.into())?)
}

#[tokio::test]
async fn clients_that_wait_hear_nothing_of_it() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    scene.deliver(0).await?;
    let mut stream = scene.stream().await?;
    ensure!(next(&mut stream).await? == "1");
    let tenant = scene.tenant.clone();
    let waiting = tokio::spawn(async move { tenant.request(ask("wait")).await });
    while scene.tenant.statistics().open_requests < 2 {
        tokio::task::yield_now().await;
    }
    for (number, version) in (1..).zip(["second", "first", "second", "second"]) {
        let swap = scene.swap(version, SwapOptions::default()).await?;
        ensure!(scene.running() == version && swap.to == scene.tenant.plugin().id());
        scene.deliver(number).await?;
        ensure!(next(&mut stream).await? == (number + 1).to_string());
        ensure!(scene.told("count").await? == (number + 1).to_string());
    }
    ensure!(whole(waiting.await?) == "2");
    ensure!(scene.tenant.statistics().swaps["done"] == 4);
    ensure!(scene.tenant.statistics().faults.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_old_version_is_never_called_again() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    let head = ask("").head;
    let version = async |why| String::from_utf8(scene.tenant.refuse(&head, &Bytes::new(), why).await.body);
    ensure!(version(Refusal::Busy).await? == "first");
    scene.swap("second", SwapOptions::default()).await?;
    ensure!(version(Refusal::Busy).await? == "second");
    // The second version fails where the first does not, whoever is asked.
    ensure!(scene.tenant.request(ask("fault the first")).await.is_err());
    ensure!(scene.tenant.version().faults == 1);
    ensure!(version(Refusal::Fault).await? == "second");
    Ok(())
}

#[tokio::test]
async fn the_choice_survives_a_restart() -> Result<()> {
    let mut scene = Scene::new(Limits::default())?;
    for number in 0..5 {
        scene.deliver(number).await?;
    }
    scene.swap("second", SwapOptions::default()).await?;
    scene.deliver(5).await?;
    scene.reopen("first").await?;
    ensure!(scene.running() == "second", "the journal knows it");
    ensure!(gauge(&scene.tenant, "count").await == 6.0);
    ensure!(scene.tenant.version().tenure.previous.is_some());
    Ok(())
}

/// As a new version of the program brings another built-in plugin.
#[tokio::test]
async fn a_configured_component_that_has_changed_takes_over_at_the_start() -> Result<()> {
    let mut scene = Scene::new(Limits::default())?;
    scene.deliver(0).await?;
    scene.reopen("format").await?;
    ensure!(scene.running() == "format", "it was fed the history");
    scene.deliver(1).await?;
    ensure!(gauge(&scene.tenant, "count").await == 2.0);
    scene.reopen("load").await?;
    ensure!(gauge(&scene.tenant, "count").await == 2.0);
    scene.reopen("describe").await.expect_err("it does not load at all");
    Ok(())
}

/// While nothing is cut yet, a version that cannot read the state does not need it.
#[tokio::test]
async fn a_version_of_another_format_is_fed_the_history() -> Result<()> {
    let retention = Retention { snapshot_inputs: 5, ..Retention::default() };
    let scene = Scene::new(Limits { retention, ..Limits::default() })?;
    let mut stream = scene.stream().await?;
    next(&mut stream).await?;
    let number = 5;
    for before in 0..number {
        scene.deliver(before).await?;
        ensure!(next(&mut stream).await? == (before + 1).to_string());
    }
    // Too little follows the first snapshot for a second one, without which nothing is cut.
    while scene.tenant.statistics().snapshot == 0 {
        tokio::task::yield_now().await;
    }
    ensure!(scene.journal.first() == 1);
    scene.swap("format", SwapOptions::default()).await?;
    let based = scene.journal.records().into_iter().rev().find_map(|record| match &*record.input {
        Input::Swapped(swapped) => Some(swapped.base.clone()),
        _ => None,
    });
    ensure!(based == Some(Base::Open), "{based:?}");
    scene.deliver(number).await?;
    ensure!(scene.running() == "format" && next(&mut stream).await? == (number + 1).to_string());
    Ok(())
}

#[tokio::test]
async fn going_back_keeps_all_that_happened_since() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    scene.deliver(0).await?;
    let mut stream = scene.stream().await?;
    next(&mut stream).await?;
    scene.swap("second", SwapOptions::default()).await?;
    scene.deliver(1).await?;
    let back = scene.tenant.roll_back().await?.end().await?;
    ensure!(scene.running() == "first" && back.to == scene.tenant.plugin().id());
    scene.deliver(2).await?;
    ensure!((next(&mut stream).await?, next(&mut stream).await?) == ("2".into(), "3".into()));
    ensure!(scene.tenant.version().tenure.back);
    Ok(())
}

/// The new version's snapshots are of a format that the old one does not know.
#[tokio::test]
async fn going_back_works_after_the_new_version_has_snapshotted() -> Result<()> {
    let retention = Retention { snapshot_inputs: 7, ..Retention::default() };
    let scene = Scene::new(Limits { retention, ..Limits::default() })?;
    let mut number = 0;
    let mut deliver_until = async |wanted: u64| -> Result<u64> {
        while scene.tenant.statistics().snapshot < wanted {
            scene.deliver(number).await?;
            number += 1;
        }
        Ok(number)
    };
    deliver_until(20).await?;
    let swapped = scene.swap("both", SwapOptions::default()).await?.sequence;
    let delivered = deliver_until(swapped + 40).await?;
    scene.tenant.roll_back().await?.end().await?;
    ensure!(scene.running() == "first");
    ensure!(gauge(&scene.tenant, "count").await == delivered as f64);
    Ok(())
}

#[tokio::test]
async fn once_it_is_too_late_going_back_is_refused_with_the_reason() -> Result<()> {
    let retention = Retention { snapshot_inputs: 7, rollback_milliseconds: 0, ..Retention::default() };
    let scene = Scene::new(Limits { retention, ..Limits::default() })?;
    let swapped = scene.swap("both", SwapOptions::default()).await?.sequence;
    let mut number = 0;
    while scene.journal.first() <= swapped {
        scene.deliver(number).await?;
        number += 1;
    }
    let refused = scene.tenant.roll_back().await?.end().await.expect_err("it cannot know its state");
    ensure!(refused.to_string().contains("swap-guest/2"), "{refused}");
    ensure!(scene.running() == "both");
    scene.deliver(number).await
}

#[tokio::test]
async fn what_only_one_of_the_two_answered_is_made_good() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    scene.deliver(0).await?;
    // Both versions know the stream; only the eager one has answered the other.
    let mut stream = scene.stream().await?;
    next(&mut stream).await?;
    let tenant = scene.tenant.clone();
    let waiting = tokio::spawn(async move { tenant.request(ask("wait")).await });
    while scene.tenant.statistics().open_requests < 2 {
        tokio::task::yield_now().await;
    }
    scene.swap("eager", SwapOptions::default()).await?;
    ensure!(whole(waiting.await?) == "eager");
    scene.deliver(1).await?;
    ensure!(next(&mut stream).await? == "2");

    // While it is followed, only the live version answers: the silent one is told that the client is gone.
    scene.swap("first", SwapOptions::default()).await?;
    let tenant = scene.tenant.clone();
    let waiting = tokio::spawn(async move { tenant.request(ask("wait")).await });
    while scene.tenant.statistics().open_requests < 2 {
        tokio::task::yield_now().await;
    }
    let shadow = Some(Shadow::Inputs(2));
    let options = SwapOptions { shadow, on_difference: OnDifference::Report, ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin("silent")?, options);
    while swapping.next().await.context("it goes on")? != SwapEvent::Step(Step::Shadow) {}
    scene.deliver(2).await?;
    ensure!(whole(waiting.await?) == "3");
    scene.deliver(3).await?;
    ensure!(swapping.end().await?.differences == 1);
    ensure!((next(&mut stream).await?, next(&mut stream).await?) == ("3".into(), "4".into()));
    let settled = scene.journal.records().into_iter().rev().find_map(|record| match &*record.input {
        Input::Settled(settlements) if settlements.iter().any(|it| it.end.is_some()) => Some(settlements.len()),
        _ => None,
    });
    scene.deliver(4).await?;
    ensure!(next(&mut stream).await? == "5");
    ensure!(settled.is_some() || scene.tenant.statistics().inputs["settled"] > 0);
    Ok(())
}

/// A stream whose parts differ: what was acknowledged of the old ones is not taken for an acknowledgement of the new.
#[tokio::test]
async fn other_parts_than_clients_got_do_not_count_as_delivered() -> Result<()> {
    let clock = Arc::new(ManualClock::at(0));
    let scene = Scene::at(Limits::default(), clock.clone())?;
    let mut stream = scene.stream().await?;
    next(&mut stream).await?;
    let shadow = Some(Shadow::Milliseconds(1));
    let options = SwapOptions { shadow, on_difference: OnDifference::Report, ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin("answers")?, options);
    while swapping.next().await.context("it goes on")? != SwapEvent::Step(Step::Shadow) {}
    for number in 0..4 {
        scene.deliver(number).await?;
        ensure!(next(&mut stream).await? == (number + 1).to_string());
    }
    clock.advance(1);
    swapping.end().await?;
    scene.deliver(4).await?;
    ensure!(next(&mut stream).await? == "count=5");
    drop(stream);
    while scene.tenant.statistics().open_requests > 0 {
        scene.told("count").await?;
    }
    let records = scene.journal.records();
    let swap = records.iter().position(|record| matches!(*record.input, Input::Swapped(_))).context("a swap")?;
    let Input::Swapped(swapped) = &*records[swap].input else { unreachable!("it is one") };
    let told = |instead: &Instead| match instead {
        Instead::Nothing => 0,
        Instead::Settled(settlements) => settlements.iter().map(|settlement| settlement.parts).max().unwrap_or(0),
    };
    ensure!(!swapped.instead.is_empty(), "the follower was told less than the live instance");
    ensure!(swapped.instead.iter().all(|(_, instead)| told(instead) <= 1), "{:?}", swapped.instead);
    let after = records[swap..].iter().filter_map(|record| match &*record.input {
        Input::Settled(settlements) => settlements.iter().map(|settlement| settlement.parts).max(),
        _ => None,
    });
    ensure!(after.max().unwrap_or(0) <= 1, "only the first part is the same in both");
    Ok(())
}

/// Also those that the live version alone would not need: it does not know whether the follower does.
#[tokio::test]
async fn every_input_is_journaled_while_it_is_followed() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    let journaled = async || -> Result<bool> {
        let before = scene.journal.records().len();
        scene.told("count").await?;
        Ok(scene.journal.records().len() > before)
    };
    ensure!(!journaled().await?);
    let options = SwapOptions { shadow: Some(Shadow::Milliseconds(u64::MAX)), ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin("second")?, options);
    while swapping.next().await.context("it goes on")? != SwapEvent::Step(Step::Shadow) {}
    ensure!(journaled().await?);
    drop(swapping);
    ensure!(!journaled().await?, "it was given up");
    Ok(())
}

/// Where nothing else happens: nobody else would say that it is over.
#[tokio::test]
async fn a_shadow_of_nothing_is_over_at_once() -> Result<()> {
    let scene = Scene::at(Limits::default(), Arc::new(ManualClock::at(0)))?;
    for (shadow, version) in [(Shadow::Milliseconds(0), "second"), (Shadow::Inputs(0), "first")] {
        let swapping = scene.swap(version, SwapOptions { shadow: Some(shadow), ..SwapOptions::default() });
        let swap = tokio::time::timeout(PATIENCE, swapping).await.context(version)??;
        ensure!(swap.compared == 0 && scene.running() == version, "{swap:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_shadow_tells_what_differs_and_refuses() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    let options = SwapOptions { shadow: Some(Shadow::Inputs(100)), ..SwapOptions::default() };
    let mut swapping = scene.tenant.swap(&scene.plugin("answers")?, options);
    while swapping.next().await.context("it goes on")? != SwapEvent::Step(Step::Shadow) {}
    scene.deliver(0).await?;
    ensure!(scene.told("<Envelope><Body><Count/></Body></Envelope>").await? == "1");
    let difference = loop {
        if let SwapEvent::Difference(difference) = swapping.next().await.context("a difference")? {
            break difference;
        }
    };
    ensure!((&*difference.dialect, &*difference.operation) == ("guest", "Count"), "{difference:?}");
    ensure!(difference.live.ends_with("\n1\n") && difference.new.ends_with("\ncount=1\n"), "{difference:?}");
    let refused = swapping.end().await.expect_err("it differs");
    ensure!(refused.step == Step::Shadow, "{refused}");
    ensure!(scene.running() == "first");
    Ok(())
}

#[tokio::test]
async fn the_same_version_has_no_differences() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    let mut stream = scene.stream().await?;
    ensure!(next(&mut stream).await? == "0");
    let options = SwapOptions { shadow: Some(Shadow::Inputs(50)), ..SwapOptions::default() };
    let swapping = scene.tenant.swap(&scene.plugin("second")?, options);
    let swapping = tokio::spawn(swapping.end());
    let mut number = 0;
    while !swapping.is_finished() {
        scene.deliver(number).await?;
        scene.told("count").await?;
        number += 1;
        // At once: nobody knows how many there will be, and the host closes a stream that leaves too many unread.
        ensure!(next(&mut stream).await? == number.to_string());
    }
    let swap = swapping.await??;
    ensure!(swap.compared == 50 && swap.differences == 0, "{swap:?}");
    Ok(())
}

#[tokio::test]
async fn nothing_of_it_leaves_before_its_record_is_committed() -> Result<()> {
    let scene = Scene::new(Limits::default())?;
    scene.deliver(0).await?;
    scene.journal.set(Mode::Stalls);
    let mut swapping = scene.tenant.swap(&scene.plugin("answers")?, SwapOptions::default());
    while swapping.next().await.context("it goes on")? != SwapEvent::Step(Step::CutOver) {}
    let mut answer = std::pin::pin!(scene.tenant.request(ask("count")));
    // The tenant sees to what it is asked in order, and gauges need no journal.
    let (count, swapping) = tokio::select! {
        biased;
        early = &mut answer => anyhow::bail!("the journal has nothing of it: {:?}", early.map(|_| ())),
        count = gauge(&scene.tenant, "count") => (count, tokio::spawn(swapping.end())),
    };
    ensure!(count == 1.0 && scene.running() == "answers" && scene.tenant.statistics().inputs["answer"] == 1);
    ensure!(!swapping.is_finished());
    scene.journal.set(Mode::BreaksOnce);
    ensure!(swapping.await?.is_err(), "the record is not in the journal");
    ensure!(answer.await.is_err());
    let told = loop {
        match scene.ask("count").await {
            // Until it has seen to it that the instance which was fed what never happened is replaced.
            Err(error) if matches!(error.downcast_ref(), Some(RequestError::Refused(Refusal::Busy))) => {}
            answer => break whole(Ok(answer?)),
        }
    };
    ensure!(told == "1" && scene.running() == "first", "the old version goes on");
    Ok(())
}

#[tokio::test]
async fn the_built_in_plugin_takes_over_from_itself() -> Result<()> {
    let journal = Arc::new(MemoryJournal::default());
    let host = host(journal.clone());
    let tenant = open(&host, TenantOptions::default())?;
    tenant.ingest(delivery("alice@example.org", "m0", 1), span(0)).await?;
    let (id, watermark) = subscribe(&tenant).await;
    let streaming = whole(tenant.request(request(histories::subscribe_streaming())).await);
    let streaming = between(&streaming, "<m:SubscriptionId>", "<").to_owned();
    let answer = tenant.request(request(histories::get_streaming_events(&streaming, &streaming, 1))).await?;
    let Body::Parts(mut parts) = answer.body else { anyhow::bail!("a stream") };
    for number in 1..=10_u8 {
        let plugin = host.load(&edition(postbell::plugin::bundled(), number))?;
        tenant.swap(&plugin, SwapOptions::default()).end().await?;
        tenant.ingest(delivery("alice@example.org", &format!("m{number}"), 1), span(number.into())).await?;
    }
    let mut heard = 0;
    while heard < 10 {
        heard += next(&mut parts).await?.matches("<t:NewMailEvent>").count();
    }
    ensure!(get_events(&tenant, &id, &watermark).await.matches("<t:NewMailEvent>").count() == 10);
    let seat = journal.seats()?.remove(0);
    let records = journal.read(&seat, 1)?;
    let swaps = records.iter().filter_map(|record| match &*record.input {
        Input::Swapped(swapped) => Some((swapped.base.clone(), swapped.instead.len())),
        _ => None,
    });
    let swaps: Vec<_> = swaps.collect();
    ensure!(swaps == vec![(Base::Open, 0); 10], "{swaps:?}");
    Ok(())
}
