//! Swaps of a server that runs: from the command line, over the admin listener, of one tenant and of many.

use std::path::Path;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::http::{Answer, Connection, basic, request};
use postbell_tests::program::{Finished, Server, Start, run};
use postbell_tests::swaps::guest;
use serde_json::Value;

use crate::PROGRAM;

/// Tenants of the small guest; one more, the last, runs the built-in plugin.
const TENANTS: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];
const OTHER: &str = "mail.example";

const KEY: &str = "server-key";

/// A server with these tenants, and files of versions.
fn served(plugins: &str) -> Result<Start> {
    let listen = "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{folder}/data'";
    let mut configuration = format!("[server]\n{listen}\nadmin-key = '{KEY}'\n{plugins}");
    for name in TENANTS.into_iter().chain([OTHER]) {
        let plugin = if name == OTHER { "" } else { "plugin = '{folder}/first.wasm'\n" };
        configuration +=
            &format!("[[tenant]]\nname = '{name}'\ndomains = ['{name}']\n{plugin}admin-key = 'of-{name}'\n");
        configuration += "ingest-key = 'ingest'\n";
    }
    let start = Start::configured(PROGRAM, &configuration)?;
    for version in ["first", "second", "answers", "describe"] {
        write(start.folder(), &format!("{version}.wasm"), &guest(version))?;
    }
    Ok(start)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    std::fs::write(folder.join(name), bytes).with_context(|| name.to_owned())
}

/// Runs a tool; where an argument names a file, it is one of the folder's.
fn tool(server: &Server, arguments: &[&str]) -> Result<Finished> {
    run(PROGRAM, command_line(server, arguments))
}

/// As [`tool`], while the test goes on.
fn tool_aside(server: &Server, arguments: &[&str]) -> JoinHandle<Result<Finished>> {
    let command_line = command_line(server, arguments);
    thread::spawn(move || run(PROGRAM, command_line))
}

fn command_line(server: &Server, arguments: &[&str]) -> Vec<String> {
    let url = format!("http://{}", server.admin);
    let place = |argument: &&str| match argument.ends_with(".wasm") {
        true => server.folder().join(argument).to_string_lossy().into_owned(),
        false => (*argument).to_owned(),
    };
    let key = if arguments.contains(&"--key") { vec![] } else { vec!["--key".to_owned(), KEY.to_owned()] };
    let url = ["--url".to_owned(), url].into_iter().chain(key);
    arguments.iter().map(place).chain(url).collect()
}

/// Which version a tenant runs, and whether it was gone back to.
fn running(server: &Server, tenant: &str) -> Result<(String, bool)> {
    let listed = tool(server, &["plugin", "list", "--json"])?;
    ensure!(listed.code == 0, "{listed:?}");
    let lines = listed.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let line = lines.into_iter().find(|line| line["tenant"] == tenant).context("a line of the tenant")?;
    Ok((line["version"].as_str().context("a version")?.to_owned(), line["back"] == true))
}

fn runs(server: &Server, tenants: &[&str], version: &str) -> Result<()> {
    for tenant in tenants {
        let (runs, _) = running(server, tenant)?;
        ensure!(runs == version, "{tenant} runs {runs}");
    }
    Ok(())
}

/// What the plugin of a tenant answers to this body.
fn ask(server: &Server, tenant: &str, body: &str) -> Result<Answer> {
    let login = basic(&format!("user@{tenant}"), "unknown");
    let headers = [("Authorization", &*login), ("Content-Type", "text/plain")];
    Connection::open(server.clients)?.ask(&request("POST", "/guest", &headers, body.as_bytes()))
}

fn put(server: &Server, tenant: &str, query: &str, key: &str, component: &[u8]) -> Result<Answer> {
    let path = format!("/v1/tenants/{tenant}/plugin{query}");
    Admin::new(server.admin, tenant, key).ask("PUT", &path, component)
}

#[test]
fn the_command_line_swaps_lists_and_goes_back() -> Result<()> {
    let server = served("")?.start()?;
    let swap = tool(&server, &["swap", "second.wasm", "--tenant", "a.example"])?;
    ensure!(swap.code == 0, "{swap:?}");
    let steps = ["prepare", "warm", "follow", "cut over", "runs"];
    let said: Vec<_> = swap.stdout.lines().filter_map(|line| line.strip_prefix("a.example: ")).collect();
    ensure!(said.len() == steps.len() && said.iter().zip(steps).all(|(line, step)| line.starts_with(step)), "{swap:?}");
    ensure!(running(&server, "a.example")? == ("second".to_owned(), false));
    runs(&server, &TENANTS[1..], "first")?;
    let ingest = Admin::new(server.admin, "a.example", "ingest");
    ingest.change(&[delivered("alice@a.example", "m1", 1)])?;
    let start = server.again();
    server.stop()?;

    let server = start.start()?;
    runs(&server, &["a.example"], "second")?;
    let list = tool(&server, &["plugin", "list"])?;
    let line =
        list.stdout.lines().find(|line| line.starts_with("a.example: swap-guest second ")).context("its line")?;
    ensure!(line.contains(", since ") && line.contains("; before: "), "{line}");
    let back = tool(&server, &["rollback", "--tenant", "a.example", "--key", "of-a.example"])?;
    ensure!(back.code == 0, "{back:?}");
    ensure!(running(&server, "a.example")? == ("first".to_owned(), true));
    ensure!(ask(&server, "a.example", "count")?.body == "1", "what happened since is there");
    let refused = tool(&server, &["rollback", "--tenant", "b.example"])?;
    ensure!(refused.code == 1 && refused.stdout.contains("there was no version before"), "{refused:?}");
    Ok(())
}

#[test]
fn what_cannot_be_swapped_in_has_an_exit_code_and_harms_nothing() -> Result<()> {
    let server = served("")?.start()?;
    let core = wat::parse_str("(module)")?;
    let imports = wat::parse_str("(component (import \"clock\" (func)))")?;
    let whole = guest("second");
    let files: [(&str, &[u8], i32); 7] = [
        ("empty.wasm", b"", 3),
        ("text.wasm", b"no component", 3),
        ("core.wasm", &core, 3),
        ("imports.wasm", &imports, 3),
        ("truncated.wasm", &whole[..whole.len() / 2], 3),
        ("describe.wasm", &guest("describe"), 3),
        ("other.wasm", postbell::plugin::bundled(), 1),
    ];
    for (name, bytes, code) in files {
        write(server.folder(), name, bytes)?;
        let refused = tool(&server, &["swap", name, "--tenant", "a.example"])?;
        ensure!(
            refused.code == code && refused.stdout.contains("refused at the step prepare: "),
            "{name}: {refused:?}"
        );
    }
    let commands: [(&[&str], i32, &str); 5] = [
        (&["swap", "second.wasm", "--tenant", "nobody.example"], 1, "there is no tenant `nobody.example`"),
        (&["swap", "second.wasm", "--tenant", "a.example", "--key", "of-b.example"], 1, "401"),
        (&["swap", "second.wasm", "--all", "--key", "of-a.example"], 1, "401"),
        (&["swap", "missing.wasm", "--tenant", "a.example"], 2, "missing.wasm"),
        (&["swap", "second.wasm", "--tenant", "a.example", "--share", "10%"], 2, "--share"),
    ];
    for (command, code, words) in commands {
        let refused = tool(&server, command)?;
        ensure!(refused.code == code && refused.stderr.contains(words), "{command:?}: {refused:?}");
    }
    runs(&server, &TENANTS, "first")
}

#[test]
fn requests_to_swap_are_refused_like_others() -> Result<()> {
    let server = served("")?.start()?;
    let second = guest("second");
    for (tenant, query, key, status) in [
        ("a.example", "", "ingest", 401),
        ("a.example", "", "of-b.example", 401),
        ("nobody.example", "", KEY, 404),
        ("a.example", "?shadow=soon", KEY, 400),
        ("a.example", "?nonsense=1", KEY, 400),
    ] {
        let refused = put(&server, tenant, query, key, &second)?;
        ensure!(refused.head.status == status, "{tenant}{query} with {key}: {refused:?}");
    }
    let mut huge = Connection::open(server.admin)?;
    let head = format!("PUT /v1/tenants/a.example/plugin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n");
    huge.send(format!("{head}Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n").as_bytes())?;
    ensure!(huge.answer()?.head.status == 413);
    let lines = put(&server, "a.example", "", "of-a.example", b"no component")?;
    let last: Value = serde_json::from_str(lines.body.lines().last().context("a line")?)?;
    ensure!(last["refused"]["step"] == "prepare" && last["refused"]["kind"] == "plugin", "{last}");
    runs(&server, &TENANTS, "first")
}

/// The one that runs goes on, the second is refused; who hangs up gives his up.
#[test]
fn one_swap_at_a_time_and_none_that_nobody_reads() -> Result<()> {
    let server = served("")?.start()?;
    let mut first = Connection::open(server.admin)?;
    let authorization = format!("Bearer {KEY}");
    let path = "/v1/tenants/a.example/plugin?shadow=1000000";
    first.send(&request("PUT", path, &[("Authorization", &authorization)], &guest("second")))?;
    ensure!(first.head()?.header("content-type") == Some("application/x-ndjson"));
    while first.chunk()?.context("it goes on")? != b"{\"step\":\"shadow\"}\n" {}
    let refused = tool(&server, &["swap", "second.wasm", "--tenant", "a.example"])?;
    ensure!(refused.code == 1 && refused.stdout.contains("another swap of this tenant is under way"), "{refused:?}");
    drop(first);
    // That it hung up is seen soon, not at once.
    while tool(&server, &["swap", "second.wasm", "--tenant", "a.example"])?.code != 0 {}
    runs(&server, &["a.example"], "second")
}

#[test]
fn many_tenants_are_swapped_and_those_of_other_plugins_passed_over() -> Result<()> {
    let server = served("")?.start()?;
    let all = tool(&server, &["swap", "second.wasm", "--all", "--share", "25%", "--pause", "1ms"])?;
    ensure!(
        all.code == 0 && all.stdout.ends_with("swapped: 4 tenants; passed over: 1 that run another plugin\n"),
        "{all:?}"
    );
    runs(&server, &TENANTS, "second")
}

#[test]
fn at_a_fault_the_share_goes_back_and_the_others_stay() -> Result<()> {
    let server = served("")?.start()?;
    let fleet = tool_aside(&server, &["swap", "second.wasm", "--all", "--share", "40%", "--pause", "1h"]);
    while running(&server, TENANTS[1])?.0 != "second" && !fleet.is_finished() {}
    ensure!(ask(&server, TENANTS[0], "fault the first")?.head.status == 200, "the plugin refuses it itself");
    let fleet = fleet.join().expect("it does not panic")?;
    ensure!(fleet.code == 1 && fleet.stdout.contains("a.example: 1 faults since"), "{fleet:?}");
    runs(&server, &TENANTS, "first")?;
    ensure!(running(&server, TENANTS[0])?.1 && running(&server, TENANTS[1])?.1 && !running(&server, TENANTS[2])?.1);
    // That the plugin failed is an error in the log.
    server.stop_whatever_it_logged().map(drop)
}

#[test]
fn at_a_difference_nothing_goes_on() -> Result<()> {
    let server = served("")?.start()?;
    let fleet = tool_aside(&server, &["swap", "answers.wasm", "--all", "--shadow", "1000000"]);
    while !fleet.is_finished() {
        ask(&server, TENANTS[0], "count")?;
    }
    let fleet = fleet.join().expect("it does not panic")?;
    ensure!(fleet.code == 1, "{fleet:?}");
    let said = "a.example: it answers otherwise at input ";
    ensure!(fleet.stdout.contains(said) && fleet.stdout.contains("(answer guest POST)"), "{fleet:?}");
    ensure!(fleet.stdout.contains("a.example: refused at the step shadow: "), "{fleet:?}");
    ensure!(fleet.stdout.ends_with("swapped: 0 tenants\n"), "{fleet:?}");
    runs(&server, &TENANTS, "first")
}

/// The first tenant has nothing that differs, the second has.
#[test]
fn at_a_difference_the_share_goes_back() -> Result<()> {
    let server = served("")?.start()?;
    let fleet = tool_aside(&server, &["swap", "answers.wasm", "--all", "--shadow", "3"]);
    let ingest = Admin::new(server.admin, TENANTS[0], "ingest");
    for number in 1.. {
        if running(&server, TENANTS[0])?.0 == "answers" || fleet.is_finished() {
            break;
        }
        ingest.change(&[delivered(&format!("alice@{}", TENANTS[0]), &format!("m{number}"), number)])?;
    }
    while !fleet.is_finished() {
        ask(&server, TENANTS[1], "count")?;
    }
    let fleet = fleet.join().expect("it does not panic")?;
    ensure!(fleet.code == 1, "{fleet:?}");
    ensure!(fleet.stdout.contains("b.example: it answers otherwise at input "), "{fleet:?}");
    ensure!(fleet.stdout.contains("stopped; 1 of the tenants go back"), "{fleet:?}");
    ensure!(fleet.stdout.ends_with("swapped: 0 tenants\n"), "{fleet:?}");
    runs(&server, &TENANTS, "first")?;
    ensure!(running(&server, TENANTS[0])?.1 && !running(&server, TENANTS[1])?.1);
    Ok(())
}

#[test]
fn a_difference_that_is_wanted_is_only_reported() -> Result<()> {
    let server = served("")?.start()?;
    let wanted = ["swap", "answers.wasm", "--tenant", "a.example", "--shadow", "3", "--on-difference", "report"];
    let swap = tool_aside(&server, &wanted);
    while !swap.is_finished() {
        ask(&server, "a.example", "count")?;
    }
    let swap = swap.join().expect("it does not panic")?;
    ensure!(swap.code == 0 && swap.stdout.contains("a.example: it answers otherwise at input "), "{swap:?}");
    ensure!(swap.stdout.trim_end().ends_with("; 3 reactions compared, 3 differ"), "{swap:?}");
    ensure!(ask(&server, "a.example", "count")?.body == "count=0");
    Ok(())
}

/// Neither when a tenant begins with it, nor when a server starts again whose file was replaced.
#[test]
fn nothing_starts_with_an_unsigned_component_where_keys_are_trusted() -> Result<()> {
    let keys = minisign::KeyPair::generate_unencrypted_keypair()?;
    let sign = |component: &[u8]| {
        minisign::sign(Some(&keys.pk), &keys.sk, component, None, None).map(|signature| signature.to_string())
    };
    let trusted = format!("[plugins]\ntrusted-keys = ['{}']\n", keys.pk.to_base64());
    let start = served(&trusted)?;
    let refused = |start: &Start, why: &str| -> Result<()> {
        let configuration = start.folder().join("postbell.toml");
        let finished = run(PROGRAM, ["serve".as_ref(), "--config".as_ref(), configuration.as_os_str()])?;
        ensure!(finished.code == 3 && finished.stderr.contains(why) && finished.stdout.is_empty(), "{finished:?}");
        Ok(())
    };
    refused(&start, "trusted-keys asks for one")?;
    write(start.folder(), "first.wasm.minisig", sign(&guest("second"))?.as_bytes())?;
    refused(&start, "no trusted key made it")?;
    write(start.folder(), "first.wasm.minisig", sign(&guest("first"))?.as_bytes())?;
    let server = start.start()?;
    let again = server.again();
    server.stop()?;
    write(again.folder(), "first.wasm", &guest("second"))?;
    refused(&again, "no trusted key made it")
}

#[test]
fn only_signed_components_take_over_where_keys_are_trusted() -> Result<()> {
    let keys = minisign::KeyPair::generate_unencrypted_keypair()?;
    let sign = |component: &[u8]| {
        minisign::sign(Some(&keys.pk), &keys.sk, component, None, None).map(|signature| signature.to_string())
    };
    let start = served(&format!("[plugins]\ntrusted-keys = ['{}']\n", keys.pk.to_base64()))?;
    write(start.folder(), "first.wasm.minisig", sign(&guest("first"))?.as_bytes())?;
    let server = start.start()?;
    let swap = || tool(&server, &["swap", "second.wasm", "--tenant", "a.example"]);
    let refused = swap()?;
    ensure!(refused.code == 3 && refused.stdout.contains("it has no signature"), "{refused:?}");
    write(server.folder(), "second.wasm.minisig", sign(&guest("first"))?.as_bytes())?;
    let refused = swap()?;
    ensure!(refused.code == 3 && refused.stdout.contains("no trusted key made it"), "{refused:?}");
    write(server.folder(), "second.wasm.minisig", sign(&guest("second"))?.as_bytes())?;
    ensure!(swap()?.code == 0);
    let start = server.again();
    server.stop()?;
    let server = start.start()?;
    runs(&server, &["a.example"], "second")
}
