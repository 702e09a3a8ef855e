//! What becomes of each export: every exporter of the process is [`Watched`].

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::bounded::Places;
use super::failing::export_ended;
use super::tally::{self, DropReason, ExportResult, Signal};

/// Takes note of an export that has ended, its repetitions included. Called on the thread that exports.
fn export_outcome(signal: Signal, result: &OTelSdkResult, items: usize) {
    export_ended(signal, result);
    let ended = if result.is_ok() { ExportResult::Ok } else { ExportResult::Failed };
    tally::count_export(signal, ended);
    if result.is_err() {
        tally::count_dropped(signal, DropReason::ExportFailed, items);
    }
}

/// An exporter whose exports are counted.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    signal: Signal,
    /// The places of what waits for it; `None` where nothing is queued.
    places: Option<Arc<Places>>,
}

impl<E> Watched<E> {
    /// Watches an exporter that items wait for, in these places.
    pub(super) fn queued(exporter: E, signal: Signal, places: &Arc<Places>) -> Self {
        Self { exporter, signal, places: Some(Arc::clone(places)) }
    }

    /// Watches an exporter that is given all there is, at each export.
    pub(super) fn periodic(exporter: E, signal: Signal) -> Self {
        Self { exporter, signal, places: None }
    }

    /// What is being exported has left the queue.
    fn vacate(&self, items: usize) {
        if let Some(places) = &self.places {
            places.give_back(items);
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        self.vacate(items);
        let result = self.exporter.export(batch).await;
        export_outcome(self.signal, &result, items);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.vacate(items);
        let result = self.exporter.export(batch).await;
        export_outcome(self.signal, &result, items);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        export_outcome(self.signal, &result, points(metrics));
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
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
