//! What may be used and what is counted: what the program knows is what README.md says.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use postbell_tests::http::{Connection, request};
use postbell_tests::program::{Start, run};

use crate::PROGRAM;

const TENANT: &str = "[[tenant]]\nname = 'example.org'\ndomains = ['example.org']\n";
const SERVER: &str = "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\n";

fn readme() -> Result<String> {
    Ok(std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?)
}

/// Names and defaults of `[limits]` in README.md.
fn documented() -> Result<Vec<(String, String)>> {
    let readme = readme()?;
    let (_, table) = readme.split_once("| `[limits]` | default | beyond |\n").context("the table")?;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    Ok(rows.map(cells).map(|cells| (cells[1].clone(), cells[2].clone())).collect())
}

#[test]
fn every_limit_is_documented_with_its_default() -> Result<()> {
    let documented = documented()?;
    let limits: String = documented.iter().map(|(name, default)| format!("{name} = {default}\n")).collect();
    let inline: Vec<_> = documented.iter().map(|(name, default)| format!("{name} = {default}")).collect();
    let tenant = format!("{TENANT}limits = {{ {} }}\n", inline.join(", "));
    Start::configured(PROGRAM, &format!("{SERVER}{tenant}[limits]\n{limits}"))?.start()?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("postbell.toml");
    std::fs::write(&file, format!("{TENANT}[limits]\nnothing = 1\n"))?;
    let refused = run(PROGRAM, ["serve", "--config", file.to_str().context("a path in UTF-8")?])?;
    let (_, known) = refused.stderr.split_once("expected one of ").with_context(|| refused.stderr.clone())?;
    let known: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
    let documented: BTreeSet<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(known == documented, "known: {known:?}");
    Ok(())
}

#[test]
fn every_metric_is_documented() -> Result<()> {
    let (server, readme) = (crate::demo()?, readme()?);
    let metrics = Connection::open(server.admin)?.ask(&request("GET", "/metrics", &[], b""))?.body;
    let mut seen = 0;
    for line in metrics.lines() {
        let Some(family) = line.strip_prefix("# TYPE ") else { continue };
        let (name, kind) = family.split_once(' ').context("a kind")?;
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let documented =
            readme.contains(&format!("`{name}{suffix}`")) || readme.contains(&format!("`{name}{suffix}{{"));
        ensure!(documented, "{name}{suffix} is not in README.md");
        seen += 1;
    }
    ensure!(seen > 20, "{metrics}");
    Ok(())
}
