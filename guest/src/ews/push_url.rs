//! The URL of a push subscription: judged more strictly than any client of HTTP reads one, so that nobody downstream
//! can take it for another address than the one that was judged here.
//!
//! It is ASCII, `http` or `https`, with a host and perhaps a port. User information is refused: a password would stand
//! in the journal. A fragment is cut off: nobody would be sent it. A host whose last label is a number is an IPv4
//! address to a browser (`0x7f.1`, `2130706433`, `127.1`): it is accepted in the usual spelling of four decimal numbers
//! only. A host name is resolved, and judged, by whoever makes the call.

use std::net::{IpAddr, Ipv6Addr};

use crate::hosts::{Host, read};
use crate::networks::{Network, may_be_called};

/// The longest URL, in bytes (MS-OXWSCDATA, ErrorInvalidPushSubscriptionUrl).
const MAX_URL: usize = 2082;

/// The URL to call, if it may be called as far as it says itself.
pub fn judge(url: &str, allowed: &[Network]) -> Option<String> {
    // What is left out has no place in a URL, or is read as something else by some.
    let plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"<>\\^`{|}".contains(&byte);
    if url.is_empty() || url.len() > MAX_URL || !url.bytes().all(plain) {
        return None;
    }
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    match host(url)? {
        Host::Literal(address) if !may_be_called(address, allowed) => None,
        Host::Literal(_) | Host::Name => Some(url.to_owned()),
    }
}

/// Host and port of a URL that was judged, for people.
pub fn authority(url: &str) -> &str {
    url.split('/').nth(2).and_then(|rest| rest.split('?').next()).unwrap_or_default()
}

fn host(url: &str) -> Option<Host> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority = rest.split(['/', '?']).next()?;
    if authority.contains('@') {
        return None;
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        is_port(port).then_some(())?;
        return address.parse::<Ipv6Addr>().ok().map(|address| Host::Literal(IpAddr::V6(address)));
    }
    let end = authority.find(':').unwrap_or(authority.len());
    let (name, port) = authority.split_at(end);
    is_port(port).then_some(())?;
    read(name)
}

/// Nothing, or a colon and 1 to 65535.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits && digits.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(url: &str) -> Option<String> {
        judge(url, &[Network::read("127.0.0.0/8").expect("a network")])
    }

    #[test]
    fn urls_of_listeners_are_accepted() {
        for url in [
            "http://listener.example",
            "HTTPS://Listener.Example:8443/cb?a=b&c=%20/",
            "http://listener.example./",
            "http://a_b.example:65535?x",
            "http://localhost:9/cb",
            "http://1.1.1.1/",
            "http://127.0.0.1:9/cb",
            "http://[2606:4700::1111]:80/cb",
            "http://[::ffff:127.0.0.1]/",
            "http://7.example/",
            "http://0x7f.example/",
        ] {
            assert_eq!(judged(url).as_deref(), Some(url));
        }
        let longest = format!("http://listener.example/{}", "x".repeat(MAX_URL - 24));
        assert_eq!(judged(&longest), Some(longest));
        assert_eq!(judged("http://listener.example/cb?q#there").as_deref(), Some("http://listener.example/cb?q"));
        assert_eq!(authority("http://listener.example:80?q/"), "listener.example:80");
    }

    #[test]
    fn others_are_refused() {
        for url in [
            "",
            "listener.example/cb",
            "//listener.example/cb",
            "ftp://listener.example/cb",
            "http:listener.example",
            "http:/listener.example",
            "http://",
            "http:///cb",
            "http://:80/",
            "http://#a",
            "http://user@listener.example/",
            "http://user:pass@listener.example/",
            "http://listener.example:0/",
            "http://listener.example:/",
            "http://listener.example:65536/",
            "http://listener.example:+1/",
            "http://listener.example:80:80/",
            "http://listener..example/",
            "http://.example/",
            "http://listener.example/a b",
            "http://listener.example/\n",
            "http://listener.example\\@127.0.0.1/",
            "http://l\u{ef}stener.example/",
            "http://listener%2eexample/",
            "http://10.0.0.1/",
            "http://169.254.169.254/latest/",
            "http://0/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://0x/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://listener.example.1/",
            "http://listener.example.0xA./",
            "http://\u{ff11}27.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fe80::1%25eth0]/",
            "http://[fd00::1]/",
            "http://[::1/",
            "http://[1.1.1.1]/",
            "http://[2606:4700::1111]x/",
        ] {
            assert_eq!(judged(url), None, "{url}");
        }
        assert_eq!(judged(&format!("http://listener.example/{}", "x".repeat(MAX_URL - 23))), None);
        assert_eq!(judged(&format!("http://{}.example/", "x".repeat(64))), None);
    }
}
