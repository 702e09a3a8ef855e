//! Accepting runs.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use super::event_logs::Logging;
use super::rows::{get, place};
use super::statement::{rows, statement};
use super::{PostgresStore, store_error};
use crate::domain::ids::{RunId, VersionId};
use crate::domain::trace::{SpanId, TraceId, TraceState};
use crate::store::StoreError;
use crate::store::engine::NodeSpec;
use crate::store::log_entry::{Entry, LoggedRun};
use crate::store::row_values::BudgetValues;
use crate::store::rows::count;
use crate::store::runs::{Acceptance, NewRun};
use crate::store::timing::{FIRST_WAKE, millis};

statement! {
    /// Accepts a batch of runs.
    struct AcceptRuns<'a> = "sql/accept.sql" {
        /// One for each run, in order.
        runs: Vec<RunRow<'a>>,
        entries: Vec<EntryRow<'a>>,
        /// Of the entry nodes.
        first_wake_ms: i64,
    }
}

static ACCEPT: Logging = Logging::of_known(AcceptRuns::text);
/// The same without what only a version needs that was asked for by its number: almost no run is of one.
static ACCEPT_LATEST: Logging = Logging::of_known(text_for_latest);

/// Begins a part of the statement that is there for versions that were asked for by their numbers.
const NAMED: &str = "-- named: begin\n";
/// Ends it.
const NAMED_ENDS: &str = "-- named: end\n";

/// The text for batches in which no version was asked for by its number, always the same one.
fn text_for_latest() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let parts = AcceptRuns::text().split(NAMED);
        parts.map(|part| part.split_once(NAMED_ENDS).map_or(part, |(_, kept)| kept)).collect()
    })
}

rows! {
    /// A run.
    struct RunRow<'a> {
        id: RunId,
        organization_id: &'a str,
        workspace_id: &'a str,
        user_id: &'a str,
        workflow: &'a str,
        /// Must still be the latest one, unless it was asked for by its number.
        version_id: VersionId,
        pinned: bool,
        input: &'a str,
        step_mode: bool,
        trace_id: TraceId,
        publish_span_id: SpanId,
        root_span_id: SpanId,
        trace_flags: i16,
        trace_state: Option<&'a str>,
        /// What `run.accepted` is logged under.
        request_span_id: SpanId,
        idempotency_key: Option<&'a str>,
        idempotency_digest: Option<&'a [u8]>,
        max_nanos: Option<i64>,
        max_tokens: Option<i64>,
        max_steps: Option<i64>,
        on_exhausted: Option<&'a str>,
        deadline_ms: Option<i64>,
        deadline_at: Option<DateTime<Utc>>,
    }
}

rows! {
    /// An entry node of a run.
    struct EntryRow<'a> {
        run_id: RunId,
        node_key: &'a str,
        scope: &'a str,
        kind: &'a str,
        timeout_ms: i64,
        publish_span_id: SpanId,
    }
}

impl<'a> AcceptRuns<'a> {
    fn of(batch: &'a [NewRun]) -> Self {
        let entries = batch
            .iter()
            .flat_map(|run| run.entries.iter().map(|entry| EntryRow::of(run.id, entry)));
        Self {
            runs: batch.iter().map(RunRow::of).collect(),
            entries: entries.collect(),
            first_wake_ms: millis(FIRST_WAKE),
        }
    }
}

impl<'a> RunRow<'a> {
    fn of(run: &'a NewRun) -> Self {
        let budget = BudgetValues::of(&run.budget);
        Self {
            id: run.id,
            organization_id: &run.identity.organization,
            workspace_id: &run.identity.workspace,
            user_id: &run.identity.user,
            workflow: &run.workflow,
            version_id: run.version_id,
            pinned: run.pinned,
            input: &run.input,
            step_mode: run.step_mode,
            trace_id: run.trace.trace,
            publish_span_id: run.trace.publish,
            root_span_id: run.trace.root,
            trace_flags: i16::from(run.trace.flags),
            trace_state: run.trace.state.as_ref().map(TraceState::as_str),
            request_span_id: run.request_span,
            idempotency_key: run.idempotency.as_ref().map(|sent| sent.key.as_str()),
            idempotency_digest: run.idempotency.as_ref().map(|sent| &sent.digest[..]),
            max_nanos: budget.max_nanos,
            max_tokens: budget.max_tokens,
            max_steps: budget.max_steps,
            on_exhausted: budget.on_exhausted,
            deadline_ms: run.budget.deadline_in.map(millis),
            deadline_at: run.budget.deadline_at,
        }
    }
}

impl<'a> EntryRow<'a> {
    fn of(run_id: RunId, spec: &'a NodeSpec) -> Self {
        Self {
            run_id,
            node_key: &spec.node,
            scope: &spec.scope,
            kind: spec.kind,
            timeout_ms: millis(spec.timeout),
            publish_span_id: spec.publish_span,
        }
    }
}

impl PostgresStore {
    pub(super) async fn accept(&self, batch: &[NewRun]) -> Result<Vec<Acceptance>, StoreError> {
        let is_named = batch.iter().any(|run| run.pinned);
        let statement = if is_named { &ACCEPT } else { &ACCEPT_LATEST };
        let accepting = AcceptRuns::of(batch).query(statement.text(self))?;
        let accepted = self.fetch_known(accepting, self.pool.serving(batch.len(), "accept"));
        let (rows, untold) = accepted.await?;
        let mut outcomes: Vec<Option<Acceptance>> = vec![None; batch.len()];
        // What is in the way of a run that no other run is in the way of.
        let mut refusals: Vec<Option<Acceptance>> = vec![None; batch.len()];
        for row in &rows {
            let place = place(row)?;
            if !get::<bool>(row, "fresh")? {
                let is_archived = get::<Option<bool>>(row, "archived")?.unwrap_or(false);
                let refusal = if is_archived { Acceptance::Archived } else { Acceptance::Stale };
                refusals[place] = Some(refusal);
            }
            if get::<Option<i32>>(row, "version")?.is_some() {
                outcomes[place] = Some(Acceptance::Accepted {
                    version: count(row, "version")?,
                    created_at: get(row, "created_at")?,
                });
            }
        }
        if let Some(untold) = untold {
            untold.tell(Ok(logged(batch, &outcomes)));
        }
        if outcomes.iter().any(Option::is_none) {
            self.explain_refusals(batch, refusals, &mut outcomes).await?;
        }
        outcomes
            .into_iter()
            .collect::<Option<Vec<_>>>()
            // It was there for the insert and gone for the explanation.
            .ok_or_else(|| StoreError::Unavailable("a conflicting run vanished".into()))
    }

    /// Says why runs were not inserted. A statement of its own: the row that is in the way may be
    /// younger than the insert's snapshot.
    async fn explain_refusals(
        &self,
        batch: &[NewRun],
        mut refusals: Vec<Option<Acceptance>>,
        outcomes: &mut [Option<Acceptance>],
    ) -> Result<(), StoreError> {
        let open: Vec<usize> =
            (0..batch.len()).filter(|place| outcomes[*place].is_none()).collect();
        let keyed = || {
            open.iter().filter_map(|place| {
                batch[*place].idempotency.as_ref().map(|key| (&batch[*place], key))
            })
        };
        let rows = sqlx::query(include_str!("sql/explain_refusals.sql"))
            .bind(open.iter().map(|place| batch[*place].id.0).collect::<Vec<_>>())
            .bind(keyed().map(|(run, _)| run.identity.organization.to_string()).collect::<Vec<_>>())
            .bind(keyed().map(|(run, _)| run.identity.workspace.to_string()).collect::<Vec<_>>())
            .bind(keyed().map(|(_, key)| key.key.as_str()).collect::<Vec<_>>())
            .fetch_all(self.pool.named("explain_refusals"))
            .await
            .map_err(store_error)?;

        let mut by_id: HashMap<Uuid, usize> = HashMap::new();
        let mut by_key: HashMap<(String, String, String), usize> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            by_id.insert(get(row, "id")?, index);
            if let Some(key) = get::<Option<String>>(row, "idempotency_key")? {
                by_key
                    .insert((get(row, "organization_id")?, get(row, "workspace_id")?, key), index);
            }
        }
        for place in open {
            let run = &batch[place];
            let same = by_id.get(&run.id.0).map(|index| &rows[*index]);
            let keyed = run.idempotency.as_ref().and_then(|idempotency| {
                let identity = &run.identity;
                let key = (
                    identity.organization.to_string(),
                    identity.workspace.to_string(),
                    idempotency.key.clone(),
                );
                by_key.get(&key).map(|index| (&rows[*index], idempotency))
            });
            outcomes[place] = match (same, keyed) {
                // Our own insert of before, whose reply was lost.
                (Some(row), _) => Some(Acceptance::Accepted {
                    version: count(row, "version")?,
                    created_at: get(row, "created_at")?,
                }),
                (None, Some((row, idempotency))) => {
                    let digest: Option<&[u8]> =
                        row.try_get("idempotency_digest").map_err(store_error)?;
                    Some(if digest == Some(&idempotency.digest[..]) {
                        Acceptance::Repeated(RunId(get(row, "id")?))
                    } else {
                        Acceptance::KeyReused
                    })
                }
                (None, None) => refusals[place].take(),
            };
        }
        Ok(())
    }
}

/// What the statement has written to the log of those that it has accepted.
fn logged(batch: &[NewRun], outcomes: &[Option<Acceptance>]) -> Vec<(LoggedRun, Entry)> {
    let accepted = batch.iter().zip(outcomes).filter_map(|(run, outcome)| match outcome {
        Some(Acceptance::Accepted { version, .. }) => {
            let logged = LoggedRun {
                id: run.id,
                identity: run.identity.clone(),
                workflow: Arc::clone(&run.workflow),
                trace: run.trace.trace,
                root: run.trace.root,
            };
            Some((logged, Entry::run_accepted(&run.workflow, *version, run.request_span)))
        }
        _ => None,
    });
    accepted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_latest_versions_are_accepted_without_a_look_at_drafts() {
        let (whole, latest) = (AcceptRuns::text(), text_for_latest());
        assert_eq!(whole.matches(NAMED).count(), whole.matches(NAMED_ENDS).count());
        assert!(whole.contains("workflow_drafts") && whole.matches(NAMED).count() == 3);
        for foreign in ["workflow_drafts", NAMED, NAMED_ENDS] {
            assert!(!latest.contains(foreign), "{latest}");
        }
        let ends = |text: &str| text[text.len() - 200..].to_owned();
        assert_eq!(ends(latest), ends(whole));
    }
}
