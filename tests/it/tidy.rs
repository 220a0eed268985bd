//! What a reader would have to point out again and again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// The text files that git tracks, with their content.
fn tracked() -> Result<Vec<(PathBuf, String)>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().context("running git")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(!output.stdout.is_empty(), "git tracks nothing here");
    let names = String::from_utf8(output.stdout)?;
    let paths = names.split_terminator('\0').map(PathBuf::from);
    Ok(paths.filter_map(|path| Some((path.clone(), std::fs::read_to_string(root().join(&path)).ok()?))).collect())
}

#[test]
fn nothing_is_left_for_later() -> Result<()> {
    let markers = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimpl", "emented!(")];
    let hits = find(&tracked()?, |line| markers.iter().any(|marker| line.contains(marker)));
    assert_eq!(hits, [] as [String; 0]);
    Ok(())
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() -> Result<()> {
    let folders = ["work", "root", "tmp"].map(|name| format!("/{name}/"));
    let hits = find(&tracked()?, |line| folders.iter().any(|folder| starts_a_path(line, folder)));
    assert_eq!(hits, [] as [String; 0]);
    Ok(())
}

/// Whether `folder` stands in the line other than in the middle of a longer path or address.
fn starts_a_path(line: &str, folder: &str) -> bool {
    let longer = |before: char| before.is_alphanumeric() || "_./-".contains(before);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(longer))
}

fn find(files: &[(PathBuf, String)], hit: impl Fn(&str) -> bool) -> Vec<String> {
    let files = files.iter().filter(|(path, _)| path.extension().is_none_or(|extension| extension != "lock"));
    let lines = files.flat_map(|(path, text)| (1..).zip(text.lines()).map(move |(number, line)| (path, number, line)));
    let hits = lines.filter(|(_, _, line)| hit(line));
    hits.map(|(path, number, line)| format!("{}:{number}: {}", path.display(), line.trim())).collect()
}

/// The lint `unsafe_code` is denied or forbidden everywhere; these are all exceptions to it, each with its reason.
#[test]
fn every_exception_from_safe_code_is_known() -> Result<()> {
    let attributes = ["allow", "expect", "warn"].map(|level| format!("{level}(unsafe_code"));
    let exception = |line: &str| attributes.iter().any(|attribute| line.contains(attribute));
    let rust: Vec<_> = tracked()?.into_iter().filter(|(path, _)| path.extension() == Some("rs".as_ref())).collect();
    let hits = find(&rust, exception);
    let unexplained: Vec<_> = hits.iter().filter(|hit| !hit.contains("reason = \"")).collect();
    assert_eq!(unexplained, [] as [&String; 0]);
    let mut files: Vec<_> = hits.iter().filter_map(|hit| hit.split(':').next()).collect();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            "guest/src/lib.rs",
            "guest/src/lib.rs",
            "guest/src/lib.rs",
            "host/capi/src/lib.rs",
            "host/src/plugin/compile.rs",
            "host/src/serve/socket.rs",
            "tests/guests/hostile/src/lib.rs",
            "tests/guests/swap/src/lib.rs",
        ]
    );
    Ok(())
}

/// ARCHITECTURE.md names the test of each invariant.
#[test]
fn every_test_that_the_map_names_is_there() -> Result<()> {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let (_, invariants) = map.split_once("## Invariants").context("a section on invariants")?;
    let (invariants, _) = invariants.split_once("\n## ").context("a section after it")?;
    are_there(invariants)
}

/// SECURITY.md names the test of each promise.
#[test]
fn every_test_that_a_promise_names_is_there() -> Result<()> {
    let promises = std::fs::read_to_string(root().join("SECURITY.md"))?;
    for path in promises.split('`').skip(1).step_by(2).filter(|name| name.contains('/') && !name.contains(' ')) {
        ensure!(root().join(path).exists(), "there is no {path}");
    }
    are_there(&promises)
}

/// Whether all tests that a text names are there: those of this folder, and the host's own.
fn are_there(text: &str) -> Result<()> {
    let named: Vec<_> = text.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit_once("::")).collect();
    ensure!(named.len() > 5, "these are all tests that it names: {named:?}");
    for (module, test) in named {
        let path = module.replace("::", "/");
        let within = path.strip_suffix("/tests").unwrap_or(&path);
        let files = [format!("tests/it/{path}.rs"), format!("host/src/{path}.rs"), format!("host/src/{within}.rs")];
        let texts: String = files.iter().flat_map(|file| std::fs::read_to_string(root().join(file))).collect();
        ensure!(texts.contains(&format!("fn {test}()")), "there is no {module}::{test}");
    }
    Ok(())
}

/// A file in this folder that `main.rs` does not name is a test that never runs.
#[test]
fn every_test_module_runs() -> Result<()> {
    let folder = root().join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs"))?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        assert!(name == "main" || main.contains(&format!("mod {name};")), "{name} is not in main.rs");
    }
    Ok(())
}
