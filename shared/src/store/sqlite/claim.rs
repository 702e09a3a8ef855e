//! Claiming activations and reading what came before them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::log::{self, Entry};
use super::nodes::NodeRow;
use super::rows::{Input, Run, Runs, get};
use super::writer::{Tx, Write};
use super::{SqliteStore, leases, nodes, store_error};
use crate::domain::ids::{LeaseId, RunId};
use crate::domain::state::{NodeEvent, NodeState, RunState};
use crate::store::engine::{
    Claim, ClaimRequest, Claimed, END_KIND, ReadRequest, Skipping, Upstream,
};
use crate::store::rows::{parse, parse_optional};
use crate::store::timing::DEADLINE_GRACE;
use crate::store::{DatabaseClock, StoreError};

/// How long a suspect is put off when its worker runs another one: at least, and the jitter on top.
const PUT_OFF: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(4));

/// Claims a batch for a lease.
pub(super) struct ClaimBatch {
    pub(super) lease: LeaseId,
    pub(super) take_suspect: bool,
    pub(super) batch: Vec<ClaimRequest>,
}

/// A row that somebody asked for, and what becomes of it.
struct Wanted<'a> {
    request: &'a ClaimRequest,
    node: NodeRow,
    run: Arc<Run>,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Won,
    /// The reply to the first try was lost: the row is ours already.
    Again,
    Skip,
    PutOff,
    Cancelled,
}

#[async_trait]
impl Write for ClaimBatch {
    type Reply = Vec<Claim>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let wanted = self.judge(tx).await?;
        let mut started = start_runs(tx, &wanted).await?;
        let mut claims = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            claims.push(match wanted {
                None => Claim::Missed,
                Some(wanted) => {
                    // The first row that was won has started its run; the others have not.
                    let started_run =
                        wanted.verdict == Verdict::Won && started.remove(&wanted.node.key.run);
                    self.enforce(tx, wanted, started_run).await?
                }
            });
        }
        Ok(claims)
    }
}

impl ClaimBatch {
    /// Decides about each request, without writing anything.
    async fn judge(&self, tx: &mut Tx<'_>) -> Result<Vec<Option<Wanted<'_>>>, StoreError> {
        // A claim may come late, from a worker that was declared dead meanwhile: nobody would do what it won.
        if !leases::is_live(tx, self.lease).await? {
            return Ok(self.batch.iter().map(|_| None).collect());
        }
        let mut runs = Runs::new(Input::Read);
        let mut wanted = Vec::with_capacity(self.batch.len());
        for request in &self.batch {
            let key = &request.key;
            let node = nodes::load(tx, key.run, &key.node, &key.scope).await?;
            wanted.push(match node.filter(|node| self.is_claimable(node, request)) {
                Some(node) => {
                    let run = runs.of(tx, key.run).await?;
                    Some(Wanted { request, node, run, verdict: Verdict::Again })
                }
                None => None,
            });
        }
        // One that is ours already (its reply was lost) is the one suspect.
        let has_suspect = wanted
            .iter()
            .flatten()
            .any(|wanted| wanted.node.suspect && wanted.node.state == NodeState::Running);
        let mut may_take_suspect = self.take_suspect && !has_suspect;
        for Wanted { node, run, verdict, .. } in wanted.iter_mut().flatten() {
            *verdict = judge_row(node, run, may_take_suspect);
            may_take_suspect &= !(node.suspect && node.state == NodeState::Queued);
        }
        Ok(wanted)
    }

    fn is_claimable(&self, node: &NodeRow, request: &ClaimRequest) -> bool {
        match node.state {
            NodeState::Skipping => true,
            NodeState::Running => node.lease == Some(self.lease) && node.span == Some(request.span),
            state => state.on(NodeEvent::Claim).is_some(),
        }
    }

    async fn enforce(
        &self,
        tx: &mut Tx<'_>,
        wanted: Wanted<'_>,
        started_run: bool,
    ) -> Result<Claim, StoreError> {
        let Wanted { request, mut node, run, verdict } = wanted;
        let clock = DatabaseClock::showing(tx.time()?);
        match verdict {
            Verdict::Won => self.win(tx, request, &mut node, &run).await?,
            Verdict::Again => {}
            Verdict::Skip => {
                return Ok(Claim::Skip(Box::new(Skipping { run: run.header.clone(), clock })));
            }
            Verdict::PutOff => {
                put_off(tx, &node).await?;
                return Ok(Claim::PutOff);
            }
            Verdict::Cancelled => {
                nodes::cancel(tx, &run.header, &node).await?;
                return Ok(Claim::Cancelled);
            }
        }
        claimed(request, &node, &run, (clock, started_run))
            .map(|claimed| Claim::Won(Box::new(claimed)))
    }

    async fn win(
        &self,
        tx: &mut Tx<'_>,
        request: &ClaimRequest,
        node: &mut NodeRow,
        run: &Run,
    ) -> Result<(), StoreError> {
        let timeout = Duration::from_millis(u64::try_from(node.timeout_ms).unwrap_or_default());
        tx.execute(
            sqlx::query(
                "UPDATE node_runs
                 SET state = 'running', claim = claim + 1, attempts = attempts + 1, lease_id = ?2, span_id = ?3,
                     started_at = ?4, ended_at = NULL, wakes = 0, wake_at = ?5, segment = ?6
                 WHERE ordinal = ?1",
            )
            .bind(node.ordinal)
            .bind(self.lease.to_string())
            .bind(request.span.to_string())
            .bind(tx.now)
            .bind(tx.after(timeout + DEADLINE_GRACE))
            .bind(run.segment),
        )
        .await?;
        node.claim += 1;
        node.attempts += 1;
        node.segment = run.segment;
        node.started_at = Some(tx.time()?);
        if node.kind != END_KIND {
            let entry =
                Entry::node_started(&node.kind, &node.key, node.attempts, Some(request.span));
            log::write(tx, &run.header, entry).await?;
        }
        Ok(())
    }
}

fn judge_row(node: &NodeRow, run: &Run, may_take_suspect: bool) -> Verdict {
    match node.state {
        NodeState::Running => Verdict::Again,
        _ if run.is_over() => Verdict::Cancelled,
        NodeState::Skipping => Verdict::Skip,
        _ if node.suspect && !may_take_suspect => Verdict::PutOff,
        _ => Verdict::Won,
    }
}

/// Moves the runs on whose first node was won, and says which they are.
async fn start_runs(
    tx: &mut Tx<'_>,
    wanted: &[Option<Wanted<'_>>],
) -> Result<HashSet<RunId>, StoreError> {
    let mut started = HashSet::new();
    let won = wanted.iter().flatten().filter(|wanted| wanted.verdict == Verdict::Won);
    for Wanted { run, .. } in won.filter(|wanted| wanted.run.state == RunState::Queued) {
        if started.insert(run.header.id) {
            tx.execute(
                sqlx::query("UPDATE runs SET state = 'running', started_at = ?2 WHERE id = ?1")
                    .bind(run.header.id.to_string())
                    .bind(tx.now),
            )
            .await?;
            log::write(tx, &run.header, Entry::run_started()).await?;
        }
    }
    Ok(started)
}

async fn put_off(tx: &mut Tx<'_>, node: &NodeRow) -> Result<(), StoreError> {
    let (least, jitter) = PUT_OFF;
    tx.execute(
        sqlx::query("UPDATE node_runs SET wakes = -1, wake_at = ?2 WHERE ordinal = ?1")
            .bind(node.ordinal)
            .bind(tx.after(least + jitter.mul_f64(fastrand::f64()))),
    )
    .await?;
    Ok(())
}

fn claimed(
    request: &ClaimRequest,
    node: &NodeRow,
    run: &Run,
    (clock, started_run): (DatabaseClock, bool),
) -> Result<Claimed, StoreError> {
    let missing = |column| StoreError::Corrupt(format!("{} has no {column}", request.key));
    Ok(Claimed {
        key: request.key.clone(),
        run: run.header.clone(),
        claim: node.claim,
        span: request.span,
        attempt: node.attempts,
        failures: node.failures,
        strikes: node.strikes,
        crashed: node.crashed,
        suspect: node.suspect,
        waited_until: node.waited_until,
        publish_span: node.publish_span,
        queued_at: node.queued_at.ok_or_else(|| missing("queued_at"))?,
        started_at: node.started_at.ok_or_else(|| missing("started_at"))?,
        clock,
        started_run,
    })
}

impl SqliteStore {
    pub(super) async fn read_batch(
        &self,
        batch: &[ReadRequest],
    ) -> Result<Vec<Vec<Upstream>>, StoreError> {
        let mut connection = self.readers().acquire().await.map_err(store_error)?;
        let mut replies = Vec::with_capacity(batch.len());
        for request in batch {
            let outputs: BTreeSet<_> = request.outputs.iter().collect();
            let spans: BTreeSet<_> =
                request.spans.iter().filter(|node| !outputs.contains(node)).collect();
            let mut found = Vec::with_capacity(outputs.len() + spans.len());
            let wanted = outputs.into_iter().map(|node| (node, true));
            for (node, output) in wanted.chain(spans.into_iter().map(|node| (node, false))) {
                let row = sqlx::query(
                    "SELECT state, CASE WHEN ?4 THEN output END AS output,
                            CASE WHEN attempts > 0 THEN span_id END AS span_id,
                            (SELECT s.trace_id FROM run_segments s
                             WHERE s.run_id = n.run_id AND s.segment = n.segment) AS trace_id
                     FROM node_runs n WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3",
                )
                .bind(request.run.to_string())
                .bind(&**node)
                .bind(&*request.scope)
                .bind(output)
                .fetch_optional(&mut *connection)
                .await
                .map_err(store_error)?;
                if let Some(row) = row {
                    found.push(Upstream {
                        node: node.clone(),
                        state: parse(&row, "state")?,
                        output: get(&row, "output")?,
                        span: parse_optional(&row, "span_id")?,
                        trace: parse_optional(&row, "trace_id")?,
                    });
                }
            }
            replies.push(found);
        }
        Ok(replies)
    }
}
