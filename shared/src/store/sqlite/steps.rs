//! The contract of steps, on SQLite.

use std::time::Duration;

use async_trait::async_trait;

use super::log;
use super::rows::{Input, Run, Runs, get};
use super::step_rows::{Beginning, Try, expire, finish, load, load_stranded, lose, lost_to};
use super::totals::{Ledger, Reserved};
use super::writer::{Tx, Write};
use super::{SqliteStore, nodes, store_error};
use crate::domain::budget::{Verdict, Wish, judge};
use crate::domain::ids::{ActivationKey, LeaseId};
use crate::domain::rate::RateBucket;
use crate::domain::state::NodeState;
use crate::domain::step::{LostStep, StepStatus};
use crate::store::StoreError;
use crate::store::log_entry::Entry;
use crate::store::rows::Columns;
use crate::store::step_views;
use crate::store::steps::{
    Begun, JOURNAL_BYTES_MAX, LOST_STEPS_MAX, LostSteps, RateRequest, RecordedStep, StepAnswer,
    StepIntent, StepStore, StepWrite,
};
use crate::store::timing::DEADLINE_GRACE;

#[async_trait]
impl StepStore for SqliteStore {
    async fn recorded_steps(&self, key: &ActivationKey) -> Result<Vec<RecordedStep>, StoreError> {
        let rows = sqlx::query(
            "SELECT *, sum(coalesce(octet_length(arguments), 0) + coalesce(octet_length(observation), 0)
                           + coalesce(octet_length(thought), 0)) OVER (ORDER BY step, attempt) <= ?4 AS fits
             FROM agent_trace_history
             WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3
             ORDER BY step, attempt",
        )
        .bind(key.run.to_string())
        .bind(&*key.node)
        .bind(&*key.scope)
        .bind(i64::try_from(JOURNAL_BYTES_MAX).unwrap_or(i64::MAX))
        .fetch_all(self.reading("recorded_steps"))
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                if !get::<bool>(row, "fits")? {
                    let what =
                        format!("the steps of {key} hold more than {JOURNAL_BYTES_MAX} bytes");
                    return Err(StoreError::Data(what.into()));
                }
                step_views::recorded(row, get(row, "digest")?)
            })
            .collect()
    }

    async fn write_steps(
        &self,
        lease: LeaseId,
        batch: &[StepWrite],
    ) -> Result<Vec<StepAnswer>, StoreError> {
        batch.iter().try_for_each(StepWrite::check)?;
        self.write(WriteSteps { lease, batch: batch.to_vec() }).await
    }

    async fn room_for(
        &self,
        key: &ActivationKey,
        intent: &StepIntent,
    ) -> Result<Begun, StoreError> {
        self.write(RoomFor { key: key.clone(), intent: intent.clone() }).await
    }

    async fn lose_steps(&self, waits_for: Option<&str>) -> Result<LostSteps, StoreError> {
        let of = waits_for.map(str::to_owned);
        // There is one writer: nobody holds anything.
        Ok(LostSteps { steps: self.write(LoseSteps { of }).await?, held: Vec::new() })
    }

    async fn grant_starts(
        &self,
        batch: &[RateRequest],
    ) -> Result<Vec<Option<Duration>>, StoreError> {
        self.write(GrantStarts(batch.to_vec())).await
    }
}

struct WriteSteps {
    lease: LeaseId,
    batch: Vec<StepWrite>,
}

#[async_trait]
impl Write for WriteSteps {
    type Reply = Vec<StepAnswer>;
    const NAME: &'static str = "write_steps";

    fn requests(&self) -> Option<usize> {
        Some(self.batch.len())
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let mut runs = Runs::new(Input::Leave);
        let mut answers = Vec::with_capacity(self.batch.len());
        for write in &self.batch {
            answers.push(write_one(tx, &mut runs, self.lease, write).await?);
        }
        Ok(answers)
    }
}

async fn write_one(
    tx: &mut Tx<'_>,
    runs: &mut Runs,
    lease: LeaseId,
    write: &StepWrite,
) -> Result<StepAnswer, StoreError> {
    let ActivationKey { run, node, scope } = &write.key;
    let Some(mut node) = nodes::load(tx, *run, node, scope).await? else {
        return Ok(StepAnswer::Fenced);
    };
    let is_ours = node.state == NodeState::Running
        && node.lease_id == Some(lease)
        && node.claim == write.claim;
    if !is_ours {
        return Ok(StepAnswer::Fenced);
    }
    let timeout = Duration::from_millis(u64::try_from(node.timeout_ms).unwrap_or_default());
    node.wake_at = Some(tx.after(timeout + DEADLINE_GRACE));
    node.suspect = false;
    node.crashes = 0;
    nodes::save(tx, &node).await?;
    let run = runs.of(tx, *run).await?;
    let mut ledger = Ledger::default();

    let mut is_news = write.begin.is_none();
    if let Some(result) = &write.finished {
        let under_way = load(tx, &write.key, None).await?;
        let made = under_way.iter().find(|made| {
            (made.step, made.attempt, made.claim) == (result.seq, result.attempt, write.claim)
        });
        is_news = made.is_some();
        if let Some(made) = made {
            finish(tx, &mut ledger, made, result).await?;
        }
    }
    let mut begun = Begun::Nothing;
    if let Some(intent) = &write.begin {
        let day = tx.time()?.format("%Y-%m-%d").to_string();
        let beginning = Beginning {
            run: &run,
            key: &write.key,
            node_kind: &node.kind,
            claim: write.claim,
            lease,
            parent: node.span_id,
            intent,
            attempt: 1,
            day: &day,
        };
        let (answer, is_new) = begin(tx, &mut ledger, beginning).await?;
        begun = answer;
        is_news |= is_new && write.finished.is_none();
    }
    if is_news {
        for event in &write.events {
            log::write(tx, &run.header, Entry::from(event)).await?;
        }
    }
    ledger.save(tx, &run, &write.key).await?;
    Ok(StepAnswer::Written(begun))
}

/// Begins a step, and says whether that is new: not what a call has done whose reply was lost.
async fn begin(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger,
    beginning: Beginning<'_>,
) -> Result<(Begun, bool), StoreError> {
    let Beginning { intent, key, claim, .. } = beginning;
    let tries = load(tx, key, Some(intent.seq)).await?;
    let is_first = is_first(&tries);
    let attempt = tries.last().map_or(1, |latest| latest.attempt + 1);
    let new = Beginning { attempt, ..beginning };
    let Some(latest) = tries.last() else {
        return make_or_ask(tx, ledger, new, &tries, is_first).await;
    };
    let is_other = latest.digest != intent.digest;
    match latest.status {
        StepStatus::Refused | StepStatus::Lost => {
            make_or_ask(tx, ledger, new, &tries, is_first).await
        }
        StepStatus::Started if latest.claim < claim || latest.span != intent.span => {
            make_or_ask(tx, ledger, new, &tries, is_first).await
        }
        StepStatus::Started => {
            let lost = lost_to(tx, latest).await?;
            Ok((Begun::Started { attempt: latest.attempt, lost }, false))
        }
        StepStatus::Pending | StepStatus::Approved if is_other => {
            Ok((Begun::Over(latest.status), false))
        }
        StepStatus::Pending if latest.expires_at.is_some_and(|at| at <= tx.now) => {
            expire(tx, latest).await?;
            Ok((Begun::Over(StepStatus::Denied), false))
        }
        StepStatus::Pending => Ok((Begun::Pending, false)),
        StepStatus::Approved => {
            let again = Beginning { attempt: latest.attempt, ..new };
            make(tx, ledger, again, is_first, true).await
        }
        StepStatus::Succeeded | StepStatus::Failed | StepStatus::Denied => {
            Ok((Begun::Over(latest.status), false))
        }
    }
}

/// Whether none of these tries counts as a step.
fn is_first(tries: &[Try]) -> bool {
    !tries.iter().any(|it| {
        !matches!(it.status, StepStatus::Pending | StepStatus::Approved | StepStatus::Denied)
    })
}

/// Makes a new try, or waits for a decision about it.
async fn make_or_ask(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger,
    new: Beginning<'_>,
    tries: &[Try],
    is_first: bool,
) -> Result<(Begun, bool), StoreError> {
    let was_allowed = tries.iter().any(|it| {
        it.decided_by.is_some() && it.status != StepStatus::Denied && it.digest == new.intent.digest
    });
    match new.intent.decision_within {
        Some(within) if !was_allowed => {
            new.insert(tx, Some(tx.after(within))).await?;
            Ok((Begun::Pending, true))
        }
        _ => make(tx, ledger, new, is_first, false).await,
    }
}

/// Makes a step, if its budgets have room for it.
async fn make(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger,
    step: Beginning<'_>,
    is_first: bool,
    was_approved: bool,
) -> Result<(Begun, bool), StoreError> {
    let StepIntent { reservation, .. } = step.intent;
    let wish = step.intent.wish(is_first);
    match judged(tx, ledger, &wish, step.run, step.day).await? {
        Begun::Nothing => {}
        refused => return Ok((refused, false)),
    }
    let under_way = load(tx, step.key, None).await?;
    let left = under_way.iter().filter(|made| {
        made.claim < step.claim || (made.step == step.intent.seq && made.span != step.intent.span)
    });
    let mut lost = Vec::new();
    for made in left {
        lost.push(lose(tx, ledger, made).await?);
    }
    match was_approved {
        true => step.start(tx).await?,
        false => step.insert(tx, None).await?,
    }
    let reserved = match reservation {
        Some(_) => Reserved { nanos: wish.nanos.unwrap_or_default(), tokens: wish.tokens },
        None => Reserved::default(),
    };
    let Run { header, .. } = step.run;
    let whose = (&*header.identity.organization, header.id, step.day);
    ledger.reserve(tx, whose, reserved, wish.steps).await?;
    Ok((Begun::Started { attempt: step.attempt, lost }, true))
}

/// What the budgets of a run say of a wish: nothing where they have room for it.
async fn judged(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger,
    wish: &Wish,
    run: &Run,
    day: &str,
) -> Result<Begun, StoreError> {
    Ok(match judge(wish, &ledger.standings(tx, run, day).await?) {
        Verdict::Granted => Begun::Nothing,
        Verdict::Contended => Begun::Contended,
        Verdict::Exhausted(exhausted) => {
            let row = sqlx::query("SELECT on_exhausted FROM runs WHERE id = ?1");
            let row = tx.fetch_optional(row.bind(run.header.id.to_string())).await?;
            let way = row.as_ref().map(step_views::on_exhausted).transpose()?.unwrap_or_default();
            Begun::Exhausted(exhausted, way)
        }
        Verdict::PriceUnknown => Begun::PriceUnknown,
    })
}

struct RoomFor {
    key: ActivationKey,
    intent: StepIntent,
}

#[async_trait]
impl Write for RoomFor {
    type Reply = Begun;
    const NAME: &'static str = "room_for";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let mut runs = Runs::new(Input::Leave);
        let run = runs.of(tx, self.key.run).await?;
        let tries = load(tx, &self.key, Some(self.intent.seq)).await?;
        let wish = self.intent.wish(is_first(&tries));
        let day = tx.time()?.format("%Y-%m-%d").to_string();
        // Nothing of it is saved.
        judged(tx, &mut Ledger::default(), &wish, &run, &day).await
    }
}

struct LoseSteps {
    /// Whose, unless everybody's.
    of: Option<String>,
}

#[async_trait]
impl Write for LoseSteps {
    type Reply = Vec<LostStep>;
    const NAME: &'static str = "lose_steps";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let mut ledger = Ledger::default();
        let mut lost = Vec::new();
        for made in load_stranded(tx, self.of.as_deref(), LOST_STEPS_MAX).await? {
            lost.push(lose(tx, &mut ledger, &made).await?);
        }
        ledger.save_quietly(tx).await?;
        Ok(lost)
    }
}

struct GrantStarts(Vec<RateRequest>);

#[async_trait]
impl Write for GrantStarts {
    type Reply = Vec<Option<Duration>>;
    const NAME: &'static str = "grant_starts";

    fn requests(&self) -> Option<usize> {
        Some(self.0.len())
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let mut starts = Vec::with_capacity(self.0.len());
        for request in &self.0 {
            let row = tx
                .fetch_optional(
                    sqlx::query(
                        "SELECT requests_at, tokens_at FROM rate_buckets WHERE provider = ?1",
                    )
                    .bind(&*request.provider),
                )
                .await?;
            let mut bucket = RateBucket::default();
            if let Some(row) = row {
                bucket.requests_at = row.integer("requests_at")?.unwrap_or_default();
                bucket.tokens_at = row.integer("tokens_at")?.unwrap_or_default();
            }
            let start = bucket.take(tx.now, request.share());
            tx.execute(
                sqlx::query(
                    "INSERT OR REPLACE INTO rate_buckets (provider, requests_at, tokens_at) VALUES (?1, ?2, ?3)",
                )
                .bind(&*request.provider)
                .bind(bucket.requests_at)
                .bind(bucket.tokens_at),
            )
            .await?;
            starts.push(start.map(|at| Duration::from_micros(at.unsigned_abs())));
        }
        Ok(starts)
    }
}
