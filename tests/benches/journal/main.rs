//! What it costs to lose nothing: the durable journal under the whole path of a change, beside the bare store.
//!
//! Everything runs in this process, on the library's own interface, on a file in the target folder's file system. Ratios
//! are taken within one run, in turn.

mod appends;
mod latency;
mod pause;
mod recovery;
mod scene;

fn main() {
    appends::run();
    latency::run();
    recovery::run();
    pause::run();
}
