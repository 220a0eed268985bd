//! One instance of a plugin: the calls of the contract, under limits, with every way to fail told apart.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

use super::EPOCH_MILLISECONDS;
use super::census::{Census, Presence};
use crate::clock::{Stopwatch, ThreadWatch};
use crate::contract::lifecycle::{Gauge, LoadError, Manifest, Pending, Restart};
use crate::contract::outbound::Outcome;
use crate::contract::requests::{Claims, Refusal, Request, RequestHead, Settlement};
use crate::contract::types::{Moment, Reaction, Reply};
use crate::contract::{Notifier, NotifierPre, changes::Batch};
use crate::journal::Input;

/// How many parts of at most 1 MiB a `save` may give: a memory holds 4 GiB.
const MOST_PARTS: u32 = 4096;

/// What one instance may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    /// `memory-bytes`: its memory, in bytes.
    pub memory_bytes: u64,
    /// `input-milliseconds`: how long one input, or one look at the state, may compute; in milliseconds of the thread's
    /// processor time, so that a busy machine stops nobody. It is looked at every 5 ms, from the first such moment on.
    pub call_milliseconds: u64,
    /// `identify-milliseconds`: how long `identify` and `refuse` may; clients wait for them before anybody knows who they
    /// are.
    pub identify_milliseconds: u64,
    /// `load-milliseconds`: how long `load` may for one part of a snapshot.
    pub load_milliseconds: u64,
    /// `state-bytes`: how much `save` may give, in bytes.
    pub state_bytes: u64,
    /// How much one call may return, in bytes of the host's memory.
    pub returned_bytes: usize,
}

impl Default for InstanceLimits {
    fn default() -> Self {
        InstanceLimits {
            memory_bytes: 2 << 30,
            call_milliseconds: 1_000,
            identify_milliseconds: 100,
            load_milliseconds: 10_000,
            state_bytes: 1 << 30,
            returned_bytes: 16 << 20,
        }
    }
}

impl InstanceLimits {
    /// The limits under which inputs that are in the journal run again: they always replay.
    pub(crate) fn for_replay(&self) -> Self {
        InstanceLimits {
            memory_bytes: self.memory_bytes.saturating_mul(2),
            call_milliseconds: self.call_milliseconds.saturating_mul(10),
            ..self.clone()
        }
    }

    /// The limits of an instance that only runs pure functions.
    pub(super) fn for_scratch(&self) -> Self {
        InstanceLimits { call_milliseconds: self.call_milliseconds.min(self.identify_milliseconds), ..self.clone() }
    }
}

/// Why an instance must be thrown away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest stopped abnormally.
    #[error("trap: {0}")]
    Trap(String),
    /// It ran longer than a call may.
    #[error("it computed longer than {0} ms")]
    Time(u64),
    /// It asked for more memory than it may have.
    #[error("it needed more than {0} bytes of memory")]
    Memory(u64),
    /// What `save` gives is more than it may have for a state.
    #[error("its state has more than {0} bytes")]
    State(u64),
    /// There are as many instances as there may be; nothing is wrong with this one.
    #[error("there are {0} instances already, as many as there may be")]
    Instances(u64),
    /// It did what the contract forbids.
    #[error("it broke the contract: {0}")]
    Contract(String),
}

impl Fault {
    /// The word for it in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Fault::Trap(_) => "trap",
            Fault::Time(_) => "time",
            Fault::Memory(_) => "memory",
            Fault::State(_) => "state-bytes",
            Fault::Instances(_) => "instances",
            Fault::Contract(_) => "contract",
        }
    }
}

/// What wasmtime asks the host about while a guest runs.
pub(crate) struct State {
    memory_limit: u64,
    memory: u64,
    /// The guest was refused memory: what it does next is explained by that.
    refused: bool,
    /// How long the call that runs may compute.
    limit: Duration,
    /// Since its first epoch was over; none: it is not. To read the processor's time costs more than most calls, so few do.
    computes: Option<ThreadWatch>,
}

impl State {
    /// The epochs that a call has are over: epochs are time of day, so the guest may not have had all of it.
    fn epochs_are_over(&mut self) -> UpdateDeadline {
        let computed = self.computes.get_or_insert_with(ThreadWatch::start).elapsed();
        match self.limit.checked_sub(computed) {
            None | Some(Duration::ZERO) => UpdateDeadline::Interrupt,
            Some(left) => UpdateDeadline::Continue(epochs(left)),
        }
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired as u64 <= self.memory_limit;
        if granted {
            self.memory = desired as u64;
        } else {
            self.refused = true;
        }
        Ok(granted)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 100_000)
    }
}

/// A live instance. After any fault it must be dropped: wasmtime lets nobody enter it again.
pub struct Instance {
    store: Store<State>,
    exports: Notifier,
    /// Dropped last: the store's slot is free before its place in the census is.
    _presence: Presence,
    limits: InstanceLimits,
    /// What the last call took.
    time: Duration,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Instance").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl Instance {
    pub(super) fn new(
        code: &NotifierPre<State>,
        limits: &InstanceLimits,
        census: &Arc<Census>,
    ) -> Result<Instance, Fault> {
        let presence = census.enter()?;
        let limit = Duration::from_millis(limits.call_milliseconds);
        let state = State { memory_limit: limits.memory_bytes, memory: 0, refused: false, limit, computes: None };
        let mut store = Store::new(code.engine(), state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().epochs_are_over()));
        store.set_epoch_deadline(1);
        store.set_hostcall_fuel(limits.returned_bytes);
        let exports = code.instantiate(&mut store);
        let exports = exports.map_err(|error| fault(&error, store.data()))?;
        Ok(Instance { store, exports, _presence: presence, limits: limits.clone(), time: Duration::ZERO })
    }

    /// The bytes of its memory now.
    pub fn memory(&self) -> u64 {
        self.store.data().memory
    }

    /// How long its last call took: time of day, so on a busy machine it may have computed less.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// From now on the instance lives under `limits`.
    pub(crate) fn set_limits(&mut self, limits: &InstanceLimits) {
        self.store.data_mut().memory_limit = limits.memory_bytes;
        self.limits = limits.clone();
    }

    fn call<T>(&mut self, call: impl FnOnce(&Notifier, &mut Store<State>) -> wasmtime::Result<T>) -> Result<T, Fault> {
        self.call_within(self.limits.call_milliseconds, call)
    }

    fn call_within<T>(
        &mut self,
        milliseconds: u64,
        call: impl FnOnce(&Notifier, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        self.store.set_epoch_deadline(1);
        self.store.set_hostcall_fuel(self.limits.returned_bytes);
        let state = self.store.data_mut();
        (state.limit, state.computes) = (Duration::from_millis(milliseconds), None);
        let watch = Stopwatch::start();
        let result = call(&self.exports, &mut self.store);
        self.time = watch.elapsed();
        result.map_err(|error| fault(&error, self.store.data()))
    }

    /// One input, by whichever function of the contract it is. The inner error is the plugin's refusal of settings, which
    /// leaves its state as it was; `open` gives an empty reaction, and so does what no plugin is told.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn feed(&mut self, at: Moment, input: &Input) -> Result<Result<Reaction, String>, Fault> {
        Ok(match input {
            Input::Open { seed, settings } => self.open(at, seed, settings)?.map(|()| silence(true)),
            Input::Swapped(_) => Ok(silence(false)),
            Input::Configure { settings } => self.configure(at, settings)?,
            Input::Tick => Ok(self.tick(at)?),
            Input::Restarted(how) => Ok(self.restarted(at, *how)?),
            Input::Drain => Ok(self.drain(at)?),
            Input::Ingest { batch, .. } => Ok(self.ingest(at, batch)?),
            Input::Answer(request) => Ok(self.answer(at, request)?),
            Input::Settled(settlements) => Ok(self.settled(at, settlements)?),
            Input::Finished { call, outcome } => Ok(self.finished(at, *call, outcome)?),
        })
    }

    /// `lifecycle.describe`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn describe(&mut self) -> Result<Manifest, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_describe(store))
    }

    /// `lifecycle.open`; the inner error is the plugin's refusal of its settings.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn open(
        &mut self,
        at: Moment,
        seed: &[u8],
        settings: &[(String, String)],
    ) -> Result<Result<(), String>, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_open(store, at, seed, settings))
    }

    /// `lifecycle.configure`; the inner error is the plugin's refusal of its settings.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn configure(&mut self, at: Moment, settings: &[(String, String)]) -> Result<Result<Reaction, String>, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_configure(store, at, settings))
    }

    /// `lifecycle.tick`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn tick(&mut self, at: Moment) -> Result<Reaction, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_tick(store, at))
    }

    /// `lifecycle.restarted`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn restarted(&mut self, at: Moment, how: Restart) -> Result<Reaction, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_restarted(store, at, how))
    }

    /// `lifecycle.drain`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn drain(&mut self, at: Moment) -> Result<Reaction, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_drain(store, at))
    }

    /// `lifecycle.outstanding`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn outstanding(&mut self) -> Result<Pending, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_outstanding(store))
    }

    /// `lifecycle.save`, until there is no further part.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn save(&mut self) -> Result<Vec<Vec<u8>>, Fault> {
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for number in 0..MOST_PARTS {
            let part = self.call(|exports, store| exports.postbell_notify_lifecycle().call_save(store, number))?;
            let Some(part) = part else { break };
            if !(1..=1 << 20).contains(&part.len()) {
                return Err(Fault::Contract(format!("part {number} of `save` has {} bytes", part.len())));
            }
            bytes += part.len() as u64;
            if bytes > self.limits.state_bytes {
                return Err(Fault::State(self.limits.state_bytes));
            }
            parts.push(part);
        }
        if parts.len() == MOST_PARTS as usize {
            return Err(Fault::Contract(format!("`save` gives more than {MOST_PARTS} parts")));
        }
        Ok(parts)
    }

    /// `lifecycle.load`, part by part; the inner error is the plugin's.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn load(&mut self, format: &str, parts: &[Vec<u8>]) -> Result<Result<(), LoadError>, Fault> {
        for (number, part) in parts.iter().enumerate() {
            let more = number + 1 < parts.len();
            let loaded = self.call_within(self.limits.load_milliseconds, |exports, store| {
                exports.postbell_notify_lifecycle().call_load(store, format, part, more)
            })?;
            if loaded.is_err() {
                return Ok(loaded);
            }
        }
        Ok(Ok(()))
    }

    /// `lifecycle.inspect`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn inspect(&mut self) -> Result<Vec<Gauge>, Fault> {
        self.call(|exports, store| exports.postbell_notify_lifecycle().call_inspect(store))
    }

    /// `changes.ingest`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn ingest(&mut self, at: Moment, batch: &Batch) -> Result<Reaction, Fault> {
        self.call(|exports, store| exports.postbell_notify_changes().call_ingest(store, at, batch))
    }

    /// `requests.identify`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn identify(&mut self, head: &RequestHead, body: &[u8]) -> Result<Claims, Fault> {
        self.call(|exports, store| exports.postbell_notify_requests().call_identify(store, head, body))
    }

    /// `requests.refuse`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn refuse(&mut self, head: &RequestHead, body: &[u8], why: Refusal) -> Result<Reply, Fault> {
        self.call(|exports, store| exports.postbell_notify_requests().call_refuse(store, head, body, why))
    }

    /// `requests.answer`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn answer(&mut self, at: Moment, request: &Request) -> Result<Reaction, Fault> {
        self.call(|exports, store| exports.postbell_notify_requests().call_answer(store, at, request))
    }

    /// `requests.settled`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn settled(&mut self, at: Moment, settlements: &[Settlement]) -> Result<Reaction, Fault> {
        self.call(|exports, store| exports.postbell_notify_requests().call_settled(store, at, settlements))
    }

    /// `outbound.finished`.
    ///
    /// # Errors
    ///
    /// A fault; the instance must be dropped.
    pub fn finished(&mut self, at: Moment, call: u64, outcome: &Outcome) -> Result<Reaction, Fault> {
        self.call(|exports, store| exports.postbell_notify_outbound().call_finished(store, at, call, outcome))
    }
}

fn silence(changed: bool) -> Reaction {
    Reaction { replies: vec![], calls: vec![], wake_at: None, rejections: vec![], logs: vec![], changed }
}

/// Epochs until it is asked whether a call's time is over: one more than fit into it, because the first may come at once.
fn epochs(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).div_ceil(EPOCH_MILLISECONDS) + 1
}

fn fault(error: &wasmtime::Error, state: &State) -> Fault {
    if state.refused {
        return Fault::Memory(state.memory_limit);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Fault::Time(u64::try_from(state.limit.as_millis()).unwrap_or(u64::MAX)),
        Some(trap) => Fault::Trap(format!("{trap}{}", innermost_function(error))),
        // Not a trap of the guest's code: what it returned cannot be lifted, or is more than may be.
        None => Fault::Contract(format!("{error:#}")),
    }
}

/// Where the guest stopped, by the names in the component.
fn innermost_function(error: &wasmtime::Error) -> String {
    error
        .downcast_ref::<wasmtime::WasmBacktrace>()
        .and_then(|backtrace| backtrace.frames().first()?.func_name())
        .map_or_else(String::new, |name| format!(" in {name}"))
}
