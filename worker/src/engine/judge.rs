//! What must be evaluated before it can be decided what follows: the conditions of an ended node's edges, and the
//! output of a run.

use skein_shared::domain::limits;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, AttemptEnd, Attempted, expression_failed, json_text, took_too_long};
use super::chain::Chain;
use super::decide::{Leave, Live, condition_failed, learn, sink_outputs};
use super::evaluate::{Evaluator, Unevaluated};
use crate::nodes::NodeError;

/// Learns what an attempt has left behind, and judges which edges the run goes on by. An attempt whose run is
/// cancelled meanwhile counts as cancelled: nothing goes on from it.
pub(super) async fn live(
    chain: &mut Chain,
    attempt: &Attempt,
    attempted: &mut Attempted,
    leave: Leave,
    evaluator: &Evaluator,
    cancelled: &CancellationToken,
) -> Live {
    let Some(way) = learn(chain, attempt, attempted, leave) else { return Ok(Vec::new()) };
    let edges = &chain.plan.plan.nodes[attempt.node].edges;
    if edges.is_empty() {
        // A static sink's only edge always carries a token.
        return Ok(vec![true]);
    }
    let mut live = Vec::with_capacity(edges.len());
    for edge in edges {
        let Some(when) = edge.when.as_ref().filter(|_| way.leads_over(edge)) else {
            live.push(way.leads_over(edge));
            continue;
        };
        match evaluator.holds(when, &chain.scope, chain.whose(cancelled)).await {
            Ok(holds) => live.push(holds),
            Err(Unevaluated::Failed(error)) => {
                return Err(condition_failed(chain, edge, &error.message));
            }
            Err(Unevaluated::Late) => {
                return Err(condition_failed(chain, edge, &took_too_long().failure.message));
            }
            Err(Unevaluated::Cancelled) => {
                attempted.end = AttemptEnd::Cancelled;
                return Ok(Vec::new());
            }
        }
    }
    Ok(live)
}

/// The output of a run as JSON text. Absent when the run is cancelled meanwhile.
pub(super) async fn output(
    chain: &Chain,
    evaluator: &Evaluator,
    cancelled: &CancellationToken,
) -> Option<Result<String, NodeError>> {
    let Some(template) = &chain.plan.plan.output else {
        return Some(json_text(&sink_outputs(chain)));
    };
    let time = limits::EXPRESSION_TIME_MAX;
    let rendered = evaluator.render(template, &chain.scope, time, chain.whose(cancelled)).await;
    Some(match rendered {
        Ok(rendered) => json_text(&rendered.result),
        Err(Unevaluated::Failed(error)) => Err(expression_failed(&error)),
        Err(Unevaluated::Late) => Err(took_too_long()),
        Err(Unevaluated::Cancelled) => return None,
    })
}
