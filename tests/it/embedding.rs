//! Other people's servers: each example of the library runs, and what README.md shows is what runs here.

use std::error::Error;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use postbell::{Host, TenantOptions};
use postbell_tests::ews::Client;
use postbell_tests::http;

mod embed {
    include!("../readme/embed.rs");

    pub fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}
#[path = "../../host/examples/mail_server.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod mail_server;
#[path = "../../host/examples/own_journal.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod own_journal;
#[path = "../../host/examples/own_logins.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod own_logins;
#[path = "../../host/examples/swapping.rs"]
#[expect(dead_code, reason = "the example's own `main`")]
mod swapping;

/// What an example says in its own type of error.
fn done<T>(result: Result<T, Box<dyn Error>>) -> Result<T> {
    result.map_err(|error| anyhow!("{error}"))
}

#[test]
fn the_block_of_the_readme_runs() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")?;
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    let block =
        readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).context("a block of Rust")?;
    assert_eq!(block, include_str!("../readme/embed.rs"));
    done(embed::run())
}

/// A mail server of less than eighty lines, asked by HTTP: what is delivered is heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_toy_mail_server_embeds_it() -> Result<()> {
    ensure!(include_str!("../../host/examples/mail_server.rs").lines().count() < 80);
    let host = Host::new(postbell_tests::host_options())?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move { axum::serve(listener, mail_server::router(tenant)).await });
    tokio::task::spawn_blocking(move || {
        let alice = Client::at(address, "alice", "");
        let subscription = alice.subscribe_streaming()?;
        let mut stream = alice.stream(&[&subscription])?;
        let delivery = http::request("PUT", "/deliver/alice", &[], b"");
        let delivered = http::Connection::open(address)?.ask(&delivery)?;
        ensure!(delivered.head.status == 201, "{delivered:?}");
        let heard = stream.events()?;
        ensure!(heard.iter().any(|event| event.to_string().starts_with("NewMailEvent item=mail-")), "{heard:?}");
        let denied = http::Connection::open(address)?.ask(&http::request("POST", "/EWS/Exchange.asmx", &[], b""))?;
        ensure!(denied.head.status == 401, "{denied:?}");
        Ok(())
    })
    .await??;
    serving.abort();
    Ok(())
}

/// Outside of any runtime.
#[test]
fn a_swap_is_not_noticed() -> Result<()> {
    let heard = done(pollster::block_on(swapping::swap(&Host::new(postbell_tests::host_options())?)))?;
    ensure!(heard.contains("NewMailEvent"), "{heard}");
    Ok(())
}

/// Inside of a runtime, with a single thread.
#[tokio::test]
async fn a_swap_is_not_noticed_in_a_runtime_either() -> Result<()> {
    let heard = done(swapping::swap(&Host::new(postbell_tests::host_options())?).await)?;
    ensure!(heard.contains("NewMailEvent"), "{heard}");
    Ok(())
}

#[test]
fn a_journal_of_ones_own_is_found_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = done(pollster::block_on(own_journal::run(folder.path())))?;
    let second = done(pollster::block_on(own_journal::run(folder.path())))?;
    ensure!(second > 0 && second >= first, "{first}, then {second}: the change was applied once");
    let files = std::fs::read_dir(folder.path())?.count();
    ensure!(files > 0, "the journal is in files");
    Ok(())
}

#[test]
fn logins_are_the_embedders() -> Result<()> {
    let (refused, accepted, created) =
        done(pollster::block_on(own_logins::run(&Host::new(postbell_tests::host_options())?)))?;
    ensure!((refused, accepted, created) == (500, 200, 200), "{refused} {accepted} {created}");
    Ok(())
}
