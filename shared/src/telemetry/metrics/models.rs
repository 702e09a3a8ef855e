//! Calls to models: tokens, time and money.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::model_names;
use crate::domain::money::NanoDollars;
use crate::domain::usage::Usage;
use crate::telemetry::semconv;

/// Upper bounds in seconds, as the conventions have them.
const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Upper bounds in tokens, as the conventions have them.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    tokens: Histogram<u64>,
    duration: Histogram<f64>,
    cost: Counter<f64>,
    unpriced: Counter<u64>,
}

/// A call to a model that is over and written down, so that sums over calls are sums over rows.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// What OpenTelemetry calls the provider.
    pub provider: Arc<str>,
    /// The model that was asked for.
    pub model: Arc<str>,
    /// How long it took.
    pub took: Duration,
    /// Tokens, where the provider has counted them.
    pub usage: Option<Usage>,
    /// What it was settled for; absent where the model has no price.
    pub cost: Option<NanoDollars>,
    /// A low-cardinality word for why it failed.
    pub error: Option<Arc<str>>,
}

pub(super) fn install(meter: &Meter) {
    let tokens = meter
        .u64_histogram(semconv::METRIC_TOKEN_USAGE)
        .with_unit("{token}")
        .with_description("Number of input and output tokens used.")
        .with_boundaries(TOKENS.to_vec())
        .build();
    let duration = meter
        .f64_histogram(semconv::METRIC_MODEL_DURATION)
        .with_unit("s")
        .with_description("GenAI operation duration.")
        .with_boundaries(SECONDS.to_vec())
        .build();
    let cost = meter
        .f64_counter(semconv::METRIC_LLM_COST)
        .with_unit("{USD}")
        .with_description(
            "US dollars that calls to models were settled for, those that were lost included.",
        )
        .build();
    let unpriced = meter
        .u64_counter(semconv::METRIC_LLM_UNPRICED)
        .with_unit("{call}")
        .with_description("Calls to models without a price, whose cost is in no sum.")
        .build();
    let _ = INSTRUMENTS.set(Instruments { tokens, duration, cost, unpriced });
}

pub(super) fn called(call: &ModelCall) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let provider = KeyValue::new(semconv::GEN_AI_PROVIDER_NAME, Arc::clone(&call.provider));
    let model = model_names::label(&call.model, call.cost.is_some());
    let model = KeyValue::new(semconv::GEN_AI_REQUEST_MODEL, model);
    let labels = [provider.clone(), model.clone()];
    if let Some(cost) = call.cost {
        instruments.cost.add(cost.to_dollars(), &labels);
    }
    // The zero too: a panel about a metric that nobody has ever sent is refused.
    instruments.unpriced.add(u64::from(call.cost.is_none()), &labels);
    let operation = KeyValue::new(semconv::GEN_AI_OPERATION_NAME, "chat");
    let mut labels = vec![operation, provider, model];
    if let Some(usage) = call.usage {
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            labels.push(KeyValue::new(semconv::LABEL_TOKEN_TYPE, kind));
            instruments.tokens.record(tokens, &labels);
            labels.pop();
        }
    }
    if let Some(error) = &call.error {
        labels.push(KeyValue::new(semconv::ERROR_TYPE, Arc::clone(error)));
    }
    instruments.duration.record(call.took.as_secs_f64(), &labels);
}
