//! What a package brings beside the program: manual pages, completions, a unit of systemd, a sample configuration, and a
//! root for containers.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use postbell_tests::admin::Admin;
use postbell_tests::ews::Client;
use postbell_tests::program::{Process, Start, run};

use crate::{PROGRAM, cheap_hash, configured, demo};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_command_has_a_manual_page() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let finished = run(PROGRAM, ["man".as_ref(), folder.path().as_os_str()])?;
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    let mut pages = std::fs::read_dir(folder.path())?.map(|it| Ok(it?.file_name())).collect::<Result<Vec<_>>>()?;
    pages.sort();
    let pages: Vec<_> = pages.iter().filter_map(|page| page.to_str()).collect();
    for page in ["postbell.1", "postbell-serve.1", "postbell-swap.1", "postbell-user-add.1", "postbell-source-cyrus.1"]
    {
        assert!(pages.contains(&page), "{pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("compile-component")), "nobody calls it: {pages:?}");
    let serve = std::fs::read_to_string(folder.path().join("postbell-serve.1"))?;
    assert!(serve.contains(".TH") && serve.contains("\\-\\-log\\-format") && serve.contains("SIGTERM"), "{serve}");

    let missing = run(PROGRAM, ["man".as_ref(), folder.path().join("none").as_os_str()])?;
    assert_eq!(missing.code, 1, "{missing:?}");
    Ok(())
}

/// As a shell asks for them.
#[test]
fn commands_are_completed() -> Result<()> {
    for shell in ["zsh", "fish", "elvish"] {
        let finished = run(PROGRAM, ["completions", shell])?;
        assert!(finished.code == 0 && finished.stdout.contains("rollback"), "{finished:?}");
    }
    let script = run(PROGRAM, ["completions", "bash"])?.stdout;
    let asked = "COMP_WORDS=(postbell sw); COMP_CWORD=1; _postbell postbell sw postbell; echo \"${COMPREPLY[@]}\"";
    let completed = Command::new("bash").args(["-c", &format!("{script}\n{asked}")]).output()?;
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "swap\n", "{completed:?}");
    assert_eq!(run(PROGRAM, ["completions", "none"])?.code, 2);
    Ok(())
}

/// What the dashboard and the alerts ask for is among what the program gives, labels included.
#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() -> Result<()> {
    let server = demo()?;
    let metrics = Admin::source(&server).ask("GET", "/metrics", b"")?.body;
    let kinds = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names: BTreeSet<String> = kinds
        .flat_map(|(name, kind)| match kind {
            "counter" => vec![format!("{name}_total")],
            "info" => vec![format!("{name}_info")],
            "histogram" => vec![format!("{name}_bucket")],
            _ => vec![name.to_owned()],
        })
        .collect();
    for file in ["dashboard.json", "alerts.yml"] {
        let text = std::fs::read_to_string(root().join("packaging/monitoring").join(file))?;
        let asked: BTreeSet<&str> = text
            .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .filter(|word| word.starts_with("postbell_"))
            .collect();
        ensure!(asked.len() > 10, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.into_iter().filter(|name| !names.contains(*name)).collect();
        ensure!(unknown.is_empty(), "{file} asks for {unknown:?}; there is {names:?}");
    }
    let dashboard = std::fs::read_to_string(root().join("packaging/monitoring/dashboard.json"))?;
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let numbers: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    ensure!(panels.len() == numbers.len() && panels.iter().all(|panel| panel["targets"][0]["expr"].is_string()));
    Ok(())
}

/// The sample serves nobody as it is, and says so; with what stands in it as an example, it serves.
#[test]
fn the_sample_configuration_is_one() -> Result<()> {
    let sample = std::fs::read_to_string(root().join("packaging/postbell.toml"))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("postbell.toml");
    std::fs::write(&file, &sample)?;
    let finished = run(PROGRAM, ["serve".as_ref(), "--config".as_ref(), file.as_os_str()])?;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("expected at least one [[tenant]]"), "{finished:?}");

    let served = sample.lines().map(|line| match line.strip_prefix("# ") {
        Some(commented) if commented.contains(" = ") || commented.starts_with('[') => commented.to_owned(),
        _ => line.to_owned(),
    });
    let configuration = served.collect::<Vec<_>>().join("\n").replace("/var/lib/postbell", "{folder}/data");
    let configuration = configuration.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:8081", "127.0.0.1:0");
    let server = Start::configured(PROGRAM, &configuration)?.file("users.toml", "")?.start()?;
    Admin::new(server.admin, "example.org", "another-long-secret").deliver("m1", 1)?;
    server.stop().map(drop)
}

/// As systemd hears it from a service of type `notify`.
#[test]
fn a_service_manager_hears_what_becomes_of_the_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket)?;
    manager.set_read_timeout(Some(postbell_tests::PATIENCE))?;
    let hear = || -> Result<String> {
        let mut told = [0; 256];
        let length = manager.recv(&mut told).context("nothing is told")?;
        Ok(String::from_utf8(told[..length].to_vec())?)
    };
    let server = configured("")?.environment("NOTIFY_SOCKET", socket.to_str().context("a path")?).start()?;
    assert_eq!(hear()?.trim(), "READY=1");
    server.hang_up()?;
    let reloading = hear()?;
    let lines: Vec<_> = reloading.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    assert!(lines[1].strip_prefix("MONOTONIC_USEC=").is_some_and(|at| at.parse::<u64>().is_ok()), "{reloading}");
    assert_eq!(hear()?.trim(), "READY=1");
    server.stop()?;
    assert_eq!(hear()?.trim(), "STOPPING=1");
    Ok(())
}

/// The unit starts the program as it is started, leaves its exit codes for mistakes alone, and keeps what it needs.
#[test]
fn the_unit_fits_the_program() -> Result<()> {
    let unit = std::fs::read_to_string(root().join("packaging/postbell.service"))?;
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    assert_eq!(value("Type"), "notify");
    let mut command = value("ExecStart").split(' ');
    assert_eq!(command.next(), Some("/usr/bin/postbell"));
    // Without the file it is a mistake in the configuration, and nothing else is wrong with the command.
    let finished = run(PROGRAM, command)?;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(value("RestartPreventExitStatus").split(' ').any(|code| code == "2"));
    let sample = std::fs::read_to_string(root().join("packaging/postbell.toml"))?;
    assert!(sample.contains(&format!("data = \"/var/lib/{}\"", value("StateDirectory"))), "it may write nothing else");
    assert!(!unit.contains("\nMemoryDenyWriteExecute=yes"), "compiled plugins become executable");
    Ok(())
}

/// Nothing in it but the program and the C library; nothing that it may write but its data; not root.
#[test]
fn it_serves_from_a_root_that_holds_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let inside = folder.path().join("root");
    let mut make = Command::new(root().join("scripts/container-root"));
    let made = make.arg(&inside).arg(PROGRAM).output()?;
    ensure!(made.status.success(), "{}: run `make setup`", String::from_utf8_lossy(&made.stderr));
    for absent in ["bin/sh", "usr/bin/sh", "usr/bin/apt", "usr/bin/perl", "etc/passwd"] {
        ensure!(!inside.join(absent).exists(), "{absent} is in it");
    }
    let configuration = "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '/var/lib/postbell'\n\
                         [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\n\
                         ingest-key = 'ingest'\n";
    let users = format!("[[user]]\nname = 'alice@example.org'\npassword = '{}'\n", cheap_hash("postbell")?);
    std::fs::write(inside.join("etc/postbell/postbell.toml"), configuration)?;
    std::fs::write(inside.join("etc/postbell/users.toml"), users)?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;

    // As a container runtime does it: namespaces of its own, a root that is only read, and no privileges.
    let script = "set -e; mount --bind \"$1\" \"$1\"; mount --rbind /proc \"$1/proc\"; mount --rbind /dev \"$1/dev\"
                  mount --bind \"$2\" \"$1/var/lib/postbell\"; mount -o remount,bind,ro \"$1\"
                  exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot --inh-caps=-all \
                  chroot \"$1\" /usr/bin/postbell serve --config /etc/postbell/postbell.toml --log-format json";
    let mut start = Command::new("unshare");
    // All that can be written there is its data.
    start.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).env("POSTBELL_CACHE", "");
    let mut process = Process::spawn(start.arg(&inside).arg(&data).stdin(Stdio::null()))?;
    let ready = loop {
        match process.line()? {
            Some(line) if line.starts_with("postbell ready ") => break line,
            Some(_) => {}
            None => bail!("it ended before it was ready: {}", process.kill()),
        }
    };
    let address = |name: &str| {
        let url = ready.split(' ').find_map(|fact| fact.strip_prefix(name)).context("an address")?;
        Ok::<_, anyhow::Error>(url.parse()?)
    };
    let alice = Client::at(address("clients=http://")?, "alice@example.org", "postbell");
    let subscription = alice.subscribe_streaming()?;
    let mut stream = alice.stream(&[&subscription])?;
    Admin::new(address("admin=http://")?, "example.org", "ingest").deliver("m1", 1)?;
    assert_eq!(stream.events()?.len(), 3);
    drop(stream);
    process.terminate()?;
    ensure!(std::fs::read_dir(&data)?.count() > 0, "it kept its journal");
    Ok(())
}
