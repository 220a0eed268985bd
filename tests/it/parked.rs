//! Many clients that wait for one thing.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use postbell_tests::PATIENCE;
use postbell_tests::admin::Admin;
use postbell_tests::ews::{Client, envelope, get_streaming_events, message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;

use crate::demo_with;

const CLIENTS: usize = 1_000;

/// The second change follows the first at once: whoever hears the first twice hears it before the second.
#[test]
fn a_thousand_parked_clients_hear_once() -> Result<()> {
    raise_file_limit()?;
    let server = demo_with()?.set("ews-streams-per-account", CLIENTS).start()?;
    let alice = Client::demo(&server, "alice");
    let source = Admin::source(&server);
    let subscriptions = (0..CLIENTS).map(|_| alice.subscribe_streaming()).collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (parked, mut all_parked) = channel(CLIENTS);
        let start = |subscription| {
            let request = alice.post(&envelope(&get_streaming_events(&[subscription], 30)));
            tokio::spawn(listen(server.clients, request, parked.clone()))
        };
        let clients: Vec<_> = subscriptions.iter().map(|subscription| start(subscription)).collect();
        drop(parked);
        for _ in 0..CLIENTS {
            let next = timeout(PATIENCE, all_parked.recv()).await.context("waiting for clients to be parked")?;
            if next.is_none() {
                break; // One of them failed: it says why below.
            }
        }
        if clients.iter().all(|client| !client.is_finished()) {
            tokio::task::spawn_blocking(move || source.deliver("first", 1).and_then(|()| source.deliver("second", 2)))
                .await??;
        }
        for client in clients {
            ensure!(client.await?? == ["first", "second"]);
        }
        Ok(())
    })
}

/// Every client is an open file here, and shells commonly allow 1024.
pub fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// Parks, says so, and gives the mail that it hears of, up to the second.
async fn listen(address: SocketAddr, request: Vec<u8>, parked: Sender<()>) -> Result<Vec<String>> {
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = Vec::new();
    stream.write_all(&request).await?;
    until(&mut stream, &mut buffer, "ConnectionStatus>OK<").await?;
    until(&mut stream, &mut buffer, "</Envelope>").await?;
    parked.send(()).await?;
    drop(parked);
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "second") {
        let text = until(&mut stream, &mut buffer, "</Envelope>").await?;
        let envelope = &text[text.find("<Envelope").context("an envelope")?..];
        let events = message(envelope)?.notifications.into_iter().flat_map(|notification| notification.events);
        heard.extend(events.filter(|event| event.kind == "NewMailEvent").filter_map(|event| event.item));
    }
    Ok(heard)
}

/// Takes what was received up to and with `end`.
pub async fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &str) -> Result<String> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end.as_bytes()) {
            let rest = buffer.split_off(at + end.len());
            return Ok(String::from_utf8(std::mem::replace(buffer, rest))?);
        }
        let read = timeout(PATIENCE, stream.read_buf(buffer)).await.with_context(|| format!("waiting for {end}"))??;
        if read == 0 {
            bail!("the connection ended before {end}: {:?}", String::from_utf8_lossy(buffer));
        }
    }
}
