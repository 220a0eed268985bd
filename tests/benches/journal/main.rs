//! What it costs to lose nothing: the durable journal under the whole path of a change, beside the bare store.
//!
//! Everything runs in this process, on the library's own interface, on a file in the target folder's file system. Ratios
//! are taken within one run, in turn. An argument names the part to run.

mod appends;
mod latency;
mod pause;
mod recovery;
mod scene;

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parts: [(&str, fn()); 4] =
        [("appends", appends::run), ("latency", latency::run), ("recovery", recovery::run), ("pause", pause::run)];
    for (name, run) in parts {
        if named.as_ref().is_none_or(|named| named == name) {
            run();
        }
    }
}
