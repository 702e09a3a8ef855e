//! Claiming activations and reading what came before them.

use super::rows::{get, place};
use super::{PostgresStore, store_error};
use crate::domain::ids::LeaseId;
use crate::store::StoreError;
use crate::store::engine::{Claim, ClaimRequest, Claimed, ReadRequest, Upstream};
use crate::store::rows::{count, header, parse, parse_optional};
use crate::store::timing::{DEADLINE_GRACE, millis};

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
                "skip" => Claim::Skip(Box::new(header(row, true)?)),
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
        let wanted = || {
            batch.iter().zip(1_i64..).flat_map(|(request, ord)| {
                let outputs = request.outputs.iter().map(|node| (node, true));
                let spans = request.spans.iter().filter(|node| !request.outputs.contains(node));
                outputs
                    .chain(spans.map(|node| (node, false)))
                    .map(move |(node, output)| (ord, request, node, output))
            })
        };
        let rows = sqlx::query(include_str!("sql/upstream.sql"))
            .bind(wanted().map(|(ord, ..)| ord).collect::<Vec<_>>())
            .bind(wanted().map(|(_, request, ..)| request.run.0).collect::<Vec<_>>())
            .bind(wanted().map(|(_, request, ..)| &*request.scope).collect::<Vec<_>>())
            .bind(wanted().map(|(_, _, node, _)| &**node).collect::<Vec<_>>())
            .bind(wanted().map(|(.., output)| output).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        let mut replies = vec![Vec::new(); batch.len()];
        for row in &rows {
            replies[place(row)?].push(Upstream {
                node: get::<&str>(row, "node_key")?.into(),
                state: parse(row, "state")?,
                output: get(row, "output")?,
                span: parse_optional(row, "span_id")?,
            });
        }
        Ok(replies)
    }
}

fn claimed(row: &sqlx::postgres::PgRow, request: &ClaimRequest) -> Result<Claimed, StoreError> {
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
        started_run: get(row, "started_run")?,
    })
}
