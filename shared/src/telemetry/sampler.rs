//! Head sampling: which traces are recorded.

use opentelemetry::trace::{Link, SpanKind};
use opentelemetry::{Context, KeyValue, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

use super::config::{Sampling, TelemetryConfig};

/// Decides whether a trace is recorded, once: where a request comes in, and by what the operator has chosen. Below that
/// the decision always holds, whoever works for the run: what decided anew there would tear traces apart.
#[derive(Debug, Clone)]
pub(super) struct HeadSampler {
    of_requests: Sampler,
    of_others: Sampler,
}

impl HeadSampler {
    pub(super) fn of(config: &TelemetryConfig) -> Self {
        let root = match config.sampling {
            Sampling::Always => Sampler::AlwaysOn,
            Sampling::Never => Sampler::AlwaysOff,
            Sampling::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
        };
        let of_others = Sampler::ParentBased(Box::new(root.clone()));
        let of_requests = if config.follows_caller { of_others.clone() } else { root };
        Self { of_requests, of_others }
    }
}

impl ShouldSample for HeadSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_request = *kind == SpanKind::Server;
        let sampler = if is_request { &self.of_requests } else { &self.of_others };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}
