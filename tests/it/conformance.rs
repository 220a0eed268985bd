//! The suite that plugins can be put through: good ones pass, and each hostile program fails for its reason.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use postbell::conformance::{Options, Rule, check};
use postbell::plugin::InstanceLimits;
use postbell::{Host, HostOptions};
use postbell_tests::conformance::{jmap_push, report, samples, short};
use postbell_tests::hostile::component;
use postbell_tests::program::{Start, run};
use serde_json::Value;

use crate::PROGRAM;
use crate::elsewhere::node::jco;
use crate::elsewhere::succeeded;

/// Programs of the hostile guest with a parameter, and the rules that they break; none: it keeps all.
const PROGRAMS: &[(&str, &[Rule])] = &[
    ("bad_save garbage", &[Rule::Snapshots]),
    ("bad_save fickle", &[Rule::Looks, Rule::Snapshots]),
    ("broken_contract neighbours-request", &[Rule::Reactions]),
    ("broken_contract second-final-part", &[Rule::Reactions]),
    ("broken_contract status-below", &[Rule::Reactions]),
    ("broken_contract status-above", &[Rule::Reactions]),
    ("broken_contract header-injection", &[Rule::Reactions]),
    ("broken_contract header-name", &[Rule::Reactions]),
    ("broken_contract unchanged-but-parked", &[Rule::Reactions]),
    ("broken_contract unchanged-but-open", &[Rule::Reactions]),
    ("broken_contract unchanged-but-called", &[Rule::Reactions, Rule::Changed]),
    ("broken_contract reused-call", &[Rule::Reactions]),
    ("broken_contract rejections", &[Rule::Reactions]),
    ("broken_contract secrets-beyond-the-body", &[Rule::Pure, Rule::Traps]),
    ("busy", &[]),
    ("endless_loop describe", &[Rule::Manifest]),
    ("endless_loop refuse", &[Rule::Time]),
    ("endless_loop ingest", &[Rule::Time]),
    ("endless_recursion identify", &[Rule::Traps]),
    ("endless_recursion load", &[Rule::Traps]),
    ("flood_of_calls", &[Rule::Reactions]),
    ("flood_of_logs", &[Rule::Reactions]),
    ("forgetful unanswered", &[Rule::Answers]),
    ("forgetful unwoken", &[Rule::Outstanding]),
    ("forgetful unsettled", &[Rule::Reactions, Rule::Settlements]),
    ("forgetful unrestarted", &[Rule::Outstanding, Rule::Restarts]),
    ("forgetful unsaved", &[Rule::Determinism, Rule::Snapshots]),
    ("huge_reaction body", &[Rule::Memory]),
    ("huge_reaction lie", &[Rule::Reactions]),
    ("huge_reaction replies", &[Rule::Reactions]),
    ("huge_reaction logs", &[Rule::Memory]),
    ("lying_changed", &[Rule::Reactions, Rule::Changed]),
    ("lying_manifest name", &[Rule::Manifest]),
    ("lying_manifest version", &[Rule::Manifest]),
    ("lying_manifest formats", &[Rule::Manifest]),
    ("lying_manifest prefix", &[Rule::Manifest]),
    ("lying_manifest twice", &[Rule::Manifest]),
    ("lying_manifest many", &[Rule::Manifest]),
    ("lying_manifest long", &[Rule::Manifest]),
    ("memory_bomb", &[Rule::Memory]),
    ("memory_tricks", &[Rule::Snapshots]),
    ("plain", &[]),
    ("trap_at_the_hundredth_input", &[Rule::Traps]),
    ("wake_ups_without_end idle", &[Rule::WakeUps]),
    ("wake_ups_without_end unchanged", &[Rule::WakeUps, Rule::Changed]),
    ("wake_ups_without_end soon", &[Rule::WakeUps]),
];

/// As short as shows what each does.
fn options(program: &str) -> Options {
    let options = short();
    match program.split(' ').next() {
        Some("endless_loop") => {
            let limits = InstanceLimits { call_milliseconds: 100, ..options.limits };
            Options { limits, ..options }
        }
        // Until a restart comes while something is open.
        Some("forgetful") if program.ends_with("unrestarted") => Options { compared: 3_000, ..options },
        Some("busy") => Options { inputs: 100, compared: 50, ..options },
        _ => options,
    }
}

#[test]
fn hostile_programs_fail_each_for_its_reason() -> Result<()> {
    let mut wrong = String::new();
    for (program, rules) in PROGRAMS {
        let report = report(&component(program), &options(program));
        let broken: Vec<Rule> = report.findings().map(|finding| finding.rule).collect();
        if broken != *rules || report.conforms() != rules.is_empty() {
            wrong += &format!("{program}, expected {rules:?}:\n{report}\n\n");
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// Each rule is broken by one of them, but for the two that are kept from a host by what it loads.
#[test]
fn every_rule_is_broken_by_somebody() {
    let elsewhere = [Rule::Component, Rule::Imports];
    let broken = |rule: &Rule| PROGRAMS.iter().any(|(_, rules)| rules.contains(rule));
    let kept: Vec<_> = Rule::ALL.into_iter().filter(|rule| !elsewhere.contains(rule) && !broken(rule)).collect();
    assert_eq!(kept, []);
}

#[test]
fn every_hostile_program_is_put_through_it() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/hostile/src/programs");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        ensure!(PROGRAMS.iter().any(|(program, _)| program.split(' ').next() == Some(name)), "{name} is left out");
    }
    Ok(())
}

#[test]
fn the_built_in_plugin_keeps_the_contract() {
    let samples = include_str!("../samples/requests.jsonl").lines();
    let samples = samples.map(|line| serde_json::from_str(line).expect("a sample")).collect();
    let options = Options { inputs: 20_000, compared: 400, samples, ..Options::default() };
    let report = report(postbell::plugin::bundled(), &options);
    assert!(report.conforms(), "{report}");
    for (rule, verdict) in &report.rules {
        assert!(verdict.checks > 0, "{} was not reached:\n{report}", rule.name());
    }
}

#[test]
fn the_plugin_to_begin_with_keeps_the_contract() {
    let samples = include_str!("../../plugins/jmap-push/requests.jsonl").lines();
    let samples = samples.map(|line| serde_json::from_str(line).expect("a sample")).collect();
    let settings = vec![("jmap-streams-per-account".to_owned(), "100".to_owned())];
    let options = Options { inputs: 40_000, compared: 1_000, samples, settings, ..Options::default() };
    let report = report(jmap_push(), &options);
    assert!(report.conforms(), "{report}");
}

/// It has three memories, where a slot of the pool has one: so its host makes instances one by one.
#[test]
fn a_plugin_in_javascript_keeps_the_contract() -> Result<()> {
    let (folder, root) = (tempfile::tempdir()?, Path::new(env!("CARGO_MANIFEST_DIR")));
    let (source, file) = (root.join("../plugins/change-lines"), folder.path().join("change-lines.wasm"));
    let mut make = jco()?;
    make.args(["componentize", "plugin.js", "--wit", "../../wit", "--world-name", "notifier", "--backend", "qjs"]);
    make.args(["--backend-qjs-disable-async", "--backend-qjs-stub-wasi", "--out"]).arg(&file);
    succeeded(make.current_dir(&source))?;
    let samples = std::fs::read_to_string(source.join("requests.jsonl"))?;
    let samples = samples.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let options = Options { inputs: 2_000, compared: 100, samples, ..Options::default() };
    let host = Host::new(HostOptions { instances: 20, shards: 1, pool: false, ..postbell_tests::host_options() })?;
    let report = check(&host, &std::fs::read(&file)?, &options, |_| ());
    ensure!(report.conforms(), "{report}");
    for (rule, verdict) in &report.rules {
        assert!(verdict.checks > 0, "{} was not reached:\n{report}", rule.name());
    }
    is_served_without_the_pool(&file)
}

/// By the program, too; with the pool it says what is in the way.
fn is_served_without_the_pool(file: &Path) -> Result<()> {
    let file = file.to_str().context("a path in UTF-8")?;
    let quick = ["--inputs", "200", "--compared", "20"];
    let check = |more: &[&str]| run(PROGRAM, ["plugin", "check", file].iter().chain(&quick).chain(more).copied());
    let (with, without) = (check(&[])?, check(&["--without-pool"])?);
    ensure!(with.code == 3 && with.stdout.contains("pooling allocator"), "{with:?}");
    ensure!(without.code == 0, "{without:?}");
    let serve = |pool: bool| {
        let listen = "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'";
        let tenant = format!("[[tenant]]\nname = 'a'\ndomains = ['a.example']\nplugin = '{file}'\n");
        Start::configured(PROGRAM, &format!("[server]\n{listen}\npool = {pool}\n{tenant}"))
    };
    serve(false)?.start()?.stop()?;
    ensure!(serve(true)?.start().is_err(), "it does not fit into a slot");
    Ok(())
}

#[test]
fn the_same_seed_finds_the_same() {
    let lying = component("memory_tricks");
    let [one, other] = [7, 7].map(|seed| report(&lying, &Options { seed, ..short() }));
    assert_eq!(one, other);
    assert!(!one.conforms());
}

/// Runs `postbell plugin check` on a component.
fn checked(component: &[u8], more: &[&str]) -> Result<postbell_tests::program::Finished> {
    let folder = tempfile::tempdir()?;
    let (file, requests) = (folder.path().join("plugin.wasm"), folder.path().join("requests.jsonl"));
    std::fs::write(&file, component)?;
    let lines: Vec<_> = samples().iter().map(|sample| serde_json::to_string(sample).expect("plain data")).collect();
    std::fs::write(&requests, lines.join("\n"))?;
    let [file, requests] = [&file, &requests].map(|path| path.to_str().expect("a path in UTF-8"));
    let arguments = ["plugin", "check", file, "--requests", requests, "--inputs", "2000", "--compared", "200"];
    run(PROGRAM, arguments.iter().chain(more).copied())
}

#[test]
fn the_report_is_for_people() -> Result<()> {
    let good = checked(&component("plain"), &[])?;
    ensure!(good.code == 0, "{good:?}");
    ensure!(good.stdout.contains("\nok      changed      `changed` false leaves the state as it was ("), "{good:?}");
    ensure!(good.stdout.ends_with("\nhostile 1 keeps the contract, as far as seed 1 shows\n"), "{good:?}");

    let bad = checked(&component("lying_changed"), &[])?;
    ensure!(bad.code == 3, "{bad:?}");
    ensure!(bad.stdout.contains("\nBROKEN  changed "), "{bad:?}");
    ensure!(bad.stdout.contains("`changed` is false, and `save` gives another state: "), "{bad:?}");
    ensure!(bad.stdout.ends_with("\nhostile 1 breaks 2 of 17 rules (seed 1)\n"), "{bad:?}");
    Ok(())
}

#[test]
fn the_report_is_for_programs_too() -> Result<()> {
    let bad = checked(&component("lying_changed"), &["--json", "--seed", "3"])?;
    ensure!(bad.code == 3, "{bad:?}");
    let report: Value = serde_json::from_str(&bad.stdout)?;
    ensure!(report["conforms"] == false && report["name"] == "hostile" && report["seed"] == 3, "{report}");
    let rules = report["rules"].as_array().context("rules")?;
    ensure!(rules.len() == Rule::ALL.len());
    let broken: Vec<_> = rules.iter().filter(|rule| rule["verdict"] == "BROKEN").collect();
    ensure!(broken.len() == 2 && broken[1]["rule"] == "changed", "{report}");
    ensure!(broken[1]["place"].as_str().is_some_and(|place| place.starts_with("input ")), "{report}");
    Ok(())
}

#[test]
fn what_is_no_plugin_is_told_by_the_step() -> Result<()> {
    let imports = wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#)?;
    for (bytes, rule) in [(imports, "imports"), (b"\0asm\x01\0\0\0".to_vec(), "component"), (vec![], "component")] {
        let refused = checked(&bytes, &[])?;
        ensure!(refused.code == 3, "{refused:?}");
        ensure!(refused.stdout.contains(&format!("BROKEN  {rule} ")), "{refused:?}");
    }
    Ok(())
}

#[test]
fn requests_that_cannot_be_read_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [plugin, requests] = ["plugin.wasm", "requests.jsonl"].map(|name| folder.path().join(name));
    std::fs::write(&plugin, component("plain"))?;
    std::fs::write(&requests, "{\"path\":\"/\"}\n\n{\"pth\":\"/\"}\n")?;
    let [plugin, requests] = [&plugin, &requests].map(|path| path.to_str().expect("a path in UTF-8"));
    let finished = run(PROGRAM, ["plugin", "check", plugin, "--requests", requests])?;
    ensure!(finished.code == 2 && finished.stderr.contains("requests.jsonl:3: unknown field `pth`"), "{finished:?}");
    let finished = run(PROGRAM, ["plugin", "check", "nowhere.wasm"])?;
    ensure!(finished.code == 2 && finished.stderr.contains("nowhere.wasm: "), "{finished:?}");
    Ok(())
}
