//! What the host makes of any bytes that sources, clients, plugins, operators and files give it.

use std::path::Path;

use http::header::{AUTHORIZATION, FORWARDED};
use http::{HeaderMap, HeaderName, HeaderValue};
use postbell::contract::types::Reply;
use postbell::ingest::users::Users;
use postbell::ingest::{Format, Unit, gather, json};
use postbell::journal::MemoryJournal;
use postbell::journal::archive::{self, ArchiveError, Reader};
use postbell::program::config::Config;
use postbell::program::toml_file::TomlFile;
use postbell::serve::answer::of_reply;
use postbell::serve::basic::Basic;
use postbell::serve::proxies::{Origin, Proxies};
use postbell::serve::tokens::{Claims, Tokens};

use super::Target;

/// Every target, under the name of its binary and of its corpus.
pub const TARGETS: [(&str, Target); 5] =
    [("changes", changes), ("config", config), ("logins", logins), ("archive", archive), ("replies", replies)];

const NOW: u64 = 1_787_392_800_000;

/// What a source posts: the first byte says in which format.
pub fn changes(bytes: &[u8]) {
    let Some((format, payload)) = bytes.split_first() else { return };
    let users = Users::new(vec!["example.org".into()], [("al".into(), "alice@example.org".into())]);
    let units = match format % 4 {
        0 => json::posting(payload, NOW).ok().map(|posting| posting.units),
        1 => Format::Postbell.units(payload, &users, NOW).ok(),
        2 => Format::Cyrus.units(payload, &users, NOW).ok(),
        _ => Format::Dovecot.units(payload, &users, NOW).ok(),
    };
    let Some(units) = units else { return };
    let refused = units.iter().filter(|unit| unit.entries.is_err()).count();
    let marks: Vec<_> = units.iter().map(|unit: &Unit| unit.mark).collect();
    let (batch, ledger) = gather(units);
    let named = batch.accounts.iter().all(|account| !account.changes.is_empty());
    assert!(named, "an account without changes: {batch:?}");
    let rejected = ledger.rejected(&[]);
    assert_eq!(rejected.len(), refused, "each that is not understood is rejected once");
    assert!(rejected.iter().all(|it| marks.contains(&it.mark) && !it.reason.contains('\n')), "{rejected:?}");
}

/// An operator's configuration: what is wrong is named where it is, and nothing else is.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = TomlFile::new(Path::new("no-such-folder/postbell.toml"), text.to_owned());
    if let Err(mistake) = Config::of(&file) {
        let said = mistake.to_string();
        assert!(said.starts_with("no-such-folder/") && !said.contains('\n'), "{said:?}");
    }
}

/// The headers by which clients log in and proxies say who they are, and tokens: lines of `NAME: VALUE`.
pub fn logins(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let Ok(basic) = Basic::read(&headers) {
        assert!(headers.contains_key(AUTHORIZATION) && !basic.login.contains(':'));
    }
    let proxies = Proxies::new(vec!["192.0.2.0/24".parse().expect("a network")]);
    let [proxy, stranger] = ["192.0.2.1", "203.0.113.1"].map(|it| it.parse().expect("an address"));
    // Whatever a proxy says of it, it is an address.
    let _ = proxies.origin(Origin { address: proxy, secure: false }, &mut headers.clone());
    let origin = proxies.origin(Origin { address: stranger, secure: false }, &mut headers);
    assert!(origin.address == stranger && !origin.secure, "{origin:?}");
    assert!(!headers.contains_key(FORWARDED) && !headers.contains_key("x-forwarded-for"), "{headers:?}");
    let tokens = Tokens::new(NOW).expect("chance");
    let text = String::from_utf8_lossy(bytes);
    assert!(tokens.verify(&text, NOW).is_err(), "it was never issued");
    let claims =
        Claims { account: text.into_owned(), visit: "v".into(), administrator: false, issued: NOW, expires: NOW + 10 };
    let issued = tokens.issue(&claims);
    assert_eq!(tokens.verify(&issued, NOW), Ok(claims));
    assert!(tokens.verify(&issued, NOW + 10).is_err(), "it has expired");
}

/// A backup: what is not whole is never taken for whole, and what was restored is the same again.
pub fn archive(bytes: &[u8]) {
    let journal = MemoryJournal::default();
    let Ok(mut reader) = Reader::new(bytes) else { return };
    if archive::restore(&mut reader, &journal).is_err() {
        return;
    }
    let seats = postbell::journal::Journal::seats(&journal).expect("memory does not fail");
    let mut again = Vec::new();
    let written: Result<_, ArchiveError> = archive::write(&journal, &seats, &mut again);
    written.expect("what was restored can be written");
    let mut reader = Reader::new(&*again).expect("it was just written");
    let restored = archive::restore(&mut reader, &MemoryJournal::default());
    restored.expect("what was written is whole");
}

/// What a plugin answers a client with: two bytes for the status, then lines of `NAME: VALUE`, an empty line, the body.
/// The client gets a response that HTTP allows, whatever that is.
pub fn replies(bytes: &[u8]) {
    let Some((status, rest)) = bytes.split_first_chunk::<2>() else { return };
    let text = String::from_utf8_lossy(rest);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Vec<_> = head.split('\n').filter_map(pair).collect();
    let status = u16::from_be_bytes(*status);
    let (body, more, confirm) = (body.as_bytes().to_vec(), false, false);
    let response = of_reply(Reply { to: 1, status, headers, body, more, confirm });
    let got = response.status().as_u16();
    assert!(got == status || got == 500, "{status} became {got}");
    for forbidden in ["connection", "transfer-encoding", "content-length", "upgrade", "te", "trailer"] {
        assert!(!response.headers().contains_key(forbidden), "{forbidden}: {:?}", response.headers());
    }
}
