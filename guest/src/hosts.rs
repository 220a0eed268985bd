//! Hosts that clients name to be called: judged more strictly than anybody downstream reads them.
//!
//! A host whose last label is a number is an IPv4 address to a browser (`0x7f.1`, `2130706433`, `127.1`): it is accepted in
//! the usual spelling of four decimal numbers only. A host name is resolved, and judged, by whoever makes the call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::networks::{self, Network};

/// The longest host name, in bytes.
const MAX_HOST: usize = 253;

/// A host.
pub enum Host {
    /// By its address.
    Literal(IpAddr),
    /// By its name.
    Name,
}

/// Whether this is a host, an IPv6 address without brackets among them, that may be called as far as it says itself.
pub fn may_be_called(host: &str, allowed: &[Network]) -> bool {
    let literal = host.parse::<Ipv6Addr>().ok().map(|address| Host::Literal(IpAddr::V6(address)));
    match literal.or_else(|| read(host)) {
        Some(Host::Literal(address)) => networks::may_be_called(address, allowed),
        Some(Host::Name) => true,
        None => false,
    }
}

/// A host by its name or its IPv4 address; none if this is neither.
pub fn read(host: &str) -> Option<Host> {
    if ends_in_a_number(host) {
        return host.parse::<Ipv4Addr>().ok().map(|address| Host::Literal(IpAddr::V4(address)));
    }
    is_name(host).then_some(Host::Name)
}

/// As in the URL standard, "ends in a number".
fn ends_in_a_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let all = |digits: &str, is: fn(&u8) -> bool| digits.bytes().all(|byte| is(&byte));
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    !last.is_empty() && all(last, u8::is_ascii_digit)
        || hexadecimal.is_some_and(|rest| all(rest, u8::is_ascii_hexdigit))
}

fn is_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    name.len() <= MAX_HOST && labels.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_judged_as_far_as_it_says_itself() {
        let allowed = [Network::read("127.0.0.0/8").expect("a network")];
        for host in ["127.0.0.1", "1.1.1.1", "2606:4700::1111", "::ffff:127.0.0.1", "listener.example", "a_b."] {
            assert!(may_be_called(host, &allowed), "{host}");
        }
        for host in ["", "10.0.0.1", "::1", "[2606:4700::1111]", "fd00::1", "127.1", "0x7f.1", "a:80", "a b", "a@b"] {
            assert!(!may_be_called(host, &allowed), "{host}");
        }
    }
}
