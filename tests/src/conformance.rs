//! Plugins that break the contract, each in its own way, and the suite that must find that out.

use postbell::conformance::{Options, Report, Sample, check};
use postbell::plugin::InstanceLimits;
use postbell::{Host, HostOptions};

/// The plugin that `postbell plugin new` writes, under the name that it has here.
pub fn jmap_push() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/jmap-push.wasm"))
}

/// Its module, as the compiler wrote it.
pub fn jmap_push_module() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/module.wasm"))
}

/// The requests that the programs tell apart.
pub fn samples() -> Vec<Sample> {
    let sample = |path: &str| Sample { path: path.into(), ..Sample::default() };
    ["/", "/park", "/confirm", "/wake", "/call", "/break", "/litter"].map(sample).into()
}

/// What the suite says of a component.
///
/// # Panics
///
/// This machine does not run the engine.
pub fn report(component: &[u8], options: &Options) -> Report {
    let host = Host::new(HostOptions { instances: 20, shards: 1, ..crate::host_options() });
    check(&host.expect("this machine runs the engine"), component, options, |_| ())
}

/// A short run of the suite, under limits that are soon reached.
pub fn short() -> Options {
    let limits = InstanceLimits { memory_bytes: 64 << 20, call_milliseconds: 5_000, ..InstanceLimits::default() };
    Options { inputs: 3_000, compared: 300, samples: samples(), limits, ..Options::default() }
}
