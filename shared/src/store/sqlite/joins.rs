//! Delivering tokens to joins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::flipped::Flipped;
use super::leases::Holder;
use super::nodes;
use super::nodes::NodeRow;
use super::rows::Run;
use super::writer::Tx;
use crate::domain::ids::{NodeKey, RunId, Scope};
use crate::domain::state::{NodeEvent, NodeState};
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::engine::{Activated, JoinTokens};
use crate::store::timing::{DEADLINE_GRACE, FIRST_WAKE};

/// All that one batch delivers to one join. What differs between its commits, the last of them decides.
struct Delivery<'a> {
    /// Index of the last commit among those that flipped.
    last: usize,
    run: Arc<Run>,
    tokens: &'a JoinTokens,
    arrived: i64,
    live: i64,
    always: bool,
}

/// Delivers the tokens of all commits that flipped, join by join in the order of their keys.
pub(super) async fn deliver(
    tx: &mut Tx<'_>,
    holder: &Holder,
    flipped: &mut [Flipped<'_>],
) -> Result<(), StoreError> {
    let mut deliveries: BTreeMap<(RunId, NodeKey, Scope), Delivery<'_>> = BTreeMap::new();
    for (last, commit) in flipped.iter().enumerate() {
        for tokens in &commit.commit.tokens {
            let spec = &tokens.spec;
            let key = (commit.run.header.id, Arc::clone(&spec.node), Arc::clone(&spec.scope));
            let delivery = deliveries.entry(key).or_insert_with(|| Delivery {
                last,
                run: Arc::clone(&commit.run),
                tokens,
                arrived: 0,
                live: 0,
                always: false,
            });
            delivery.last = last;
            delivery.tokens = tokens;
            delivery.arrived += i64::from(tokens.arrived);
            delivery.live += i64::from(tokens.live);
            delivery.always |= tokens.always;
        }
    }
    for delivery in deliveries.into_values() {
        if let Some((span, activated)) = count_down(tx, holder, &delivery).await? {
            flipped[delivery.last].note(delivery.tokens.spec.kind, span, activated);
        }
    }
    Ok(())
}

/// Counts a join down and returns what became of it, with its span, if it does not wait any longer.
async fn count_down(
    tx: &mut Tx<'_>,
    holder: &Holder,
    delivery: &Delivery<'_>,
) -> Result<Option<(Option<SpanId>, Activated)>, StoreError> {
    let spec = &delivery.tokens.spec;
    let header = &delivery.run.header;
    let join = match nodes::load(tx, header.id, &spec.node, &spec.scope).await? {
        Some(join) if join.state != NodeState::Blocked => return Ok(None),
        Some(mut join) => {
            receive(tx, holder, delivery, &mut join);
            nodes::save(tx, &join).await?;
            join
        }
        None => {
            let mut join = NodeRow::new(header.id, spec);
            join.state = NodeState::Blocked;
            join.fan_in = delivery.tokens.fan_in;
            join.pending = i64::from(join.fan_in);
            receive(tx, holder, delivery, &mut join);
            nodes::insert(tx, &header.identity, &join, None).await?;
            join
        }
    };
    if join.state == NodeState::Blocked {
        return Ok(None);
    }
    let activated = Activated {
        node: Arc::clone(&spec.node),
        scope: Arc::clone(&spec.scope),
        state: join.state,
        claim: join.claim,
        publish_span: join.publish_span_id,
        span: join.span_id,
    };
    Ok(Some((join.span_id, activated)))
}

/// Hands tokens to a join that is blocked.
fn receive(tx: &Tx<'_>, holder: &Holder, delivery: &Delivery<'_>, join: &mut NodeRow) {
    join.pending -= delivery.arrived;
    join.live += delivery.live;
    join.state = after(delivery, join);
    join.publish_span_id = delivery.tokens.spec.publish_span;
    join.segment = delivery.run.segment;
    join.queued_at = matches!(join.state, NodeState::Running | NodeState::Queued).then_some(tx.now);
    join.ended_at = (join.state == NodeState::Cancelled).then_some(tx.now);
    join.wake_at = match join.state {
        NodeState::Blocked | NodeState::Cancelled => None,
        _ => Some(tx.after(FIRST_WAKE)),
    };
    if join.state == NodeState::Running {
        let timeout = Duration::from_millis(u64::try_from(join.timeout_ms).unwrap_or_default());
        join.claim += 1;
        join.attempts += 1;
        join.lease_id = Some(holder.lease);
        join.worker.clone_from(&holder.worker);
        join.span_id = delivery.tokens.keep;
        join.started_at = Some(tx.now);
        join.wake_at = Some(tx.after(timeout + DEADLINE_GRACE));
    }
}

/// What becomes of a join whose tokens are counted.
fn after(delivery: &Delivery<'_>, join: &NodeRow) -> NodeState {
    let state = if delivery.run.is_over() {
        NodeState::Blocked.on(NodeEvent::CancelRun)
    } else if join.pending > 0 {
        None
    } else if join.live == 0 && !delivery.always {
        NodeState::Blocked.on(NodeEvent::Starve)
    } else {
        let fired = NodeState::Blocked.on(NodeEvent::Fire);
        if delivery.tokens.keep.is_some() {
            fired.and_then(|state| state.on(NodeEvent::Claim))
        } else {
            fired
        }
    };
    state.unwrap_or(NodeState::Blocked)
}
