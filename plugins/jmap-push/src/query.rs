//! The query of a request for events: what a client wants to hear of (RFC 8620, section 7.3).

use crate::states::{Type, Types};

/// The bounds of the time between two pings, in seconds. A server may set none above 30, and none below 300.
const PINGS: (u64, u64) = (10, 900);

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Of what it wants to hear.
    pub types: Types,
    /// The answer ends after the first change.
    pub close_after_state: bool,
    /// How long nothing may be sent, in seconds; 0: for as long as nothing happens.
    pub ping: u64,
}

/// Reads a query. An error says what is wrong with it.
pub fn read(query: &str) -> Result<Query, &'static str> {
    let (mut types, mut close_after, mut ping) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or("a value is not percent-encoded UTF-8")?;
        match name {
            "types" => types = Some(read_types(&value)),
            "closeafter" => close_after = Some(read_close_after(&value)?),
            "ping" => ping = Some(read_ping(&value)?),
            // What other parameters mean is not known.
            _ => {}
        }
    }
    Ok(Query {
        types: types.ok_or("`types` is missing")?,
        close_after_state: close_after.ok_or("`closeafter` is missing")?,
        ping: ping.ok_or("`ping` is missing")?,
    })
}

/// Names that are not known are passed over: nothing of such a type changes here.
fn read_types(value: &str) -> Types {
    if value == "*" {
        return Types::all();
    }
    let known = |name: &str| Type::ALL.into_iter().find(|one| one.name() == name);
    Types::of(&value.split(',').filter_map(known).collect::<Vec<_>>())
}

fn read_close_after(value: &str) -> Result<bool, &'static str> {
    match value {
        "state" => Ok(true),
        "no" => Ok(false),
        _ => Err("`closeafter` is neither `state` nor `no`"),
    }
}

fn read_ping(value: &str) -> Result<u64, &'static str> {
    let seconds: u64 = value.parse().map_err(|_| "`ping` is not a number of seconds")?;
    Ok(if seconds == 0 { 0 } else { seconds.clamp(PINGS.0, PINGS.1) })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wants() {
        let query = read("types=Email,Mailbox&closeafter=no&ping=300").unwrap();
        let types = Types::of(&[Type::Email, Type::Mailbox]);
        assert_eq!(query, Query { types, close_after_state: false, ping: 300 });
        let query = read("ping=1&closeafter=state&types=%2A&more=x").unwrap();
        assert_eq!(query, Query { types: Types::all(), close_after_state: true, ping: 10 });
        assert_eq!(read("types=Email%2CNothing&closeafter=no&ping=0").unwrap().types, Types::of(&[Type::Email]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (query, wrong) in [
            ("", "`types` is missing"),
            ("types=*", "`closeafter` is missing"),
            ("types=*&closeafter=no", "`ping` is missing"),
            ("types=*&closeafter=never&ping=1", "`closeafter` is neither `state` nor `no`"),
            ("types=*&closeafter=no&ping=soon", "`ping` is not a number of seconds"),
            ("types=%2", "a value is not percent-encoded UTF-8"),
            ("types=%FF", "a value is not percent-encoded UTF-8"),
        ] {
            assert_eq!(read(query), Err(wrong), "{query}");
        }
    }
}
