//! What two nodes write of a tenant that goes from one to the other: both change the tenant's key, each its part of it.

use std::time::Duration;

use super::Owner;
use super::registry::{Registry, RegistryError};
use super::view::tenant_key;

/// How often a change that another node's crossed is tried again.
const ATTEMPTS: usize = 8;

/// How long to wait before that.
const PAUSE: Duration = Duration::from_millis(50);

/// Changes what the bucket says of a tenant, as long as this node has it.
///
/// # Errors
///
/// [`RegistryError::Conflict`]: it is another node's, or nobody's. Others: the servers did not take it.
pub async fn amend(
    registry: &Registry,
    tenant: &str,
    own: &Owner,
    change: impl Fn(&mut Owner),
) -> Result<(Owner, u64), RegistryError> {
    write_over(registry, tenant, |owner| {
        let mine = owner.node == own.node && owner.incarnation == own.incarnation;
        mine.then(|| {
            let mut changed = owner.clone();
            change(&mut changed);
            changed
        })
    })
    .await
}

/// Says that this node is prepared, as long as it is to have the tenant next.
///
/// # Errors
///
/// [`RegistryError::Conflict`]: it is not. Others: the servers did not take it.
pub async fn mark_ready(registry: &Registry, tenant: &str, own: &str) -> Result<(Owner, u64), RegistryError> {
    write_over(registry, tenant, |owner| {
        (owner.next.as_deref() == Some(own)).then(|| Owner { ready: true, ..owner.clone() })
    })
    .await
}

/// Owner and next node write the same key: whoever comes second looks again.
async fn write_over(
    registry: &Registry,
    tenant: &str,
    changed: impl Fn(&Owner) -> Option<Owner>,
) -> Result<(Owner, u64), RegistryError> {
    let key = tenant_key(tenant);
    for _ in 0..ATTEMPTS {
        let Some((owner, revision)) = registry.read::<Owner>(&key).await? else { return Err(RegistryError::Conflict) };
        let Some(changed) = changed(&owner) else { return Err(RegistryError::Conflict) };
        match registry.replace(&key, &changed, revision).await {
            Ok(revision) => return Ok((changed, revision)),
            // It was read from a server that lags, or it has changed since.
            Err(RegistryError::Conflict) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    Err(RegistryError::Conflict)
}
