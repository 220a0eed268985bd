//! The notification logic in a plugin of Extism: bytes in, bytes out.
//!
//! Without an argument it plays. `tenants N` opens so many plugins, each with a tenant, then says what one takes in memory.

use std::time::Duration;

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use postbell_contest::{Input, Rival, play, resident_bytes};
use postbell_notify::contract::{Moment, Reaction};

const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.wasm"));

struct Extism<'c> {
    compiled: &'c CompiledPlugin,
    plugin: Plugin,
}

impl<'c> Extism<'c> {
    fn new(compiled: &'c CompiledPlugin) -> Extism<'c> {
        Extism { compiled, plugin: Plugin::new_from_compiled(compiled).expect("it is made") }
    }

    /// Another plugin takes over the state.
    fn swap(&mut self) {
        let mut next = Extism::new(self.compiled);
        let state: &[u8] = self.plugin.call("save", ()).expect("it does not fail");
        next.plugin.call::<_, ()>("load", state).expect("it does not fail");
        *self = next;
    }
}

impl Rival for Extism<'_> {
    fn take(&mut self, at: Moment, input: Input) -> Option<Reaction> {
        if matches!(input, Input::Swap) {
            self.swap();
            return Some(Reaction::default());
        }
        let call = postcard::to_allocvec(&(at, input)).expect("an input is plain data");
        let reaction: &[u8] = self.plugin.call("feed", call).expect("it does not fail");
        Some(postcard::from_bytes(reaction).expect("a reaction"))
    }
}

/// Compiled, with a limit of time: Postbell has one too. From a file, because each plugin has a copy of its manifest.
fn compiled() -> CompiledPlugin {
    let file = std::env::temp_dir().join(format!("rival-extism-{}.wasm", std::process::id()));
    std::fs::write(&file, PLUGIN).expect("a file");
    let manifest = Manifest::new([Wasm::file(&file)]).with_timeout(Duration::from_secs(60));
    let compiled = CompiledPlugin::new(PluginBuilder::new(manifest).with_wasi(false)).expect("it compiles");
    std::fs::remove_file(&file).expect("it is there");
    compiled
}

fn main() {
    let compiled = compiled();
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("tenants") {
        let count = arguments.next().and_then(|count| count.parse().ok()).expect("how many");
        let before = resident_bytes();
        let tenants: Vec<Extism> = (0..count)
            .map(|_| {
                let mut tenant = Extism::new(&compiled);
                let settings = vec![("domains".to_owned(), "example.org".to_owned())];
                tenant.take(Moment { now: 1, sequence: 1 }, Input::Open { seed: vec![7; 32], settings });
                tenant
            })
            .collect();
        println!("{}", (resident_bytes() - before) / tenants.len() as u64);
        return;
    }
    play(Extism::new(&compiled));
}
