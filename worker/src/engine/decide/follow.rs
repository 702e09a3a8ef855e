//! What follows: inlined nodes, rows, tokens, the run's end.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use skein_shared::domain::advance::Command;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::kind::Effect;
use skein_shared::domain::limits;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::trace::SpanId;
use skein_shared::expression::{Allowance, Cause};
use skein_shared::store::engine::{JoinTokens, NewRow, NewRowState, NodeSpec, RunChange};
use skein_shared::telemetry::new_span_id;

use super::super::attempt::{
    AROUND_DEPTH_MAX, Attempt, expression_failed, inline, json_text, stored,
};
use super::super::run_context::RunContext;
use super::conclude::conclude;
use super::log::run_event;
use super::{Attempted, Decider, Timing};
use crate::nodes::NodeError;

/// What a run without an `output` yields: the outputs of its static sinks by node.
pub(crate) fn sink_outputs(run: &RunContext) -> Value {
    let outputs = run.plan.sinks().filter_map(|sink| {
        let key = run.key(sink);
        let output = run.scope.nodes.get(key)?;
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
                    self.run.learn_absent(node);
                    self.push_row(node, None, AttemptOutcome::Skipped.into());
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
        self.run.plan.nodes[node].effect == Effect::Pure
            && self.inlined < limits::INLINED_NODES_MAX
            && self.begun.elapsed() < limits::INLINED_TIME_MAX
            && matches!(self.change, RunChange::None)
            && self.run.knows_names(node)
    }

    pub(super) fn inline(&mut self, node: NodeIx) {
        self.inlined += 1;
        let key = ActivationKey::root(self.run.header.id, Arc::clone(self.run.key(node)));
        let attempt = Attempt::first(node, key, new_span_id());
        let start = SystemTime::now();
        let Some(mut execution) = inline(self.run, &attempt, self.executors) else {
            // A kind that declares no effect but cannot be computed, or one that takes its time.
            self.leave_to_a_claim(node);
            return;
        };
        if let Some(Err(error)) = &mut execution.answer {
            // The next attempt would compute the same, and a row that is new cannot be one to retry.
            error.retryable = false;
        }
        let (mut concluded, way) = conclude(self.run, &attempt, execution, self.leave);
        if let Some(way) = way {
            let Some(live) = self.live(node, &way) else {
                self.run.unlearn_output(node);
                self.leave_to_a_claim(node);
                return;
            };
            concluded = concluded.judged(live);
        }
        let timing = Timing { start, end: SystemTime::now() };
        let outcome = self.settle(Attempted { attempt: &attempt, timing, concluded });
        self.push_row(node, Some(attempt.span), NewRowState::Outcome(outcome));
    }

    /// Ends the run, or leaves that to a claim of its own where not all that it reads is known. A run
    /// that is coming down is ended by the finisher.
    pub(super) fn end(&mut self) {
        let end = self.run.plan.graph.end();
        if !matches!(self.change, RunChange::None) {
            return;
        }
        match self.run.knows_names(end).then(|| self.output()).flatten() {
            Some(output) => self.end_run(output),
            None => self.push_row(end, Some(new_span_id()), NewRowState::Claimed),
        }
    }

    /// The run's output. Absent when it takes more than may be computed while others wait.
    fn output(&self) -> Option<Result<String, NodeError>> {
        let Some(output) = &self.run.plan.output else {
            return Some(stored(&sink_outputs(self.run), AROUND_DEPTH_MAX));
        };
        match output.render(&self.run.scope, &Allowance::in_place()) {
            Err(error) if error.cause == Cause::NotInPlace => None,
            Err(error) => Some(Err(expression_failed(&error))),
            Ok(value) => Some(json_text(&value)),
        }
    }

    /// Ends the run with its output, as JSON text.
    pub(super) fn end_run(&mut self, output: Result<String, NodeError>) {
        self.change = match output {
            Ok(output) => RunChange::Succeed {
                output,
                events: vec![run_event("run.succeeded", "run succeeded")],
            },
            Err(error) => RunChange::Fail(error.failure),
        };
    }

    pub(super) fn push_row(&mut self, node: NodeIx, span: Option<SpanId>, state: NewRowState) {
        let spec = NodeSpec::of(&self.run.plan, node, new_span_id());
        self.rows.push(NewRow { spec, span, state });
    }

    /// Chooses what this worker goes on with, and makes the tokens for joins that wait for others as well.
    ///
    /// At most one row or join is kept, and none once the run is coming down: nothing new is started then.
    /// `__end__` is always kept: when it fires, nothing else is left to do.
    pub(super) fn tokens(&mut self) -> Vec<JoinTokens> {
        let mut may_keep = self.leave.retain && matches!(self.change, RunChange::None);
        if let (true, Some(first)) = (may_keep, self.runnable.first()) {
            let row = &mut self.rows[*first];
            (row.span, row.state) = (Some(new_span_id()), NewRowState::Claimed);
            may_keep = false;
        }
        let plan = Arc::clone(&self.run.plan);
        let graph = &plan.graph;
        let tokens = self.wave.partial().map(|(node, tally)| {
            let is_end = node == graph.end();
            let keep = is_end || std::mem::take(&mut may_keep);
            JoinTokens {
                spec: NodeSpec::of(&plan, node, new_span_id()),
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
