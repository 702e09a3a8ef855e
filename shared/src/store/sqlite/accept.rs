//! Accepting runs.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::log;
use super::nodes::{self, NodeRow};
use super::rows::get;
use super::writer::{Tx, Write};
use crate::domain::run::RunHeader;
use crate::domain::trace::TraceState;
use crate::store::StoreError;
use crate::store::log_entry::Entry;
use crate::store::row_values::BudgetValues;
use crate::store::rows::{count, parse, time};
use crate::store::runs::{Acceptance, NewRun};
use crate::store::timing::FIRST_WAKE;

/// Accepts a batch of runs.
pub(super) struct Accept {
    pub(super) batch: Vec<NewRun>,
}

#[async_trait]
impl Write for Accept {
    type Reply = Vec<Acceptance>;
    const NAME: &'static str = "accept";

    fn requests(&self) -> Option<usize> {
        Some(self.batch.len())
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        // In the order of their ids, so that of two runs with the same key the older one wins.
        let mut places: Vec<usize> = (0..self.batch.len()).collect();
        places.sort_by_key(|place| self.batch[*place].id);
        let mut outcomes = vec![Acceptance::Stale; self.batch.len()];
        for place in places {
            outcomes[place] = accept(tx, &self.batch[place]).await?;
        }
        Ok(outcomes)
    }
}

async fn accept(tx: &mut Tx<'_>, run: &NewRun) -> Result<Acceptance, StoreError> {
    if let Some(known) = find_known(tx, run).await? {
        return Ok(known);
    }
    let found = match find_version(tx, run).await? {
        Ok(found) => found,
        Err(refusal) => return Ok(refusal),
    };
    let header = insert_run(tx, run, &found).await?;
    note_start(tx, run, &found).await?;
    insert_entries(tx, run).await?;
    let accepted = Entry::run_accepted(&run.workflow, header.version, run.request_span);
    log::write(tx, &header, accepted).await?;
    Ok(Acceptance::Accepted { version: header.version, created_at: header.created_at })
}

/// What an earlier request has made of this one, if there was one.
async fn find_known(tx: &mut Tx<'_>, run: &NewRun) -> Result<Option<Acceptance>, StoreError> {
    let same = tx
        .fetch_optional(
            sqlx::query("SELECT version, created_at FROM runs WHERE id = ?1")
                .bind(run.id.to_string()),
        )
        .await?;
    if let Some(row) = same {
        // Our own insert of before, whose reply was lost.
        return Ok(Some(Acceptance::Accepted {
            version: count(&row, "version")?,
            created_at: time(&row, "created_at")?,
        }));
    }
    let Some(idempotency) = &run.idempotency else { return Ok(None) };
    let keyed = tx
        .fetch_optional(
            sqlx::query(
                "SELECT id, idempotency_digest FROM runs
                 WHERE organization_id = ?1 AND workspace_id = ?2 AND idempotency_key = ?3",
            )
            .bind(&*run.identity.organization)
            .bind(&*run.identity.workspace)
            .bind(&idempotency.key),
        )
        .await?;
    keyed
        .map(|row| {
            let digest: Option<&[u8]> = get(&row, "idempotency_digest")?;
            Ok(if digest == Some(&idempotency.digest[..]) {
                Acceptance::Repeated(parse(&row, "id")?)
            } else {
                Acceptance::KeyReused
            })
        })
        .transpose()
}

/// The version of a run, and whether that is a draft.
struct Found {
    version: u32,
    node_count: u32,
    edge_count: u32,
    draft: bool,
}

impl Found {
    fn read(row: &SqliteRow, draft: bool) -> Result<Self, StoreError> {
        Ok(Self {
            version: count(row, "version")?,
            node_count: count(row, "node_count")?,
            edge_count: count(row, "edge_count")?,
            draft,
        })
    }
}

/// A run is of the version that its caller planned it by. Unless it was asked for by its number, it must still be the
/// latest.
async fn find_version(
    tx: &mut Tx<'_>,
    run: &NewRun,
) -> Result<Result<Found, Acceptance>, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(
                "SELECT w.archived_at IS NOT NULL AS archived, v.id, v.version, v.node_count, v.edge_count
                 FROM workflows w
                 LEFT JOIN workflow_versions v
                   ON v.id = ?4 AND v.organization_id = w.organization_id AND v.workspace_id = w.workspace_id
                      AND v.name = w.name AND (?5 OR w.latest_id = v.id)
                 WHERE w.organization_id = ?1 AND w.workspace_id = ?2 AND w.name = ?3",
            )
            .bind(&*run.identity.organization)
            .bind(&*run.identity.workspace)
            .bind(&*run.workflow)
            .bind(run.version_id.to_string())
            .bind(run.pinned),
        )
        .await?;
    let Some(row) = row else { return Ok(Err(Acceptance::Stale)) };
    if get(&row, "archived")? {
        return Ok(Err(Acceptance::Archived));
    }
    if get::<Option<&str>>(&row, "id")?.is_some() {
        return Found::read(&row, false).map(Ok);
    }
    let draft = if run.pinned { find_draft(tx, run).await? } else { None };
    Ok(draft.ok_or(Acceptance::Stale))
}

async fn find_draft(tx: &mut Tx<'_>, run: &NewRun) -> Result<Option<Found>, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(
                "SELECT version, node_count, edge_count FROM workflow_drafts
                 WHERE id = ?4 AND organization_id = ?1 AND workspace_id = ?2 AND name = ?3",
            )
            .bind(&*run.identity.organization)
            .bind(&*run.identity.workspace)
            .bind(&*run.workflow)
            .bind(run.version_id.to_string()),
        )
        .await?;
    row.map(|row| Found::read(&row, true)).transpose()
}

/// A draft that has a run is never pruned.
async fn note_start(tx: &mut Tx<'_>, run: &NewRun, found: &Found) -> Result<(), StoreError> {
    if found.draft {
        tx.execute(
            sqlx::query(
                "UPDATE workflow_drafts SET started_at = ?2 WHERE id = ?1 AND started_at IS NULL",
            )
            .bind(run.version_id.to_string())
            .bind(tx.now),
        )
        .await?;
    }
    Ok(())
}

async fn insert_run(tx: &mut Tx<'_>, run: &NewRun, found: &Found) -> Result<RunHeader, StoreError> {
    let header = RunHeader {
        id: run.id,
        identity: run.identity.clone(),
        version_id: run.version_id,
        workflow: run.workflow.clone(),
        version: found.version,
        input: "".into(),
        step_mode: run.step_mode,
        node_count: found.node_count,
        edge_count: found.edge_count,
        trace: run.trace.clone(),
        created_at: tx.time()?,
    };
    let budget = BudgetValues::of(&run.budget);
    let deadline_at = run.budget.deadline_at.map(|at| at.timestamp_micros());
    let deadlines =
        run.budget.deadline_in.map(|time| tx.after(time)).into_iter().chain(deadline_at);
    let deadline = deadlines.min();
    tx.execute(
        sqlx::query(
            "INSERT INTO runs (id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count,
                               edge_count, state, step_mode, input, idempotency_key, idempotency_digest, trace_id,
                               publish_span_id, root_span_id, trace_flags, created_at, trace_state, max_nanos, max_tokens,
                               max_steps, on_exhausted, deadline_at, deadline_due_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'queued', ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                     ?20, ?21, ?22, ?23, ?24, ?24)",
        )
        .bind(run.id.to_string())
        .bind(&*run.identity.organization)
        .bind(&*run.identity.workspace)
        .bind(&*run.identity.user)
        .bind(run.version_id.to_string())
        .bind(&*run.workflow)
        .bind(header.version)
        .bind(header.node_count)
        .bind(header.edge_count)
        .bind(run.step_mode)
        .bind(&run.input)
        .bind(run.idempotency.as_ref().map(|idempotency| idempotency.key.as_str()))
        .bind(run.idempotency.as_ref().map(|idempotency| &idempotency.digest[..]))
        .bind(run.trace.trace.to_string())
        .bind(run.trace.publish.to_string())
        .bind(run.trace.root.to_string())
        .bind(run.trace.flags)
        .bind(tx.now)
        .bind(run.trace.state.as_ref().map(TraceState::as_str))
        .bind(budget.max_nanos)
        .bind(budget.max_tokens)
        .bind(budget.max_steps)
        .bind(budget.on_exhausted)
        .bind(deadline),
    )
    .await?;
    Ok(header)
}

async fn insert_entries(tx: &mut Tx<'_>, run: &NewRun) -> Result<(), StoreError> {
    for entry in &run.entries {
        let mut node = NodeRow::new(run.id, entry);
        node.queued_at = Some(tx.now);
        node.wake_at = Some(tx.after(FIRST_WAKE));
        nodes::insert(tx, &run.identity, &node, None).await?;
    }
    Ok(())
}
