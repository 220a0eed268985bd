//! Clients that wait, in a process of their own: each has one connection, one WaitSet, its last sequence number.
//!
//! The process says `parked` once its clients have asked, and when each of them heard once all have; then they ask again.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use postbell_tests::http::request;
use postbell_tests::zimbra::{PATH, attribute, auth, create, soap, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many make their WaitSets at once.
const AT_ONCE: usize = 50;

/// Who the clients of a process are.
pub struct Crowd {
    /// The server.
    pub server: SocketAddr,
    /// Where they come from.
    pub from: Ipv4Addr,
    /// Their account.
    pub account: String,
    /// Their login.
    pub token: String,
    /// How many there are.
    pub clients: usize,
}

/// Nanoseconds since 1970 by the clock that all processes of a machine share.
pub fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a bench measures time; this is where")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("1970 is over").as_nanos() as u64
}

/// The token of a login.
pub async fn log_in(address: SocketAddr, login: &str, password: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    send(&mut stream, &auth(login, password)).await?;
    let answer = receive(&mut stream).await?;
    let (_, rest) = answer.split_once("<authToken>").with_context(|| format!("a token in {answer}"))?;
    Ok(rest.split('<').next().unwrap_or_default().to_owned())
}

impl Crowd {
    /// Waits, again and again, until the process is ended.
    pub async fn wait(self) -> Result<()> {
        let (crowd, turns) = (Arc::new(self), Arc::new(Semaphore::new(AT_ONCE)));
        let mut coming = JoinSet::new();
        for _ in 0..crowd.clients {
            let (crowd, turns) = (crowd.clone(), turns.clone());
            coming.spawn(async move {
                let _turn = turns.acquire_owned().await?;
                Client::with_wait_set(&crowd).await
            });
        }
        let mut clients = coming.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        loop {
            for client in &mut clients {
                client.ask(&crowd.token).await?;
            }
            say("parked")?;
            let mut hearing = JoinSet::new();
            for mut client in clients.drain(..) {
                hearing.spawn(async move { client.hear().await.map(|heard| (client, heard)) });
            }
            let mut times = Vec::new();
            while let Some(heard) = hearing.join_next().await {
                let (client, heard) = heard??;
                clients.push(client);
                times.push(heard.to_string());
            }
            say(&times.join(" "))?;
        }
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

struct Client {
    stream: TcpStream,
    set: String,
    seq: String,
}

impl Client {
    /// Connects, and makes a WaitSet of one account.
    async fn with_wait_set(crowd: &Crowd) -> Result<Client> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((crowd.from, 0)))?;
        let mut stream = socket.connect(crowd.server).await?;
        stream.set_nodelay(true)?;
        send(&mut stream, &soap(&crowd.token, &create("m", "", &[&crowd.account]))).await?;
        let answer = receive(&mut stream).await?;
        let value = |name| attribute(&answer, name).with_context(|| format!("no {name}: {answer}"));
        let (set, seq) = (value("waitSet")?.to_owned(), value("seq")?.to_owned());
        Ok(Client { stream, set, seq })
    }

    /// Asks for what is new, and waits for it if there is nothing.
    async fn ask(&mut self, token: &str) -> Result<()> {
        let operation = wait(&self.set, &self.seq, "block=\"1\" timeout=\"1200\"", "");
        send(&mut self.stream, &soap(token, &operation)).await
    }

    /// Waits for the answer; when it came.
    async fn hear(&mut self) -> Result<u64> {
        let answer = receive(&mut self.stream).await?;
        let heard = now();
        ensure!(answer.contains("<a id="), "{answer}");
        self.seq = attribute(&answer, "seq").with_context(|| format!("no seq: {answer}"))?.to_owned();
        Ok(heard)
    }
}

async fn send(stream: &mut TcpStream, body: &str) -> Result<()> {
    let headers = [("Content-Type", "application/soap+xml; charset=utf-8")];
    Ok(stream.write_all(&request("POST", PATH, &headers, body.as_bytes())).await?)
}

/// One answer; nothing follows it before the next request.
async fn receive(stream: &mut TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the connection ended: {}", String::from_utf8_lossy(&answer));
        }
        let text = std::str::from_utf8(&answer).unwrap_or_default();
        if text.ends_with("Envelope>") {
            return Ok(text.to_owned());
        }
    }
}
