//! How metrics are written: OpenMetrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use crate::HistogramFigures;

/// The text.
pub(super) fn write(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes everything");
    text
}

pub(super) type Labels = Vec<(String, String)>;

/// A metric with all its series.
#[derive(Debug)]
pub(super) struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricType,
    pub series: Vec<(Labels, Figure)>,
}

#[derive(Clone, Debug)]
pub(super) enum Figure {
    Count(u64),
    Level(f64),
    Times(HistogramFigures),
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
                    (MetricType::Counter, Figure::Count(n)) if labels.is_empty() => {
                        metric.encode_counter(n, None::<&Exemplar<Labels, f64>>)?;
                    }
                    (MetricType::Counter, Figure::Count(n)) => {
                        metric.encode_family(labels)?.encode_counter(n, None::<&Exemplar<Labels, f64>>)?;
                    }
                    (MetricType::Counter, Figure::Level(level)) => {
                        metric.encode_family(labels)?.encode_counter(level, None::<&Exemplar<Labels, f64>>)?;
                    }
                    (_, Figure::Times(HistogramFigures { sum, count, buckets })) if labels.is_empty() => {
                        metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
                    }
                    (_, Figure::Times(HistogramFigures { sum, count, buckets })) => {
                        let mut metric = metric.encode_family(labels)?;
                        metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
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
