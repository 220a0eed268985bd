//! Networks, and which addresses are public: a listener for pushes may only be at one that is, unless its network is
//! allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A network of IPv4 or of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The address, and how many of its first bits count.
    V4(u32, u8),
    /// As for IPv4.
    V6(u128, u8),
}

/// IPv4 networks that are not public (RFC 6890 and its registry): this host, private, shared, loopback, link-local,
/// protocol assignments, relays of 6to4, benchmarks, multicast, reserved. And one public address at which a large cloud
/// keeps what its guests may know (168.63.129.16).
const CLOSED_V4: [Network; 13] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([168, 63, 129, 16], 32),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// IPv6 networks that are not public: translation with a local prefix, discard, Teredo and other protocol assignments,
/// unique-local, link-local, site-local, multicast.
const CLOSED_V6: [Network; 7] = [
    v6([0x64, 0xff9b, 1], 48),
    v6([0x100, 0, 0], 64),
    v6([0x2001, 0, 0], 23),
    v6([0xfc00, 0, 0], 7),
    v6([0xfe80, 0, 0], 10),
    v6([0xfec0, 0, 0], 10),
    v6([0xff00, 0, 0], 8),
];

impl Network {
    /// Reads `address/bits`. Bits of the address behind those that count are ignored.
    pub fn read(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let bits = Some(bits).filter(|bits| bits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
        match address.parse().ok()? {
            IpAddr::V4(address) if bits <= 32 => Some(Self::V4(address.to_bits(), bits)),
            IpAddr::V6(address) if bits <= 128 => Some(Self::V6(address.to_bits(), bits)),
            _ => None,
        }
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (*self, address) {
            (Self::V4(network, bits), IpAddr::V4(address)) => {
                let differing = network ^ address.to_bits();
                differing.leading_zeros() >= u32::from(bits)
            }
            (Self::V6(network, bits), IpAddr::V6(address)) => {
                let differing = network ^ address.to_bits();
                differing.leading_zeros() >= u32::from(bits)
            }
            _ => false,
        }
    }
}

/// Whether a listener may be at this address: one that is public, or that lies in an allowed network. An IPv6 address
/// that stands for an IPv4 address is judged as that one, too.
pub fn may_be_called(address: IpAddr, allowed: &[Network]) -> bool {
    if allowed.iter().any(|network| network.contains(address)) {
        return true;
    }
    match address {
        IpAddr::V4(_) => !CLOSED_V4.iter().any(|network| network.contains(address)),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => may_be_called(IpAddr::V4(v4), allowed),
            None => !CLOSED_V6.iter().any(|network| network.contains(address)),
        },
    }
}

/// The IPv4 address that an IPv6 address stands for: compatible (`::/96`, which holds `::` and `::1`), mapped
/// (`::ffff:0:0/96`), translated (`::ffff:0:0:0/96`, `64:ff9b::/96`), 6to4 (`2002::/16`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
}

const fn v4(address: [u8; 4], bits: u8) -> Network {
    Network::V4(u32::from_be_bytes(address), bits)
}

const fn v6(first: [u16; 3], bits: u8) -> Network {
    Network::V6(Ipv6Addr::new(first[0], first[1], first[2], 0, 0, 0, 0, 0).to_bits(), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(address: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<_> = allowed.iter().map(|network| Network::read(network).expect("a network")).collect();
        may_be_called(address.parse().expect("an address"), &allowed)
    }

    #[test]
    fn public_addresses_may_be_called() {
        for address in ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255"] {
            assert!(judged(address, &[]), "{address}");
        }
        for address in ["172.32.0.0", "223.255.255.255", "2606:4700::1111", "2a00::1", "::ffff:1.1.1.1"] {
            assert!(judged(address, &[]), "{address}");
        }
        for address in ["64:ff9b::101:101", "2002:101:101::1", "2001:4860::8888"] {
            assert!(judged(address, &[]), "{address}");
        }
    }

    #[test]
    fn others_may_not() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "168.63.129.16",
            "198.19.0.1",
            "224.0.0.1",
            "239.1.2.3",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!judged(address, &[]), "{address}");
        }
    }

    #[test]
    fn allowed_networks_are_excepted() {
        assert!(judged("127.0.0.1", &["10.0.0.0/8", "127.0.0.1/32"]));
        assert!(!judged("127.0.0.2", &["127.0.0.1/32"]));
        assert!(judged("127.0.0.2", &["127.0.0.1/8"]));
        assert!(judged("::ffff:127.0.0.1", &["127.0.0.0/8"]));
        assert!(judged("::ffff:127.0.0.1", &["::ffff:0:0/96"]));
        assert!(judged("fd00::1", &["fc00::/7"]));
        assert!(!judged("fe80::1", &["fc00::/7"]));
        assert!(judged("10.1.2.3", &["0.0.0.0/0"]));
        assert!(!judged("fd00::1", &["0.0.0.0/0"]));
        assert!(judged("fd00::1", &["::/0"]));
    }

    #[test]
    fn networks_are_read_or_refused() {
        for wrong in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "x/8", "::1%1/8"]
        {
            assert_eq!(Network::read(wrong), None, "{wrong}");
        }
    }
}
