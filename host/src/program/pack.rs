//! `postbell plugin pack`: the component of a module that a compiler wrote.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use wit_component::ComponentEncoder;

use super::Failure;
use crate::plugin::PluginError;

/// Make a component of a WebAssembly module that was built with bindings for the contract.
#[derive(Args, Debug)]
pub struct PackArgs {
    /// The module, such as `target/wasm32-unknown-unknown/release/NAME.wasm`
    module: PathBuf,
    /// Where the component is written to; overwritten where it exists
    component: PathBuf,
}

/// Writes the component.
///
/// # Errors
///
/// The module cannot be read, is none or has no bindings, or the component cannot be written.
pub fn run(args: &PackArgs) -> Result<(), Failure> {
    let PackArgs { module, component } = args;
    let bytes = std::fs::read(module).map_err(|error| Failure::Usage(format!("{}: {error}", module.display())))?;
    let encoded = encode(&bytes).map_err(|error| Failure::Plugin {
        origin: module.display().to_string(),
        source: PluginError::NotAComponent(format!("no component can be made of it: {error:#}")),
    })?;
    Ok(std::fs::write(component, encoded).with_context(|| component.display().to_string())?)
}

fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    ComponentEncoder::default().module(module)?.validate(true).encode()
}
