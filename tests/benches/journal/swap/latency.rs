//! How long the tenant's requests take while a follower is warmed and fed, and while its reactions are compared.

use std::time::Duration;

use postbell::tenant::{Shadow, Step, SwapEvent, SwapOptions, Swapping, Tenant};
use postbell_tests::embedded::request;
use postbell_tests::figures::Table;
use postbell_tests::histories;
use postbell_tests::scale::scaled;
use tokio::sync::oneshot;

use super::state::{State, sizes};
use crate::pause::{POLLS, show};
use crate::scene::{now, runtime};

/// Where nothing else ends a measurement.
fn most() -> usize {
    scaled(20_000, 200)
}

/// How many subscriptions there are at most.
const MOST: usize = 100_000;

pub fn run() {
    let table = Table::begin("One unknown poll after the other, beside a swap", "subscriptions", &POLLS);
    let sizes = sizes().into_iter().filter(|subscriptions| *subscriptions <= MOST);
    sizes.for_each(|subscriptions| runtime().block_on(rows(&table, subscriptions)));
}

async fn rows(table: &Table, subscriptions: usize) {
    let state = State::of(subscriptions).await;
    let plugin = state.edition(0);
    let show = |name, times| show(table, &format!("{subscriptions}, {name}"), times);
    show("nothing beside", polls(&state.tenant, |polls| polls < most()).await);
    let shadow = Some(Shadow::Milliseconds(u64::MAX));
    let swapping = state.tenant.swap(&plugin, SwapOptions { shadow, ..SwapOptions::default() });
    let (shadows, mut begun) = oneshot::channel();
    let watching = tokio::spawn(until_shadow(swapping, shadows));
    show("warm and follow", polls(&state.tenant, |_| begun.try_recv().is_err()).await);
    show("shadow", polls(&state.tenant, |polls| polls < most()).await);
    // Dropped, it is given up.
    drop(watching.await.expect("nobody panics"));
    show("nothing again", polls(&state.tenant, |polls| polls < most()).await);
}

async fn until_shadow(mut swapping: Swapping, begun: oneshot::Sender<()>) -> Swapping {
    while swapping.next().await.expect("it goes on") != SwapEvent::Step(Step::Shadow) {}
    begun.send(()).expect("somebody waits for it");
    swapping
}

/// How long each of some polls takes, which wait for the instance alone.
async fn polls(tenant: &Tenant, more: impl FnMut(usize) -> bool) -> Vec<Duration> {
    let (mut times, mut more) = (Vec::new(), more);
    // One at least, also beside what is over at once.
    while times.is_empty() || more(times.len()) {
        let start = now();
        tenant.request(request(histories::get_events("unknown", "unknown"))).await.expect("it is answered");
        times.push(start.elapsed());
    }
    times
}
