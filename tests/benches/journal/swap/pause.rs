//! For how long no input can be fed because of a swap, and because of what others do: save, instantiate, load.

use postbell::plugin::{Instance, InstanceLimits, Plugin};
use postbell::tenant::SwapOptions;
use postbell_tests::figures::{Table, Unit};
use postbell_tests::scale::scaled;

use super::state::{State, sizes};
use crate::scene::{quantile, runtime, timed};

/// How often each is measured, in turn: of the largest state, of which a copy takes seconds, less often.
fn rounds(subscriptions: usize) -> usize {
    scaled(if subscriptions > 100_000 { 10 } else { 100 }, 3)
}

/// Messages that arrive during a swap.
const MEANWHILE: usize = 20;

pub fn run() {
    let title = "For how long an input waits because of a swap while messages arrive, in turn with copies of the state";
    let times = ["swap p50", "swap p99", "longest swap", "copy p50", "copy p99"].map(|name| (name, Unit::Time));
    let curve = Table::curve(title, "subscriptions", &[&[("swaps", Unit::Count)], &times[..]].concat());
    sizes().into_iter().for_each(|subscriptions| runtime().block_on(row(&curve, subscriptions)));
}

async fn row(curve: &Table, subscriptions: usize) {
    let mut state = State::of(subscriptions).await;
    let editions = [state.edition(0), state.edition(1)];
    let mut copied = restored(&state, &editions[0]);
    let (mut swaps, mut copies) = (Vec::new(), Vec::new());
    let rounds = rounds(subscriptions);
    for number in 0..rounds {
        let swapping = state.tenant.swap(&editions[number % 2], SwapOptions::default());
        let (swap, ()) = tokio::join!(swapping.end(), state.deliver(MEANWHILE));
        swaps.push(swap.expect("it takes over").paused);
        let copy;
        (copied, copy) = timed(|| stop_and_copy(copied, &editions[number % 2]));
        copies.push(copy);
    }
    swaps.sort();
    copies.sort();
    let all = Some((rounds as f64).into());
    let swaps = [0.5, 0.99, 1.0].map(|share| Some(quantile(&swaps, share).into()));
    let copies = [0.5, 0.99].map(|share| Some(quantile(&copies, share).into()));
    curve.point(subscriptions, &[&[all], &swaps[..], &copies[..]].concat());
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
    let limits = InstanceLimits { call_milliseconds: 60_000, memory_bytes: 4 << 30, ..InstanceLimits::default() };
    plugin.instantiate(&limits).expect("an instance")
}
