//! What must be evaluated before it can be decided what follows: the conditions of an ended node's edges, and the
//! output of a run.

use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::limits;
use skein_shared::expression::Allowance;
use tokio_util::sync::CancellationToken;

use super::attempt::{
    AROUND_DEPTH_MAX, Attempt, Execution, expression_failed, json_text, stored, took_too_long,
};
use super::decide::{self, Concluded, Leave, Live, Way, condition_failed, sink_outputs};
use super::run_context::RunContext;
use crate::evaluate::{Evaluator, Unevaluated};
use crate::nodes::NodeError;

/// Decides what becomes of an attempt, and judges which edges the run goes on by. An attempt whose run is cancelled
/// meanwhile counts as cancelled.
pub(super) async fn conclude(
    run: &mut RunContext,
    attempt: &Attempt,
    execution: Execution,
    leave: Leave,
    evaluator: &Evaluator,
    cancelled: &CancellationToken,
) -> Concluded {
    let (concluded, way) = decide::conclude(run, attempt, execution, leave);
    let Some(way) = way else { return concluded };
    match live(run, attempt.node, &way, evaluator, cancelled).await {
        Some(live) => concluded.judged(live),
        None => Concluded::cancelled(),
    }
}

/// Which edges of an ended node carry a live token. Absent when the run is cancelled meanwhile.
async fn live(
    run: &RunContext,
    node: NodeIx,
    way: &Way,
    evaluator: &Evaluator,
    cancelled: &CancellationToken,
) -> Option<Live> {
    let edges = &run.plan.nodes[node].edges;
    if edges.is_empty() {
        // A static sink's only edge always carries a token.
        return Some(Ok(vec![true]));
    }
    let mut live = Vec::with_capacity(edges.len());
    // One for all of them: many that take their time must not add up here.
    let in_place = Allowance::in_place();
    for edge in edges {
        let Some(when) = edge.when.as_ref().filter(|_| way.leads_over(edge)) else {
            live.push(way.leads_over(edge));
            continue;
        };
        let whose = run.whose(cancelled);
        let failed = match evaluator.holds(when, &run.scope, &in_place, whose).await {
            Ok(holds) => {
                live.push(holds);
                continue;
            }
            Err(Unevaluated::Failed(error)) => error.message,
            Err(Unevaluated::Late) => took_too_long().failure.message,
            Err(Unevaluated::Cancelled) => return None,
        };
        return Some(Err(condition_failed(run, edge, &failed)));
    }
    Some(Ok(live))
}

/// The output of a run as JSON text. Absent when the run is cancelled meanwhile.
pub(super) async fn output(
    run: &RunContext,
    evaluator: &Evaluator,
    cancelled: &CancellationToken,
) -> Option<Result<String, NodeError>> {
    let Some(template) = &run.plan.output else {
        return Some(stored(&sink_outputs(run), AROUND_DEPTH_MAX));
    };
    let time = limits::EXPRESSION_TIME_MAX;
    let rendered = evaluator.render(template, &run.scope, time, run.whose(cancelled)).await;
    Some(match rendered {
        Ok(rendered) => json_text(&rendered.result),
        Err(Unevaluated::Failed(error)) => Err(expression_failed(&error)),
        Err(Unevaluated::Late) => Err(took_too_long()),
        Err(Unevaluated::Cancelled) => return None,
    })
}
