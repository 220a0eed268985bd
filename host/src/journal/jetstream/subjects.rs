//! Which subject and which stream a seat has.
//!
//! A stream's subjects are `<name>.<number>.>`; below that a seat has two: `records.<tenant>.<plugin>.<partition>` for its
//! records, and `snapshots.` likewise for its index. In names, each byte that is no letter, digit, hyphen or underscore
//! stands as `=` and two hexadecimal digits; an empty name as `=` alone.

use std::fmt::Write;

use crate::journal::Seat;
use crate::journal::format::seat_number;

/// What a subject of a seat is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Records,
    Snapshots,
    /// Both, as a filter.
    Any,
}

impl Kind {
    fn token(self) -> &'static str {
        match self {
            Kind::Records => "records",
            Kind::Snapshots => "snapshots",
            Kind::Any => "*",
        }
    }
}

/// The name of the stream with this number.
pub(super) fn stream(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

/// All subjects of the stream with this number.
pub(super) fn all(name: &str, number: usize) -> String {
    format!("{name}.{number}.>")
}

/// The name of the bucket that has the snapshots.
pub(super) fn bucket(name: &str) -> String {
    format!("{name}-snapshots")
}

/// Which of so many streams has the seat.
pub(super) fn stream_of(seat: &Seat, streams: usize) -> usize {
    (seat_number(seat) % streams as u64) as usize
}

/// A subject of a seat.
pub(super) fn subject(name: &str, streams: usize, seat: &Seat, kind: Kind) -> String {
    let mut subject = format!("{name}.{}.{}", stream_of(seat, streams), kind.token());
    for token in [&*seat.tenant, &*seat.plugin] {
        subject.push('.');
        subject.push_str(&escaped(token));
    }
    write!(subject, ".{}", seat.partition).expect("text takes everything");
    subject
}

/// The seat that has this subject; none: it is no seat's.
pub(super) fn seat(name: &str, subject: &str) -> Option<Seat> {
    let mut tokens = subject.strip_prefix(name)?.strip_prefix('.')?.split('.').skip(2);
    let (tenant, plugin) = (unescaped(tokens.next()?)?, unescaped(tokens.next()?)?);
    let partition = tokens.next()?.parse().ok()?;
    tokens.next().is_none().then(|| Seat { tenant: tenant.into(), plugin: plugin.into(), partition })
}

/// A name as one token of a subject, or of a key.
pub(crate) fn escaped(name: &str) -> String {
    let mut token = String::new();
    if name.is_empty() {
        token.push('=');
    }
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => token.push(byte.into()),
            other => write!(token, "={other:02x}").expect("text takes everything"),
        }
    }
    token
}

/// The name that a token stands for; none: it is none's.
pub(crate) fn unescaped(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    let (mut bytes, mut rest) = (Vec::new(), token.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'=' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_its_seat_whatever_that_is_called() {
        for tenant in ["example.org", "a b*c>d", "bücher.example", "=3d", ""] {
            let seat = Seat { tenant: tenant.into(), plugin: "postbell.notify".into(), partition: 7 };
            let subject = subject("postbell", 4, &seat, Kind::Records);
            assert_eq!(super::seat("postbell", &subject), Some(seat), "{subject}");
            assert_eq!(subject.split('.').count(), 6, "{subject}");
        }
    }

    #[test]
    fn what_is_no_seats_is_none() {
        for subject in ["postbell", "postbell.0.records.a.b", "postbell.0.records.a.b.x", "other.0.records.a.b.0"] {
            assert_eq!(seat("postbell", subject), None, "{subject}");
        }
        assert_eq!(seat("postbell", "postbell.0.records.a=zz.b.0"), None);
    }

    #[test]
    fn a_seat_keeps_its_stream() {
        let seat = Seat { tenant: "example.org".into(), plugin: "postbell-notify".into(), partition: 0 };
        // A change here would look for every seat's history elsewhere.
        assert_eq!((1..=6).map(|streams| stream_of(&seat, streams)).collect::<Vec<_>>(), [0, 1, 0, 1, 4, 3]);
    }
}
