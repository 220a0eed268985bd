//! The notify socket of Cyrus IMAP, in notifyd's place.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::spool::Spool;
use super::{Reader, TargetArgs};

/// Longer than any event; Cyrus itself ends at 8 KiB.
const DATAGRAM_BYTES: usize = 1 << 16;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// The most events that one write to the spool holds.
const EVENTS: usize = 1_000;

/// `source cyrus`
#[derive(Args, Debug)]
pub struct CyrusArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The notify socket (`notifysocket` in imapd.conf); one that is there is replaced
    #[arg(long, default_value = "/var/run/cyrus/socket/notify")]
    socket: PathBuf,
}

impl CyrusArgs {
    pub(super) fn parts(self) -> (TargetArgs, PathBuf) {
        (self.target, self.socket)
    }
}

/// Binds the socket.
pub fn open(path: &Path) -> anyhow::Result<Reader> {
    let bind = || {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        let socket = UnixDatagram::bind(path)?;
        // As notifyd does: Cyrus runs as another user.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok(socket)
    };
    let socket = bind().with_context(|| format!("the socket {}", path.display()))?;
    Ok(Box::new(move |spool| read(&socket, &spool)))
}

fn read(socket: &UnixDatagram, spool: &Spool) -> anyhow::Result<()> {
    let mut datagram = vec![0; DATAGRAM_BYTES];
    while !spool.is_closed() {
        let mut lines = Vec::new();
        // All that is there goes with one sync.
        while lines.len() < EVENTS {
            socket.set_nonblocking(!lines.is_empty())?;
            match socket.recv(&mut datagram) {
                Ok(length) => lines.extend(line(&datagram[..length])),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the notify socket"),
            }
        }
        if !lines.is_empty() && !spool.push(&lines)? {
            tracing::warn!(events = lines.len(), "the spool is full: events of Cyrus are lost");
        }
    }
    Ok(())
}

/// The event of a datagram, as a line: `method NUL class NUL priority NUL user NUL mailbox NUL count NUL`, so many options,
/// then the message, each ended by a NUL (imap/notify.c). None: it is a notification of another kind.
fn line(datagram: &[u8]) -> Option<Vec<u8>> {
    let mut fields = datagram.split(|byte| *byte == 0);
    let class = fields.nth(1)?;
    let options: usize = std::str::from_utf8(fields.nth(3)?).ok()?.parse().ok()?;
    let message = fields.nth(options)?;
    if class != b"EVENT" || message.is_empty() {
        return None;
    }
    // A line break in JSON stands between values only.
    let mut line: Vec<u8> =
        message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
    line.push(b'\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_follows_its_options() {
        let text = |datagram: &str| line(datagram.as_bytes()).map(|line| String::from_utf8(line).unwrap());
        assert_eq!(text("probe\0EVENT\0\0\0\x000\0{\"a\":\n1}\0").unwrap(), "{\"a\": 1}\n");
        assert_eq!(text("probe\0EVENT\0n\0u\0m\x002\0one\0two\0{}\0").unwrap(), "{}\n");
        for other in
            ["", "probe", "probe\0MAIL\0\0\0\x000\0{}\0", "p\0EVENT\0\0\0\0x\0{}\0", "p\0EVENT\0\0\0\x009\0{}\0"]
        {
            assert_eq!(text(other), None, "{other:?}");
        }
    }
}
