//! The component, driven by hand: one instance, without tenant, journal or threads.

use postbell::plugin::{Instance, InstanceLimits, Plugin};
use postbell::{Host, HostOptions};

use crate::host_options;

/// The built-in plugin, compiled.
///
/// # Panics
///
/// It does not load.
pub fn plugin() -> Plugin {
    let host = Host::new(HostOptions { instances: 50, ..host_options() }).expect("this machine runs the engine");
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
