//! The one place that configures wasmtime.

use std::sync::{Arc, Weak};

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::clock;

/// How often the epoch advances: the grain of every time limit on a guest, in milliseconds.
pub(crate) const EPOCH_MILLISECONDS: u64 = 5;

/// The bytes that the stack of a guest may take on the thread that calls it.
const STACK_BYTES: usize = 512 << 10;

/// How many of the kernel's memory maps an instance takes, copy-on-write image and guards included.
const MAPS_OF_AN_INSTANCE: u32 = 4;

/// How many instances there can be on this machine at most; none: the kernel does not say. A process that has as many
/// memory maps as it may have cannot even allocate for itself, so a quarter of them is left for everything else.
pub(crate) fn instance_ceiling() -> Option<u32> {
    let maps: u32 = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()?;
    Some(ceiling(maps))
}

fn ceiling(maps: u32) -> u32 {
    (maps - maps / 4) / MAPS_OF_AN_INSTANCE
}

/// An engine for `instances` instances at once, from a pool if that is wanted, and the thread that advances its epoch.
pub(crate) fn engine(instances: u32, pooled: bool) -> wasmtime::Result<Arc<Engine>> {
    let engine = match pooled.then(|| Engine::new(&configuration(Some(pool(instances))))) {
        None => Engine::new(&configuration(None))?,
        Some(Ok(engine)) => engine,
        Some(Err(error)) => {
            // The pool reserves address space for every slot; where the machine has less, instances are made one by one,
            // which is slower and otherwise the same.
            tracing::warn!(%error, instances, "no pool of instances; falling back to allocation on demand");
            Engine::new(&configuration(None))?
        }
    };
    let engine = Arc::new(engine);
    advance_epochs(Arc::downgrade(&engine));
    Ok(engine)
}

/// An engine that only compiles: its code loads in the engine above, with a pool and without one. What does not fit into
/// that one's slots is refused there.
pub(crate) fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&configuration(None))
}

fn configuration(pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    // What a guest may be: a component with SIMD and nothing that depends on the machine.
    config.wasm_component_model(true);
    config.wasm_simd(true);
    config.wasm_relaxed_simd(false);
    config.cranelift_nan_canonicalization(true);
    // What stops it: epochs cost 13 to 15 % of its speed, fuel twice that.
    config.epoch_interruption(true);
    config.consume_fuel(false);
    config.max_wasm_stack(STACK_BYTES);
    // Calls are synchronous: support for concurrency costs 230 ns a call.
    config.concurrency_support(false);
    // A trap is reported with the names of the guest's functions; lines would need its debug information.
    config.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable);
    // Fresh memories are copy-on-write images of the component's data.
    config.memory_init_cow(true);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // A component that wit-component made has one core instance with a memory and a table, and perhaps an adapter.
    pool.total_component_instances(instances);
    pool.total_core_instances(instances.saturating_mul(2));
    pool.total_memories(instances);
    pool.total_tables(instances.saturating_mul(2));
    pool.max_core_instances_per_component(2);
    pool.max_memories_per_component(1);
    pool.max_tables_per_component(2);
    pool.max_core_instance_size(1 << 20);
    pool.max_component_instance_size(1 << 20);
    // Nothing stays with a slot that is free. It would spare the next instance in it some page faults (3 us instead of 10),
    // and after a while every slot, free or not, would have as much as the largest instance that ever was in it.
    pool.linear_memory_keep_resident(0);
    pool.table_keep_resident(0);
    pool.max_unused_warm_slots(instances.min(100));
    pool
}

fn advance_epochs(engine: Weak<Engine>) {
    std::thread::Builder::new()
        .name("postbell-epoch".into())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                clock::pause(EPOCH_MILLISECONDS);
            }
        })
        .expect("the operating system gives a thread at start");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_maps_are_not_used_up() {
        assert_eq!(ceiling(65_530), 12_287);
        assert!(ceiling(u32::MAX) > 100_000);
        assert_eq!(ceiling(0), 0);
    }
}
