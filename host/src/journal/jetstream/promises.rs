//! What is promised is checked: a setting that a server does not know, or that its operator changed, shows here and not
//! when it is needed.

use async_nats::jetstream::stream::Config;
use serde::Deserialize;

/// Something that an operator relies on, as the servers say it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Whether it is so.
    pub kept: bool,
    /// A sentence for the operator.
    pub what: String,
}

impl Promise {
    fn new(kept: bool, what: String) -> Promise {
        Promise { kept, what }
    }
}

/// How many servers keep what a stream has.
pub(super) fn replicas(config: &Config, wanted: usize) -> Promise {
    let (name, found) = (&config.name, config.num_replicas);
    match found {
        _ if found < wanted => Promise::new(false, format!("stream {name} is kept by {found} of {wanted} servers")),
        1 => Promise::new(false, format!("stream {name} is kept by one server: what is lost with that is lost")),
        more => Promise::new(true, format!("stream {name} is kept by {more} servers")),
    }
}

/// Whether an input of any size can be taken.
pub(super) fn batches(config: &Config, payload: usize) -> Promise {
    let name = &config.name;
    match config.allow_atomic_publish {
        true => Promise::new(true, format!("stream {name} takes an append of any size")),
        false => Promise::new(
            false,
            format!("stream {name} takes no append of more than {payload} bytes: batches need servers from 2.12"),
        ),
    }
}

/// Whether a server syncs before it acknowledges, by what its monitoring endpoint says at `/jsz?config=1`. `server` is
/// what it is called in the sentence.
pub fn sync_promise(server: &str, answer: &[u8]) -> Promise {
    #[derive(Deserialize)]
    struct Answer {
        config: Option<Sync>,
    }
    #[derive(Deserialize)]
    struct Sync {
        sync_always: Option<bool>,
        /// In nanoseconds.
        sync_interval: Option<u64>,
    }
    let config = serde_json::from_slice::<Answer>(answer).ok().and_then(|answer| answer.config);
    match config.map(|config| (config.sync_always, config.sync_interval)) {
        Some((Some(true), _)) => Promise::new(true, format!("server {server} syncs before it acknowledges")),
        Some((_, Some(nanoseconds))) => {
            let seconds = nanoseconds / 1_000_000_000;
            let what = format!("server {server} syncs every {seconds} s: lost power takes what it acknowledged since");
            Promise::new(false, what)
        }
        _ => Promise::new(false, format!("server {server} does not say when it syncs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_its_syncs_is_understood() {
        let always =
            sync_promise("a", br#"{"config":{"sync_interval":120000000000,"sync_always":true,"strict":true}}"#);
        assert_eq!(always, Promise::new(true, "server a syncs before it acknowledges".into()));
        let later = sync_promise("a", br#"{"config":{"max_memory":1,"sync_interval":120000000000}}"#);
        assert!(!later.kept && later.what.contains("every 120 s"), "{later:?}");
        for silent in [&b"{}"[..], b"", b"<html>", br#"{"config":{}}"#] {
            assert!(!sync_promise("a", silent).kept);
        }
    }

    #[test]
    fn fewer_replicas_than_wanted_are_no_promise() {
        let kept = |found, wanted| replicas(&Config { num_replicas: found, ..Config::default() }, wanted).kept;
        assert_eq!([kept(3, 3), kept(1, 3), kept(1, 1), kept(5, 3)], [true, false, false, true]);
    }
}
