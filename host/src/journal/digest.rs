//! Digests of reactions: what a replay is compared with.

use xxhash_rust::xxh3::Xxh3;

use crate::contract::types::{CallTarget, LogLevel, Place, Reaction};

/// What the plugin made of an input, in brief. A replay by the same component must make the same; another component may
/// not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// The first 8 bytes of the component's SHA-256, big-endian.
    pub component: u64,
    /// XXH3-64 of the reaction: every field in the order of `notify.wit`; numbers little-endian in their own width, `bool`
    /// and the number of a case as one byte, a text or list after its length as `u64`, an option after 0 or 1.
    pub reaction: u64,
}

impl Digest {
    /// What this component made of an input.
    pub fn of(component_sha256: &[u8; 32], reaction: &Reaction) -> Digest {
        let [a, b, c, d, e, f, g, h, ..] = *component_sha256;
        Digest { component: u64::from_be_bytes([a, b, c, d, e, f, g, h]), reaction: digest(reaction) }
    }

    /// Whether a replay by that component may give this reaction; any reaction may come of another component.
    pub fn allows(&self, replayed: &Digest) -> bool {
        self.component != replayed.component || self.reaction == replayed.reaction
    }
}

fn digest(reaction: &Reaction) -> u64 {
    let Reaction { replies, calls, wake_at, rejections, logs, changed } = reaction;
    let mut digester = Digester::default();
    digester.list(replies, |digester, reply| {
        digester.0.update(&reply.to.to_le_bytes());
        digester.0.update(&reply.status.to_le_bytes());
        digester.headers(&reply.headers);
        digester.bytes(&reply.body);
        digester.0.update(&[reply.more.into(), reply.confirm.into()]);
    });
    digester.list(calls, |digester, call| {
        digester.0.update(&call.id.to_le_bytes());
        match &call.target {
            CallTarget::HttpPost(target) => {
                digester.0.update(&[0]);
                digester.bytes(target.url.as_bytes());
                digester.headers(&target.headers);
            }
            CallTarget::Tcp(target) => {
                digester.0.update(&[1]);
                digester.bytes(target.address.as_bytes());
                digester.0.update(&target.port.to_le_bytes());
            }
        }
        digester.bytes(&call.body);
    });
    digester.list(wake_at.as_slice(), |digester, wake_at| digester.0.update(&wake_at.to_le_bytes()));
    digester.list(rejections, |digester, rejection| {
        match rejection.place {
            Place::Change((account, change)) => {
                digester.0.update(&[0]);
                digester.0.update(&account.to_le_bytes());
                digester.0.update(&change.to_le_bytes());
            }
            Place::Book(change) => {
                digester.0.update(&[1]);
                digester.0.update(&change.to_le_bytes());
            }
        }
        digester.bytes(rejection.reason.as_bytes());
    });
    digester.list(logs, |digester, line| {
        digester.0.update(&[match line.level {
            LogLevel::Debug => 0,
            LogLevel::Info => 1,
            LogLevel::Warn => 2,
            LogLevel::Error => 3,
        }]);
        digester.bytes(line.message.as_bytes());
    });
    digester.0.update(&[(*changed).into()]);
    digester.0.digest()
}

#[derive(Default)]
struct Digester(Xxh3);

impl Digester {
    fn list<T>(&mut self, list: &[T], mut each: impl FnMut(&mut Digester, &T)) {
        self.0.update(&(list.len() as u64).to_le_bytes());
        for item in list {
            each(self, item);
        }
    }

    fn headers(&mut self, headers: &[(String, String)]) {
        self.list(headers, |digester, (name, value)| {
            digester.bytes(name.as_bytes());
            digester.bytes(value.as_bytes());
        });
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::types::{LogLine, Reply};

    fn empty() -> Reaction {
        Reaction { replies: vec![], calls: vec![], wake_at: None, rejections: vec![], logs: vec![], changed: false }
    }

    #[test]
    fn no_two_reactions_look_alike() {
        let reply = |status, body: &str, header: (&str, &str)| Reply {
            to: 1,
            status,
            headers: vec![(header.0.into(), header.1.into())],
            body: body.into(),
            more: false,
            confirm: false,
        };
        let log = |message: &str| LogLine { level: LogLevel::Info, message: message.into() };
        let reactions = [
            empty(),
            Reaction { changed: true, ..empty() },
            Reaction { wake_at: Some(0), ..empty() },
            Reaction { wake_at: Some(1), ..empty() },
            Reaction { replies: vec![reply(200, "ab", ("c", "d"))], ..empty() },
            Reaction { replies: vec![reply(200, "b", ("c", "da"))], ..empty() },
            Reaction { replies: vec![reply(200, "b", ("cd", "a"))], ..empty() },
            Reaction { replies: vec![reply(201, "ab", ("c", "d"))], ..empty() },
            Reaction { logs: vec![log("ab")], ..empty() },
            Reaction { logs: vec![log("a"), log("b")], ..empty() },
        ];
        let digests: std::collections::BTreeSet<u64> = reactions.iter().map(digest).collect();
        assert_eq!(digests.len(), reactions.len());
    }

    #[test]
    fn the_digest_of_nothing_is_for_ever() {
        // Four empty lists, one absent option, one `false`: 41 zero bytes.
        assert_eq!(digest(&empty()), xxhash_rust::xxh3::xxh3_64(&[0; 41]));
    }
}
