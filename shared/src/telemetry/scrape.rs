//! The metrics of this process for whoever asks for them, beside what is exported.

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, Temporality};

use super::prometheus;

/// Reads all metrics of the process, as often as somebody wants to. Clones share it.
#[derive(Debug, Clone)]
pub struct Scrape(Arc<ManualReader>);

/// Metrics cannot be read: telemetry is shut down.
#[derive(Debug, Clone, thiserror::Error)]
#[error("metrics cannot be read: {0}")]
pub struct ScrapeFailed(String);

impl Scrape {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// The provider's share of it.
    pub(super) fn reader(&self) -> impl MetricReader {
        Shared(Arc::clone(&self.0))
    }

    /// The metrics in the text format of Prometheus. Takes about a millisecond.
    ///
    /// # Errors
    /// After the shutdown of telemetry.
    pub fn text(&self) -> Result<String, ScrapeFailed> {
        let mut metrics = ResourceMetrics::default();
        self.0.collect(&mut metrics).map_err(|error| ScrapeFailed(error.to_string()))?;
        Ok(prometheus::encode(&metrics))
    }
}

#[derive(Debug)]
struct Shared(Arc<ManualReader>);

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let scrape = Scrape::new();
        let resource = Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "skein \"one\"\nC:\\two")]);
        let provider = SdkMeterProvider::builder()
            .with_resource(resource.build())
            .with_reader(scrape.reader())
            .build();
        let meter = provider.meter("test");
        let counter = meter.u64_counter("a.b").with_unit("{thing}").with_description("One.");
        let counter = counter.build();
        counter.add(2, &[KeyValue::new("x.kind", "p")]);
        counter.add(1, &[]);
        let time = meter.f64_counter("cpu.time").with_unit("s").with_description("Two\nlines.");
        time.build().add(0.5, &[]);
        let gauge = meter.i64_up_down_counter("open").with_unit("{thing}").build();
        gauge.add(-3, &[]);
        let size = meter.u64_gauge("size").with_unit("By").build();
        size.record(7, &[]);
        let histogram = meter.f64_histogram("took").with_unit("s").with_boundaries(vec![0.5, 2.0]);
        let histogram = histogram.build();
        for value in [0.25, 0.5, 1.0, 8.0] {
            histogram.record(value, &[KeyValue::new("status", 503)]);
        }
        let text = scrape.text().unwrap();
        let mut families: Vec<_> = text.split("# HELP ").skip(1).map(str::to_owned).collect();
        // The SDK gives them in the order in which they were made; the samples of one in none.
        for family in &mut families {
            let mut lines: Vec<_> = family.lines().collect();
            if lines[0].starts_with("a_b") {
                lines[2..].sort_unstable();
            }
            *family = lines.join("\n");
        }
        let expected = [
            "target_info The process that these metrics are of.\n\
             # TYPE target_info gauge\n\
             target_info{service_name=\"skein \\\"one\\\"\\nC:\\\\two\"} 1",
            "a_b_total One.\n\
             # TYPE a_b_total counter\n\
             a_b_total 1\n\
             a_b_total{x_kind=\"p\"} 2",
            "cpu_time_seconds_total Two\\nlines.\n\
             # TYPE cpu_time_seconds_total counter\n\
             # UNIT cpu_time_seconds_total seconds\n\
             cpu_time_seconds_total 0.5",
            "open \n\
             # TYPE open gauge\n\
             open -3",
            "size_bytes \n\
             # TYPE size_bytes gauge\n\
             # UNIT size_bytes bytes\n\
             size_bytes 7",
            "took_seconds \n\
             # TYPE took_seconds histogram\n\
             # UNIT took_seconds seconds\n\
             took_seconds_bucket{status=\"503\",le=\"0.5\"} 2\n\
             took_seconds_bucket{status=\"503\",le=\"2\"} 3\n\
             took_seconds_bucket{status=\"503\",le=\"+Inf\"} 4\n\
             took_seconds_sum{status=\"503\"} 9.75\n\
             took_seconds_count{status=\"503\"} 4",
        ];
        assert_eq!(families, expected);
        provider.shutdown().unwrap();
        assert!(scrape.text().is_err());
    }
}
