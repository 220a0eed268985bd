//! The program on the command line: mistakes are named where they are, and nothing starts.

use std::path::Path;

use anyhow::{Context, Result};
use postbell_tests::program::{Finished, Start, run};

use crate::PROGRAM;

/// A mistake: the configuration, where the message must point (line and column), and a word that it must hold.
const MISTAKES: &[(&str, (usize, usize), &str)] = &[
    ("[server]\nadmin-kee = 'x'\n", (2, 1), "admin-kee"),
    ("[server]\nadmin-key = 5\n", (2, 13), "key"),
    ("[server]\nlisten = 'here'\n", (2, 10), "127.0.0.1:8080"),
    ("[server\n", (1, 8), "]"),
    ("[server]\nlisten = '127.0.0.1:0'\nlisten = '127.0.0.1:0'\n", (3, 1), "duplicate"),
    ("[[tenant]]\nname = 'a'\n", (1, 1), "domains"),
    ("[[tenant]]\nname = 'a'\ndomains = []\n", (3, 11), "domain"),
    ("[[tenant]]\nname = 'a b'\ndomains = ['a']\n", (2, 8), "name"),
    ("[[tenant]]\nname = 'a'\ndomains = ['a']\n[[tenant]]\nname = 'b'\ndomains = ['a']\n", (6, 12), "domain"),
    (
        "[[tenant]]\nname = 'a'\ndomains = ['a']\n[tenant.settings]\news-hartbeat-seconds = 5\n",
        (5, 1),
        "ews-hartbeat-seconds",
    ),
    ("[[tenant]]\nname = 'a'\ndomains = ['a']\nhost = 'ä'\n", (4, 1), "hosts"),
];

#[test]
fn a_configuration_mistake_is_named_where_it_is() -> Result<()> {
    for (configuration, (line, column), word) in MISTAKES {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bad.toml");
        std::fs::write(&file, configuration)?;
        let finished = serve(&file)?;
        let place = format!("bad.toml:{line}:{column}:");
        assert_eq!(finished.code, 2, "{configuration}\n{finished:?}");
        assert!(finished.stderr.contains(&place), "{configuration}\nexpected {place}\n{finished:?}");
        assert!(finished.stderr.contains(word), "{configuration}\nexpected {word}\n{finished:?}");
        assert_eq!(finished.stdout, "", "nothing starts");
    }
    Ok(())
}

#[test]
fn a_mistake_in_the_users_file_is_named_there() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("postbell.toml");
    std::fs::write(&file, "[[tenant]]\nname = 'a'\ndomains = ['a']\nusers = 'users.toml'\n")?;
    std::fs::write(folder.path().join("users.toml"), "[[user]]\nname = 'x@a'\npassword = 'open sesame'\n")?;
    let finished = serve(&file)?;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("users.toml:3:12:") && finished.stderr.contains("argon2id"), "{finished:?}");
    assert!(!finished.stderr.contains("sesame"), "a secret is not repeated: {finished:?}");
    Ok(())
}

#[test]
fn a_configuration_that_is_not_there_is_named() -> Result<()> {
    let finished = serve(Path::new("no-such-file.toml"))?;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("no-such-file.toml"), "{finished:?}");
    Ok(())
}

fn serve(configuration: &Path) -> Result<Finished> {
    run(PROGRAM, ["serve".as_ref(), "--config".as_ref(), configuration.as_os_str()])
}

#[test]
fn the_command_line_is_checked() -> Result<()> {
    for arguments in
        [&["serve"][..], &["serve", "--nonsense"], &["conquer"], &[], &["feed"], &["serve", "--demo", "--set", "x"]]
    {
        let finished = run(PROGRAM, arguments.iter().copied())?;
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        assert_ne!(finished.stderr, "", "{arguments:?}");
    }
    let finished = run(PROGRAM, ["serve", "--demo", "--set", "ews-hartbeat-seconds=1"])?;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("ews-hartbeat-seconds"), "{finished:?}");
    Ok(())
}

#[test]
fn help_and_version_are_everywhere() -> Result<()> {
    let commands: &[&[&str]] = &[
        &[],
        &["serve"],
        &["feed"],
        &["journal"],
        &["journal", "check"],
        &["journal", "list"],
        &["replay"],
        &["backup"],
        &["restore"],
        &["plugin"],
        &["plugin", "inspect"],
        &["plugin", "extract"],
        &["user"],
        &["user", "add"],
    ];
    for command in commands {
        for flag in ["--help", "--version"] {
            let finished = run(PROGRAM, command.iter().copied().chain([flag]))?;
            assert_eq!(finished.code, 0, "{command:?} {flag}: {finished:?}");
            assert_ne!(finished.stdout, "", "{command:?} {flag}");
        }
    }
    Ok(())
}

/// Files that are no plugin, and what the refusal must say of each.
fn refused_plugins() -> Result<Vec<(&'static str, Vec<u8>, &'static str)>> {
    Ok(vec![
        ("empty", Vec::new(), "not a WebAssembly component"),
        ("text", b"not WebAssembly".to_vec(), "not a WebAssembly component"),
        ("module", wat::parse_str("(module)")?, "not a WebAssembly component"),
        ("truncated", wat::parse_str("(component (core module))")?[..12].to_vec(), ""),
        (
            "import",
            wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#)?,
            "wasi:clocks/wall-clock@0.2.0",
        ),
        ("nothing", wat::parse_str("(component)")?, "postbell:notify/types@0.1.0"),
        ("types-only", empty_instances(&["types"])?, "postbell:notify/lifecycle@0.1.0"),
        ("no-functions", empty_instances(&["types", "lifecycle"])?, "lifecycle"),
    ])
}

/// A component that exports these interfaces, but nothing in them.
fn empty_instances(interfaces: &[&str]) -> Result<Vec<u8>> {
    let export = |name: &&str| format!(r#"(export "postbell:notify/{name}@0.1.0" (instance $empty))"#);
    let exports: String = interfaces.iter().map(export).collect();
    Ok(wat::parse_str(format!("(component (instance $empty) {exports})"))?)
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, bytes, reason) in refused_plugins()? {
        let file = folder.path().join(format!("{name}.wasm"));
        std::fs::write(&file, bytes)?;
        let path = file.to_str().context("a path in UTF-8")?;
        let inspected = run(PROGRAM, ["plugin", "inspect", path])?;
        let configuration = folder.path().join("postbell.toml");
        std::fs::write(&configuration, format!("[[tenant]]\nname = 'a'\ndomains = ['a']\nplugin = '{path}'\n"))?;
        for finished in [inspected, serve(&configuration)?] {
            assert_eq!(finished.code, 3, "{name}: {finished:?}");
            assert!(finished.stderr.contains(reason) && finished.stderr.contains(path), "{name}: {finished:?}");
        }
    }
    Ok(())
}

#[test]
fn the_built_in_plugin_is_extracted_and_inspected() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("plugin.wasm");
    let path = file.to_str().context("a path in UTF-8")?;
    assert_eq!(run(PROGRAM, ["plugin", "extract", path])?.code, 0);
    assert_eq!(std::fs::read(&file)?, postbell::plugin::bundled());
    let finished = run(PROGRAM, ["plugin", "inspect", path])?;
    assert_eq!(finished.code, 0, "{finished:?}");
    for word in ["postbell", "/EWS/Exchange.asmx", "none"] {
        assert!(finished.stdout.to_lowercase().contains(&word.to_lowercase()), "{word}: {finished:?}");
    }
    Ok(())
}

/// Servers on one machine compile a plugin once, whatever data directory each has.
#[test]
fn compiled_plugins_are_kept_where_the_environment_says() -> Result<()> {
    let cache = tempfile::tempdir()?;
    let cache = cache.path().to_str().context("a path in UTF-8")?;
    for cached in [false, true] {
        let server = Start::demo(PROGRAM)?.environment("POSTBELL_CACHE", cache).start()?;
        assert!(!server.folder().join("data/cache").exists());
        let log = server.stop()?;
        let loaded = log.lines().find(|line| line.contains("plugin loaded")).context("it says what it loaded")?;
        assert!(loaded.contains(&format!("\"cached\":{cached}")), "{loaded}");
    }
    Ok(())
}

#[test]
fn a_data_directory_serves_one_process() -> Result<()> {
    let server = crate::demo()?;
    let data = server.folder().join("data");
    let data = data.to_str().context("a path in UTF-8")?;
    let demo =
        ["serve", "--demo", "--no-traffic", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", data];
    let finished = run(PROGRAM, demo)?;
    assert_eq!(finished.code, 4, "{finished:?}");
    assert!(finished.stderr.contains(data), "{finished:?}");
    Ok(())
}

/// The first configuration in README.md, on free ports, is served as it stands.
#[test]
fn the_configuration_in_the_readme_is_served() -> Result<()> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let (_, configuration) = readme.split_once("```toml\n").context("a configuration")?;
    let (configuration, _) = configuration.split_once("```").context("its end")?;
    let configuration = configuration.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:8081", "127.0.0.1:0");
    let users = "[[user]]\nname = \"alice@example.org\"\n";
    Start::configured(PROGRAM, &configuration)?.file("users.toml", users)?.start()?;
    Ok(())
}
