//! `/metrics`, in the OpenMetrics text format. The names are fixed; labels are tenants and closed lists of words, and
//! what a plugin gives is bounded. README.md has the table of them.

mod families;
mod format;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::State;
use crate::Statistics;
use crate::contract::lifecycle::Gauge;
use crate::tenant::Tenant;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long all plugins together may take for their gauges; those of the tenants that come after are left out.
const INSPECT_TIME: Duration = Duration::from_secs(2);

/// What stands for the tenants without figures of their own. (No tenant's name may be that: see `program/config`.)
pub const OTHERS: &str = "other";

/// What this listener itself counts: for each tenant the units that were accepted, rejected, repeated.
#[derive(Default)]
pub(super) struct Counters(Mutex<BTreeMap<String, Outcomes>>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    pub accepted: u64,
    pub rejected: u64,
    pub repeated: u64,
}

impl Counters {
    pub fn add(&self, tenant: &str, outcomes: Outcomes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = all.entry(tenant.to_owned()).or_default();
        sum.add(outcomes);
    }

    /// What was counted for a tenant that is gone.
    pub fn take(&self, tenant: &str) -> Outcomes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant).unwrap_or_default()
    }

    fn of(&self, tenant: &str) -> Outcomes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).copied().unwrap_or_default()
    }
}

/// What there is to say of one tenant, or of several together.
#[derive(Default)]
pub(super) struct Totals {
    statistics: Statistics,
    outcomes: Outcomes,
}

impl Totals {
    pub fn add(&mut self, statistics: &Statistics, outcomes: Outcomes) {
        self.statistics.add(statistics);
        self.outcomes.add(outcomes);
    }
}

struct Observed {
    tenant: String,
    /// Its plugin's name, where it is a further seat of the tenant's.
    beside: Option<String>,
    /// Version and SHA-256 of its plugin; none: it is all the others together.
    plugin: Option<(String, String)>,
    totals: Totals,
    gauges: Vec<Gauge>,
}

pub(super) async fn text(state: &State) -> String {
    let (shown, rest) = observe(state);
    let mut observed = inspect(shown).await;
    observed.extend(rest);
    let shared = &state.0;
    let of_host = families::of_host(&shared.host, state.tenants().seats.len());
    let own = [families::reloads(state.reloads())];
    let cluster = state.place().map_or_else(|_| Vec::new(), |place| families::of_cluster(&place.keeper));
    let families = families::of_tenants(&observed).into_iter().chain(of_host).chain(own).chain(cluster);
    format::write(families.chain(families::of_clients(&shared.clients)).collect())
}

/// Those that have figures of their own, and the others together, if there are or were any.
fn observe(state: &State) -> (Vec<(Tenant, Observed)>, Option<Observed>) {
    let tenants = state.tenants();
    let (mut shown, mut rest) = (Vec::new(), Totals::default());
    rest.add(&tenants.gone.statistics, tenants.gone.outcomes);
    for seat in tenants.seats.values() {
        let mut outcomes = state.0.counters.of(seat.tenant.name());
        for (index, tenant) in seat.tenant.seats().enumerate() {
            let outcomes = std::mem::take(&mut outcomes);
            if seat.shown {
                let observed = Observed::of(&tenant, index > 0, outcomes);
                shown.push((tenant, observed));
            } else {
                rest.add(&tenant.statistics(), outcomes);
            }
        }
    }
    let others = tenants.seats.values().any(|seat| !seat.shown) || tenants.gone.statistics != Statistics::default();
    let rest = others.then(|| Observed {
        tenant: OTHERS.into(),
        beside: None,
        plugin: None,
        totals: rest,
        gauges: Vec::new(),
    });
    (shown, rest)
}

/// Asks the plugins for their gauges, all at once: who takes long holds up nobody else's.
async fn inspect(shown: Vec<(Tenant, Observed)>) -> Vec<Observed> {
    let (mut observed, mut asked) = (Vec::new(), JoinSet::new());
    for (index, (tenant, of)) in shown.into_iter().enumerate() {
        let asleep = of.totals.statistics.asleep > 0;
        observed.push(of);
        // To be looked at is no reason to wake.
        if asleep {
            continue;
        }
        asked.spawn(async move { (index, tenant.inspect().await) });
    }
    let answered = async {
        while let Some(answer) = asked.join_next().await {
            let (index, gauges) = answer.expect("to ask does not panic");
            observed[index].gauges = gauges;
        }
    };
    if tokio::time::timeout(INSPECT_TIME, answered).await.is_err() {
        tracing::warn!("some plugins take too long for their gauges, which are left out");
    }
    observed
}

impl Observed {
    fn of(tenant: &Tenant, beside: bool, outcomes: Outcomes) -> Observed {
        let sha256 = tenant.plugin().sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        Observed {
            tenant: tenant.name().to_owned(),
            beside: beside.then(|| tenant.plugin().manifest().name.clone()),
            plugin: Some((tenant.plugin().manifest().version.clone(), sha256)),
            totals: Totals { statistics: tenant.statistics(), outcomes },
            gauges: Vec::new(),
        }
    }
}

impl Outcomes {
    fn add(&mut self, other: Outcomes) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.repeated += other.repeated;
    }

    fn pairs(self) -> Vec<(&'static str, u64)> {
        vec![("accepted", self.accepted), ("rejected", self.rejected), ("repeated", self.repeated)]
    }
}
