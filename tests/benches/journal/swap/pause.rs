//! For how long no input can be fed because of a swap, and because of what others do: save, instantiate, load.

use std::time::Duration;

use postbell::plugin::{Instance, InstanceLimits, Plugin};
use postbell::tenant::SwapOptions;
use postbell_tests::scale::scaled;

use super::state::{State, sizes};
use crate::scene::{quantile, runtime, timed};

/// How often each is measured, in turn.
fn rounds() -> usize {
    scaled(100, 3)
}

/// Messages that arrive during a swap.
const MEANWHILE: usize = 20;

pub fn run() {
    println!(
        "\nFor how long an input waits because of a swap, {} swaps while messages arrive, in turn with copies.\n",
        rounds()
    );
    println!(
        "{:>14} {:>11} {:>11} {:>11} {:>11} {:>11}",
        "subscriptions", "swap p50", "swap p99", "longest", "copy p50", "copy p99"
    );
    sizes().into_iter().for_each(|subscriptions| runtime().block_on(row(subscriptions)));
}

async fn row(subscriptions: usize) {
    let mut state = State::of(subscriptions).await;
    let editions = [state.edition(0), state.edition(1)];
    let mut copied = restored(&state, &editions[0]);
    let (mut swaps, mut copies) = (Vec::new(), Vec::new());
    for number in 0..rounds() {
        let swapping = state.tenant.swap(&editions[number % 2], SwapOptions::default());
        let (swap, ()) = tokio::join!(swapping.end(), state.deliver(MEANWHILE));
        swaps.push(swap.expect("it takes over").paused);
        let copy;
        (copied, copy) = timed(|| stop_and_copy(copied, &editions[number % 2]));
        copies.push(copy);
    }
    swaps.sort();
    copies.sort();
    let longest = swaps.last().copied().unwrap_or_default();
    let shown =
        [quantile(&swaps, 0.5), quantile(&swaps, 0.99), longest, quantile(&copies, 0.5), quantile(&copies, 0.99)];
    let shown = shown.map(|time: Duration| format!("{time:>11.1?}")).join(" ");
    println!("{subscriptions:>14} {shown}");
}

/// An instance with the tenant's state.
fn restored(state: &State, plugin: &Plugin) -> Instance {
    let snapshot = state.snapshot();
    let mut instance = instance(plugin);
    instance.load(&snapshot.format, &snapshot.parts).expect("no fault").expect("it knows the format");
    instance
}

fn stop_and_copy(mut old: Instance, plugin: &Plugin) -> Instance {
    let parts = old.save().expect("no fault");
    let mut new = instance(plugin);
    let format = &plugin.manifest().state_formats[0];
    new.load(format, &parts).expect("no fault").expect("it knows the format");
    new
}

fn instance(plugin: &Plugin) -> Instance {
    let limits = InstanceLimits { call_milliseconds: 60_000, ..InstanceLimits::default() };
    plugin.instantiate(&limits).expect("an instance")
}
