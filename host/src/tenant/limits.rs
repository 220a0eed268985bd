//! What a tenant may use.

use super::Retention;
use crate::plugin::InstanceLimits;

/// What one tenant may use. Whatever goes over a limit is refused, and counted under the limit's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What its instance may use.
    pub instance: InstanceLimits,
    /// `inputs-waiting`: inputs that wait for the instance.
    pub inputs_waiting: usize,
    /// `open-requests`: requests that have no final part yet.
    pub open_requests: usize,
    /// `unread-bytes`: bytes of one answer that its reader has not taken yet; a reader that lets more pile up is cut off.
    pub unread_bytes: usize,
    /// `unread-parts`: parts of one answer that its reader has not taken yet; likewise.
    pub unread_parts: usize,
    /// `uncommitted`: inputs that were fed and are not committed yet; beyond, nothing more is fed.
    pub uncommitted_inputs: usize,
    /// `uncommitted`: about how many bytes these may have.
    pub uncommitted_bytes: usize,
    /// `outbound-calls`: calls that are on their way; beyond, a call fails.
    pub outbound_calls: usize,
    /// `reaction-bytes`: what the texts and bodies of one reaction may have together; at most 1 MiB, the contract's limit.
    pub reaction_bytes: usize,
    /// `log-lines-per-minute`: lines of the plugin's that are logged; further ones are dropped.
    pub log_lines_per_minute: u64,
    /// `calls-per-minute`: calls that are made for the plugin; further ones fail. It is told of as many, or of 60,000,
    /// a sixth of them at once; of further ones later.
    pub calls_per_minute: u64,
    /// `ticks-per-minute`: how often the plugin's timer is served; further ticks are late.
    pub ticks_per_minute: u64,
    /// `busy-milliseconds`: how long it may compute in a second on a thread that it shares; beyond, it moves to a thread of
    /// its own, which comes after all others, until it is calm.
    pub busy_milliseconds: u64,
    /// `faults-per-minute`: how often an instance is replaced; when it fails more often, the tenant is closed until there
    /// may be one more.
    pub faults_per_minute: u64,
    /// `sleep-milliseconds`: after so long without an input the instance is dropped until the next input or
    /// timer. Where there are more tenants than [`crate::HostOptions::open_tenants`], those go first that were idle longest.
    pub sleep_milliseconds: u64,
    /// `journal-bytes`: about how many bytes of inputs may be in no snapshot; beyond, nothing more is taken until one
    /// succeeds.
    pub journal_bytes: u64,
    /// `swap-behind-bytes`: what the live instance was fed, with what it made of it, and a swap's follower was not yet;
    /// beyond, the swap is given up.
    pub swap_behind_bytes: usize,
    /// When snapshots are taken, and how much history is kept.
    pub retention: Retention,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            instance: InstanceLimits::default(),
            inputs_waiting: 10_000,
            open_requests: 100_000,
            unread_bytes: 4 << 20,
            unread_parts: 1_024,
            uncommitted_inputs: 10_000,
            uncommitted_bytes: 64 << 20,
            outbound_calls: 20_000,
            reaction_bytes: 1 << 20,
            log_lines_per_minute: 600,
            calls_per_minute: 60_000,
            ticks_per_minute: 6_000,
            busy_milliseconds: 500,
            faults_per_minute: 120,
            sleep_milliseconds: 600_000,
            journal_bytes: 1 << 30,
            swap_behind_bytes: 256 << 20,
            retention: Retention::default(),
        }
    }
}
