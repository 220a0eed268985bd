//! Whether a component keeps the contract: what `postbell plugin check` runs, for authors of plugins to run in tests.
//!
//! The suite needs to know nothing of the plugin's protocol. It makes up a tenant's past, with changes of every kind,
//! requests for the plugin's routes, settlements, outcomes of calls and time, and compares what several instances of one
//! history say and save. Requests that make sense to the plugin reach further than what is made up: see [`Sample`].
//!
//! ```
//! use postbell::conformance::{Options, check};
//! use postbell::{Host, HostOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::new(HostOptions::default())?;
//! let options = Options { inputs: 2_000, compared: 100, ..Options::default() };
//! let report = check(&host, postbell::plugin::bundled(), &options, |_| ());
//! assert!(report.conforms(), "{report}");
//! # Ok(())
//! # }
//! ```

mod calls;
mod chance;
mod changes;
mod closely;
mod conversation;
mod endurance;
mod judging;
mod manifest;
mod pure;
mod report;
mod requests;
mod rules;

pub use report::Report;
pub use requests::Sample;
pub use rules::{Finding, Rule, Verdict};

use calls::{Stopped, ran};
use rules::Judge;

use crate::Host;
use crate::contract::lifecycle::LoadError;
use crate::plugin::{Fault, Instance, InstanceLimits, Plugin, PluginError};

/// How a plugin is checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all chance follows from.
    pub seed: u64,
    /// How many inputs are fed to one instance after another.
    pub inputs: u64,
    /// How many are fed to five instances side by side, compared at each.
    pub compared: u64,
    /// The plugin's settings, beside `domains`.
    pub settings: Vec<(String, String)>,
    /// Requests that make sense to it.
    pub samples: Vec<Sample>,
    /// What an instance may use.
    pub limits: InstanceLimits,
}

impl Default for Options {
    /// A million inputs, a thousand of them compared, under the limits that tenants have by default.
    fn default() -> Self {
        Options {
            seed: 1,
            inputs: 1_000_000,
            compared: 1_000,
            settings: Vec::new(),
            samples: Vec::new(),
            limits: InstanceLimits::default(),
        }
    }
}

/// The plugin that is checked.
struct Subject {
    plugin: Plugin,
    limits: InstanceLimits,
}

impl Subject {
    fn instance(&self) -> Result<Instance, Fault> {
        self.plugin.instantiate(&self.limits)
    }
}

/// Puts a component through the suite. `progress` is told now and then how many of the inputs were fed. Blocks; a host
/// for this alone needs [`crate::HostOptions::instances`] of 20.
pub fn check(host: &Host, component: &[u8], options: &Options, mut progress: impl FnMut(u64)) -> Report {
    let mut judge = Judge::default();
    let plugin = match host.load(component) {
        Ok(plugin) => plugin,
        Err(error) => {
            judge.rule(refused_by(&error), "loading", Some(error.to_string()));
            return Report::new(None, component, options.seed, judge);
        }
    };
    judge.rule(Rule::Component, "loading", None);
    judge.rule(Rule::Imports, "loading", None);
    judge.rule(Rule::Manifest, "describe", manifest::unusable(plugin.manifest()));
    let subject = Subject { plugin, limits: options.limits.clone() };
    // What is over for one part of the suite is not for the others: each begins with new instances.
    let mut part = |part: &mut dyn FnMut(&mut Judge) -> Result<(), Stopped>| {
        judge.begin_part();
        let (Ok(()) | Err(Stopped)) = part(&mut judge);
    };
    part(&mut |judge| pure::look(&subject, options, judge));
    part(&mut |judge| formats(&subject, judge));
    part(&mut |judge| closely::look(&subject, options, judge));
    part(&mut |judge| endurance::run(&subject, options, judge, &mut progress));
    Report::new(Some(&subject.plugin), component, options.seed, judge)
}

fn refused_by(error: &PluginError) -> Rule {
    match error {
        PluginError::Imports(_) => Rule::Imports,
        PluginError::Describe(_) => Rule::Manifest,
        _ => Rule::Component,
    }
}

/// A format that it does not name is refused as one.
fn formats(subject: &Subject, judge: &mut Judge) -> Result<(), Stopped> {
    const UNKNOWN: &str = "no-format-of-anybody/0";
    let place = "load of an unknown format";
    let mut instance = ran(judge, Rule::Snapshots, place, subject.instance())?;
    let loaded = ran(judge, Rule::Snapshots, place, instance.load(UNKNOWN, &[b"?".to_vec()]))?;
    let refused = matches!(&loaded, Err(LoadError::UnknownFormat(format)) if format == UNKNOWN);
    judge.holds(Rule::Snapshots, place, refused, || {
        format!("it is not refused as `unknown-format` with its name: {loaded:?}")
    });
    Ok(())
}
