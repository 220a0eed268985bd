//! A tenant that has several plugins: a seat for each.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{IngestError, Ingested, SourceSpan, Tenant};
use crate::contract::changes::{Batch, BookChange};
use crate::plugin;

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

impl Tenant {
    /// The same tenant with the seats of another handle, which was opened under the same name with another plugin.
    ///
    /// # Errors
    ///
    /// See [`SeatError`].
    pub fn with(&self, other: &Tenant) -> Result<Tenant, SeatError> {
        if self.name() != other.name() {
            return Err(SeatError::OtherTenant(other.name().to_owned()));
        }
        for (own, seat) in self.seats().flat_map(|own| other.seats().map(move |seat| (own.clone(), seat))) {
            let (own, seat) = (own.plugin(), seat.plugin());
            let (own, seat) = (own.manifest(), seat.manifest());
            if own.name == seat.name {
                return Err(SeatError::SamePlugin(seat.name.clone()));
            }
            let shared =
                seat.routes.iter().find(|route| own.routes.iter().any(|other| is_same(&route.prefix, &other.prefix)));
            if let Some(route) = shared {
                let (one, other) = (own.name.clone(), seat.name.clone());
                return Err(SeatError::SharedRoute { prefix: route.prefix.clone(), one, other });
            }
        }
        let beside = self.beside.iter().cloned().chain(other.seats()).collect();
        Ok(Tenant { inner: self.inner.clone(), beside })
    }

    /// A handle for each seat alone, the first one first.
    pub fn seats(&self) -> impl Iterator<Item = Tenant> + '_ {
        std::iter::once(Tenant { inner: self.inner.clone(), beside: Arc::new([]) }).chain(self.beside.iter().cloned())
    }

    /// The seat of the plugin with this name.
    pub fn seat_of(&self, plugin: &str) -> Option<Tenant> {
        self.seats().find(|seat| *seat.inner.plugin == *plugin)
    }

    /// The seat whose plugin has the longest route to this path; the first one where none has any.
    pub fn seat_for(&self, path: &str) -> Tenant {
        let length =
            |seat: &Tenant| plugin::route(&seat.plugin().manifest().routes, path).map(|route| route.prefix.len());
        // Of several with the same route, which other versions of their plugins may have come to have, the first.
        let mut best = (None, None);
        for seat in self.seats() {
            let length = length(&seat);
            if best.0.is_none() || length > best.1 {
                best = (Some(seat), length);
            }
        }
        best.0.expect("there is a first seat")
    }

    /// Applies a batch, and returns once that is committed, at each seat. With a span it is applied once, however often it is
    /// sent. A seat that never heard of the source, while others did, begins where these are, and is told that it missed what
    /// was before.
    ///
    /// A source need not wait for one batch before it sends the next: batches are applied in the order in which their futures
    /// are first polled, and where one is refused, those are that go on from it.
    ///
    /// # Errors
    ///
    /// See [`IngestError`]; in each case nothing of the batch was applied, or, where there are several seats, it was not
    /// applied at each: with a span it can be sent again.
    pub async fn ingest(&self, batch: Batch, span: Option<SourceSpan>) -> Result<Ingested, IngestError> {
        if self.beside.is_empty() {
            return self.ingest_here(batch, span).await;
        }
        let seats: Vec<Tenant> = self.seats().collect();
        let each = seats.iter().map(|seat| seat.ingest_here(batch.clone(), span.clone()));
        let mut outcomes = join_all(each).await;
        if let Some(span) = span
            && outcomes.iter().any(Result::is_ok)
        {
            for (seat, outcome) in seats.iter().zip(&mut outcomes) {
                if matches!(outcome, Err(IngestError::Gap { expected: 0 })) {
                    seat.join_source(&span.source, span.offset).await?;
                    *outcome = seat.ingest_here(batch.clone(), Some(span.clone())).await;
                }
            }
        }
        together(outcomes)
    }

    /// The seat's share of a source begins at this offset: of what was before it will hear nothing.
    async fn join_source(&self, source: &str, offset: u64) -> Result<Ingested, IngestError> {
        let missed = Batch { accounts: vec![], book: vec![BookChange::Gap] };
        self.ingest_here(missed, Some(SourceSpan { source: source.to_owned(), offset: 0, length: offset })).await
    }

    /// How many units of this source are applied and committed, at each seat that ever heard of it.
    ///
    /// # Errors
    ///
    /// The tenant is closed, or the journal failed.
    pub async fn source_offset(&self, source: &str) -> Result<u64, IngestError> {
        let mut least = None;
        for seat in self.seats() {
            let offset = seat.source_offset_here(source).await?;
            least = [least, Some(offset).filter(|offset| *offset > 0)].into_iter().flatten().min();
        }
        Ok(least.unwrap_or(0))
    }
}

/// Whether two routes' prefixes lead to the same paths.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(other.trim_end_matches('/'))
}

/// What became of a batch at all seats, of what became of it at each; the first one's errors count most.
fn together(outcomes: Vec<Result<Ingested, IngestError>>) -> Result<Ingested, IngestError> {
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
