//! Delivering tokens to joins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::commit::Flipped;
use super::nodes;
use super::nodes::NodeRow;
use super::rows::Run;
use super::writer::Tx;
use crate::domain::ids::{LeaseId, NodeKey, RunId, Scope};
use crate::domain::state::{NodeEvent, NodeState};
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::engine::{Activated, JoinTokens};
use crate::store::timing::{DEADLINE_GRACE, FIRST_WAKE, millis};

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
    lease: LeaseId,
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
        if let Some((span, activated)) = count_down(tx, lease, &delivery).await? {
            flipped[delivery.last].note(delivery.tokens.spec.kind, span, activated);
        }
    }
    Ok(())
}

/// Counts a join down and returns what became of it, with its span, if it does not wait any longer.
async fn count_down(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    delivery: &Delivery<'_>,
) -> Result<Option<(Option<SpanId>, Activated)>, StoreError> {
    let spec = &delivery.tokens.spec;
    let node = nodes::load(tx, delivery.run.header.id, &spec.node, &spec.scope).await?;
    if node.as_ref().is_some_and(|node| node.state != NodeState::Blocked) {
        return Ok(None);
    }
    let join = Join::after(delivery, node.as_ref());
    join.write(tx, lease, delivery).await?;
    if join.state == NodeState::Blocked {
        return Ok(None);
    }
    let activated = Activated {
        node: Arc::clone(&spec.node),
        scope: Arc::clone(&spec.scope),
        state: join.state,
        claim: join.claim,
        publish_span: spec.publish_span,
        span: join.span,
    };
    Ok(Some((join.span, activated)))
}

/// A join once its tokens are counted.
struct Join {
    state: NodeState,
    pending: i64,
    live: i64,
    claim: u32,
    attempts: u32,
    timeout_ms: i64,
    span: Option<SpanId>,
}

impl Join {
    fn after(delivery: &Delivery<'_>, node: Option<&NodeRow>) -> Self {
        let tokens = delivery.tokens;
        let waited_for = node.map_or(i64::from(tokens.fan_in), |node| node.pending);
        let pending = waited_for - delivery.arrived;
        let live = node.map_or(0, |node| node.live) + delivery.live;
        let starves = live == 0 && !delivery.always;
        let state = if delivery.run.is_over() {
            NodeState::Blocked.on(NodeEvent::CancelRun)
        } else if pending > 0 {
            None
        } else if starves {
            NodeState::Blocked.on(NodeEvent::Starve)
        } else {
            let fired = NodeState::Blocked.on(NodeEvent::Fire);
            if tokens.keep.is_some() {
                fired.and_then(|state| state.on(NodeEvent::Claim))
            } else {
                fired
            }
        };
        let state = state.unwrap_or(NodeState::Blocked);
        let claimed = u32::from(state == NodeState::Running);
        Self {
            state,
            pending,
            live,
            claim: node.map_or(0, |node| node.claim) + claimed,
            attempts: node.map_or(0, |node| node.attempts) + claimed,
            timeout_ms: node.map_or_else(|| millis(tokens.spec.timeout), |node| node.timeout_ms),
            span: tokens.keep.filter(|_| claimed == 1),
        }
    }

    async fn write(
        &self,
        tx: &mut Tx<'_>,
        lease: LeaseId,
        delivery: &Delivery<'_>,
    ) -> Result<(), StoreError> {
        let spec = &delivery.tokens.spec;
        let header = &delivery.run.header;
        let is_running = self.state == NodeState::Running;
        let timeout = Duration::from_millis(u64::try_from(self.timeout_ms).unwrap_or_default());
        tx.execute(
            sqlx::query(
                "INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, state, fan_in,
                                        pending, live, claim, attempts, lease_id, timeout_ms, publish_span_id, span_id,
                                        wake_at, queued_at, started_at, ended_at, segment)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                         ?21)
                 ON CONFLICT (run_id, node_key, scope) DO UPDATE
                 SET state = excluded.state, pending = excluded.pending, live = excluded.live, claim = excluded.claim,
                     attempts = excluded.attempts, lease_id = excluded.lease_id,
                     publish_span_id = excluded.publish_span_id, span_id = excluded.span_id,
                     wake_at = excluded.wake_at, queued_at = excluded.queued_at, started_at = excluded.started_at,
                     ended_at = excluded.ended_at, segment = excluded.segment",
            )
            .bind(header.id.to_string())
            .bind(&*spec.node)
            .bind(&*spec.scope)
            .bind(&*header.identity.organization)
            .bind(&*header.identity.workspace)
            .bind(spec.kind)
            .bind(self.state.as_str())
            .bind(delivery.tokens.fan_in)
            .bind(self.pending)
            .bind(self.live)
            .bind(self.claim)
            .bind(self.attempts)
            .bind(is_running.then(|| lease.to_string()))
            .bind(self.timeout_ms)
            .bind(spec.publish_span.to_string())
            .bind(self.span.map(|span| span.to_string()))
            .bind(match self.state {
                NodeState::Running => Some(tx.after(timeout + DEADLINE_GRACE)),
                NodeState::Blocked | NodeState::Cancelled => None,
                _ => Some(tx.after(FIRST_WAKE)),
            })
            .bind(matches!(self.state, NodeState::Running | NodeState::Queued).then_some(tx.now))
            .bind(is_running.then_some(tx.now))
            .bind((self.state == NodeState::Cancelled).then_some(tx.now))
            .bind(delivery.run.segment),
        )
        .await?;
        Ok(())
    }
}
