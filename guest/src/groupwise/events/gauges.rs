//! Figures of keys and records, for metrics.

use super::store::Events;
use crate::contract::Gauge;

impl Events {
    /// All of them.
    pub fn gauges(&self) -> Vec<Gauge> {
        let counts = &self.counts;
        let labelled = |label: &str, value: &str| vec![(label.to_owned(), value.to_owned())];
        let gauge = |name: &str, labels, value: u64| Gauge { name: name.to_owned(), labels, value: value as f64 };
        vec![
            gauge("groupwise_keys", Vec::new(), self.count() as u64),
            gauge("groupwise_key_bytes", Vec::new(), self.key_bytes()),
            gauge("groupwise_event_bytes", Vec::new(), self.bytes()),
            gauge("groupwise_event_reads", Vec::new(), self.reading().count() as u64),
            gauge("groupwise_keys_ended", labelled("why", "gap"), counts.lost_by_gap),
            gauge("groupwise_keys_ended", labelled("why", "full"), counts.lost_as_full),
            gauge("groupwise_keys_ended", labelled("why", "unread"), counts.expired),
            gauge("groupwise_refusals", labelled("limit", "keys"), counts.keys_refused),
            gauge("groupwise_refusals", labelled("limit", "key_bytes"), counts.configurations_refused),
            gauge("groupwise_refusals", labelled("limit", "event_reads"), counts.reads_refused),
            gauge("groupwise_notifications", labelled("outcome", "told"), counts.told),
            gauge("groupwise_notifications", labelled("outcome", "failed"), counts.failed),
            gauge("groupwise_notifications", labelled("outcome", "refused"), counts.refused),
        ]
    }
}
