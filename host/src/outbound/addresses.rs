//! Where a call may go: judged by the very address that is connected to.
//!
//! What is not the public internet is refused, unless the operator allows its network. An IPv6 address that carries an
//! IPv4 one (mapped, compatible, NAT64, 6to4, Teredo) is judged by that too: a router on the way may unpack it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses: those that share the first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// It is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a network, such as 192.0.2.0/24 or 2001:db8::/32, without bits beyond its length")]
pub struct NoNetwork;

/// IPv4 that is not the public internet, with the word for it: RFC 6890 and IANA's registry of special addresses.
const V4: [(Ipv4Addr, u8, &str); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "reserved"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmark"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::BROADCAST, 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// IPv6 likewise. Within 2000::/3 what is not given to networks; everything outside of it is not public.
const V6: [(Ipv6Addr, u8, &str); 7] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    // Protocol assignments: Teredo, benchmark, ORCHID and others.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "reserved"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
    // The first exchange for experiments, given back in 2006.
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, "reserved"),
];

/// Why an address is refused, in a word; none if it may be called.
pub fn refusal(address: IpAddr, allowed: &[Network]) -> Option<&'static str> {
    let inner = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => carried(address),
    };
    if allowed.iter().any(|network| network.contains(address) || inner.is_some_and(|it| network.contains(it.into()))) {
        return None;
    }
    match (address, inner) {
        (IpAddr::V4(address), _) | (IpAddr::V6(_), Some(address)) => refusal_v4(address),
        (IpAddr::V6(address), None) => refusal_v6(address),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |(network, prefix, _): &&(Ipv4Addr, u8, &str)| starts_as(address.into(), (*network).into(), *prefix);
    V4.iter().find(within).map(|(.., word)| *word)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let within = |(network, prefix, _): &&(Ipv6Addr, u8, &str)| starts_as(address.into(), (*network).into(), *prefix);
    if let Some((.., word)) = V6.iter().find(within) {
        return Some(word);
    }
    match address.segments()[0] {
        0x2000..=0x3fff => None,
        0xfc00..=0xfdff => Some("unique-local"),
        0xfe80..=0xfebf => Some("link-local"),
        0xfec0..=0xfeff => Some("site-local"),
        0xff00..=0xffff => Some("multicast"),
        _ => Some("reserved"),
    }
}

/// The IPv4 address inside an IPv6 one that is made to carry it.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(v4(high, low)),
        // Translated, RFC 2765; NAT64, RFC 6052.
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // 6to4, RFC 3056.
        [0x2002, high, low, ..] => Some(v4(high, low)),
        // Teredo, RFC 4380: the client's, inverted.
        [0x2001, 0, .., high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

/// Whether two addresses of one family share their first bits.
fn starts_as(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differ >= u32::from(prefix)
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        starts_as(address, self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        let (address, prefix) = text.split_once('/').ok_or(NoNetwork)?;
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let number: u8 = prefix.parse().map_err(|_| NoNetwork)?;
        if number.to_string() != prefix {
            return Err(NoNetwork);
        }
        let prefix = number;
        let rest = match address {
            IpAddr::V4(address) if prefix <= 32 => {
                u128::from(address.to_bits().checked_shl(prefix.into()).unwrap_or(0))
            }
            IpAddr::V6(address) if prefix <= 128 => address.to_bits().checked_shl(prefix.into()).unwrap_or(0),
            _ => return Err(NoNetwork),
        };
        if rest == 0 { Ok(Network { address, prefix }) } else { Err(NoNetwork) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &str, expected: Option<&str>) {
        for text in addresses.split_whitespace() {
            let address = text.parse().expect(text);
            assert_eq!(refusal(address, &[]), expected, "{text}");
        }
    }

    #[test]
    fn every_range_from_its_first_address_to_its_last() {
        check("0.0.0.0 0.255.255.255", Some("unspecified"));
        check("10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255", Some("private"));
        check("100.64.0.0 100.127.255.255", Some("shared"));
        check("127.0.0.0 127.0.0.1 127.255.255.255", Some("loopback"));
        check("169.254.0.0 169.254.169.254 169.254.255.255", Some("link-local"));
        check(
            "192.0.0.0 192.0.0.255 192.31.196.1 192.52.193.1 192.88.99.0 192.88.99.255 192.175.48.1",
            Some("reserved"),
        );
        check("192.0.2.0 192.0.2.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255", Some("documentation"));
        check("198.18.0.0 198.19.255.255", Some("benchmark"));
        check("224.0.0.0 239.255.255.255", Some("multicast"));
        check("240.0.0.0 255.255.255.254", Some("reserved"));
        check("255.255.255.255", Some("broadcast"));
        check("fc00:: fd00:ec2::254 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("unique-local"));
        check("fe80::1 febf:ffff::1", Some("link-local"));
        check("fec0:: feff::1", Some("site-local"));
        check("ff00:: ff02::1 ffff::1", Some("multicast"));
        check("2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 3fff:: 3fff:fff::1", Some("documentation"));
        check("2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 3ffe::1 2620:4f:8000::1", Some("reserved"));
        check("100::1 64:ff9b:1::a00:1 1:: 1fff::1 4000:: 5f00::1 fbff::1 fe00::1 fe7f::1", Some("reserved"));
    }

    #[test]
    fn the_neighbours_of_every_range_are_public() {
        check("1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0", None);
        check("169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0", None);
        check("192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0", None);
        check("198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255", None);
        check("2000::1 2001:200::1 2001:db7::1 2001:db9::1 2003::1 2606:4700::1111 3ffd::1", None);
    }

    #[test]
    fn what_carries_an_ipv4_address_is_judged_by_it() {
        check(":: ::0.0.0.9", Some("unspecified"));
        check(
            "::1 0:0:0:0:0:0:0:1 ::ffff:127.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::7f00:1",
            Some("loopback"),
        );
        check("2002:7f00:1:: 2002:7f00:1::5 2001::80ff:fffe 2001:0:1:2:3:4:80ff:fffe", Some("loopback"));
        check("::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1", Some("link-local"));
        check("::ffff:10.1.2.3 2002:a01:203::1 64:ff9b::192.168.0.1", Some("private"));
        check("::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:0:1:2:3:4:f7f7:f7f7", None);
    }

    #[test]
    fn an_allowed_network_allows_what_is_in_it_however_it_is_carried() {
        let allowed: Vec<Network> = ["10.1.0.0/16", "fd00::/8"].map(|text| text.parse().expect(text)).into();
        for (text, expected) in [
            ("10.1.2.3", None),
            ("10.2.2.3", Some("private")),
            ("::ffff:10.1.2.3", None),
            ("64:ff9b::10.2.2.3", Some("private")),
            ("fd12::1", None),
            ("fc12::1", Some("unique-local")),
            ("127.0.0.1", Some("loopback")),
        ] {
            assert_eq!(refusal(text.parse().expect(text), &allowed), expected, "{text}");
        }
        let everything: Vec<Network> = ["0.0.0.0/0", "::/0"].map(|text| text.parse().expect(text)).into();
        for text in ["127.0.0.1", "::1", "255.255.255.255", "ff02::1"] {
            assert_eq!(refusal(text.parse().expect(text), &everything), None, "{text}");
        }
    }

    #[test]
    fn a_network_is_written_in_one_way() {
        for good in ["192.0.2.0/24", "0.0.0.0/0", "10.0.0.1/32", "::/0", "2001:db8::/32", "::1/128", "fe80::/10"] {
            assert_eq!(good.parse::<Network>().map(|network| network.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/ 8",
            "10.0.0.1/24",
            "10/8",
            "010.0.0.0/8",
            "::/129",
            "::1/127",
            "[::1]/128",
            "fe80::1%eth0/128",
            "localhost/8",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NoNetwork), "{bad}");
        }
    }
}
