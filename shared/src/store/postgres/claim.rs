//! Claiming activations and reading what came before them.

use sqlx::postgres::PgRow;

use super::rows::{get, place};
use super::{PostgresStore, store_error};
use crate::domain::ids::{LeaseId, NodeKey};
use crate::store::engine::{Claim, ClaimRequest, Claimed, ReadRequest, Skipping, Upstream};
use crate::store::rows::{count, header, parse, parse_optional};
use crate::store::timing::{DEADLINE_GRACE, millis};
use crate::store::{DatabaseClock, StoreError};

/// Outputs that one statement reads at most: 64 MiB, if each is as large as an output may be.
const READ_OUTPUTS_MAX: usize = 64;

/// A node of which a request wants to know.
struct Wanted<'a> {
    /// The place of the request, from 1.
    ord: i64,
    request: &'a ReadRequest,
    node: &'a NodeKey,
    /// Whether its output is wanted as well.
    output: bool,
}

impl PostgresStore {
    pub(super) async fn claim_batch(
        &self,
        lease: LeaseId,
        take_suspect: bool,
        batch: &[ClaimRequest],
    ) -> Result<Vec<Claim>, StoreError> {
        let rows = sqlx::query(include_str!("sql/claim.sql"))
            .bind(batch.iter().map(|request| request.key.run.0).collect::<Vec<_>>())
            .bind(batch.iter().map(|request| &*request.key.node).collect::<Vec<_>>())
            .bind(batch.iter().map(|request| &*request.key.scope).collect::<Vec<_>>())
            .bind(batch.iter().map(|request| request.span.to_string()).collect::<Vec<_>>())
            .bind(lease.0)
            .bind(take_suspect)
            .bind(millis(DEADLINE_GRACE))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        let mut claims = vec![Claim::Missed; batch.len()];
        for row in &rows {
            let place = place(row)?;
            claims[place] = match get::<&str>(row, "verdict")? {
                "won" | "again" => Claim::Won(Box::new(claimed(row, &batch[place])?)),
                "skip" => {
                    Claim::Skip(Box::new(Skipping { run: header(row, true)?, clock: clock(row)? }))
                }
                "put_off" => Claim::PutOff,
                "cancelled" => Claim::Cancelled,
                other => return Err(StoreError::Corrupt(format!("verdict {other:?}"))),
            };
        }
        Ok(claims)
    }

    pub(super) async fn read_batch(
        &self,
        batch: &[ReadRequest],
    ) -> Result<Vec<Vec<Upstream>>, StoreError> {
        let wanted = batch.iter().zip(1_i64..).flat_map(|(request, ord)| {
            let outputs = request.outputs.iter().map(|node| (node, true));
            let spans = request.spans.iter().filter(|node| !request.outputs.contains(node));
            outputs.chain(spans.map(|node| (node, false))).map(move |(node, output)| Wanted {
                ord,
                request,
                node,
                output,
            })
        });
        let wanted: Vec<_> = wanted.collect();
        let mut replies = vec![Vec::new(); batch.len()];
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            let (part, later) = rest.split_at(fitting(rest));
            rest = later;
            for row in self.read_upstream_rows(part).await? {
                replies[place(&row)?].push(Upstream {
                    node: get::<&str>(&row, "node_key")?.into(),
                    state: parse(&row, "state")?,
                    output: get(&row, "output")?,
                    span: parse_optional(&row, "span_id")?,
                    trace: parse_optional(&row, "trace_id")?,
                });
            }
        }
        Ok(replies)
    }

    async fn read_upstream_rows(&self, wanted: &[Wanted<'_>]) -> Result<Vec<PgRow>, StoreError> {
        sqlx::query(include_str!("sql/upstream.sql"))
            .bind(wanted.iter().map(|wanted| wanted.ord).collect::<Vec<_>>())
            .bind(wanted.iter().map(|wanted| wanted.request.run.0).collect::<Vec<_>>())
            .bind(wanted.iter().map(|wanted| &*wanted.request.scope).collect::<Vec<_>>())
            .bind(wanted.iter().map(|wanted| &**wanted.node).collect::<Vec<_>>())
            .bind(wanted.iter().map(|wanted| wanted.output).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
    }
}

/// How many of these one statement reads.
fn fitting(wanted: &[Wanted<'_>]) -> usize {
    let mut outputs = 0;
    let beyond = wanted.iter().position(|wanted| {
        outputs += usize::from(wanted.output);
        outputs > READ_OUTPUTS_MAX
    });
    beyond.unwrap_or(wanted.len())
}

fn clock(row: &PgRow) -> Result<DatabaseClock, StoreError> {
    Ok(DatabaseClock::showing(get(row, "answered_at")?))
}

fn claimed(row: &PgRow, request: &ClaimRequest) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        key: request.key.clone(),
        run: header(row, true)?,
        claim: count(row, "claim")?,
        span: request.span,
        attempt: count(row, "attempt")?,
        failures: count(row, "failures")?,
        strikes: count(row, "strikes")?,
        crashed: get(row, "crashed")?,
        suspect: get(row, "suspect")?,
        waited_until: get(row, "waited_until")?,
        publish_span: parse(row, "node_publish_span_id")?,
        queued_at: get(row, "queued_at")?,
        started_at: get(row, "node_started_at")?,
        clock: clock(row)?,
        started_run: get(row, "started_run")?,
    })
}
