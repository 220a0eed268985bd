//! The very component in other people's runtimes: byte for byte what this host gets of it.

mod c;
pub mod node;
mod python;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use postbell::contract::requests::Rank;
use postbell::contract::types::{Moment, Reaction};
use postbell::journal::Input;
use postbell::plugin::{Instance, Plugin};
use postbell_tests::embedded::{ALICE, between};
use postbell_tests::histories::{self, History};
use postbell_tests::{component, zimbra};
use serde_json::{Value, json};

/// Histories in which clients of EWS hold streams and clients of Zimbra wait on WaitSets.
const SEEDS: std::ops::Range<u64> = 0..3;
const INPUTS: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// Calls, and what each gave here.
#[derive(Default)]
struct Script {
    calls: String,
    results: Vec<Value>,
}

impl Script {
    fn add(&mut self, function: &str, arguments: &Value, result: Value) {
        self.calls += &format!("{}\n", json!({"function": function, "arguments": arguments}));
        self.results.push(result);
    }
}

/// An instance, and the script of what it is asked.
struct Recorder {
    instance: Instance,
    script: Script,
}

impl Recorder {
    fn new(plugin: &Plugin) -> Recorder {
        Recorder { instance: component::instance(plugin), script: Script::default() }
    }

    fn feed(&mut self, at: Moment, input: &Input) -> Result<Option<Reaction>> {
        let said = self.instance.feed(at, input)?;
        let (function, arguments) = call(at, input)?;
        let result = match function {
            "lifecycle.open" => json!(said.as_ref().map(|_| ())),
            "lifecycle.configure" => json!(said),
            _ => json!(said.as_ref().ok().context("only settings are refused")?),
        };
        self.script.add(function, &arguments, result);
        Ok(said.ok())
    }

    /// At last, what it waits for and what it saves.
    fn end(mut self) -> Result<Script> {
        let pending = self.instance.outstanding()?;
        self.script.add("lifecycle.outstanding", &json!([]), json!(pending));
        let parts = self.instance.save()?;
        for number in 0..=parts.len() {
            self.script.add("lifecycle.save", &json!([number]), json!(parts.get(number)));
        }
        Ok(self.script)
    }
}

/// A random history.
fn random(plugin: &Plugin, seed: u64) -> Result<Script> {
    let (mut history, mut script) = (History::new(seed), Recorder::new(plugin));
    let (at, open) = history.open();
    script.feed(at, &open)?;
    for _ in 0..INPUTS {
        let (at, input) = history.next_input();
        if let Some(reaction) = script.feed(at, &input)? {
            history.heard(&reaction);
        }
    }
    script.end()
}

/// Alice holds a stream of EWS and waits on a WaitSet; then mail comes, and both are told.
fn told(plugin: &Plugin) -> Result<Script> {
    let mut script = Recorder::new(plugin);
    let mut at = Moment { now: 1_795_296_510_624, sequence: 1 };
    let mut next = |script: &mut Recorder, input: Input| -> Result<String> {
        let reaction = script.feed(at, &input)?.context("a reaction")?;
        at = Moment { now: at.now + 1_000, sequence: at.sequence + u64::from(reaction.changed) };
        Ok(reaction.replies.iter().map(|reply| String::from_utf8_lossy(&reply.body).into_owned()).collect())
    };
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    next(&mut script, Input::Open { seed: vec![7; 32], settings })?;
    let ews = |id, body| Input::Answer(Box::new(histories::request(id, ALICE, body)));
    let zimbra = |id, operation: &str| {
        Input::Answer(Box::new(zimbra::request(id, ALICE, Rank::User, zimbra::soap("t", operation), &[ALICE])))
    };
    let subscribed = next(&mut script, ews(1, histories::subscribe_streaming()))?;
    let subscription = between(&subscribed, "<m:SubscriptionId>", "<").to_owned();
    next(&mut script, ews(2, histories::get_streaming_events(&subscription, &subscription, 30)))?;
    let created = next(&mut script, zimbra(3, &zimbra::create("m", "", &[ALICE])))?;
    let set = between(&created, "waitSet=\"", "\"").to_owned();
    let waiting = next(&mut script, zimbra(4, &zimbra::wait(&set, "0", "block=\"1\"", "")))?;
    ensure!(waiting.is_empty(), "it waits: {waiting}");
    let batch = histories::delivery(ALICE, "m1", 1_795_296_515_000);
    let heard = next(&mut script, Input::Ingest { batch, span: None, skipped: None })?;
    ensure!(heard.contains("NewMailEvent") && heard.contains("<WaitSetResponse"), "{heard}");
    script.end()
}

/// What every runtime is given, recorded once.
fn scripts() -> Result<&'static [Script]> {
    static SCRIPTS: OnceLock<Result<Vec<Script>>> = OnceLock::new();
    let recorded = SCRIPTS.get_or_init(|| {
        let plugin = component::plugin();
        SEEDS.map(|seed| random(&plugin, seed)).chain([told(&plugin)]).collect()
    });
    recorded.as_deref().map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// An input as a call of the contract.
fn call(at: Moment, input: &Input) -> Result<(&'static str, Value)> {
    Ok(match input {
        Input::Open { seed, settings } => ("lifecycle.open", json!([at, seed, settings])),
        Input::Configure { settings } => ("lifecycle.configure", json!([at, settings])),
        Input::Tick => ("lifecycle.tick", json!([at])),
        Input::Restarted(how) => ("lifecycle.restarted", json!([at, how])),
        Input::Drain => ("lifecycle.drain", json!([at])),
        Input::Ingest { batch, .. } => ("changes.ingest", json!([at, batch])),
        Input::Answer(request) => ("requests.answer", json!([at, request])),
        Input::Settled(settlements) => ("requests.settled", json!([at, settlements])),
        Input::Finished { call, outcome } => ("outbound.finished", json!([at, call, outcome])),
        Input::Swapped(_) => anyhow::bail!("no plugin is told of a swap"),
    })
}

/// What a program prints that must end with 0.
pub fn succeeded(command: &mut Command) -> Result<String> {
    postbell_tests::watchdog::watched();
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Plays a script elsewhere; what came of each call there.
fn played(command: &mut Command, script: &Script, folder: &Path) -> Result<Vec<Value>> {
    let calls = folder.join("calls.jsonl");
    std::fs::File::create(&calls)?.write_all(script.calls.as_bytes())?;
    let output = command.stdin(Stdio::from(std::fs::File::open(&calls)?)).output()?;
    ensure!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A folder with the component where README.md has it.
fn with_component() -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("target/postbell-notify.wasm");
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    std::fs::write(&file, postbell::plugin::bundled())?;
    Ok((folder, file))
}

/// Plays all scripts elsewhere, each in a process of its own.
fn gets_what_this_host_gets(mut command: Command, folder: &Path) -> Result<()> {
    for script in scripts()? {
        let results = played(&mut command, script, folder)?;
        ensure!(results.len() == script.results.len(), "{} results of {}", results.len(), script.results.len());
        for (call, (there, here)) in script.calls.lines().zip(results.iter().zip(&script.results)) {
            ensure!(there == here, "{call}:\nthere {there}\nhere  {here}");
        }
    }
    Ok(())
}

/// The block of README.md in a language, which is also a file.
fn block(language: &str, file: &str) -> Result<PathBuf> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let block = readme.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    let file = root().join("tests/readme").join(file);
    assert_eq!(block.context("a block")?, std::fs::read_to_string(&file)?);
    Ok(file)
}

#[test]
fn python_gets_what_this_host_gets() -> Result<()> {
    let (folder, file) = with_component()?;
    gets_what_this_host_gets(python::player(&file)?, folder.path())
}

#[test]
fn node_gets_what_this_host_gets() -> Result<()> {
    let (folder, file) = with_component()?;
    gets_what_this_host_gets(node::player(folder.path(), &file)?, folder.path())
}

#[test]
fn c_gets_what_this_host_gets() -> Result<()> {
    let (folder, file) = with_component()?;
    gets_what_this_host_gets(c::player(folder.path(), &file)?, folder.path())
}
