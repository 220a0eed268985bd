//! Which of several nodes is to have a tenant: rendezvous hashing (Thaler and Ravishankar, 1998). A node that comes or goes
//! moves no tenants but those that it gets or had.

use sha2::{Digest, Sha256};

/// The node for a tenant; none where there are no nodes.
pub(super) fn place<'a>(tenant: &str, nodes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nodes.max_by_key(|node| weight(tenant, node))
}

fn weight(tenant: &str, node: &str) -> [u8; 32] {
    // No name has this byte.
    Sha256::new().chain_update(tenant).chain_update([0]).chain_update(node).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const NODES: [&str; 3] = ["a", "b", "c"];

    fn tenants() -> impl Iterator<Item = String> {
        (0..3_000).map(|number| format!("tenant-{number}"))
    }

    #[test]
    fn each_node_has_about_its_share() {
        let mut shares = BTreeMap::new();
        for tenant in tenants() {
            *shares.entry(place(&tenant, NODES.into_iter()).expect("a node")).or_insert(0) += 1;
        }
        assert!(shares.values().all(|share| (900..1_100).contains(share)), "{shares:?}");
    }

    #[test]
    fn a_node_that_goes_moves_only_what_it_had() {
        for tenant in tenants() {
            let (three, two) = (place(&tenant, NODES.into_iter()), place(&tenant, ["a", "c"].into_iter()));
            assert!(three == two || three == Some("b"), "{tenant}: {three:?}, {two:?}");
        }
        assert_eq!(place("tenant", std::iter::empty()), None);
    }
}
