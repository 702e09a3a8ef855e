//! What follows: inlined nodes, rows, tokens, the run's end.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use skein_shared::domain::advance::Command;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::kind::Effect;
use skein_shared::domain::limits;
use skein_shared::domain::trace::SpanId;
use skein_shared::expression::{Allowance, Cause};
use skein_shared::store::engine::{JoinTokens, NewRow, NewRowState, NodeSpec, RunEffect};
use skein_shared::telemetry::new_span_id;

use super::super::attempt::{Attempt, AttemptEnd, expression_failed, inline, json_text};
use super::super::chain::Chain;
use super::log::run_event;
use super::settle::{Settled, learn};
use super::{Decider, Timing};
use crate::nodes::NodeError;

/// What a run without an `output` yields: the outputs of its static sinks by node.
pub(crate) fn sink_outputs(chain: &Chain) -> Value {
    let plan = &chain.plan;
    let outputs = plan.plan.sinks().filter_map(|sink| {
        let key = plan.key(sink);
        let output = chain.scope.nodes.get(key)?;
        Some((key.to_string(), Value::clone(output)))
    });
    Value::Object(outputs.collect())
}

impl Decider<'_> {
    /// Carries out what follows, inlined nodes and what follows from them included.
    pub(super) fn follow(&mut self) {
        while let Some(command) = self.commands.pop_front() {
            match command {
                Command::Skip(node) => {
                    self.log_skipped(node);
                    self.chain.learn_absent(node);
                    self.push_row(node, None, NewRowState::Skipped);
                }
                Command::End => self.end(),
                Command::Activate(node) if self.may_inline(node) => self.inline(node),
                Command::Activate(node) => self.leave_to_a_claim(node),
            }
        }
    }

    /// Leaves a node to a claim of its own, perhaps this worker's next one.
    fn leave_to_a_claim(&mut self, node: NodeIx) {
        self.runnable.push(self.rows.len());
        self.push_row(node, None, NewRowState::Queued);
    }

    /// Whether a node may be computed here: it needs no commit of its own, there is time, and all that
    /// it reads was read or computed already.
    pub(super) fn may_inline(&self, node: NodeIx) -> bool {
        self.chain.plan.plan.nodes[node].effect == Effect::Pure
            && self.inlined < limits::INLINED_NODES_MAX
            && self.begun.elapsed() < limits::INLINED_TIME_MAX
            && matches!(self.run, RunEffect::None)
            && self.chain.knows_names(node)
    }

    pub(super) fn inline(&mut self, node: NodeIx) {
        self.inlined += 1;
        let key = ActivationKey::root(self.chain.run.id, Arc::clone(self.chain.plan.key(node)));
        let span = new_span_id();
        let attempt = Attempt {
            node,
            key,
            number: 1,
            failures: 0,
            strikes: 0,
            crashed: false,
            waited_until: None,
            span,
        };
        let start = SystemTime::now();
        let Some(mut attempted) = inline(self.chain, &attempt, self.executors) else {
            // A kind that declares no effect but cannot be computed, or one that takes its time.
            self.leave_to_a_claim(node);
            return;
        };
        if let AttemptEnd::Failed(error) = &mut attempted.end {
            // The next attempt would compute the same, and a row that is new cannot be one to retry.
            error.retryable = false;
        }
        let live = match learn(self.chain, &attempt, &mut attempted, self.leave) {
            None => Ok(Vec::new()),
            Some(way) => match self.live(node, &way) {
                Some(live) => live,
                None => {
                    self.chain.unlearn_output(node);
                    self.leave_to_a_claim(node);
                    return;
                }
            },
        };
        let timing = Timing { process: None, start, end: SystemTime::now() };
        let input = attempted.input.clone();
        let state = match self.settle(&attempt, attempted, live, timing) {
            Settled::Ended { error: None, output } => NewRowState::Succeeded { input, output },
            Settled::Ended { error: Some(error), output } => {
                NewRowState::Failed { input, output: Some(output), error }
            }
            Settled::Fatal(error) | Settled::Retry { error, .. } => {
                NewRowState::Failed { input, output: None, error }
            }
            Settled::Wait(delay) => NewRowState::Waiting { input, delay },
            // Inlined nodes are not cancelled one by one.
            Settled::Cancelled => NewRowState::Queued,
        };
        self.push_row(node, Some(span), state);
    }

    /// Ends the run, or leaves that to a claim of its own where not all that it reads is known. A run
    /// that is coming down is ended by the finisher.
    pub(super) fn end(&mut self) {
        let end = self.chain.plan.plan.graph.end();
        if !matches!(self.run, RunEffect::None) {
            return;
        }
        match self.chain.knows_names(end).then(|| self.output()).flatten() {
            Some(output) => self.end_run(output),
            None => self.push_row(end, Some(new_span_id()), NewRowState::Claimed),
        }
    }

    /// The run's output. Absent when it takes more than may be computed while others wait.
    fn output(&self) -> Option<Result<String, NodeError>> {
        let value = match &self.chain.plan.plan.output {
            Some(output) => match output.render(&self.chain.scope, &Allowance::in_place()) {
                Err(error) if error.cause == Cause::NotInPlace => return None,
                rendered => rendered.map_err(|error| expression_failed(&error)),
            },
            None => Ok(sink_outputs(self.chain)),
        };
        Some(value.and_then(|value| json_text(&value)))
    }

    /// Ends the run with its output, as JSON text.
    pub(super) fn end_run(&mut self, output: Result<String, NodeError>) {
        self.run = match output {
            Ok(output) => RunEffect::Succeed {
                output,
                events: vec![run_event("run.succeeded", "run succeeded")],
            },
            Err(error) => RunEffect::Fail(error.failure),
        };
    }

    pub(super) fn push_row(&mut self, node: NodeIx, span: Option<SpanId>, state: NewRowState) {
        let spec = NodeSpec::of(&self.chain.plan.plan, node, new_span_id());
        self.rows.push(NewRow { spec, span, state });
    }

    /// Chooses what this worker goes on with, and makes the tokens for joins that wait for others as well.
    ///
    /// At most one row or join is kept, and none once the run is coming down: nothing new is started then.
    /// `__end__` is always kept: when it fires, nothing else is left to do.
    pub(super) fn tokens(&mut self) -> Vec<JoinTokens> {
        let mut may_keep = self.leave.retain && matches!(self.run, RunEffect::None);
        if let (true, Some(first)) = (may_keep, self.runnable.first()) {
            let row = &mut self.rows[*first];
            (row.span, row.state) = (Some(new_span_id()), NewRowState::Claimed);
            may_keep = false;
        }
        let plan = Arc::clone(&self.chain.plan);
        let graph = &plan.plan.graph;
        let tokens = self.wave.partial().map(|(node, tally)| {
            let is_end = node == graph.end();
            let keep = is_end || std::mem::take(&mut may_keep);
            JoinTokens {
                spec: NodeSpec::of(&plan.plan, node, new_span_id()),
                fan_in: graph.fan_in(node),
                arrived: tally.arrived,
                live: tally.live,
                always: is_end,
                keep: keep.then(new_span_id),
            }
        });
        tokens.collect()
    }
}
