//! Where the program's log goes: stderr, as text or as JSON; and, in a build with the feature `otel`, its traces to a
//! collector of OpenTelemetry.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line of text each.
    #[default]
    Text,
    /// A JSON object on a line each.
    Json,
}

/// Sends what is left of the traces when it is dropped.
#[derive(Default)]
pub struct Logging {
    #[cfg(feature = "otel")]
    traces: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

/// Directs the process's log lines to stderr. `POSTBELL_LOG` filters them (`warn`, `postbell=debug`, ...; default
/// `info`). Traces, where they are built in, go where `OTEL_EXPORTER_OTLP_ENDPOINT` says; nowhere without it.
pub fn start(format: LogFormat) -> Logging {
    let filter = EnvFilter::try_from_env("POSTBELL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    #[cfg(feature = "otel")]
    let (logging, traces) = traces::exported();
    #[cfg(not(feature = "otel"))]
    let (logging, traces) = (Logging::default(), None::<Box<dyn Layer<Registry> + Send + Sync>>);
    Registry::default().with(traces).with(lines).init();
    logging
}

#[cfg(feature = "otel")]
impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.take().map(|traces| traces.shutdown()) {
            tracing::warn!(%error, "the last traces are lost");
        }
    }
}

#[cfg(feature = "otel")]
mod traces {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::{Layer, Registry};

    use super::Logging;

    /// The spans of requests and of what sources send. (OpenTelemetry Protocol over HTTP, protobuf; the other variables of
    /// its specification count, too.)
    pub(super) fn exported() -> (Logging, Option<Box<dyn Layer<Registry> + Send + Sync>>) {
        let named = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        if !named.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
            return (Logging::default(), None);
        }
        let exporter = match SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build() {
            Ok(exporter) => exporter,
            Err(error) => {
                eprintln!("postbell: no traces: {error}");
                return (Logging::default(), None);
            }
        };
        let service = Resource::builder().with_service_name("postbell").build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(service).build();
        let spans = Targets::new().with_target("postbell::request", LevelFilter::DEBUG);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("postbell")).with_filter(spans);
        (Logging { traces: Some(provider) }, Some(layer.boxed()))
    }
}
