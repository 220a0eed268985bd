//! The component, driven by hand: one instance, without tenant, journal or threads.

use postbell::contract::types::{Moment, Reaction};
use postbell::journal::Input;
use postbell::plugin::{Fault, Instance, InstanceLimits, Plugin};
use postbell::{Host, HostOptions};

use crate::native::Fed;

/// The built-in plugin, compiled.
///
/// # Panics
///
/// It does not load.
pub fn plugin() -> Plugin {
    let host =
        Host::new(HostOptions { instances: 50, ..HostOptions::default() }).expect("this machine runs the engine");
    host.load(postbell::plugin::bundled()).expect("the built-in plugin loads")
}

/// A fresh instance.
///
/// # Panics
///
/// There is none.
pub fn instance(plugin: &Plugin) -> Instance {
    plugin.instantiate(&InstanceLimits::default()).expect("an instance")
}

/// Gives an instance one input.
///
/// # Errors
///
/// The instance fails on it.
pub fn feed(instance: &mut Instance, at: Moment, input: &Input) -> Result<Fed, Fault> {
    Ok(match input {
        Input::Open { seed, settings } => instance.open(at, seed, settings)?.map(|()| Reaction {
            replies: vec![],
            calls: vec![],
            wake_at: None,
            rejections: vec![],
            logs: vec![],
            changed: false,
        }),
        Input::Configure { settings } => instance.configure(at, settings)?,
        Input::Tick => Ok(instance.tick(at)?),
        Input::Restarted(how) => Ok(instance.restarted(at, *how)?),
        Input::Drain => Ok(instance.drain(at)?),
        Input::Ingest { batch, .. } => Ok(instance.ingest(at, batch)?),
        Input::Answer(request) => Ok(instance.answer(at, request)?),
        Input::Settled(settlements) => Ok(instance.settled(at, settlements)?),
        Input::Finished { call, outcome } => Ok(instance.finished(at, *call, outcome)?),
    })
}
