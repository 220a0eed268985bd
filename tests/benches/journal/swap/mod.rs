//! What a swap costs those who wait. The journal is in memory, so that nobody waits for a disk.

mod latency;
mod pause;
mod state;

pub fn run() {
    pause::run();
    latency::run();
}
