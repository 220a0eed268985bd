//! What authors of plugins begin with: a crate that is written for them, and a component of what they compile.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use postbell_tests::conformance::{component, jmap_push, jmap_push_module};
use postbell_tests::program::run;

use crate::PROGRAM;

/// The crate of this repository that is written, and what of it differs.
const ORIGINAL: &str = "../plugins/jmap-push";
const CONTRACT: (&str, &str) = ("../../wit", "wit");

/// Every file below a folder, with its path from there.
fn files(folder: &Path, below: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() { files(folder, &format!("{path}/"), found)? } else { found.push(path) }
    }
    found.sort();
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// What is tested here under one name is what others get under theirs.
#[test]
fn a_new_plugin_is_the_one_that_is_tested() -> Result<()> {
    let (folder, root) = (tempfile::tempdir()?, Path::new(env!("CARGO_MANIFEST_DIR")));
    let path = folder.path().join("deep/my-protocol");
    let arguments = ["plugin", "new", "my-protocol", "--path", text(&path)?];
    let finished = run(PROGRAM, arguments)?;
    ensure!(finished.code == 0 && finished.stdout.contains("README.md says how"), "{finished:?}");

    let (mut written, mut original) = (Vec::new(), Vec::new());
    files(&path, "", &mut written)?;
    files(&root.join(ORIGINAL), "", &mut original)?;
    let added = [".gitignore", "wit/README.md", "wit/notify.wit"].map(str::to_owned);
    let mut expected: Vec<String> = original.iter().cloned().chain(added).collect();
    expected.sort();
    assert_eq!(written, expected);
    for file in &original {
        let from = std::fs::read_to_string(root.join(ORIGINAL).join(file))?;
        let from = from.replace("jmap-push", "my-protocol").replace("jmap_push", "my_protocol");
        let from = from.replace(CONTRACT.0, CONTRACT.1);
        let new = std::fs::read_to_string(path.join(file))?;
        let rest = new.strip_prefix(&from).with_context(|| format!("{file} differs"))?;
        ensure!(rest.is_empty() || (file == "Cargo.toml" && rest.starts_with("\n[workspace]\n")), "{file}: {rest}");
    }
    assert_eq!(std::fs::read(path.join("wit/notify.wit"))?, std::fs::read(root.join("../wit/notify.wit"))?);

    let again = run(PROGRAM, arguments)?;
    ensure!(again.code == 2 && again.stderr.contains("is there already"), "{again:?}");
    for name in ["", "My", "a--b", "-a", "a_b", "1a", "a/../b"] {
        let refused = run(PROGRAM, ["plugin", "new", "--path", text(&folder.path().join("other"))?, "--", name])?;
        ensure!(refused.code == 2 && !folder.path().join("other").exists(), "{name:?}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_module_becomes_a_component() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [module, packed, broken] = ["module.wasm", "packed.wasm", "broken.wasm"].map(|name| folder.path().join(name));
    std::fs::write(&module, jmap_push_module())?;
    let finished = run(PROGRAM, ["plugin", "pack", text(&module)?, text(&packed)?])?;
    ensure!(finished.code == 0, "{finished:?}");
    ensure!(std::fs::read(&packed)? == jmap_push(), "it is another one");
    for (bytes, words) in [(&b"text"[..], "bad magic number"), (&component("plain"), "a component is not supported")] {
        std::fs::write(&module, bytes)?;
        let refused = run(PROGRAM, ["plugin", "pack", text(&module)?, text(&broken)?])?;
        ensure!(refused.code == 3 && refused.stderr.contains(words) && !broken.exists(), "{refused:?}");
    }
    let finished = run(PROGRAM, ["plugin", "pack", "nowhere.wasm", text(&broken)?])?;
    ensure!(finished.code == 2, "{finished:?}");
    Ok(())
}
