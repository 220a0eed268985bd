//! The metrics themselves: names, and where their figures come from.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::metrics::MetricType;

use super::Observed;
use super::format::{Family, Figure, Labels};
use crate::Host;
use crate::cluster::Keeper;
use crate::contract::lifecycle::Gauge;
use crate::serve::counters::Counters as ClientCounters;

/// The most gauges of one plugin, and labels of one gauge, that are shown.
const GAUGES: usize = 64;
const GAUGE_LABELS: usize = 4;

/// What concerns each tenant.
pub(super) fn of_tenants(observed: &[Observed]) -> Vec<Family> {
    use MetricType::{Counter, Gauge, Info};
    let family = |name, help, kind, series: Vec<_>| Family { name, help, kind, series };
    let each = |of: &dyn Fn(&Observed) -> Vec<(Labels, Figure)>| observed.iter().flat_map(of).collect::<Vec<_>>();
    let one = |figure: fn(&Observed) -> u64| each(&|it| vec![(it.labels([]), Figure::Count(figure(it)))]);
    let words = |label: &'static str, figures: fn(&Observed) -> Vec<(&'static str, u64)>| {
        each(&|it| figures(it).into_iter().map(|(word, n)| (it.labels([(label, word)]), Figure::Count(n))).collect())
    };
    let info = |it: &Observed| {
        let plugin = it.plugin.iter();
        let labels = plugin.map(|(version, sha256)| it.labels([("version", &**version), ("sha256", &**sha256)]));
        labels.map(|labels| (labels, Figure::Count(1))).collect()
    };
    let build = vec![(vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())], Figure::Count(1))];
    vec![
        family("postbell_build", "This program", Info, build),
        family("postbell_plugin", "The plugin that a tenant runs", Info, each(&info)),
        family(
            "postbell_inputs",
            "Inputs fed to the plugin",
            Counter,
            words("kind", |it| pairs(&it.totals.statistics.inputs)),
        ),
        family(
            "postbell_faults",
            "Times that the plugin was stopped",
            Counter,
            words("reason", |it| pairs(&it.totals.statistics.faults)),
        ),
        family(
            "postbell_refusals",
            "Refusals, by the limit that was reached",
            Counter,
            words("limit", |it| pairs(&it.totals.statistics.refusals)),
        ),
        family(
            "postbell_outbound_calls",
            "Calls to clients, by how they ended",
            Counter,
            words("outcome", |it| pairs(&it.totals.statistics.outbound_calls)),
        ),
        family(
            "postbell_outbound_calls_in_flight",
            "Calls to clients that have not ended",
            Gauge,
            one(|it| it.totals.statistics.outbound_in_flight),
        ),
        family(
            "postbell_swaps",
            "Changes of the plugin, by what became of them",
            Counter,
            words("outcome", |it| pairs(&it.totals.statistics.swaps)),
        ),
        family(
            "postbell_parked_requests",
            "Requests without a final part",
            Gauge,
            one(|it| it.totals.statistics.open_requests),
        ),
        family(
            "postbell_journal_sequence",
            "Journal position of the last committed input",
            Gauge,
            one(|it| it.totals.statistics.sequence),
        ),
        family(
            "postbell_journal_uncommitted_inputs",
            "Inputs that were fed and are not committed yet",
            Gauge,
            one(|it| it.totals.statistics.uncommitted),
        ),
        family(
            "postbell_journal_snapshot_sequence",
            "Journal position of the newest snapshot that this process took",
            Gauge,
            one(|it| it.totals.statistics.snapshot),
        ),
        family(
            "postbell_journal_failures",
            "Appends and snapshots that failed",
            Counter,
            words("what", |it| it.totals.statistics.journal_failures()),
        ),
        family(
            "postbell_instance_memory_bytes",
            "Memory of the live instance",
            Gauge,
            one(|it| it.totals.statistics.memory),
        ),
        family(
            "postbell_asleep",
            "Whether the tenant has no instance, because nobody uses it",
            Gauge,
            one(|it| it.totals.statistics.asleep),
        ),
        family("postbell_wakes", "Times that the tenant was woken", Counter, one(|it| it.totals.statistics.wakes)),
        family(
            "postbell_departures",
            "Times that the tenant went to another node, or its lease ended",
            Counter,
            one(|it| it.totals.statistics.departures),
        ),
        family(
            "postbell_guest_cpu_seconds",
            "Processor time of the plugin's inputs",
            Counter,
            each(&|it| {
                let seconds = it.totals.statistics.guest_nanoseconds as f64 / 1e9;
                vec![(it.labels([]), Figure::Level(seconds))]
            }),
        ),
        family(
            "postbell_changes",
            "Units that sources sent",
            Counter,
            words("outcome", |it| it.totals.outcomes.pairs()),
        ),
        family("postbell_plugin_gauge", "What the plugin says of its state", Gauge, each(&Observed::plugin_gauges)),
    ]
}

/// What concerns the host as a whole.
pub(super) fn of_host(host: &Host, tenants: usize) -> Vec<Family> {
    let timings = host.timings();
    let family = |name, help, kind, series| Family { name, help, kind, series };
    let labels = |function: &str| vec![("function".to_owned(), function.to_owned())];
    let guest = timings.guest().map(|(function, times)| (labels(function), Figure::Times(times))).collect();
    let one = |times| vec![(Vec::new(), Figure::Times(times))];
    vec![
        family(
            "postbell_tenants",
            "Tenants that are served",
            MetricType::Gauge,
            vec![(Vec::new(), Figure::Count(tenants as u64))],
        ),
        family(
            "postbell_instances",
            "Instances of plugins, whatever they are for",
            MetricType::Gauge,
            vec![(Vec::new(), Figure::Count(host.instances()))],
        ),
        family(
            "postbell_own_threads",
            "Busy tenants that have a thread of their own",
            MetricType::Gauge,
            vec![(Vec::new(), Figure::Count(host.own_threads() as u64))],
        ),
        family(
            "postbell_plugin_refusals",
            "Components that were not loaded, by the limit or the step",
            MetricType::Counter,
            counted("reason", host.plugin_refusals()),
        ),
        family("postbell_guest_seconds", "Time of an input in the plugin", MetricType::Histogram, guest),
        family("postbell_commit_seconds", "From an append to its commit", MetricType::Histogram, one(timings.commit())),
        family(
            "postbell_opening_seconds",
            "From an input or a timer until the tenant that slept has an instance for it",
            MetricType::Histogram,
            one(timings.opening()),
        ),
        family(
            "postbell_wake_seconds",
            "From the acceptance of changes until a parked client is sent what they brought",
            MetricType::Histogram,
            one(timings.wake()),
        ),
    ]
}

/// What concerns this node's place among others.
pub(super) fn of_cluster(keeper: &Keeper) -> Vec<Family> {
    let family = |name, help, kind, count: usize| {
        let series = vec![(Vec::new(), Figure::Count(count as u64))];
        Family { name, help, kind, series }
    };
    let view = keeper.view().read().expect("nothing panics while this lock is held");
    vec![
        family("postbell_cluster_nodes", "Nodes that this one sees", MetricType::Gauge, view.nodes(0).len()),
        family("postbell_cluster_tenants", "Tenants that this node has", MetricType::Gauge, view.own_tenants()),
        family(
            "postbell_cluster_moves",
            "Tenants that this node has given to others",
            MetricType::Counter,
            usize::try_from(keeper.moves()).unwrap_or(usize::MAX),
        ),
    ]
}

/// How often the configuration was read again.
pub(super) fn reloads([refused, taken]: [u64; 2]) -> Family {
    let series = counted("outcome", BTreeMap::from([("refused", refused), ("taken", taken)]));
    let help = "Times that the configuration was read again, by what became of it";
    Family { name: "postbell_reloads", help, kind: MetricType::Counter, series }
}

fn counted(label: &str, counts: BTreeMap<&'static str, u64>) -> Vec<(Labels, Figure)> {
    let series = |(word, count): (&str, u64)| (vec![(label.to_owned(), word.to_owned())], Figure::Count(count));
    counts.into_iter().map(series).collect()
}

/// What concerns the listener of mail clients.
pub(super) fn of_clients(clients: &ClientCounters) -> Vec<Family> {
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
            "postbell_client_logins",
            "Passwords that were verified, by what came of it; those remembered are not verified again",
            MetricType::Counter,
            counted("outcome", clients.logins()),
        ),
        family(
            "postbell_client_body_bytes",
            "Bytes of requests' bodies that are there now",
            MetricType::Gauge,
            vec![(Vec::new(), Figure::Count(clients.body_bytes()))],
        ),
        family(
            "postbell_client_malformed_requests",
            "Requests that were no HTTP, or whose end could not be told for certain",
            MetricType::Counter,
            vec![(Vec::new(), Figure::Count(clients.malformed_requests()))],
        ),
        family(
            "postbell_client_failed_handshakes",
            "Connections that came to no TLS, for another reason than time",
            MetricType::Counter,
            vec![(Vec::new(), Figure::Count(clients.failed_handshakes()))],
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

impl Observed {
    fn labels<const N: usize>(&self, more: [(&str, &str); N]) -> Labels {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let beside = self.beside.as_deref().map(|plugin| ("plugin", plugin));
        [("tenant", &*self.tenant)].into_iter().chain(beside).chain(more).map(own).collect()
    }

    /// A plugin may be a stranger's: what would not be valid, or would hide another series, is left out.
    fn plugin_gauges(&self) -> Vec<(Labels, Figure)> {
        let mut seen = BTreeSet::new();
        let valid = |gauge: &&Gauge| {
            let names: BTreeSet<&str> = gauge.labels.iter().map(|(name, _)| name.as_str()).collect();
            names.len() == gauge.labels.len()
                && names.len() <= GAUGE_LABELS
                && names.iter().all(|name| is_label(name) && !["tenant", "plugin", "name"].contains(name))
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

#[cfg(test)]
mod tests {
    use super::super::format::write;
    use super::super::{Outcomes, Totals};
    use super::*;
    use crate::Statistics;
    use expect_test::expect;

    fn gauge(name: &str, labels: &[(&str, &str)], value: f64) -> Gauge {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Gauge { name: name.into(), labels, value }
    }

    fn observed(gauges: Vec<Gauge>) -> Observed {
        Observed {
            beside: None,
            tenant: "exa\"mple".into(),
            plugin: Some(("9.9".into(), "ab".repeat(32))),
            totals: Totals {
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
                    guest_nanoseconds: 7_000,
                    asleep: 0,
                    wakes: 3,
                    departures: 1,
                },
                outcomes: Outcomes { accepted: 7, rejected: 1, repeated: 0 },
            },
            gauges,
        }
    }

    #[test]
    fn the_whole_text() {
        let observed = observed(vec![gauge("subscriptions", &[("dialect", "ews")], 2.5)]);
        let text = write(of_tenants(&[observed]));
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
            # HELP postbell_asleep Whether the tenant has no instance, because nobody uses it
            # TYPE postbell_asleep gauge
            postbell_asleep{tenant="exa\"mple"} 0
            # HELP postbell_wakes Times that the tenant was woken
            # TYPE postbell_wakes counter
            postbell_wakes_total{tenant="exa\"mple"} 3
            # HELP postbell_departures Times that the tenant went to another node, or its lease ended
            # TYPE postbell_departures counter
            postbell_departures_total{tenant="exa\"mple"} 1
            # HELP postbell_guest_cpu_seconds Processor time of the plugin's inputs
            # TYPE postbell_guest_cpu_seconds counter
            postbell_guest_cpu_seconds_total{tenant="exa\"mple"} 0.000007
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
        let text = write(of_clients(&clients));
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
