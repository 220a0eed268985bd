//! Components that are no plugins, or more than one may be: refused before they can do anything.

use anyhow::{Result, ensure};
use postbell::plugin::{Compiler, PluginLimits};
use postbell::{Host, HostOptions};
use wasm_encoder::{
    CodeSection, Component, ComponentTypeSection, Function, FunctionSection, Module, ModuleSection, PrimitiveValType,
    TypeSection, ValType,
};

use super::{Scene, component};
use crate::PROGRAM;

/// A component around a module with so many functions, each with a body of so many additions.
fn functions(count: u32, additions: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let (mut declared, mut bodies) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..count {
        declared.function(0);
        let mut body = Function::new([(1, ValType::I32)]);
        for number in 0..additions {
            let number = i32::try_from(number).expect("not so many");
            body.instructions().local_get(0).i32_const(number).i32_add().local_set(0);
        }
        body.instructions().end();
        bodies.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&bodies);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

fn types(count: u32) -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    for _ in 0..count {
        types.defined_type().primitive(PrimitiveValType::U8);
    }
    let mut component = Component::new();
    component.section(&types);
    component.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_refused_beside_a_neighbour() -> Result<()> {
    let scene = Scene::new().await?;
    let whole = component("plain");
    let imports = wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#)?;
    let world = wat::parse_str(r#"(component (instance $none) (export "wasi:cli/run@0.2.0" (instance $none)))"#)?;
    for (what, bytes, words) in [
        ("WASI", imports, "imports `wasi:clocks/wall-clock@0.2.0`"),
        ("another world", world, "does not export the world"),
        ("100,000 functions", functions(100_000, 0), "goes over component-functions: 100000"),
        ("one huge function", functions(1, 1 << 20), "goes over function-bytes"),
        ("a huge type section", types(100_000), "goes over component-types: 100000"),
        ("bytes", [whole.clone(), vec![0; 17 << 20]].concat(), "goes over component-bytes"),
    ] {
        let refused = scene.host.load(&bytes).expect_err(what).to_string();
        ensure!(refused.contains(words), "{what}: {refused}");
    }
    for eighth in 0..8 {
        let cut = &whole[..whole.len() * eighth / 8];
        ensure!(scene.host.load(cut).is_err(), "{eighth} eighths of a component");
    }
    scene.nothing_is_left().await?;
    scene.end().await
}

/// What the limits let pass and yet takes too much to compile ends with the process that compiles it.
#[test]
fn the_compiler_has_limits_of_its_own() -> Result<()> {
    let limits = PluginLimits { function_bytes: 64 << 20, component_bytes: 64 << 20, ..PluginLimits::default() };
    let child = |memory_bytes, cpu_seconds| Compiler::Child { program: PROGRAM.into(), memory_bytes, cpu_seconds };
    for compiler in [child(64 << 20, 600), child(16 << 30, 1)] {
        let host = Host::new(HostOptions { compiler, plugin_limits: limits.clone(), ..HostOptions::default() })?;
        let refused = host.load(&functions(8, 300_000)).expect_err("it takes too much").to_string();
        ensure!(refused.contains("it does not compile"), "{refused}");
    }
    let host = Host::new(HostOptions { compiler: child(1 << 30, 60), ..HostOptions::default() })?;
    host.load(&component("plain"))?;
    Ok(())
}
