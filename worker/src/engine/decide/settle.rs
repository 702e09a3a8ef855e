//! What an attempt means besides its own row: its log rows, its span, its tokens, its run.

use std::sync::Arc;

use skein_shared::domain::advance::Event;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::expression::{Allowance, Cause};
use skein_shared::store::engine::RunChange;

use super::conclude::{Concluded, Live, Way, condition_failed};
use super::{Attempted, Decider, FinishedAttempt};

impl Decider<'_> {
    /// Takes in what becomes of an attempt. Returns what its row becomes.
    pub(super) fn settle(&mut self, attempted: Attempted<'_>) -> Arc<AttemptOutcome> {
        let Attempted { attempt, timing, concluded } = attempted;
        let Concluded { outcome, live, lines } = concluded;
        self.log_lines(attempt, lines);
        self.log_outcome(attempt, &outcome, live.is_some(), timing);
        match (live, &outcome) {
            (Some(live), _) => self.event(Event::Ended { node: attempt.node, live: &live }),
            (None, AttemptOutcome::Failed { error, .. }) => {
                self.change = RunChange::Fail(error.clone().of_node(&attempt.key.node));
            }
            (None, _) => {}
        }
        let span = self.run.header.trace.context_of(attempt.span);
        self.run.learn_span(attempt.node, span);
        let outcome = Arc::new(outcome);
        let finished = FinishedAttempt::of(self.run, attempt, timing, Arc::clone(&outcome));
        self.finished.push(finished);
        outcome
    }

    /// Which edges an inlined node leads over. Absent when that takes more than may be computed while others wait.
    pub(super) fn live(&self, node: NodeIx, way: &Way) -> Option<Live> {
        let edges = &self.run.plan.nodes[node].edges;
        if edges.is_empty() {
            // A static sink's only edge always carries one.
            return Some(Ok(vec![true]));
        }
        let mut live = Vec::with_capacity(edges.len());
        // One for all of them: many that take their time must not add up here.
        let in_place = Allowance::in_place();
        for edge in edges {
            let when = edge.when.as_ref().filter(|_| way.leads_over(edge));
            let holds = when.map(|when| when.holds(&self.run.scope, &in_place));
            match holds.unwrap_or_else(|| Ok(way.leads_over(edge))) {
                Ok(holds) => live.push(holds),
                Err(error) if error.cause == Cause::NotInPlace => return None,
                Err(error) => {
                    return Some(Err(condition_failed(self.run, edge, &error.message)));
                }
            }
        }
        Some(Ok(live))
    }
}
