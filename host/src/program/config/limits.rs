//! What a tenant may use: `[limits]` for all, and the same in a tenant for that one.

use serde::Deserialize;

use super::values::Count;
use crate::plugin::PluginLimits;
use crate::tenant::Limits;

/// What stands in the file; what does not is what it would be without the table.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LimitsTable {
    memory_bytes: Option<Count<1_048_576, 4_294_967_296>>,
    input_milliseconds: Option<Count<1, 60_000>>,
    identify_milliseconds: Option<Count<1, 10_000>>,
    load_milliseconds: Option<Count<1, 600_000>>,
    state_bytes: Option<Count<65_536, 4_294_967_296>>,
    inputs_waiting: Option<Count<1, 1_000_000>>,
    open_requests: Option<Count<1, 1_000_000>>,
    reaction_bytes: Option<Count<65_536, 1_048_576>>,
    log_lines_per_minute: Option<Count<0, 1_000_000>>,
    calls_per_minute: Option<Count<0, 10_000_000>>,
    ticks_per_minute: Option<Count<60, 10_000_000>>,
    busy_milliseconds: Option<Count<1, 1_000>>,
    faults_per_minute: Option<Count<1, 100_000>>,
    journal_bytes: Option<Count<1_048_576, 1_125_899_906_842_624>>,
    sleep_milliseconds: Option<Count<1, 31_536_000_000>>,
    body_bytes: Option<Count<1024, 67_108_864>>,
}

impl LimitsTable {
    /// Replaces those limits that stand here.
    pub(super) fn apply(&self, limits: &mut Limits) {
        put(&mut limits.instance.memory_bytes, &self.memory_bytes);
        put(&mut limits.instance.call_milliseconds, &self.input_milliseconds);
        put(&mut limits.instance.identify_milliseconds, &self.identify_milliseconds);
        put(&mut limits.instance.load_milliseconds, &self.load_milliseconds);
        put(&mut limits.instance.state_bytes, &self.state_bytes);
        put_size(&mut limits.inputs_waiting, &self.inputs_waiting);
        put_size(&mut limits.open_requests, &self.open_requests);
        put_size(&mut limits.reaction_bytes, &self.reaction_bytes);
        put(&mut limits.log_lines_per_minute, &self.log_lines_per_minute);
        put(&mut limits.calls_per_minute, &self.calls_per_minute);
        put(&mut limits.ticks_per_minute, &self.ticks_per_minute);
        put(&mut limits.busy_milliseconds, &self.busy_milliseconds);
        put(&mut limits.faults_per_minute, &self.faults_per_minute);
        put(&mut limits.journal_bytes, &self.journal_bytes);
        put(&mut limits.sleep_milliseconds, &self.sleep_milliseconds);
    }

    /// The bytes of a client's request; none: it is not said here.
    pub(super) fn body_bytes(&self) -> Option<usize> {
        self.body_bytes.as_ref().map(|count| count.0 as usize)
    }
}

/// What a plugin may be, in `[plugins]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PluginsTable {
    #[serde(default)]
    pub(super) trusted_keys: Vec<super::values::TrustedKey>,
    component_bytes: Option<Count<1024, 1_073_741_824>>,
    component_functions: Option<Count<1, 10_000_000>>,
    component_types: Option<Count<1, 10_000_000>>,
    function_bytes: Option<Count<1024, 67_108_864>>,
    describe_milliseconds: Option<Count<1, 60_000>>,
}

impl PluginsTable {
    pub(super) fn limits(&self) -> PluginLimits {
        let mut limits = PluginLimits::default();
        put(&mut limits.component_bytes, &self.component_bytes);
        put(&mut limits.component_functions, &self.component_functions);
        put(&mut limits.component_types, &self.component_types);
        put(&mut limits.function_bytes, &self.function_bytes);
        put(&mut limits.describe_milliseconds, &self.describe_milliseconds);
        limits
    }
}

fn put<const LEAST: u64, const MOST: u64>(limit: &mut u64, count: &Option<Count<LEAST, MOST>>) {
    if let Some(count) = count {
        *limit = count.0;
    }
}

fn put_size<const LEAST: u64, const MOST: u64>(limit: &mut usize, count: &Option<Count<LEAST, MOST>>) {
    if let Some(count) = count {
        *limit = count.0 as usize;
    }
}
