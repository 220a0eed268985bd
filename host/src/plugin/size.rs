//! How large a component may be: judged by reading its headers, before anything is compiled.

use wasmparser::{Parser, Payload};

use super::PluginError;

/// What a component may be and take until it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// `component-bytes`: the component's bytes.
    pub component_bytes: u64,
    /// `component-functions`: functions with a body, in all its modules together.
    pub component_functions: u64,
    /// `component-types`: types, in all its modules and in the component itself.
    pub component_types: u64,
    /// `function-bytes`: the bytes of one function's body. What compiles it may need a thousand times as much.
    pub function_bytes: u64,
    /// `describe-milliseconds`: how long `describe` may compute.
    pub describe_milliseconds: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        PluginLimits {
            component_bytes: 16 << 20,
            component_functions: 20_000,
            component_types: 10_000,
            function_bytes: 1 << 20,
            describe_milliseconds: 1_000,
        }
    }
}

/// Refuses a component that is larger than it may be; one that cannot be read is the compiler's to refuse.
pub(super) fn check(bytes: &[u8], limits: &PluginLimits) -> Result<(), PluginError> {
    below("component-bytes", bytes.len() as u64, limits.component_bytes)?;
    let (mut functions, mut types) = (0, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::TypeSection(section)) => types += u64::from(section.count()),
            Ok(Payload::CoreTypeSection(section)) => types += u64::from(section.count()),
            Ok(Payload::ComponentTypeSection(section)) => types += u64::from(section.count()),
            Ok(Payload::CodeSectionStart { count, .. }) => functions += u64::from(count),
            Ok(Payload::CodeSectionEntry(body)) => {
                let bytes = body.range().len() as u64;
                below("function-bytes", bytes, limits.function_bytes)?;
            }
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
        below("component-functions", functions, limits.component_functions)?;
        below("component-types", types, limits.component_types)?;
    }
    Ok(())
}

/// What the component itself asks for; what the components inside it ask for, it gives them.
pub(super) fn imports(bytes: &[u8]) -> wasmparser::Result<Vec<String>> {
    let (mut imports, mut depth) = (Vec::new(), 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(imports)
}

fn below(limit: &'static str, found: u64, most: u64) -> Result<(), PluginError> {
    if found > most { Err(PluginError::TooLarge { limit, found, most }) } else { Ok(()) }
}
