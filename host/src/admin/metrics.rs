//! `/metrics`, in the OpenMetrics text format. The names are fixed; labels are tenants and closed lists of words, and
//! what a plugin gives is bounded.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `postbell_build_info` | `version` | always 1: the version of this program |
//! | `postbell_plugin_info` | `tenant`, `version`, `sha256` | always 1: the plugin that a tenant runs |
//! | `postbell_inputs_total` | `tenant`, `kind` | inputs fed to the plugin, by the contract's function |
//! | `postbell_faults_total` | `tenant`, `reason` | times that the plugin was stopped: trap, time, memory, contract |
//! | `postbell_refusals_total` | `tenant`, `limit` | what was refused, by the limit that it went over |
//! | `postbell_parked_requests` | `tenant` | requests without a final part, now |
//! | `postbell_journal_sequence` | `tenant` | journal position of the last committed input |
//! | `postbell_instance_memory_bytes` | `tenant` | memory of the live instance |
//! | `postbell_changes_total` | `tenant`, `outcome` | units that sources sent: accepted, rejected, repeated |
//! | `postbell_client_connections` | | connections of mail clients, now |
//! | `postbell_client_responses_total` | `class` | answers to mail clients, by the class of their status: `2xx`, `4xx`,
//! ... |
//! | `postbell_client_refusals_total` | `limit` | what was refused to mail clients, by the setting of the limit |
//! | `postbell_plugin_gauge` | `tenant`, `name`, the plugin's | what the plugin says of its state (`inspect`) |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::State;
use crate::Statistics;
use crate::contract::lifecycle::Gauge;
use crate::serve::counters::Counters as ClientCounters;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long all plugins together may take for their gauges; those of the tenants that come after are left out.
const INSPECT_TIME: Duration = Duration::from_secs(2);

/// The most gauges of one plugin, and labels of one gauge, that are shown.
const GAUGES: usize = 64;
const GAUGE_LABELS: usize = 4;

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
        sum.accepted += outcomes.accepted;
        sum.rejected += outcomes.rejected;
        sum.repeated += outcomes.repeated;
    }

    fn of(&self, tenant: &str) -> Outcomes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).copied().unwrap_or_default()
    }
}

/// What there is to say of one tenant.
struct Observed {
    tenant: String,
    version: String,
    sha256: String,
    statistics: Statistics,
    outcomes: Outcomes,
    gauges: Vec<Gauge>,
}

pub(super) async fn text(state: &State) -> String {
    let mut observed: Vec<Observed> = state.0.tenants.values().map(|seat| observe(state, &seat.tenant)).collect();
    let inspect = async {
        for (seat, observed) in state.0.tenants.values().zip(&mut observed) {
            observed.gauges = seat.tenant.inspect().await;
        }
    };
    if tokio::time::timeout(INSPECT_TIME, inspect).await.is_err() {
        tracing::warn!("the plugins take too long for their gauges: some are left out");
    }
    let clients = &state.0.clients;
    write(families(&observed).into_iter().chain(client_families(clients)).collect())
}

fn observe(state: &State, tenant: &crate::tenant::Tenant) -> Observed {
    Observed {
        tenant: tenant.name().to_owned(),
        version: tenant.plugin().manifest().version.clone(),
        sha256: tenant.plugin().sha256().iter().map(|byte| format!("{byte:02x}")).collect(),
        statistics: tenant.statistics(),
        outcomes: state.0.counters.of(tenant.name()),
        gauges: Vec::new(),
    }
}

fn write(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes everything");
    text
}

type Labels = Vec<(String, String)>;

/// A metric with all its series.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    series: Vec<(Labels, Figure)>,
}

#[derive(Clone, Copy, Debug)]
enum Figure {
    Count(u64),
    Level(f64),
}

fn families(observed: &[Observed]) -> Vec<Family> {
    use MetricType::{Counter, Gauge, Info};
    let family = |name, help, kind, series: Vec<_>| Family { name, help, kind, series };
    let each = |of: &dyn Fn(&Observed) -> Vec<(Labels, Figure)>| observed.iter().flat_map(of).collect::<Vec<_>>();
    let one = |figure: fn(&Observed) -> u64| each(&|it| vec![(it.labels([]), Figure::Count(figure(it)))]);
    let words = |label: &'static str, figures: fn(&Observed) -> Vec<(&'static str, u64)>| {
        each(&|it| figures(it).into_iter().map(|(word, n)| (it.labels([(label, word)]), Figure::Count(n))).collect())
    };
    let info =
        |it: &Observed| vec![(it.labels([("version", &*it.version), ("sha256", &*it.sha256)]), Figure::Count(1))];
    let build = vec![(vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())], Figure::Count(1))];
    vec![
        family("postbell_build", "This program", Info, build),
        family("postbell_plugin", "The plugin that a tenant runs", Info, each(&info)),
        family(
            "postbell_inputs",
            "Inputs fed to the plugin",
            Counter,
            words("kind", |it| pairs(&it.statistics.inputs)),
        ),
        family(
            "postbell_faults",
            "Times that the plugin was stopped",
            Counter,
            words("reason", |it| pairs(&it.statistics.faults)),
        ),
        family(
            "postbell_refusals",
            "Refusals, by the limit that was reached",
            Counter,
            words("limit", |it| pairs(&it.statistics.refusals)),
        ),
        family(
            "postbell_outbound_calls",
            "Calls to clients, by how they ended",
            Counter,
            words("outcome", |it| pairs(&it.statistics.outbound_calls)),
        ),
        family(
            "postbell_outbound_calls_in_flight",
            "Calls to clients that have not ended",
            Gauge,
            one(|it| it.statistics.outbound_in_flight),
        ),
        family(
            "postbell_swaps",
            "Changes of the plugin, by what became of them",
            Counter,
            words("outcome", |it| pairs(&it.statistics.swaps)),
        ),
        family(
            "postbell_parked_requests",
            "Requests without a final part",
            Gauge,
            one(|it| it.statistics.open_requests),
        ),
        family(
            "postbell_journal_sequence",
            "Journal position of the last committed input",
            Gauge,
            one(|it| it.statistics.sequence),
        ),
        family(
            "postbell_journal_uncommitted_inputs",
            "Inputs that were fed and are not committed yet",
            Gauge,
            one(|it| it.statistics.uncommitted),
        ),
        family(
            "postbell_journal_snapshot_sequence",
            "Journal position of the newest snapshot that this process took",
            Gauge,
            one(|it| it.statistics.snapshot),
        ),
        family(
            "postbell_journal_failures",
            "Appends and snapshots that failed",
            Counter,
            words("what", |it| it.statistics.journal_failures()),
        ),
        family("postbell_instance_memory_bytes", "Memory of the live instance", Gauge, one(|it| it.statistics.memory)),
        family("postbell_changes", "Units that sources sent", Counter, words("outcome", |it| it.outcomes.pairs())),
        family("postbell_plugin_gauge", "What the plugin says of its state", Gauge, each(&Observed::plugin_gauges)),
    ]
}

fn client_families(clients: &ClientCounters) -> Vec<Family> {
    let counted = |label: &str, counts: BTreeMap<&'static str, u64>| {
        let series = |(word, count): (&str, u64)| (vec![(label.to_owned(), word.to_owned())], Figure::Count(count));
        counts.into_iter().map(series).collect()
    };
    let family = |name, help, kind, series| Family { name, help, kind, series };
    let open = vec![(Vec::new(), Figure::Count(clients.open_connections()))];
    vec![
        family("postbell_client_connections", "Connections of mail clients", MetricType::Gauge, open),
        family(
            "postbell_client_responses",
            "Answers to mail clients, by the class of their status",
            MetricType::Counter,
            counted("class", clients.responses()),
        ),
        family(
            "postbell_client_refusals",
            "What was refused to mail clients, by the limit that was reached",
            MetricType::Counter,
            counted("limit", clients.refusals()),
        ),
    ]
}

fn pairs(counters: &BTreeMap<&'static str, u64>) -> Vec<(&'static str, u64)> {
    counters.iter().map(|(word, count)| (*word, *count)).collect()
}

impl Outcomes {
    fn pairs(self) -> Vec<(&'static str, u64)> {
        vec![("accepted", self.accepted), ("rejected", self.rejected), ("repeated", self.repeated)]
    }
}

impl Observed {
    fn labels<const N: usize>(&self, more: [(&str, &str); N]) -> Labels {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        [("tenant", &*self.tenant)].into_iter().chain(more).map(own).collect()
    }

    /// A plugin may be a stranger's: what would not be valid, or would hide another series, is left out.
    fn plugin_gauges(&self) -> Vec<(Labels, Figure)> {
        let mut seen = BTreeSet::new();
        let valid = |gauge: &&Gauge| {
            let names: BTreeSet<&str> = gauge.labels.iter().map(|(name, _)| name.as_str()).collect();
            names.len() == gauge.labels.len()
                && names.len() <= GAUGE_LABELS
                && names.iter().all(|name| is_label(name) && !["tenant", "name"].contains(name))
        };
        let series = |gauge: &Gauge| {
            let mut labels = self.labels([("name", &gauge.name)]);
            labels.extend(gauge.labels.iter().cloned());
            (labels, Figure::Level(gauge.value))
        };
        let gauges = self.gauges.iter().filter(valid).map(series);
        gauges.filter(|(labels, _)| seen.insert(labels.clone())).take(GAUGES).collect()
    }
}

fn is_label(name: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    name.as_bytes().split_first().is_some_and(|(first, rest)| {
        lower(*first) && rest.iter().all(|byte| lower(*byte) || byte.is_ascii_digit()) && !name.starts_with("__")
    })
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for Family { name, help, kind, series } in &self.0 {
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, figure) in series {
                match (kind, figure) {
                    (MetricType::Info, _) => metric.encode_info(labels)?,
                    (MetricType::Counter, Figure::Count(n)) => {
                        metric.encode_family(labels)?.encode_counter(n, None::<&Exemplar<Labels, f64>>)?;
                    }
                    (_, Figure::Count(n)) if labels.is_empty() => metric.encode_gauge(n)?,
                    (_, Figure::Count(n)) => metric.encode_family(labels)?.encode_gauge(n)?,
                    (_, Figure::Level(level)) => metric.encode_family(labels)?.encode_gauge(level)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn gauge(name: &str, labels: &[(&str, &str)], value: f64) -> Gauge {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Gauge { name: name.into(), labels, value }
    }

    fn observed(gauges: Vec<Gauge>) -> Observed {
        Observed {
            tenant: "exa\"mple".into(),
            version: "9.9".into(),
            sha256: "ab".repeat(32),
            statistics: Statistics {
                inputs: BTreeMap::from([("answer", 3), ("ingest", 2)]),
                faults: BTreeMap::from([("trap", 1)]),
                refusals: BTreeMap::new(),
                outbound_calls: BTreeMap::from([("answered", 6)]),
                outbound_in_flight: 2,
                swaps: BTreeMap::from([("done", 8)]),
                open_requests: 4,
                sequence: 5,
                uncommitted: 1,
                snapshot: 2,
                snapshot_failures: 0,
                append_failures: 3,
                memory: 65_536,
            },
            outcomes: Outcomes { accepted: 7, rejected: 1, repeated: 0 },
            gauges,
        }
    }

    #[test]
    fn the_whole_text() {
        let observed = observed(vec![gauge("subscriptions", &[("dialect", "ews")], 2.5)]);
        let text = write(families(&[observed]));
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION").replace(&"ab".repeat(32), "SHA256");
        expect![[r##"
            # HELP postbell_build This program
            # TYPE postbell_build info
            postbell_build_info{version="VERSION"} 1
            # HELP postbell_plugin The plugin that a tenant runs
            # TYPE postbell_plugin info
            postbell_plugin_info{tenant="exa\"mple",version="9.9",sha256="SHA256"} 1
            # HELP postbell_inputs Inputs fed to the plugin
            # TYPE postbell_inputs counter
            postbell_inputs_total{tenant="exa\"mple",kind="answer"} 3
            postbell_inputs_total{tenant="exa\"mple",kind="ingest"} 2
            # HELP postbell_faults Times that the plugin was stopped
            # TYPE postbell_faults counter
            postbell_faults_total{tenant="exa\"mple",reason="trap"} 1
            # HELP postbell_refusals Refusals, by the limit that was reached
            # TYPE postbell_refusals counter
            # HELP postbell_outbound_calls Calls to clients, by how they ended
            # TYPE postbell_outbound_calls counter
            postbell_outbound_calls_total{tenant="exa\"mple",outcome="answered"} 6
            # HELP postbell_outbound_calls_in_flight Calls to clients that have not ended
            # TYPE postbell_outbound_calls_in_flight gauge
            postbell_outbound_calls_in_flight{tenant="exa\"mple"} 2
            # HELP postbell_swaps Changes of the plugin, by what became of them
            # TYPE postbell_swaps counter
            postbell_swaps_total{tenant="exa\"mple",outcome="done"} 8
            # HELP postbell_parked_requests Requests without a final part
            # TYPE postbell_parked_requests gauge
            postbell_parked_requests{tenant="exa\"mple"} 4
            # HELP postbell_journal_sequence Journal position of the last committed input
            # TYPE postbell_journal_sequence gauge
            postbell_journal_sequence{tenant="exa\"mple"} 5
            # HELP postbell_journal_uncommitted_inputs Inputs that were fed and are not committed yet
            # TYPE postbell_journal_uncommitted_inputs gauge
            postbell_journal_uncommitted_inputs{tenant="exa\"mple"} 1
            # HELP postbell_journal_snapshot_sequence Journal position of the newest snapshot that this process took
            # TYPE postbell_journal_snapshot_sequence gauge
            postbell_journal_snapshot_sequence{tenant="exa\"mple"} 2
            # HELP postbell_journal_failures Appends and snapshots that failed
            # TYPE postbell_journal_failures counter
            postbell_journal_failures_total{tenant="exa\"mple",what="append"} 3
            postbell_journal_failures_total{tenant="exa\"mple",what="snapshot"} 0
            # HELP postbell_instance_memory_bytes Memory of the live instance
            # TYPE postbell_instance_memory_bytes gauge
            postbell_instance_memory_bytes{tenant="exa\"mple"} 65536
            # HELP postbell_changes Units that sources sent
            # TYPE postbell_changes counter
            postbell_changes_total{tenant="exa\"mple",outcome="accepted"} 7
            postbell_changes_total{tenant="exa\"mple",outcome="rejected"} 1
            postbell_changes_total{tenant="exa\"mple",outcome="repeated"} 0
            # HELP postbell_plugin_gauge What the plugin says of its state
            # TYPE postbell_plugin_gauge gauge
            postbell_plugin_gauge{tenant="exa\"mple",name="subscriptions",dialect="ews"} 2.5
            # EOF
        "##]]
        .assert_eq(&text);
    }

    #[test]
    fn what_concerns_clients_is_of_no_tenant() {
        let clients = ClientCounters::default();
        clients.responded(200);
        let _connected = clients.connected();
        let text = write(client_families(&clients));
        for line in [
            "postbell_client_connections 1",
            "postbell_client_responses_total{class=\"2xx\"} 1",
            "postbell_client_refusals_total{limit=\"body-bytes\"} 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_strangers_gauges_are_bounded() {
        let shown = |gauges| observed(gauges).plugin_gauges().len();
        assert_eq!(shown(vec![gauge("a", &[], 1.0), gauge("a", &[], 2.0)]), 1);
        for label in ["tenant", "name", "", "9", "A", "a-b", "a\n", "__a"] {
            assert_eq!(shown(vec![gauge("a", &[(label, "")], 1.0)]), 0, "{label}");
        }
        assert_eq!(shown(vec![gauge("a", &[("x", ""), ("x", "")], 1.0)]), 0);
        assert_eq!(shown(vec![gauge("a", &[("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")], 1.0)]), 0);
        assert_eq!(shown((0..1000).map(|n| gauge(&n.to_string(), &[], 1.0)).collect()), GAUGES);
    }
}
