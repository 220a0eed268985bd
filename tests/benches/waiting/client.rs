//! A client that waits: one connection, one WaitSet, its last sequence number.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use postbell_tests::http::request;
use postbell_tests::zimbra::{PATH, attribute, auth, create, soap, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client.
pub struct Client {
    stream: TcpStream,
    token: String,
    set: String,
    seq: String,
}

/// The token of a login.
pub async fn log_in(address: SocketAddr, login: &str, password: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    send(&mut stream, &auth(login, password)).await?;
    let answer = receive(&mut stream).await?;
    let (_, rest) = answer.split_once("<authToken>").with_context(|| format!("a token in {answer}"))?;
    Ok(rest.split('<').next().unwrap_or_default().to_owned())
}

impl Client {
    /// Connects, and makes a WaitSet of one account.
    pub async fn with_wait_set(address: SocketAddr, token: &str, account: &str) -> Result<Client> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        send(&mut stream, &soap(token, &create("m", "", &[account]))).await?;
        let answer = receive(&mut stream).await?;
        let value = |name| attribute(&answer, name).with_context(|| format!("no {name}: {answer}"));
        let (set, seq) = (value("waitSet")?.to_owned(), value("seq")?.to_owned());
        Ok(Client { stream, token: token.to_owned(), set, seq })
    }

    /// Asks for what is new, and waits for it if there is nothing.
    pub async fn ask(&mut self) -> Result<()> {
        let operation = wait(&self.set, &self.seq, "block=\"1\" timeout=\"1200\"", "");
        send(&mut self.stream, &soap(&self.token, &operation)).await
    }

    /// The answer.
    pub async fn hear(&mut self) -> Result<String> {
        let answer = receive(&mut self.stream).await?;
        self.seq = attribute(&answer, "seq").with_context(|| format!("no seq: {answer}"))?.to_owned();
        Ok(answer)
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
