//! The only place that reads time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a host takes its time from: the operating system, or a test.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump.
    fn wall(&self) -> u64;

    /// Milliseconds since a fixed moment. Never goes backwards.
    fn monotonic(&self) -> u64;

    /// How long a thread may wait until `monotonic` reaches `due`; none: until the callback of [`Clock::on_advance`].
    fn wait(&self, due: u64) -> Option<Duration>;

    /// Registers what a clock that is advanced by hand calls after each step.
    fn on_advance(&self, callback: Box<dyn Fn() + Send + Sync>);
}

/// Milliseconds since the machine started, those included in which it slept: the first figure of proc_uptime(5), which is
/// CLOCK_BOOTTIME. None: the system does not tell.
pub fn since_boot() -> Option<u64> {
    static UPTIME: OnceLock<Option<File>> = OnceLock::new();
    let file = UPTIME.get_or_init(|| File::open("/proc/uptime").ok()).as_ref()?;
    let mut text = [0; 64];
    let length = file.read_at(&mut text, 0).ok()?;
    let figure = std::str::from_utf8(&text[..length]).ok()?.split_whitespace().next()?;
    let (seconds, hundredths) = figure.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000 + hundredths.parse::<u64>().ok()? * 10)
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the place that reads time")]
    fn default() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the place that reads time")]
    fn wall(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wait(&self, due: u64) -> Option<Duration> {
        Some(Duration::from_millis(due.saturating_sub(self.monotonic())))
    }

    fn on_advance(&self, _callback: Box<dyn Fn() + Send + Sync>) {}
}

/// A clock that stands still until it is advanced: for tests and for simulations.
#[derive(Default)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Default)]
struct ManualState {
    wall: u64,
    monotonic: u64,
    callbacks: Vec<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ManualClock").field("wall", &self.wall()).finish_non_exhaustive()
    }
}

impl ManualClock {
    /// A clock whose wall shows `wall` milliseconds since the Unix epoch.
    pub fn at(wall: u64) -> Self {
        ManualClock { state: Mutex::new(ManualState { wall, ..ManualState::default() }) }
    }

    /// Lets `milliseconds` pass.
    pub fn advance(&self, milliseconds: u64) {
        let mut state = self.lock();
        state.wall += milliseconds;
        state.monotonic += milliseconds;
        for callback in &state.callbacks {
            callback();
        }
    }

    /// Sets the wall clock without letting time pass, as an operator's hand or a time server does.
    pub fn set_wall(&self, wall: u64) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> u64 {
        self.lock().wall
    }

    fn monotonic(&self) -> u64 {
        self.lock().monotonic
    }

    fn wait(&self, due: u64) -> Option<Duration> {
        (due <= self.monotonic()).then_some(Duration::ZERO)
    }

    fn on_advance(&self, callback: Box<dyn Fn() + Send + Sync>) {
        self.lock().callbacks.push(callback);
    }
}

/// A tenant's time: its last reading plus elapsed monotonic time, slewed towards the wall clock at up to half its speed,
/// so that it neither jumps nor stands still nor goes backwards, whatever the wall clock does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TenantTime {
    /// A moment in the tenant's time, and in the monotonic clock's.
    anchor: (u64, u64),
    /// The last reading, likewise.
    last: (u64, u64),
}

impl TenantTime {
    /// The anchor moves up after this long: often enough to follow the wall, seldom enough for the slew to be whole
    /// milliseconds.
    const STRIDE_MILLISECONDS: u64 = 100;

    /// Starts at the wall clock, but not before `last`, the tenant's last moment.
    pub(crate) fn start(clock: &dyn Clock, last: u64) -> Self {
        let now = (clock.wall().max(last), clock.monotonic());
        TenantTime { anchor: now, last: now }
    }

    /// Reads the time: milliseconds since the Unix epoch.
    pub(crate) fn read(&mut self, clock: &dyn Clock) -> u64 {
        let (start, monotonic) = (self.anchor.0, clock.monotonic());
        let elapsed = monotonic.saturating_sub(self.anchor.1);
        let (slowest, fastest) = (start + elapsed - elapsed / 2, start + elapsed + elapsed / 2);
        self.last = (clock.wall().clamp(slowest, fastest).max(self.last.0), monotonic);
        if elapsed >= Self::STRIDE_MILLISECONDS {
            self.anchor = self.last;
        }
        self.last.0
    }

    /// The monotonic time at which a tenant whose time runs evenly since the last reading reads `instant`.
    pub(crate) fn due(&self, instant: u64) -> u64 {
        self.last.1.saturating_add(instant.saturating_sub(self.last.0))
    }
}

/// Elapsed time of a step that is measured for display only.
pub(crate) fn timed<T>(step: impl FnOnce() -> T) -> (T, Duration) {
    let clock = SystemClock::default();
    let result = step();
    (result, clock.start.elapsed())
}

/// How long something takes, by the time of day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads time")]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Since its start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What this thread has computed since a moment: its processor time, which other threads do not use up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadWatch(Duration);

impl ThreadWatch {
    /// From now on.
    pub(crate) fn start() -> ThreadWatch {
        ThreadWatch(cpu_time::ThreadTime::now().as_duration())
    }

    /// Since its start, which was on this thread.
    pub(crate) fn elapsed(&self) -> Duration {
        cpu_time::ThreadTime::now().as_duration().saturating_sub(self.0)
    }

    /// Since its start, or since this was last asked, which was on this thread.
    pub(crate) fn lap(&mut self) -> Duration {
        let before = std::mem::replace(self, ThreadWatch::start());
        self.0.saturating_sub(before.0)
    }
}

/// Blocks the calling thread.
#[expect(clippy::disallowed_methods, reason = "this is the place that knows time")]
pub(crate) fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_time_follows_a_wall_that_jumps_without_jumping() {
        let clock = ManualClock::at(1_000_000);
        let mut time = TenantTime::start(&clock, 0);
        clock.advance(100);
        assert_eq!(time.read(&clock), 1_000_100);
        clock.set_wall(2_000_000);
        clock.advance(100);
        assert_eq!(time.read(&clock), 1_000_250, "an hour ahead: faster by half");
        clock.set_wall(0);
        clock.advance(100);
        assert_eq!(time.read(&clock), 1_000_300, "far behind: half as fast, never backwards");
        clock.set_wall(1_000_360);
        clock.advance(40);
        assert_eq!(time.read(&clock), 1_000_360, "within reach: exactly the wall");
    }

    #[test]
    fn what_is_due_does_not_move_with_the_clock() {
        let clock = ManualClock::at(1_000_000);
        let mut time = TenantTime::start(&clock, 0);
        let start = clock.monotonic();
        assert_eq!(time.due(1_000_100), start + 100);
        clock.advance(100);
        assert_eq!(time.due(1_000_100), start + 100, "time that passed since the last reading counts");
        time.read(&clock);
        assert_eq!(time.due(1_000_100), start + 100);
        assert_eq!(time.due(1_000_150), start + 150);
    }

    #[test]
    fn a_tenant_that_was_ahead_starts_where_it_was() {
        let clock = ManualClock::at(500);
        assert_eq!(TenantTime::start(&clock, 900).read(&clock), 900);
    }
}
