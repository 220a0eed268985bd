//! From a mail server's reply to LMTP's final dot to the bytes for the client that holds a stream of EWS: mail server, source,
//! server and client as real programs on loopback. The journal syncs always. POSTBELL_DELIVERIES: how many, one by one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postbell_tests::ews::{Client, Stream};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::mail_servers::{Kind, MailServer};
use postbell_tests::program::Server;
use postbell_tests::scale::scaled;

const PROGRAM: &str = env!("CARGO_BIN_EXE_postbell-under-test");

fn main() -> Result<()> {
    let deliveries = match std::env::var("POSTBELL_DELIVERIES") {
        Ok(number) => number.parse().context("POSTBELL_DELIVERIES")?,
        Err(_) => scaled(500, 10),
    };
    let columns = [("p50", Unit::Time), ("p99", Unit::Time)];
    let title = format!("From the reply to LMTP to the client's bytes, {deliveries} deliveries one by one");
    let table = Table::begin(title, "", &columns);
    for (name, kind) in [("Dovecot", Kind::Dovecot), ("Cyrus", Kind::Cyrus)] {
        let mut times = times(kind, deliveries)?;
        times.sort();
        let quantile = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
        table.row(name, &[50, 99].map(|part| Some(quantile(part).into())));
    }
    Ok(())
}

fn times(kind: Kind, deliveries: u32) -> Result<Vec<Duration>> {
    let server = Server::demo(PROGRAM)?;
    let mail = MailServer::prepare(kind)?;
    let source = mail.source(PROGRAM, &server)?;
    let mail = mail.start()?;
    let mut lmtp = Lmtp::open(&mail)?;
    // The mailbox is made by the first.
    mail.mailbox()?;
    let client = Client::demo(&server, "alice");
    let subscription = client.subscribe_streaming()?;
    let stream = client.stream(&[&subscription])?;
    let (sender, heard) = channel();
    // Ends with the server.
    std::thread::spawn(move || hear(stream, &sender));
    let mut times = Vec::new();
    for number in 0..deliveries {
        let replied = lmtp.deliver(number)?;
        // What was heard before the reply took no time after it.
        times.push(heard.recv().context("the stream has ended")?.saturating_duration_since(replied));
    }
    source.stop()?;
    Ok(times)
}

/// Says when each new mail was heard of.
fn hear(mut stream: Stream, sender: &Sender<Instant>) {
    while let Ok(events) = stream.events() {
        let heard = now();
        let new = events.iter().filter(|event| event.to_string().starts_with("NewMailEvent"));
        if new.map(|_| sender.send(heard)).any(|sent| sent.is_err()) {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

/// A session of LMTP (RFC 2033).
struct Lmtp {
    reader: BufReader<TcpStream>,
    user: &'static str,
}

impl Lmtp {
    fn open(mail: &MailServer) -> Result<Lmtp> {
        let stream = TcpStream::connect(("127.0.0.1", mail.lmtp_port()))?;
        stream.set_nodelay(true)?;
        let mut lmtp = Lmtp { reader: BufReader::new(stream), user: mail.user() };
        lmtp.reply("220")?;
        lmtp.say("LHLO localhost\r\n", "250")?;
        Ok(lmtp)
    }

    /// Delivers a message; when it was replied to.
    fn deliver(&mut self, number: u32) -> Result<Instant> {
        self.say("MAIL FROM:<sender@example.org>\r\n", "250")?;
        self.say(&format!("RCPT TO:<{}>\r\n", self.user), "250")?;
        self.say("DATA\r\n", "354")?;
        let message = format!(
            "From: sender@example.org\r\nSubject: {number}\r\nMessage-ID: <{number}@example.org>\r\nDate: Sat, 21 Nov 2026 \
             10:00:00 +0000\r\n\r\nhello\r\n.\r\n"
        );
        self.say(&message, "250")?;
        Ok(now())
    }

    fn say(&mut self, text: &str, expected: &str) -> Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())?;
        self.reply(expected)
    }

    fn reply(&mut self, expected: &str) -> Result<()> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            ensure!(line.starts_with(expected), "expected {expected}: {line:?}");
            // Of a reply of several lines the last has no dash (RFC 5321 section 4.2.1).
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}
