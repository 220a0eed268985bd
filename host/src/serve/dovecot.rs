//! Passwords verified by Dovecot, over its auth client socket.
//!
//! A line is a command with parameters, separated by tabs. Both sides say `VERSION`; the server goes on with what it can,
//! up to `DONE`; then `AUTH` is answered by `OK`, `FAIL`, or, where a mechanism wants more, `CONT`. Source: Dovecot's
//! documentation, "Authentication Protocol" 1.2. PLAIN is RFC 4616.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::authenticator::{Attempt, Authenticator, Verified};
use crate::contract::requests::Denial;

/// How many attempts are under way at a time: each has a connection, of which Dovecot allows 100 unless told otherwise.
const AT_ONCE: usize = 32;
/// The longest line, in bytes; Dovecot's own are shorter than 8192.
const LINE: u64 = 16_384;
/// How many lines the server may say before `DONE`.
const GREETING: usize = 100;

/// Asks Dovecot.
#[derive(Debug)]
pub struct Dovecot {
    socket: PathBuf,
    time: Duration,
}

impl Dovecot {
    /// Asks the server at this socket, and waits so long for its answer.
    pub fn new(socket: PathBuf, time: Duration) -> Dovecot {
        Dovecot { socket, time }
    }

    async fn ask(&self, attempt: Attempt<'_>) -> Result<String, Denial> {
        // PLAIN separates its parts by NUL.
        if attempt.login.contains('\0') || attempt.secret.contains('\0') {
            return Err(Denial::WrongSecret);
        }
        match tokio::time::timeout(self.time, self.converse(attempt)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(_) => Err(unavailable(&"it does not answer")),
        }
    }

    async fn converse(&self, attempt: Attempt<'_>) -> io::Result<Result<String, Denial>> {
        let mut stream = BufReader::new(UnixStream::connect(&self.socket).await?);
        let greeting = format!("VERSION\t1\t2\nCPID\t{}\n", std::process::id());
        stream.write_all(greeting.as_bytes()).await?;
        greeted(&mut stream).await?;
        stream.write_all(request(attempt).as_bytes()).await?;
        loop {
            let line = line(&mut stream).await?;
            if let Some(verdict) = verdict(&line, attempt.login) {
                return Ok(verdict);
            }
        }
    }
}

impl Authenticator for Dovecot {
    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn verify<'a>(&'a self, attempt: Attempt<'a>) -> Verified<'a> {
        Box::pin(self.ask(attempt))
    }

    fn version(&self, _: &str) -> Option<&str> {
        None
    }
}

fn unavailable(why: &dyn std::fmt::Display) -> Denial {
    tracing::warn!(%why, "Dovecot gives no verdict on a login");
    Denial::Unavailable
}

/// Reads what the server can do. Its major version must be ours.
async fn greeted(stream: &mut BufReader<UnixStream>) -> io::Result<()> {
    let other = |what: &str| Err(io::Error::other(what.to_owned()));
    for _ in 0..GREETING {
        let line = line(stream).await?;
        let mut words = line.split('\t');
        match (words.next(), words.next()) {
            (Some("VERSION"), Some("1")) => {}
            (Some("VERSION"), _) => return other("it speaks another version of the protocol"),
            (Some("DONE"), _) => return Ok(()),
            _ => {}
        }
    }
    other("its greeting does not end")
}

async fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(LINE).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => String::from_utf8(line).map_err(io::Error::other),
        _ => Err(io::Error::other("a line without an end")),
    }
}

/// The only request of a connection. `resp` must be its last parameter; `nologin`: nobody fetches the user afterwards.
fn request(attempt: Attempt<'_>) -> Zeroizing<String> {
    let plain = Zeroizing::new(format!("\0{}\0{}", attempt.login, attempt.secret));
    let (encoded, secured) =
        (Zeroizing::new(STANDARD.encode(plain.as_bytes())), if attempt.secure { "\tsecured" } else { "" });
    let address = attempt.address;
    let encoded = encoded.as_str();
    Zeroizing::new(format!("AUTH\t1\tPLAIN\tservice=postbell{secured}\tnologin\trip={address}\tresp={encoded}\n"))
}

/// What a line says of the request; none: it is about something else.
fn verdict(line: &str, typed: &str) -> Option<Result<String, Denial>> {
    let mut words = line.split('\t');
    match (words.next(), words.next()) {
        (Some("OK"), Some("1")) => {
            let user = words.find_map(|word| word.strip_prefix("user="));
            Some(Ok(user.map_or_else(|| typed.to_owned(), unescaped)))
        }
        (Some("FAIL"), Some("1")) => match words.any(|word| word == "temp") {
            true => Some(Err(unavailable(&"it has a temporary failure"))),
            false => Some(Err(Denial::WrongSecret)),
        },
        (Some("CONT"), Some("1")) => Some(Err(unavailable(&"it wants more than PLAIN has"))),
        _ => None,
    }
}

/// A parameter's value: `^A` begins an escape (`str_tabunescape`).
fn unescaped(value: &str) -> String {
    let mut characters = value.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\u{1}' => match characters.next() {
                Some('0') => '\0',
                Some('1') => '\u{1}',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('n') => '\n',
                Some(other) => other,
                None => break,
            },
            plain => plain,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read() {
        for (line, expected) in [
            ("OK\t1\tuser=alice@example.org\toriginal_user=Alice", Some(Ok("alice@example.org".to_owned()))),
            ("OK\t1", Some(Ok("typed".to_owned()))),
            ("OK\t1\tuser=a\u{1}tb", Some(Ok("a\tb".to_owned()))),
            ("OK\t2\tuser=mallory", None),
            ("FAIL\t1\tuser=alice\treason=no", Some(Err(Denial::WrongSecret))),
            ("FAIL\t1\tuser=alice\ttemp", Some(Err(Denial::Unavailable))),
            ("CONT\t1\t", Some(Err(Denial::Unavailable))),
            ("MECH\tPLAIN", None),
            ("", None),
        ] {
            assert_eq!(verdict(line, "typed"), expected, "{line:?}");
        }
    }

    #[test]
    fn a_request_is_one_line_whatever_was_typed() {
        let address = [192, 0, 2, 1].into();
        let attempt = Attempt { login: "a\tb\n", secret: "c\tresp=d\n", address, secure: true };
        let request = request(attempt);
        let (start, encoded) = request.rsplit_once("\tresp=").expect("a response");
        assert_eq!(start, "AUTH\t1\tPLAIN\tservice=postbell\tsecured\tnologin\trip=192.0.2.1");
        assert_eq!(STANDARD.decode(encoded.trim_end_matches('\n')).expect("base64"), b"\0a\tb\n\0c\tresp=d\n");
        assert_eq!(request.matches('\n').count(), 1);
    }
}
