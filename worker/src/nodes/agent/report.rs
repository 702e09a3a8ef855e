//! `agent.execute`: the span around the steps of an attempt.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use skein_shared::domain::failure::Failure;
use skein_shared::telemetry::emit;
use skein_shared::telemetry::spans::AgentExecute;
use skein_shared::workflow::params::agent::AgentParams;

use crate::nodes::{NodeContext, NodeError};
use crate::steps::Totals;

/// What the span will say. It is exported when this is dropped, so that the steps of an attempt that is given up have a
/// parent as well.
pub(super) struct Report<'a> {
    context: &'a NodeContext,
    framework: &'static str,
    model: String,
    start: SystemTime,
    facts: Mutex<Facts>,
}

/// What is found out on the way.
struct Facts {
    provider: String,
    totals: Totals,
    iterations: u32,
    error: Option<Failure>,
}

impl<'a> Report<'a> {
    pub(super) fn begin(context: &'a NodeContext, params: &AgentParams) -> Self {
        let facts = Facts {
            provider: params.provider.clone().unwrap_or_default(),
            totals: Totals::default(),
            iterations: 0,
            error: Some(Failure::new("cancelled", "the attempt was given up")),
        };
        Self {
            context,
            framework: params.framework.as_str(),
            model: params.model.clone(),
            start: SystemTime::now(),
            facts: Mutex::new(facts),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This provider is asked.
    pub(super) fn asks(&self, provider: &str) {
        provider.clone_into(&mut self.facts().provider);
    }

    /// What the agent has taken so far.
    pub(super) fn see(&self, totals: Totals, iterations: u32) {
        let mut facts = self.facts();
        facts.totals = totals;
        facts.iterations = iterations;
    }

    /// The attempt is over.
    pub(super) fn end(self, error: Option<&NodeError>) {
        self.facts().error = error.map(|error| error.failure.clone());
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        let facts = self.facts();
        emit(AgentExecute {
            attempt: self.context.span.span,
            header: &self.context.run,
            key: &self.context.key,
            framework: self.framework,
            provider: &facts.provider,
            model: &self.model,
            tokens_used: facts.totals.usage.total(),
            cost: facts.totals.cost,
            iterations: facts.iterations,
            start: self.start,
            end: SystemTime::now(),
            error: facts.error.as_ref(),
        });
    }
}
