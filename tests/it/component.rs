//! The component itself, read with another tool than those that made it.

use anyhow::Result;
use wasmparser::{Parser, Payload};

/// A plugin has nothing to reach out with: no clock, no chance, no files, no host.
#[test]
fn the_component_imports_nothing() -> Result<()> {
    assert_eq!(imports(postbell::plugin::bundled())?, [] as [String; 0]);
    Ok(())
}

/// The check above can fail.
#[test]
fn imports_are_seen() -> Result<()> {
    let component = wat::parse_str(
        r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (core module (import "env" "now" (func))))"#,
    )?;
    assert_eq!(imports(&component)?, ["wasi:clocks/wall-clock@0.2.0", "env now"]);
    Ok(())
}

/// What the component imports, and what its modules do, at any depth. (Components within it are wired up inside it: what
/// they import, it has itself.)
fn imports(component: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.push(import?.name.name.to_owned());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    names.push(format!("{} {}", import.module, import.name));
                }
            }
            _ => {}
        }
    }
    Ok(names)
}
