//! Claiming activations and reading what came before them.

use std::collections::hash_map;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::leases::Holder;
use super::log;
use super::nodes::NodeRow;
use super::rows::{Input, Run, Runs, get};
use super::time::instant;
use super::writer::{Tx, Write};
use super::{SqliteStore, leases, nodes, store_error};
use crate::domain::ids::{LeaseId, NodeKey, RunId, Scope};
use crate::domain::limits;
use crate::domain::state::{NodeEvent, NodeState, RunState};
use crate::store::engine::{
    ANSWER_BYTES_MAX, Claim, ClaimRequest, Claimed, END_KIND, ReadRequest, Skipping, Upstream,
};
use crate::store::log_entry::Entry;
use crate::store::rows::{parse, parse_optional};
use crate::store::timing::DEADLINE_GRACE;
use crate::store::{DatabaseClock, StoreError};
use crate::telemetry::Statement;

/// How long a suspect is deferred when its worker runs another one: at least, and the jitter on top.
const DEFER_FOR: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(4));

/// How long a row that is to run apart is deferred when its worker runs others, likewise: as long as those may take to
/// end.
const APART: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

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
    /// The reply to the first try was lost: the row is this lease's already.
    Again,
    Skip,
    Deferred,
    Apart,
    Cancelled,
}

#[async_trait]
impl Write for ClaimBatch {
    type Reply = Vec<Claim>;
    const NAME: &'static str = "claim";

    fn requests(&self) -> Option<usize> {
        Some(self.batch.len())
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        // A claim may come late, from a worker that was declared dead meanwhile: nobody would do what it won.
        let holder = Holder::of(tx, self.lease).await?;
        if !holder.is_live {
            return Ok(vec![Claim::Missed; self.batch.len()]);
        }
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
                    enforce(tx, &holder, wanted, started_run).await?
                }
            });
        }
        Ok(claims)
    }
}

impl ClaimBatch {
    /// Decides about each request, as far as the inputs of their runs fit, without writing anything.
    async fn judge(&self, tx: &mut Tx<'_>) -> Result<Vec<Option<Wanted<'_>>>, StoreError> {
        let mut runs = Runs::new(Input::Read);
        let (mut measured, mut bytes) = (HashSet::new(), 0);
        let mut wanted = Vec::with_capacity(self.batch.len());
        for request in &self.batch {
            let key = &request.key;
            let node = nodes::load(tx, key.run, &key.node, &key.scope).await?;
            wanted.push(match node.filter(|node| self.is_claimable(node, request)) {
                Some(node) => {
                    let run = runs.of(tx, key.run).await?;
                    if measured.insert(key.run) {
                        bytes += run.header.input.len();
                        if bytes > ANSWER_BYTES_MAX && measured.len() > 1 {
                            break;
                        }
                    }
                    Some(Wanted { request, node, run, verdict: Verdict::Again })
                }
                None => None,
            });
        }
        // One that is this lease's already (its reply was lost) is the one suspect.
        let has_suspect = wanted
            .iter()
            .flatten()
            .any(|wanted| wanted.node.suspect && wanted.node.state == NodeState::Running);
        let mut may_take_suspect = self.take_suspect && !has_suspect;
        let has_company = self.batch.len() > 1
            || (wanted.iter().flatten().any(|wanted| is_apart(&wanted.node))
                && leases::holds_any(tx, self.lease).await?);
        for Wanted { node, run, verdict, .. } in wanted.iter_mut().flatten() {
            *verdict = judge_row(node, run, may_take_suspect, has_company);
            may_take_suspect &= !(node.suspect && *verdict == Verdict::Won);
        }
        Ok(wanted)
    }

    fn is_claimable(&self, node: &NodeRow, request: &ClaimRequest) -> bool {
        match node.state {
            NodeState::Skipping => true,
            NodeState::Running => {
                node.lease_id == Some(self.lease) && node.span_id == Some(request.span)
            }
            state => state.on(NodeEvent::Claim).is_some(),
        }
    }
}

async fn enforce(
    tx: &mut Tx<'_>,
    holder: &Holder,
    wanted: Wanted<'_>,
    started_run: bool,
) -> Result<Claim, StoreError> {
    let Wanted { request, mut node, run, verdict } = wanted;
    let clock = DatabaseClock::showing(tx.time()?);
    match verdict {
        Verdict::Won => win(tx, holder, request, &mut node, &run).await?,
        Verdict::Again => {}
        Verdict::Skip => {
            return Ok(Claim::Skip(Box::new(Skipping { run: run.header.clone(), clock })));
        }
        Verdict::Deferred => {
            defer(tx, node, DEFER_FOR).await?;
            return Ok(Claim::Deferred);
        }
        Verdict::Apart => {
            defer(tx, node, APART).await?;
            return Ok(Claim::Apart);
        }
        Verdict::Cancelled => {
            nodes::cancel(tx, &run.header, node).await?;
            return Ok(Claim::Cancelled);
        }
    }
    claimed(request, &node, &run, (clock, started_run)).map(|claimed| Claim::Won(Box::new(claimed)))
}

async fn win(
    tx: &mut Tx<'_>,
    holder: &Holder,
    request: &ClaimRequest,
    node: &mut NodeRow,
    run: &Run,
) -> Result<(), StoreError> {
    let timeout = Duration::from_millis(u64::try_from(node.timeout_ms).unwrap_or_default());
    node.state = NodeState::Running;
    node.claim += 1;
    node.attempts += 1;
    node.lease_id = Some(holder.lease);
    node.worker.clone_from(&holder.worker);
    node.span_id = Some(request.span);
    node.segment = run.segment;
    node.signalled = false;
    node.started_at = Some(tx.now);
    node.ended_at = None;
    node.wakes = 0;
    node.wake_at = Some(tx.after(timeout + DEADLINE_GRACE));
    nodes::save(tx, node).await?;
    if node.kind != END_KIND {
        let entry = Entry::node_started(&node.kind, &node.key, node.attempts, Some(request.span));
        log::write(tx, &run.header, entry).await?;
    }
    Ok(())
}

/// Whether it has been in so many crashes that it runs beside nothing else.
fn is_apart(node: &NodeRow) -> bool {
    node.crashes >= limits::CRASHES_IN_COMPANY_MAX
}

fn judge_row(node: &NodeRow, run: &Run, may_take_suspect: bool, has_company: bool) -> Verdict {
    match node.state {
        NodeState::Running => Verdict::Again,
        _ if run.is_over() => Verdict::Cancelled,
        NodeState::Skipping => Verdict::Skip,
        // Before the other suspects, of which one may be taken: it would stand in line behind all of them.
        _ if is_apart(node) && has_company => Verdict::Apart,
        _ if node.suspect && !may_take_suspect => Verdict::Deferred,
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

async fn defer(
    tx: &mut Tx<'_>,
    mut node: NodeRow,
    (least, jitter): (Duration, Duration),
) -> Result<(), StoreError> {
    node.wakes = 0;
    node.message_expected = false;
    node.wake_at = Some(tx.after(least + jitter.mul_f64(fastrand::f64())));
    nodes::save(tx, &node).await
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
        crashes: node.crashes,
        waited_until: node.waited_until.map(instant).transpose()?,
        waited_for: node.waiting_for.as_deref().map(Arc::from),
        publish_span: node.publish_span_id,
        queued_at: instant(node.queued_at.ok_or_else(|| missing("queued_at"))?)?,
        started_at: instant(node.started_at.ok_or_else(|| missing("started_at"))?)?,
        clock,
        started_run,
    })
}

impl SqliteStore {
    pub(super) async fn read_batch(
        &self,
        batch: &[ReadRequest],
    ) -> Result<Vec<Vec<Upstream>>, StoreError> {
        let statement = Statement::named("upstream").serving(batch.len());
        self.watch(statement, self.read_each(batch)).await
    }

    async fn read_each(&self, batch: &[ReadRequest]) -> Result<Vec<Vec<Upstream>>, StoreError> {
        let mut connection = self.readers().acquire().await.map_err(store_error)?;
        let mut known = HashMap::new();
        let mut bytes = 0;
        let mut replies = Vec::with_capacity(batch.len());
        for request in batch {
            let outputs: BTreeSet<_> = request.outputs.iter().collect();
            let spans: BTreeSet<_> =
                request.spans.iter().filter(|node| !outputs.contains(node)).collect();
            let mut found = Vec::with_capacity(outputs.len() + spans.len());
            let wanted = outputs.into_iter().map(|node| (node, true));
            for (node, output) in wanted.chain(spans.into_iter().map(|node| (node, false))) {
                let wish = (request.run, &request.scope, node, output);
                let upstream = match known.entry(wish) {
                    hash_map::Entry::Occupied(known) => known.into_mut(),
                    hash_map::Entry::Vacant(unknown) => {
                        let read = read_upstream(&mut connection, wish).await?;
                        let output = read.as_ref().and_then(|read| read.output.as_ref());
                        bytes += output.map_or(0, |output| output.len());
                        unknown.insert(read)
                    }
                };
                found.extend(upstream.clone());
            }
            if bytes > ANSWER_BYTES_MAX && !replies.is_empty() {
                break;
            }
            replies.push(found);
        }
        Ok(replies)
    }
}

/// What a node has left behind, if it has a row; the last says whether its output is wanted.
async fn read_upstream(
    connection: &mut SqliteConnection,
    (run, scope, node, output): (RunId, &Scope, &NodeKey, bool),
) -> Result<Option<Upstream>, StoreError> {
    let row = sqlx::query(
        "SELECT state, CASE WHEN ?4 THEN output END AS output,
                CASE WHEN attempts > 0 THEN span_id END AS span_id,
                (SELECT s.trace_id FROM run_segments s
                 WHERE s.run_id = n.run_id AND s.segment = n.segment) AS trace_id
         FROM node_runs n WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3",
    )
    .bind(run.to_string())
    .bind(&**node)
    .bind(&**scope)
    .bind(output)
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    let upstream = row.as_ref().map(|row| {
        Ok(Upstream {
            node: node.clone(),
            state: parse(row, "state")?,
            output: get::<Option<&str>>(row, "output")?.map(Arc::from),
            span: parse_optional(row, "span_id")?,
            trace: parse_optional(row, "trace_id")?,
        })
    });
    upstream.transpose()
}
