//! Many tenants: what each takes, awake and asleep, and what one that misbehaves costs its neighbour.
//!
//! Each part runs in a process, on the library's own interface. An
//! argument names the part to run; `POSTBELL_OPEN` and `POSTBELL_KNOWN` say how many tenants it has.

mod ceiling;
mod density;
mod neighbours;
mod processes;

use postbell_tests::scale::scaled;

#[path = "../journal/scene.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod scene;

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if named.as_deref() == Some(processes::ONE) {
        return processes::be_one();
    }
    let parts: [(&str, fn()); 5] = [
        ("ceiling", ceiling::run),
        ("open", density::open),
        ("known", density::known),
        ("processes", processes::run),
        ("neighbours", neighbours::run),
    ];
    match named.as_deref() {
        Some("again") => density::again(),
        Some(named) => parts.iter().filter(|(name, _)| *name == named).for_each(|(_, run)| run()),
        // Each in a process of its own: what one leaves in memory is not another's.
        // The ceiling is what the settings say: there is no smaller one.
        None => parts.iter().skip(scaled(0, 1)).for_each(|(name, _)| match *name {
            "open" => density::open_sizes().iter().for_each(|open| alone(name, &[("POSTBELL_OPEN", open.to_string())])),
            "known" => {
                density::known_sizes().iter().for_each(|known| alone(name, &[("POSTBELL_KNOWN", known.to_string())]))
            }
            _ => alone(name, &[]),
        }),
    }
}

fn alone(part: &str, environment: &[(&str, String)]) {
    let program = std::env::current_exe().expect("it runs");
    let mut command = std::process::Command::new(program);
    command.arg(part).envs(environment.iter().map(|(name, value)| (name, value)));
    let ended = command.status().expect("it starts");
    assert!(ended.success(), "{part} ended with {ended}");
}

/// A number from the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}
