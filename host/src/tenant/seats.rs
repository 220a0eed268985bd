//! A tenant that has several plugins: a seat for each.

use super::{IngestError, Ingested};

/// Why another seat cannot be one of the tenant's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeatError {
    /// It was opened under another name.
    #[error("it is a seat of the tenant {0}")]
    OtherTenant(String),
    /// The tenant has the plugin already.
    #[error("the tenant has the plugin {0} already")]
    SamePlugin(String),
    /// It could not be told whose requests these are.
    #[error("both the plugin {one} and the plugin {other} have the route {prefix}")]
    SharedRoute {
        /// The prefix of the route's paths.
        prefix: String,
        /// The plugin that has it.
        one: String,
        /// The plugin that wants it.
        other: String,
    },
}

/// Whether two routes' prefixes lead to the same paths.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(other.trim_end_matches('/'))
}

/// What became of a batch at all seats, of what became of it at each; the first one's errors count most.
pub(super) fn together(outcomes: Vec<Result<Ingested, IngestError>>) -> Result<Ingested, IngestError> {
    let mut each = outcomes.into_iter();
    let mut all = each.next().expect("there is a first seat");
    for outcome in each {
        let (Ingested { mut rejections, sequence, repeated }, other) = (all?, outcome?);
        let added = other.rejections.into_iter().filter(|rejection| !rejections.contains(rejection));
        let added: Vec<_> = added.collect();
        rejections.extend(added);
        // What one had applied before, another may have applied only now.
        all = Ok(Ingested { rejections, sequence, repeated: repeated && other.repeated });
    }
    all
}
