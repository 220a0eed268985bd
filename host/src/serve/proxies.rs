//! Who a request is from, where proxies stand between the client and this server: only what proxies of the operator's say
//! counts.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderName};

use crate::outbound::addresses::Network;

/// Each proxy appends the address that it was called from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that only a proxy may set.
const OF_PROXIES: [HeaderName; 4] =
    [FORWARDED_FOR, FORWARDED_PROTO, HeaderName::from_static("x-real-ip"), HeaderName::from_static("forwarded")];

/// The networks of the operator's proxies.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Network>);

/// Where a request comes from, as far as the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub address: IpAddr,
    /// Whether the client came over TLS.
    pub secure: bool,
}

impl Proxies {
    /// Proxies of these networks.
    pub fn new(networks: Vec<Network>) -> Proxies {
        Proxies(networks)
    }

    /// Whether a proxy has this address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Where a request on a connection from `peer` comes from. Of what is no proxy's, the headers of proxies are removed.
    pub fn origin(&self, peer: Origin, headers: &mut HeaderMap) -> Origin {
        if self.trusts(peer.address) {
            return self.origin_by_proxy(peer, headers);
        }
        for name in OF_PROXIES {
            headers.remove(name);
        }
        peer
    }

    /// Where a request comes from that a proxy beyond doubt hands on.
    pub fn origin_by_proxy(&self, proxy: Origin, headers: &HeaderMap) -> Origin {
        Origin { address: self.client(proxy.address, headers), secure: secure(proxy.secure, headers) }
    }

    /// The last address that is no proxy's: what stands before it, its owner may have made up.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let words = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut client = peer;
        for word in words {
            match address(word.trim()) {
                Some(address) => client = address,
                None => break,
            }
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

/// What the nearest proxy says, else how it came itself.
fn secure(peer: bool, headers: &HeaderMap) -> bool {
    let line = headers.get_all(FORWARDED_PROTO).iter().next_back().and_then(|line| line.to_str().ok());
    let word = line.and_then(|line| line.rsplit(',').next());
    word.map_or(peer, |word| word.trim().eq_ignore_ascii_case("https"))
}

/// An address with or without a port.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    let address = bare.parse().ok().or_else(|| word.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TLS: bool = true;

    fn check(peer: &str, headers: &[(&'static str, &str)], expected: (&str, bool)) {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        let peer = Origin { address: peer.parse().expect("an address"), secure: TLS };
        let origin = proxies.origin(peer, &mut map);
        assert_eq!((origin.address.to_string().as_str(), origin.secure), expected, "{headers:?}");
        assert!(proxies.trusts(peer.address) || map.is_empty(), "{map:?}");
    }

    #[test]
    fn what_no_proxy_says_does_not_count() {
        check("192.0.2.1", &[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-proto", "http")], ("192.0.2.1", TLS));
        check("192.0.2.1", &[("forwarded", "for=10.0.0.1"), ("x-real-ip", "10.0.0.1")], ("192.0.2.1", TLS));
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        let of = |lines: &[&str], expected: &str| {
            let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            check("10.0.0.1", &headers, (expected, TLS));
        };
        of(&[], "10.0.0.1");
        of(&["192.0.2.1"], "192.0.2.1");
        of(&["192.0.2.9, 192.0.2.1"], "192.0.2.1");
        of(&["192.0.2.9, 192.0.2.1, 10.0.0.2,10.0.0.3"], "192.0.2.1");
        of(&["192.0.2.9", "192.0.2.1", "10.0.0.2"], "192.0.2.1");
        of(&["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        of(&["192.0.2.1:8080"], "192.0.2.1");
        of(&["[2001:db8::1]:80"], "2001:db8::1");
        of(&["2001:db8::1"], "2001:db8::1");
        of(&["::ffff:192.0.2.1"], "192.0.2.1");
        of(&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2");
        of(&["nonsense"], "10.0.0.1");
        of(&[""], "10.0.0.1");
    }

    #[test]
    fn the_nearest_proxy_says_whether_the_client_came_over_tls() {
        for (lines, secure) in [
            (&[][..], TLS),
            (&["http"], false),
            (&["HTTPS"], true),
            (&["https", "http"], false),
            (&["http, https"], true),
            (&["nonsense"], false),
        ] {
            let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-proto", *line)).collect();
            check("10.0.0.1", &headers, ("10.0.0.1", secure));
        }
    }
}
