//! Many tenants: what each takes, awake and asleep, and what one that misbehaves costs its neighbour.
//!
//! Everything runs in this process, on the library's own interface, but for the processes that are measured beside it. An
//! argument names the part to run; `POSTBELL_OPEN` and `POSTBELL_KNOWN` say how many tenants.

mod density;
mod neighbours;
mod processes;

#[path = "../journal/scene.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod scene;

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if named.as_deref() == Some(processes::ONE) {
        return processes::be_one();
    }
    let parts: [(&str, fn()); 3] =
        [("density", density::run), ("processes", processes::run), ("neighbours", neighbours::run)];
    for (name, run) in parts {
        if named.as_ref().is_none_or(|named| named == name) {
            run();
        }
    }
}

/// A number from the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}
