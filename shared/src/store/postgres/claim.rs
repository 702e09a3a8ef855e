//! Claiming activations and reading what came before them.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::postgres::PgRow;

use super::event_logs::Logging;
use super::rows::{get, place};
use super::statement::{rows, statement};
use super::{PostgresStore, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::limits;
use crate::domain::run::RunHeader;
use crate::domain::trace::SpanId;
use crate::store::engine::{
    ANSWER_BYTES_MAX, Claim, ClaimRequest, Claimed, END_KIND, ReadRequest, Skipping, Upstream,
};
use crate::store::log_entry::{Entry, LoggedRun};
use crate::store::rows::{count, header, parse, parse_optional};
use crate::store::timing::{DEADLINE_GRACE, millis};
use crate::store::{DatabaseClock, StoreError};

/// Outputs that one statement measures and reads at most: those that are compressed have to be unpacked to be measured,
/// and 64 MiB are unpacked in a fraction of the time that a statement has.
const READ_OUTPUTS_MAX: usize = 64;

statement! {
    /// Claims a batch for one lease.
    struct ClaimRows<'a> = "sql/claim.sql" {
        lease: LeaseId,
        /// Whether a suspect may be taken.
        take_suspect: bool,
        /// Whether there is more than one request.
        has_others: bool,
        /// After a node's timeout.
        grace_ms: i64,
        /// Of inputs that may be sent.
        bytes_max: i64,
        /// Crashes in a row after which a row is only claimed by a lease that holds nothing else.
        crashes_in_company_max: i64,
        /// In order.
        requests: Vec<RequestRow<'a>>,
    }
}

static CLAIM: Logging = Logging::of_known(ClaimRows::text);

rows! {
    /// A request to run an activation.
    struct RequestRow<'a> {
        run_id: RunId,
        node_key: &'a str,
        scope: &'a str,
        span_id: SpanId,
    }
}

impl<'a> RequestRow<'a> {
    fn of(request: &'a ClaimRequest) -> Self {
        let ActivationKey { run, node, scope } = &request.key;
        Self { run_id: *run, node_key: node, scope, span_id: request.span }
    }
}

statement! {
    /// Reads what ended nodes have left behind.
    struct ReadUpstream<'a> = "sql/upstream.sql" {
        wanted: Vec<WantedRow<'a>>,
        /// Of outputs that may be sent.
        bytes_max: i64,
    }
}

rows! {
    /// A node of which requests want to know.
    #[derive(Clone, Copy)]
    struct WantedRow<'a> {
        /// The first of them, from 1.
        request: i64,
        run_id: RunId,
        node_key: &'a str,
        scope: &'a str,
        /// Whether its output is wanted as well.
        with_output: bool,
    }
}

impl PostgresStore {
    pub(super) async fn claim_batch(
        &self,
        lease: LeaseId,
        take_suspect: bool,
        batch: &[ClaimRequest],
    ) -> Result<Vec<Claim>, StoreError> {
        let asked = ClaimRows {
            lease,
            take_suspect,
            has_others: batch.len() > 1,
            grace_ms: millis(DEADLINE_GRACE),
            bytes_max: answer_bytes_max(),
            crashes_in_company_max: i64::from(limits::CRASHES_IN_COMPANY_MAX),
            requests: batch.iter().map(RequestRow::of).collect(),
        };
        let (rows, untold) = self
            .fetch_known(asked.query(CLAIM.text(self))?, self.pool.serving(batch.len(), "claim"))
            .await?;
        let mut inputs = HashMap::new();
        for row in &rows {
            if let Some(input) = get::<Option<&str>>(row, "input")? {
                inputs.insert(RunId(get(row, "id")?), Arc::from(input));
            }
        }
        let mut claims = vec![Claim::Missed; batch.len()];
        let mut answered = batch.len();
        for row in &rows {
            let place = place(row)?;
            claims[place] = match get::<&str>(row, "verdict")? {
                "won" | "again" => {
                    let run = with_input(row, &inputs)?;
                    Claim::Won(Box::new(claimed(row, run, &batch[place])?))
                }
                "skip" => {
                    let run = with_input(row, &inputs)?;
                    Claim::Skip(Box::new(Skipping { run, clock: clock(row)? }))
                }
                "deferred" => Claim::Deferred,
                "apart" => Claim::Apart,
                "cancelled" => Claim::Cancelled,
                "left" => {
                    answered = answered.min(place);
                    continue;
                }
                other => return Err(StoreError::Corrupt(format!("verdict {other:?}"))),
            };
        }
        if let Some(untold) = untold {
            untold.tell(logged(&rows, batch, &claims));
        }
        claims.truncate(answered);
        Ok(claims)
    }

    pub(super) async fn read_batch(
        &self,
        batch: &[ReadRequest],
    ) -> Result<Vec<Vec<Upstream>>, StoreError> {
        let batch = &batch[..fitting(batch)];
        let (wanted, wishes) = wishes(batch);
        // What is too much for one statement is one request: it is answered whole.
        let at_once = if batch.len() == 1 { READ_OUTPUTS_MAX } else { wanted.len() };
        let mut found = vec![None; wanted.len()];
        let mut answered = batch.len();
        for (part, wanted) in wanted.chunks(at_once.max(1)).enumerate() {
            for row in self.read_upstream_rows(wanted).await? {
                if !get::<bool>(&row, "fits")? {
                    let request: i64 = get(&row, "request")?;
                    answered = answered.min(usize::try_from(request - 1).unwrap_or_default());
                    continue;
                }
                found[part * at_once + place(&row)?] = Some(Upstream {
                    node: get::<&str>(&row, "node_key")?.into(),
                    state: parse(&row, "state")?,
                    output: get::<Option<&str>>(&row, "output")?.map(Arc::from),
                    span: parse_optional(&row, "span_id")?,
                    trace: parse_optional(&row, "trace_id")?,
                });
            }
        }
        let replies = wishes[..answered]
            .iter()
            .map(|wishes| wishes.iter().filter_map(|wish| found[*wish].clone()).collect());
        Ok(replies.collect())
    }

    async fn read_upstream_rows(&self, wanted: &[WantedRow<'_>]) -> Result<Vec<PgRow>, StoreError> {
        let asked = ReadUpstream { wanted: wanted.to_vec(), bytes_max: answer_bytes_max() };
        asked
            .query(ReadUpstream::text())?
            .fetch_all(self.pool.serving(wanted.len(), "upstream"))
            .await
            .map_err(store_error)
    }
}

/// What the statement has written to the log: runs that have started, then what became of their rows.
fn logged(
    rows: &[PgRow],
    batch: &[ClaimRequest],
    claims: &[Claim],
) -> Result<Vec<(LoggedRun, Entry)>, StoreError> {
    let (mut started, mut nodes) = (Vec::new(), Vec::new());
    for row in rows {
        let (place, kind) = (place(row)?, get::<&str>(row, "kind")?);
        let (run, entry) = match (get::<&str>(row, "verdict")?, &claims[place]) {
            ("won", Claim::Won(claimed)) => {
                let run = LoggedRun::from(&claimed.run);
                if claimed.started_run {
                    started.push((run.clone(), Entry::run_started()));
                }
                let span = Some(claimed.span);
                (run, Entry::node_started(kind, &claimed.key, claimed.attempt, span))
            }
            ("cancelled", _) => {
                let run = LoggedRun::from(&header(row, false)?);
                (run, Entry::node_cancelled(kind, &batch[place].key, None))
            }
            _ => continue,
        };
        if kind != END_KIND {
            nodes.push((place, (run, entry)));
        }
    }
    started.sort_by_key(|(run, _)| run.id);
    nodes.sort_by_key(|(place, _)| *place);
    started.extend(nodes.into_iter().map(|(_, of_node)| of_node));
    Ok(started)
}

fn answer_bytes_max() -> i64 {
    i64::try_from(ANSWER_BYTES_MAX).unwrap_or(i64::MAX)
}

/// How many of these requests one statement may take: at least one.
fn fitting(batch: &[ReadRequest]) -> usize {
    let mut outputs = 0;
    let fits = batch.iter().take_while(|request| {
        outputs += request.outputs.len();
        outputs <= READ_OUTPUTS_MAX
    });
    fits.count().max(1).min(batch.len())
}

/// What a batch wants to know, each thing once, and for each of its requests the indexes therein.
fn wishes(batch: &[ReadRequest]) -> (Vec<WantedRow<'_>>, Vec<Vec<usize>>) {
    let mut wanted = Vec::new();
    let mut places = HashMap::new();
    let of_each = batch.iter().zip(1_i64..).map(|(of, request)| {
        let outputs = of.outputs.iter().map(|node| (node, true));
        let spans = of.spans.iter().filter(|node| !of.outputs.contains(node));
        let nodes = outputs.chain(spans.map(|node| (node, false)));
        let wishes = nodes.map(|(node, with_output)| {
            *places.entry((of.run, &of.scope, node, with_output)).or_insert_with(|| {
                let (run_id, scope) = (of.run, &of.scope);
                wanted.push(WantedRow { request, run_id, node_key: node, scope, with_output });
                wanted.len() - 1
            })
        });
        wishes.collect()
    });
    let wishes = of_each.collect();
    (wanted, wishes)
}

/// The run of a row, whose input came with one of them.
fn with_input(row: &PgRow, inputs: &HashMap<RunId, Arc<str>>) -> Result<RunHeader, StoreError> {
    let run = header(row, false)?;
    let input = inputs.get(&run.id).map(Arc::clone);
    let missing = || StoreError::Corrupt(format!("run {} came without its input", run.id));
    Ok(RunHeader { input: input.ok_or_else(missing)?, ..run })
}

fn clock(row: &PgRow) -> Result<DatabaseClock, StoreError> {
    Ok(DatabaseClock::showing(get(row, "answered_at")?))
}

fn claimed(row: &PgRow, run: RunHeader, request: &ClaimRequest) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        key: request.key.clone(),
        run,
        claim: count(row, "claim")?,
        span: request.span,
        attempt: count(row, "attempt")?,
        failures: count(row, "failures")?,
        strikes: count(row, "strikes")?,
        crashed: get(row, "crashed")?,
        suspect: get(row, "suspect")?,
        crashes: count(row, "crashes")?,
        waited_until: get(row, "waited_until")?,
        waited_for: get::<Option<&str>>(row, "waited_for")?.map(Arc::from),
        publish_span: parse(row, "node_publish_span_id")?,
        queued_at: get(row, "queued_at")?,
        started_at: get(row, "node_started_at")?,
        clock: clock(row)?,
        started_run: get(row, "started_run")?,
    })
}
