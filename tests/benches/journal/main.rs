//! What it costs to lose nothing, the durable journal under the whole path of a change, beside the bare store; and what it
//! costs to change the plugin, a follower fed from the journal, beside stop-and-copy.
//!
//! Everything runs in this process, on the library's own interface, on a file in the target folder's file system. Ratios
//! are taken within one run, in turn. An argument names the part to run. POSTBELL_SUBSCRIPTIONS: the one size to swap at.

mod appends;
mod latency;
mod pause;
mod recovery;
mod scene;
mod swap;

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parts: [(&str, fn()); 5] = [
        ("appends", appends::run),
        ("latency", latency::run),
        ("recovery", recovery::run),
        ("pause", pause::run),
        ("swap", swap::run),
    ];
    for (name, run) in parts {
        if named.as_ref().is_none_or(|named| named == name) {
            run();
        }
    }
}
