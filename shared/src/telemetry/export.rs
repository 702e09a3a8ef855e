//! What becomes of each export.

use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use super::failing::export_ended;
use super::tally::{self, DropReason, ExportResult, Signal};

/// Takes note of an export that has ended, its repetitions included. Called on the thread that exports.
pub(super) fn export_outcome(signal: Signal, result: &OTelSdkResult, items: usize) {
    export_ended(signal, result);
    let ended = if result.is_ok() { ExportResult::Ok } else { ExportResult::Failed };
    tally::count_export(signal, ended);
    if result.is_err() {
        tally::count_dropped(signal, DropReason::ExportFailed, items);
    }
}

/// The exporter of metrics, whose exports are counted.
#[derive(Debug)]
pub(super) struct Watched<E>(pub(super) E);

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.0.export(metrics).await;
        export_outcome(Signal::Metrics, &result, points(metrics));
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.0.temporality()
    }
}

fn points(metrics: &ResourceMetrics) -> usize {
    let metrics = metrics.scope_metrics().flat_map(|scope| scope.metrics());
    metrics
        .map(|metric| match metric.data() {
            AggregatedMetrics::F64(data) => points_of(data),
            AggregatedMetrics::U64(data) => points_of(data),
            AggregatedMetrics::I64(data) => points_of(data),
        })
        .sum()
}

fn points_of<T>(data: &MetricData<T>) -> usize {
    match data {
        MetricData::Gauge(gauge) => gauge.data_points().count(),
        MetricData::Sum(sum) => sum.data_points().count(),
        MetricData::Histogram(histogram) => histogram.data_points().count(),
        MetricData::ExponentialHistogram(histogram) => histogram.data_points().count(),
    }
}
