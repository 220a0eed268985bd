//! How many connections there may be: in all, and from one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::Limit;

/// The bits of an IPv6 address that are a customer's; the rest is for the customer to choose (RFC 6177).
const CUSTOMER: u128 = !0 << 64;

/// The places of a listener's connections.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Places {
    /// So many in all, and so many of one address; of IPv6, of one /64.
    pub fn new(most: usize, most_per_address: usize) -> Places {
        Places { most, most_per_address, taken: Mutex::default() }
    }

    /// A place for a connection from this address; `None`: from an address for which only the number in all counts.
    ///
    /// # Errors
    ///
    /// The limit that leaves no place.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Limit> {
        let address = address.map(customer);
        let mut taken = self.taken();
        if taken.all >= self.most {
            return Err(Limit::Connections);
        }
        if let Some(address) = address {
            let of_address = taken.by_address.entry(address).or_default();
            if *of_address >= self.most_per_address {
                return Err(Limit::ConnectionsPerAddress);
            }
            *of_address += 1;
        }
        taken.all += 1;
        Ok(Place { places: self.clone(), address })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom an address belongs to.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & CUSTOMER).into(),
        address => address,
    }
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(address) = self.address else { return };
        let left = taken.by_address.get_mut(&address).map(|of_address| {
            *of_address -= 1;
            *of_address
        });
        if left == Some(0) {
            taken.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn each_address_has_its_places_and_all_have_theirs() {
        let places = Arc::new(Places::new(3, 2));
        let first = places.take(address("192.0.2.1")).expect("a place");
        let second = places.take(address("::ffff:192.0.2.1")).expect("a place");
        assert_eq!(places.take(address("192.0.2.1")).err(), Some(Limit::ConnectionsPerAddress));
        let other = places.take(address("192.0.2.2")).expect("a place");
        assert_eq!(places.take(address("192.0.2.3")).err(), Some(Limit::Connections));
        drop(first);
        let again = places.take(address("192.0.2.1")).expect("a place");
        drop((second, other, again));
        assert!(places.taken().by_address.is_empty() && places.taken().all == 0);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let places = Arc::new(Places::new(9, 1));
        let _place = places.take(address("2001:db8::1")).expect("a place");
        assert_eq!(places.take(address("2001:db8::ffff:1")).err(), Some(Limit::ConnectionsPerAddress));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn who_comes_for_many_counts_in_all_only() {
        let places = Arc::new(Places::new(2, 1));
        let _both = (places.take(None).expect("a place"), places.take(None).expect("a place"));
        assert_eq!(places.take(None).err(), Some(Limit::Connections));
    }
}
