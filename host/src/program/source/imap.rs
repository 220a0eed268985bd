//! A mail server's own IMAP, asked by the program that stands beside it: which mailboxes a user has, and what changed in one
//! since a modification sequence (RFC 7162).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use imap_proto::{AttributeValue, MailboxDatum, NameAttribute, Response, ResponseCode, Status, StatusAttribute};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one response may be, in bytes: one for each message comes.
const RESPONSE_BYTES: usize = 1 << 20;

/// A login.
pub struct Imap {
    stream: TcpStream,
    buffer: Vec<u8>,
    next_tag: u32,
}

/// A mailbox as LIST and STATUS tell of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// The name by which it is asked for.
    name: String,
    /// Its special use as RFC 6154 writes it.
    pub special_use: Option<&'static str>,
    /// Messages, and those of them that were not seen.
    pub counts: Option<(u32, u32)>,
}

/// What a mailbox has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// UIDVALIDITY.
    pub validity: u32,
    /// UIDNEXT.
    pub next: u32,
    /// HIGHESTMODSEQ.
    pub modseq: u64,
}

/// What changed in a mailbox.
#[derive(Debug, Default)]
pub struct Since {
    /// UIDs of messages that are there, with their flags.
    pub changed: Vec<(u32, Vec<String>)>,
    /// UIDs of messages that are gone.
    pub vanished: Vec<RangeInclusive<u32>>,
}

impl Imap {
    /// Connects and logs in.
    pub fn login(address: SocketAddr, user: &str, password: &str) -> anyhow::Result<Imap> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut imap = Imap { stream, buffer: Vec::new(), next_tag: 0 };
        imap.response(ensure_ok)?;
        imap.ask(&format!("LOGIN {} {}", quoted(user)?, quoted(password)?), |_| {}).context("LOGIN")?;
        imap.ask("ENABLE QRESYNC", |_| {})?;
        Ok(imap)
    }

    /// The mailboxes that have messages, or could.
    pub fn mailboxes(&mut self) -> anyhow::Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = Vec::new();
        let mut odd = None;
        self.ask(r#"LIST "" "*" RETURN (SPECIAL-USE STATUS (MESSAGES UNSEEN))"#, |response| match response {
            Response::MailboxData(MailboxDatum::List(data))
                if !data.name_attributes.contains(&NameAttribute::NoSelect) =>
            {
                let special_use = data.name_attributes.iter().find_map(special_use);
                let path = decoded(&data.name);
                odd = odd.take().or_else(|| path.is_none().then(|| data.name.to_string()));
                let path = path.unwrap_or_default();
                listed.push(Listed { path, name: data.name.to_string(), special_use, counts: None });
            }
            Response::MailboxData(MailboxDatum::Status { mailbox, status }) => {
                let messages = status.iter().find_map(|it| match it {
                    StatusAttribute::Messages(messages) => Some(*messages),
                    _ => None,
                });
                let unseen = status.iter().find_map(|it| match it {
                    StatusAttribute::Unseen(unseen) => Some(*unseen),
                    _ => None,
                });
                if let Some(known) = listed.iter_mut().find(|listed| *listed.name == **mailbox) {
                    known.counts = messages.zip(unseen);
                }
            }
            _ => {}
        })?;
        match odd {
            Some(name) => bail!("a mailbox has the name {name}, which is not in modified UTF-7"),
            None => Ok(listed),
        }
    }

    /// Opens a mailbox, and has the server note modification sequences there from now on.
    pub fn select(&mut self, mailbox: &Listed) -> anyhow::Result<Reached> {
        let mut reached = Reached::default();
        self.ask(&format!("EXAMINE {} (CONDSTORE)", quoted(&mailbox.name)?), |response| {
            let Response::Data { outcome, .. } = response else { return };
            match outcome.code {
                Some(ResponseCode::UidValidity(validity)) => reached.validity = validity,
                Some(ResponseCode::UidNext(next)) => reached.next = next,
                Some(ResponseCode::HighestModSeq(modseq)) => reached.modseq = modseq,
                _ => {}
            }
        })?;
        ensure!(reached.validity > 0 && reached.next > 0 && reached.modseq > 0, "{reached:?} of {}", mailbox.path);
        Ok(reached)
    }

    /// What changed in the open mailbox since then; none: all that is there.
    pub fn since(&mut self, modseq: Option<u64>) -> anyhow::Result<Since> {
        let mut since = Since::default();
        let changed = modseq.map(|modseq| format!(" (CHANGEDSINCE {modseq} VANISHED)")).unwrap_or_default();
        self.ask(&format!("UID FETCH 1:* (FLAGS){changed}"), |response| match response {
            Response::Fetch(_, attributes) => {
                let uid = attributes.iter().find_map(|it| match it {
                    AttributeValue::Uid(uid) => Some(*uid),
                    _ => None,
                });
                let flags = attributes.iter().find_map(|it| match it {
                    AttributeValue::Flags(flags) => Some(flags.iter().map(ToString::to_string).collect()),
                    _ => None,
                });
                since.changed.extend(uid.zip(flags));
            }
            Response::Vanished { uids, .. } => since.vanished.extend(uids.iter().cloned()),
            _ => {}
        })?;
        Ok(since)
    }

    fn ask(&mut self, command: &str, mut take: impl FnMut(&Response<'_>)) -> anyhow::Result<()> {
        let tag = format!("p{}", self.next_tag);
        self.next_tag += 1;
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes())?;
        let name = command.split(' ').next().unwrap_or_default();
        loop {
            let done = self.response(|response| match response {
                Response::Done { tag: of, status, outcome } if of.0 == tag => match status {
                    Status::Ok => Ok(true),
                    _ => bail!("{name}: {}", outcome.information.as_deref().unwrap_or("refused")),
                },
                Response::Data { status: Status::Bye, outcome } => {
                    bail!("{name}: {}", outcome.information.as_deref().unwrap_or("the server has ended"))
                }
                response => {
                    take(response);
                    Ok(false)
                }
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Reads the next response.
    fn response<T>(&mut self, take: impl FnOnce(&Response<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
        loop {
            match Response::parse(&self.buffer) {
                Ok((rest, response)) => {
                    let left = rest.len();
                    let taken = take(&response);
                    drop(response);
                    self.buffer.drain(..self.buffer.len() - left);
                    return taken;
                }
                Err(error) if error.is_incomplete() => {}
                // The parser wants no more, but there is no whole line yet.
                Err(_) if !self.buffer.ends_with(b"\r\n") => {}
                Err(_) => bail!("not a response of IMAP: {:?}", String::from_utf8_lossy(&self.buffer)),
            }
            ensure!(self.buffer.len() < RESPONSE_BYTES, "a response is longer than {RESPONSE_BYTES} bytes");
            let mut part = [0; 16 << 10];
            let read = self.stream.read(&mut part)?;
            ensure!(read > 0, "the connection has ended");
            self.buffer.extend_from_slice(&part[..read]);
        }
    }
}

fn ensure_ok(greeting: &Response<'_>) -> anyhow::Result<()> {
    match greeting {
        Response::Data { status: Status::Ok, .. } => Ok(()),
        _ => bail!("it greets by {greeting:?}"),
    }
}

fn special_use(attribute: &NameAttribute<'_>) -> Option<&'static str> {
    match attribute {
        NameAttribute::Drafts => Some("\\Drafts"),
        NameAttribute::Junk => Some("\\Junk"),
        NameAttribute::Sent => Some("\\Sent"),
        NameAttribute::Trash => Some("\\Trash"),
        _ => None,
    }
}

/// As a quoted string (RFC 9051 section 4.3).
fn quoted(text: &str) -> anyhow::Result<String> {
    ensure!(
        text.chars().all(|character| character.is_ascii() && !character.is_ascii_control()),
        "{text:?} is not ASCII"
    );
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A mailbox's name out of modified UTF-7 (RFC 3501 section 5.1.3); none: it is not in that.
fn decoded(name: &str) -> Option<String> {
    let engine = GeneralPurpose::new(&IMAP_MUTF7, GeneralPurposeConfig::new().with_decode_padding_mode(NO_PADDING));
    let (mut text, mut rest) = (String::new(), name);
    while let Some((plain, shifted)) = rest.split_once('&') {
        text.push_str(plain);
        let (shifted, behind) = shifted.split_once('-')?;
        if shifted.is_empty() {
            text.push('&');
        } else {
            let units = engine.decode(shifted).ok()?;
            let (pairs, odd) = units.as_chunks::<2>();
            let decoded = String::from_utf16(&pairs.iter().map(|unit| u16::from_be_bytes(*unit)).collect::<Vec<_>>());
            text.push_str(&decoded.ok().filter(|_| odd.is_empty())?);
        }
        rest = behind;
    }
    text.push_str(rest);
    Some(text)
}

const NO_PADDING: base64::engine::DecodePaddingMode = base64::engine::DecodePaddingMode::RequireNone;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_of_modified_utf_7() {
        // The examples of RFC 3501 section 5.1.3.
        let name = "~peter/mail/&U,BTFw-/&ZeVnLIqe-";
        assert_eq!(decoded(name).as_deref(), Some("~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}"));
        assert_eq!(decoded("A&-B").as_deref(), Some("A&B"));
        assert_eq!(decoded("Entw&APw-rfe").as_deref(), Some("Entwürfe"));
        for odd in ["&", "&AP", "&A-", "&2AA-"] {
            assert_eq!(decoded(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_sent_is_one_line() {
        assert_eq!(quoted("a\"b\\").expect("ASCII"), "\"a\\\"b\\\\\"");
        assert!(quoted("a\r\nb").is_err() && quoted("ü").is_err());
    }
}
