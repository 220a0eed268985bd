//! What to do with a test that waits for ever: it is named, and ends the run, before whoever runs it gives up without a word.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::exit;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// How many minutes a test may run, unless `POSTBELL_TEST_MINUTES` says so. None comes near to it that waits for states alone.
const MINUTES: u64 = 15;

/// The tests that run, and since when.
static RUNNING: LazyLock<Mutex<HashMap<ThreadId, (String, Instant)>>> = LazyLock::new(|| {
    let minutes = std::env::var("POSTBELL_TEST_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    thread::spawn(move || watch(Duration::from_secs(60 * minutes.unwrap_or(MINUTES))));
    Mutex::default()
});

/// A test, while its thread lives.
struct Test;

thread_local! {
    static TEST: Option<Test> = Test::begin();
}

impl Test {
    #[expect(clippy::disallowed_methods, reason = "this is how long to wait for a test's end, and no measurement")]
    fn begin() -> Option<Test> {
        let this = thread::current();
        // The library that runs tests names their threads for them; others have no path.
        let name = this.name().filter(|name| name.contains("::"))?;
        let mut running = RUNNING.lock().expect("nobody panics with it locked");
        running.insert(this.id(), (name.to_owned(), Instant::now()));
        Some(Test)
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        RUNNING.lock().expect("nobody panics with it locked").remove(&thread::current().id());
    }
}

/// Has the test of this thread watched from now on, if it is a test's. It ends all of them if it does not end.
pub fn watched() {
    TEST.with(|_| ());
}

#[expect(clippy::disallowed_methods, reason = "this is how long to wait for a test's end, and no measurement")]
fn watch(limit: Duration) {
    loop {
        thread::sleep(Duration::from_secs(1));
        let running = RUNNING.lock().expect("nobody panics with it locked");
        let mut endless =
            running.values().filter(|(_, begun)| begun.elapsed() > limit).map(|(name, _)| name).peekable();
        if endless.peek().is_some() {
            let names = endless.cloned().collect::<Vec<_>>().join(", ");
            let minutes = limit.as_secs() / 60;
            // Not by `eprintln`: this thread was begun by a test's, and what a test prints is kept until the test ends.
            let _ = writeln!(
                std::io::stderr(),
                "after {minutes} minutes still running, waiting for what never comes: {names}"
            );
            exit(1);
        }
    }
}
