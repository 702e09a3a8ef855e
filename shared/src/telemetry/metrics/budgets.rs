//! Budgets that are nearly spent, and that are.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use crate::domain::budget::BudgetPeriod;
use crate::telemetry::semconv;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    exhausted: Counter<u64>,
    warnings: Counter<u64>,
}

pub(super) fn install(meter: &Meter) {
    let exhausted = meter
        .u64_counter(semconv::METRIC_BUDGET_EXHAUSTED)
        .with_unit("{budget}")
        .with_description("Nodes that began to wait, or failed, because a budget has no room.")
        .build();
    let warnings = meter
        .u64_counter(semconv::METRIC_BUDGET_WARNINGS)
        .with_unit("{budget}")
        .with_description("Budgets of which so much is spent that somebody is warned.")
        .build();
    for period in BudgetPeriod::ALL {
        exhausted.add(0, &labels(*period));
        warnings.add(0, &labels(*period));
    }
    let _ = INSTRUMENTS.set(Instruments { exhausted, warnings });
}

/// Counts a node that a budget stands in the way of; not again while it waits for the same.
pub fn budget_exhausted(period: BudgetPeriod) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.exhausted.add(1, &labels(period));
    }
}

/// Counts a warning that a budget is nearly spent.
pub fn budget_warned(period: BudgetPeriod) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.warnings.add(1, &labels(period));
    }
}

fn labels(period: BudgetPeriod) -> [KeyValue; 1] {
    let scope = match period {
        BudgetPeriod::Run => "run",
        BudgetPeriod::Day | BudgetPeriod::Month => "organization",
    };
    [KeyValue::new(semconv::LABEL_BUDGET_SCOPE, scope)]
}
