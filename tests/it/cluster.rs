//! The server whose inputs NATS keeps.

use anyhow::{Result, ensure};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::Client;
use postbell_tests::nats::Nats;
use postbell_tests::program::{Start, run};
use postbell_tests::until;
use serde_json::json;

use crate::{PROGRAM, cheap_hash};

/// A server with a user, and with this in `[cluster]`.
fn configured(cluster: &str) -> Result<Start> {
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\n[cluster]\nreplicas = 1\nlease-seconds = 1\n{cluster}\n\
         [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\ningest-key = 'demo'\n"
    );
    let users = format!("[[user]]\nname = 'alice@example.org'\npassword = '{}'\n", cheap_hash("postbell")?);
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)
}

#[test]
fn without_a_data_directory_a_client_goes_on_after_a_crash() -> Result<()> {
    let nats = Nats::start()?;
    let server = configured(&format!("servers = ['{}']", nats.url("")))?.start()?;
    let alice = Client::demo(&server, "alice@example.org");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    Admin::source(&server).deliver("m1", 1)?;
    ensure!(!alice.all_events(&subscription, &mut watermark)?.is_empty());
    Admin::source(&server).deliver("m2", 2)?;
    let again = server.again();
    server.kill()?;
    let server = again.start()?;
    let alice = Client::demo(&server, "alice@example.org");
    ensure!(!alice.all_events(&subscription, &mut watermark)?.is_empty(), "m2 was acknowledged");
    Ok(())
}

#[test]
fn it_waits_for_the_servers_and_goes_on_when_they_come_back() -> Result<()> {
    let mut nats = Nats::start()?;
    nats.kill();
    let start = configured(&format!("servers = ['{}']\nappend-seconds = 1", nats.url("")))?;
    let server = start.start_once_logged("tried again", || nats.again())?;
    let source = Admin::source(&server);
    let batch = |id: &str, offset: u64| json!({"source": "test", "offset": offset, "changes": [delivered("alice@example.org", id, 1)]});
    ensure!(source.post(&batch("m1", 0))?.head.status == 200);
    nats.kill();
    let refused = source.post(&batch("m2", 1))?;
    ensure!(refused.head.status == 503, "{refused:?}");
    nats.again()?;
    // It says when to come again; here it is asked until it can.
    until(|| Ok(source.post(&batch("m2", 1))?.head.status == 200))?;
    ensure!(source.offset("test")? == 2);
    server.stop_whatever_it_logged()?;
    Ok(())
}

/// A name is one node's: whoever comes with it waits until the other is gone.
#[test]
fn of_two_servers_of_one_name_the_later_one_waits() -> Result<()> {
    let nats = Nats::start()?;
    let cluster = format!("servers = ['{}']", nats.url(""));
    let batch = |id: &str, offset: u64| json!({"source": "test", "offset": offset, "changes": [delivered("alice@example.org", id, 1)]});
    let former = configured(&cluster)?.start()?;
    ensure!(Admin::source(&former).post(&batch("m1", 0))?.head.status == 200);
    let later = configured(&cluster)?;
    let later = later.start_once_logged("another life of this node", || {
        ensure!(Admin::source(&former).post(&batch("m2", 1))?.head.status == 200);
        former.kill().map(drop)
    })?;
    ensure!(Admin::source(&later).offset("test")? == 2);
    ensure!(Admin::source(&later).post(&batch("m3", 2))?.head.status == 200);
    Ok(())
}

#[test]
fn what_cannot_be_used_is_said_and_nothing_is_served() -> Result<()> {
    let nats = Nats::configured("jetstream { store_dir: \"{folder}\" }\nauthorization { user: a, password: b }")?;
    for (cluster, code, says) in [
        (format!("servers = ['{}']", nats.url("a:wrong@")), 4, "refuses the login"),
        ("servers = ['http://127.0.0.1']".to_owned(), 2, "expected a URL such as nats://"),
        ("servers = ['nats://127.0.0.1']\nname = 'a.b'".to_owned(), 2, "hyphens and underscores"),
    ] {
        let start = configured(&cluster)?;
        let file = start.folder().join("postbell.toml");
        let ended = run(PROGRAM, ["serve".into(), "--config".into(), file.into_os_string()])?;
        ensure!(ended.code == code && ended.stderr.contains(says), "{cluster}: {ended:?}");
        ensure!(ended.stdout.is_empty(), "{ended:?}");
    }
    Ok(())
}
