//! Webhooks of mail servers that post what happens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::mapping::Mapping;
use super::spool::Spool;
use super::{Reader, TargetArgs};
use crate::clock::{Clock, SystemClock};
use crate::ingest::json;
use crate::program::Failure;
use crate::program::toml_file::TomlFile;

/// The most bytes of one post; beyond: 413.
const BODY_BYTES: usize = 1 << 20;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// `source webhook`
#[derive(Args, Debug)]
pub struct WebhookArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Where the mail server posts to: any path, HTTP/1.1, plain; keep it on a network of your own
    #[arg(long, default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
    /// Which event is which change: see sources/webhook
    #[arg(long)]
    mapping: PathBuf,
    /// Key that the mail server signs or logs in with [default: the environment variable POSTBELL_WEBHOOK_KEY]
    #[arg(long)]
    webhook_key: Option<String>,
}

impl WebhookArgs {
    /// Where it goes, and what is received.
    ///
    /// # Errors
    ///
    /// There is no key, or something in the mapping is wrong.
    pub(super) fn parts(self) -> Result<(TargetArgs, Receiver), Failure> {
        let key = self.webhook_key.or_else(|| std::env::var("POSTBELL_WEBHOOK_KEY").ok()).filter(|key| !key.is_empty());
        let missing = "a key is needed: --webhook-key or the environment variable POSTBELL_WEBHOOK_KEY";
        let key = key.ok_or_else(|| Failure::Usage(missing.to_owned()))?;
        let mapping = TomlFile::read(&self.mapping)?.parse()?;
        let names = self.target.destination.map.iter().filter_map(|map| map.split_once('='));
        let names = names.map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
        let receiver = Receiver { listen: self.listen, mapping, key, names };
        Ok((self.target, receiver))
    }
}

/// What is received, where, and from whom.
#[derive(Debug)]
pub struct Receiver {
    listen: SocketAddr,
    mapping: Mapping,
    key: String,
    /// Accounts that are called otherwise here.
    names: std::collections::BTreeMap<String, String>,
}

/// Begins to listen.
pub fn open(receiver: Receiver) -> anyhow::Result<Reader> {
    let listener = std::net::TcpListener::bind(receiver.listen);
    let listener = listener.with_context(|| format!("listening on {}", receiver.listen))?;
    listener.set_nonblocking(true)?;
    println!("postbell webhook listening on http://{}", listener.local_addr()?);
    Ok(Box::new(move |spool| serve(receiver, listener, spool)))
}

fn serve(receiver: Receiver, listener: std::net::TcpListener, spool: Arc<Spool>) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().context("the network thread")?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let state = Arc::new((receiver, spool.clone()));
        let router = Router::new().fallback(posted).layer(DefaultBodyLimit::max(BODY_BYTES)).with_state(state);
        let mut look = tokio::time::interval(LOOK);
        let closed = async move {
            while !spool.is_closed() {
                look.tick().await;
            }
        };
        tokio::select! {
            served = axum::serve(listener, router).into_future() => served.context("the network"),
            () = closed => Ok(()),
        }
    })
}

/// Answered once it is on the disk, so that the mail server repeats what was not taken.
async fn posted(
    State(state): State<Arc<(Receiver, Arc<Spool>)>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let (receiver, _) = &*state;
    if !receiver.admits(&headers, &body) {
        return (StatusCode::UNAUTHORIZED, "the signature or the key is wrong\n".to_owned());
    }
    let lines = match receiver.lines(&body) {
        Ok(lines) => lines,
        Err(problem) => return (StatusCode::BAD_REQUEST, format!("{problem:#}\n")),
    };
    if lines.is_empty() {
        return (StatusCode::OK, String::new());
    }
    match tokio::task::spawn_blocking(move || state.1.push(&lines)).await {
        Ok(Ok(true)) => (StatusCode::OK, String::new()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the spool takes nothing now\n".to_owned()),
    }
}

impl Receiver {
    fn admits(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(header) = &self.mapping.signature_header else {
            let given = text("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
            return bool::from(given.as_bytes().ct_eq(self.key.as_bytes()));
        };
        let Some(signature) = text(header).and_then(|value| STANDARD.decode(value).ok()) else { return false };
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(body);
        mac.verify_slice(&signature).is_ok()
    }

    /// The changes of a body, one a line. An event that cannot be mapped is in the log, because to repeat it is of no use.
    fn lines(&self, body: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
        let body: serde_json::Value = serde_json::from_slice(body).context("the body is no JSON")?;
        let mut lines = Vec::new();
        for event in self.mapping.events(&body)? {
            match self.mapping.change(event) {
                Ok(None) => {}
                Ok(Some(change)) => lines.extend(self.line(change)),
                Err(problem) => tracing::warn!("an event was left out: {problem}"),
            }
        }
        Ok(lines)
    }

    fn line(&self, mut change: serde_json::Value) -> Option<Vec<u8>> {
        if let Some(account) = change.get_mut("account")
            && let Some(name) = account.as_str().and_then(|account| self.names.get(account))
        {
            *account = name.as_str().into();
        }
        let now = SystemClock::default().wall();
        if change.get("at").is_none() && change.is_object() {
            change["at"] = now.into();
        }
        let line = format!("{change}\n").into_bytes();
        match json::line(&line, now) {
            Ok(_) => Some(line),
            Err(problem) => {
                tracing::warn!("an event was left out, because the mapping makes no change of it: {problem}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(mapping: &str) -> Receiver {
        Receiver {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            mapping: toml::from_str(mapping).unwrap(),
            key: "key".to_owned(),
            names: [("ann".to_owned(), "ann@example.org".to_owned())].into(),
        }
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_who_has_the_key_is_heard() {
        let signed = receiver("signature-header = 'x-signature'\n[[rule]]\nchange = {}\n");
        // HMAC-SHA256("key", "The quick brown fox jumps over the lazy dog"), as everybody prints it.
        let signature = "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=";
        let body = b"The quick brown fox jumps over the lazy dog";
        assert!(signed.admits(&headers("x-signature", signature), body));
        assert!(!signed.admits(&headers("x-signature", signature), b"another body"));
        assert!(!signed.admits(&headers("authorization", "Bearer key"), body));
        let bearer = receiver("[[rule]]\nchange = {}\n");
        assert!(bearer.admits(&headers("authorization", "Bearer key"), b""));
        assert!(!bearer.admits(&headers("authorization", "Bearer kex"), b"") && !bearer.admits(&HeaderMap::new(), b""));
    }

    #[test]
    fn what_is_no_change_is_left_out_and_the_rest_kept() {
        let receiver = receiver("events = '/e'\n[[rule]]\nchange = { account = '{/a}', what = '{/w}' }\n");
        let body = br#"{"e": [{"a": "ann", "w": "gap"}, {"a": "bob"}, {"a": "bob", "w": "nonsense"}]}"#;
        let lines = receiver.lines(body).unwrap();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with(b"{\"account\":\"ann@example.org\",\"at\":"), "{lines:?}");
        assert!(receiver.lines(b"{").is_err() && receiver.lines(b"{}").is_err());
    }
}
