//! Steps as a transaction reads and changes them.

use sqlx::sqlite::SqliteRow;

use super::rows::{Run, get};
use super::totals::{Ledger, Reserved, Settlement};
use super::writer::Tx;
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::money::{NanoDollars, Price};
use crate::domain::step::{LostStep, StepStatus};
use crate::domain::trace::SpanId;
use crate::domain::usage::Usage;
use crate::store::StoreError;
use crate::store::row_values::failure_json;
use crate::store::rows::{Columns, count, owned, parse, text};
use crate::store::step_views::{self, amount};
use crate::store::steps::{Charge, StepIntent, StepResult};
use crate::store::timing::millis;

/// The statement that reads steps that are lost, beside their runs.
macro_rules! lost_steps {
    ($condition:literal) => {
        concat!(
            "SELECT l.node_key, l.scope, l.node_kind, l.step, l.attempt, l.kind, l.name, l.provider, l.cost_nanos, l.trace_id,
                    l.span_id, l.parent_span_id, l.started_at, l.ended_at, l.reserved_input_tokens, l.reserved_output_tokens, r.id, r.organization_id, r.workspace_id,
                    r.user_id, r.version_id, r.workflow, r.version, r.step_mode, r.node_count, r.edge_count,
                    r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state, r.created_at
             FROM agent_trace_history l
             JOIN runs r ON r.id = l.run_id
             WHERE ",
            $condition
        )
    };
}

/// A try of a step, without its payloads.
#[derive(Debug, Clone)]
pub(super) struct Try {
    pub(super) id: i64,
    pub(super) run: RunId,
    pub(super) organization: String,
    pub(super) step: u32,
    pub(super) attempt: u32,
    pub(super) claim: u32,
    pub(super) status: StepStatus,
    pub(super) span: SpanId,
    pub(super) digest: Vec<u8>,
    pub(super) decided_by: Option<String>,
    pub(super) expires_at: Option<i64>,
    /// What it has reserved at its provider, and on which day.
    reservation: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    day: String,
    nanos: Option<i64>,
    input: u64,
    output: u64,
    price: Option<Price>,
}

impl Try {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let micros =
            |column| Ok::<_, StoreError>(row.time(column)?.map(|at| at.timestamp_micros()));
        let reservation = match row.text("provider")? {
            None => None,
            Some(_) => {
                let price = |column| row.integer(column);
                let price = match price("price_input")? {
                    None => None,
                    Some(input) => Some(Price {
                        input,
                        output: price("price_output")?.unwrap_or_default(),
                        cache_read: price("price_cache_read")?.unwrap_or_default(),
                        cache_write: price("price_cache_write")?.unwrap_or_default(),
                    }),
                };
                let held = Held {
                    day: text(row, "reserved_day")?.to_owned(),
                    nanos: row.integer("reserved_nanos")?,
                    input: amount(row, "reserved_input_tokens")?,
                    output: amount(row, "reserved_output_tokens")?,
                    price,
                };
                Some(held)
            }
        };
        Ok(Self {
            id: get(row, "id")?,
            run: parse(row, "run_id")?,
            organization: text(row, "organization_id")?.to_owned(),
            step: count(row, "step")?,
            attempt: count(row, "attempt")?,
            claim: count(row, "claim")?,
            status: parse(row, "status")?,
            span: parse(row, "span_id")?,
            digest: get(row, "digest")?,
            decided_by: owned(row, "decided_by")?,
            expires_at: micros("expires_at")?,
            reservation,
        })
    }
}

/// Reads the tries of an activation's steps: of this step, or those that are under way.
pub(super) async fn load(
    tx: &mut Tx<'_>,
    key: &ActivationKey,
    step: Option<u32>,
) -> Result<Vec<Try>, StoreError> {
    let rows = tx
        .fetch_all(
            sqlx::query(
                "SELECT * FROM agent_trace_history
                 WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3
                   AND CASE WHEN ?4 IS NULL THEN status = 'started' ELSE step = ?4 END
                 ORDER BY step, attempt",
            )
            .bind(key.run.to_string())
            .bind(&*key.node)
            .bind(&*key.scope)
            .bind(step),
        )
        .await?;
    rows.iter().map(Try::read).collect()
}

/// Reads steps that are under way although the claim that made them does not run any more.
pub(super) async fn load_stranded(
    tx: &mut Tx<'_>,
    of: Option<&str>,
    limit: u32,
) -> Result<Vec<Try>, StoreError> {
    let rows = tx
        .fetch_all(
            sqlx::query(
                "SELECT h.* FROM agent_trace_history h INDEXED BY agent_trace_history_started
                 WHERE h.status = 'started' AND (?2 IS NULL OR h.organization_id = ?2)
                   AND NOT EXISTS (
                       SELECT 1 FROM node_runs n
                       WHERE n.run_id = h.run_id AND n.node_key = h.node_key AND n.scope = h.scope
                         AND n.state = 'running' AND n.claim = h.claim)
                 LIMIT ?1",
            )
            .bind(limit)
            .bind(of),
        )
        .await?;
    rows.iter().map(Try::read).collect()
}

/// Records what came of a step that was under way, and settles it.
pub(super) async fn finish(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger,
    made: &Try,
    result: &StepResult,
) -> Result<(), StoreError> {
    let charge = result.charge.bounded();
    let counted = match charge {
        Charge::Counted(usage) => Some(usage),
        Charge::Nothing | Charge::Reserved => None,
    };
    let settlement = made.reservation.as_ref().map(|held| match charge {
        Charge::Nothing => Settlement { cost: Some(NanoDollars::ZERO), usage: Usage::default() },
        Charge::Counted(usage) => {
            let price = result.price.or(held.price);
            Settlement { cost: price.map(|price| price.cost(&usage)), usage }
        }
        Charge::Reserved => held.in_full(),
    });
    let is_estimated = result.charge == Charge::Reserved && settlement.is_some();
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let response_model = result.shown_response_model();
    tx.execute(
        sqlx::query(
            "UPDATE agent_trace_history
             SET status = ?2, observation = ?3, thought = ?4, error = ?5, response_model = ?6, latency_ms = ?7,
                 input_tokens = ?8, cached_tokens = ?9, cache_write_tokens = ?10, output_tokens = ?11, cost_nanos = ?12,
                 estimated = ?13, ended_at = ?14, price_input = coalesce(?15, price_input),
                 price_output = coalesce(?16, price_output), price_cache_read = coalesce(?17, price_cache_read),
                 price_cache_write = coalesce(?18, price_cache_write)
             WHERE id = ?1",
        )
        .bind(made.id)
        .bind(result.status.as_str())
        .bind(result.observation.as_deref())
        .bind(result.shown_thought())
        .bind(result.error.as_ref().map(failure_json))
        .bind(response_model.as_deref())
        .bind(millis(result.latency))
        .bind(counted.map(|usage| whole(usage.input_tokens)))
        .bind(counted.map(|usage| whole(usage.cached_tokens)))
        .bind(counted.map(|usage| whole(usage.cache_write_tokens)))
        .bind(counted.map(|usage| whole(usage.output_tokens)))
        .bind(settlement.and_then(|it| it.cost).map(|cost| cost.0))
        .bind(is_estimated)
        .bind(tx.now)
        .bind(result.price.map(|price| price.input))
        .bind(result.price.map(|price| price.output))
        .bind(result.price.map(|price| price.cache_read))
        .bind(result.price.map(|price| price.cache_write)),
    )
    .await?;
    if let Some(settlement) = settlement {
        settle(tx, ledger, made, settlement).await?;
    }
    Ok(())
}

/// Marks a step as lost, and settles it in full.
pub(super) async fn lose(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger,
    made: &Try,
) -> Result<LostStep, StoreError> {
    let settlement = made.reservation.as_ref().map(|held| held.in_full());
    tx.execute(
        sqlx::query(
            "UPDATE agent_trace_history SET status = 'lost', ended_at = ?2, cost_nanos = reserved_nanos, estimated = ?3
             WHERE id = ?1",
        )
        .bind(made.id)
        .bind(tx.now)
        .bind(settlement.is_some()),
    )
    .await?;
    if let Some(settlement) = settlement {
        settle(tx, ledger, made, settlement).await?;
    }
    let found = tx.fetch_all(sqlx::query(lost_steps!("l.id = ?1")).bind(made.id)).await?;
    let found = found.first().map(step_views::lost).transpose()?;
    found.ok_or_else(|| StoreError::Corrupt("a step that is lost has no run".to_owned()))
}

/// Those steps of the activation that were lost at the very time at which this one began.
pub(super) async fn lost_to(tx: &mut Tx<'_>, begun: &Try) -> Result<Vec<LostStep>, StoreError> {
    const STATEMENT: &str = lost_steps!(
        "l.status = 'lost' AND (l.run_id, l.node_key, l.scope, l.ended_at) =
             (SELECT b.run_id, b.node_key, b.scope, b.started_at FROM agent_trace_history b WHERE b.id = ?1)"
    );
    let rows = tx.fetch_all(sqlx::query(STATEMENT).bind(begun.id)).await?;
    rows.iter().map(step_views::lost).collect()
}

/// Counts what a step came to, frees what it had reserved and writes its row of the costs. Its own row says how it ended.
async fn settle(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger,
    made: &Try,
    settlement: Settlement,
) -> Result<(), StoreError> {
    let Some(held) = &made.reservation else { return Ok(()) };
    let whose = (&*made.organization, made.run, &*held.day);
    ledger.settle(tx, whose, held.reserved(), settlement).await?;
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    tx.execute(
        sqlx::query(
            "INSERT INTO model_cost_logs (ts, organization_id, workspace_id, user_id, run_id, workflow, node_key, scope, step,
                 attempt, provider, model, response_model, status, input_tokens, cached_tokens, cache_write_tokens,
                 output_tokens, cost_nanos, estimated, latency_ms, trace_id, span_id)
             SELECT ?2, h.organization_id, h.workspace_id, h.user_id, h.run_id, r.workflow, h.node_key, h.scope, h.step,
                    h.attempt, h.provider, h.model, h.response_model, h.status, ?3, ?4, ?5, ?6, h.cost_nanos, h.estimated,
                    h.latency_ms, h.trace_id, h.span_id
             FROM agent_trace_history h
             JOIN runs r ON r.id = h.run_id
             WHERE h.id = ?1",
        )
        .bind(made.id)
        .bind(tx.now)
        .bind(whole(settlement.usage.input_tokens))
        .bind(whole(settlement.usage.cached_tokens))
        .bind(whole(settlement.usage.cache_write_tokens))
        .bind(whole(settlement.usage.output_tokens)),
    )
    .await?;
    Ok(())
}

impl Held {
    /// What it comes to when nobody knows what it took.
    fn in_full(&self) -> Settlement {
        let (input_tokens, output_tokens) = (self.input, self.output);
        let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
        Settlement { cost: self.nanos.map(NanoDollars), usage }
    }

    fn reserved(&self) -> Reserved {
        let nanos = self.nanos.map_or(0, i64::unsigned_abs);
        Reserved { nanos, tokens: self.input.saturating_add(self.output) }
    }
}

/// How a step is written down that begins, or begins to wait for a decision.
pub(super) struct Beginning<'a> {
    pub(super) run: &'a Run,
    pub(super) key: &'a ActivationKey,
    pub(super) node_kind: &'a str,
    pub(super) claim: u32,
    pub(super) lease: LeaseId,
    /// The span of the attempt.
    pub(super) parent: Option<SpanId>,
    pub(super) intent: &'a StepIntent,
    pub(super) attempt: u32,
    /// The day in which it reserves what it may take.
    pub(super) day: &'a str,
}

impl Beginning<'_> {
    /// Writes a new row.
    pub(super) async fn insert(
        &self,
        tx: &mut Tx<'_>,
        expires_at: Option<i64>,
    ) -> Result<(), StoreError> {
        let (header, intent) = (&self.run.header, self.intent);
        let status = match expires_at {
            Some(_) => StepStatus::Pending,
            None => StepStatus::Started,
        };
        tx.execute(
            sqlx::query(
                "INSERT INTO agent_trace_history (run_id, node_key, scope, step, attempt, organization_id, workspace_id,
                     user_id, node_kind, claim, lease_id, kind, name, status, digest, arguments, trace_id, span_id,
                     parent_span_id, expires_at, started_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
            )
            .bind(self.key.run.to_string())
            .bind(&*self.key.node)
            .bind(&*self.key.scope)
            .bind(intent.seq)
            .bind(self.attempt)
            .bind(&*header.identity.organization)
            .bind(&*header.identity.workspace)
            .bind(&*header.identity.user)
            .bind(self.node_kind)
            .bind(self.claim)
            .bind(self.lease.to_string())
            .bind(intent.kind.as_str())
            .bind(&*intent.name)
            .bind(status.as_str())
            .bind(&intent.digest[..])
            .bind(intent.arguments.as_deref())
            .bind(header.trace.trace.to_string())
            .bind(intent.span.to_string())
            .bind(self.parent.map(|span| span.to_string()))
            .bind(expires_at)
            .bind(tx.now),
        )
        .await?;
        match status {
            StepStatus::Started => self.start(tx).await,
            _ => Ok(()),
        }
    }

    /// Makes a row one of a step that is under way, with what it has reserved.
    pub(super) async fn start(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let reservation = self.intent.reservation.as_ref();
        let price = reservation.and_then(|reservation| reservation.price);
        let tokens = reservation.map(|reservation| reservation.tokens());
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        tx.execute(
            sqlx::query(
                "UPDATE agent_trace_history
                 SET status = 'started', claim = ?6, lease_id = ?7, trace_id = ?8, span_id = ?9, parent_span_id = ?10,
                     started_at = ?11, provider = ?12, model = ?13, price_input = ?14, price_output = ?15,
                     price_cache_read = ?16, price_cache_write = ?17, reserved_nanos = ?18, reserved_input_tokens = ?19,
                     reserved_output_tokens = ?20, reserved_day = ?21
                 WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3 AND step = ?4 AND attempt = ?5",
            )
            .bind(self.key.run.to_string())
            .bind(&*self.key.node)
            .bind(&*self.key.scope)
            .bind(self.intent.seq)
            .bind(self.attempt)
            .bind(self.claim)
            .bind(self.lease.to_string())
            .bind(self.run.header.trace.trace.to_string())
            .bind(self.intent.span.to_string())
            .bind(self.parent.map(|span| span.to_string()))
            .bind(tx.now)
            .bind(reservation.map(|it| &*it.provider))
            .bind(reservation.map(|it| &*it.model))
            .bind(price.map(|price| price.input))
            .bind(price.map(|price| price.output))
            .bind(price.map(|price| price.cache_read))
            .bind(price.map(|price| price.cache_write))
            .bind(reservation.and_then(|it| it.nanos()).map(|nanos| nanos.0))
            .bind(tokens.map(|(input, _)| whole(input)))
            .bind(tokens.map(|(_, output)| whole(output)))
            .bind(reservation.map(|_| self.day)),
        )
        .await?;
        Ok(())
    }
}

/// Marks a step that nobody has allowed in time as denied.
pub(super) async fn expire(tx: &mut Tx<'_>, waiting: &Try) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            r#"UPDATE agent_trace_history
               SET status = 'denied', ended_at = ?2,
                   error = '{"code":"approval_timeout","message":"nobody has allowed it in time"}'
               WHERE id = ?1"#,
        )
        .bind(waiting.id)
        .bind(tx.now),
    )
    .await?;
    Ok(())
}
