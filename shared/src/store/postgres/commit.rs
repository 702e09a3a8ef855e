//! Committing what activations did.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::postgres::PgRow;

use super::commit_rows::CommitRows;
use super::event_logs::Logging;
use super::resolve::ResolveCommits;
use super::rows::{get, place};
use super::{PostgresStore, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::outcome::AttemptOutcome;
use crate::domain::state::NodeState;
use crate::store::StoreError;
use crate::store::engine::{Activated, Commit, Committed, END_KIND, NewEvent, RunChange};
use crate::store::log_entry::{Entry, LoggedRun};
use crate::store::rows::{count, ended, identity, parse, parse_optional, text};

static COMMIT: Logging = Logging::of_known(CommitRows::text);

impl PostgresStore {
    pub(super) async fn commit_batch(
        &self,
        lease: LeaseId,
        batch: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        let mut outcomes = vec![Committed::default(); batch.len()];
        let applying = CommitRows::of(lease, batch).query(COMMIT.text(self))?;
        let applied = self.fetch_known(applying, self.pool.serving(batch.len(), "commit"));
        let (rows, untold) = applied.await?;
        read_outcomes(&rows, &mut outcomes)?;
        if let Some(untold) = untold {
            untold.tell(logged(&rows, batch, &outcomes));
        }
        // Somebody else owns the row, or this is a repetition of a commit whose reply was lost.
        let unflipped: Vec<_> = (1..)
            .zip(batch.iter().zip(&outcomes))
            .filter(|(_, (_, outcome))| !outcome.flipped)
            .map(|(ord, (commit, _))| (ord, commit))
            .collect();
        if !unflipped.is_empty() {
            let resolved = ResolveCommits::of(lease, &unflipped);
            let resolved = resolved
                .query(ResolveCommits::text())?
                .fetch_all(self.pool.serving(unflipped.len(), "resolve"));
            read_outcomes(&resolved.await.map_err(store_error)?, &mut outcomes)?;
        }
        Ok(outcomes)
    }
}

/// Reads what `commit.sql` or `resolve.sql` reported.
fn read_outcomes(rows: &[PgRow], outcomes: &mut [Committed]) -> Result<(), StoreError> {
    for row in rows {
        let outcome = &mut outcomes[place(row)?];
        match get::<&str>(row, "what")? {
            "flipped" => {
                outcome.flipped = true;
                outcome.finishing = get(row, "finishing")?;
            }
            "activated" => outcome.activated.push(activated(row)?),
            "ended" => outcome.ended = Some(ended(row, None)?),
            other => return Err(StoreError::Corrupt(format!("commit reported {other:?}"))),
        }
    }
    Ok(())
}

/// What the statement has written to the log.
fn logged(
    rows: &[PgRow],
    batch: &[Commit],
    outcomes: &[Committed],
) -> Result<Vec<(LoggedRun, Entry)>, StoreError> {
    let mut flipped = BTreeMap::new();
    for row in rows {
        if get::<&str>(row, "what")? == "flipped" {
            let place = place(row)?;
            let run = logged_run(row)?;
            let cut = cut(row, &batch[place])?;
            flipped.insert(place, (run, cut, Vec::new()));
        }
    }
    let mut of_each = vec![0; batch.len()];
    for row in rows {
        if get::<&str>(row, "what")? == "activated" {
            let place = place(row)?;
            let activated = &outcomes[place].activated[of_each[place]];
            of_each[place] += 1;
            if let Some((run, _, entries)) = flipped.get_mut(&place) {
                entries.extend(of_activated(run.id, get(row, "kind")?, activated));
            }
        }
    }
    let mut logged = Vec::with_capacity(2 * flipped.len());
    for (place, (run, cut, mut activated)) in flipped {
        let (commit, outcome) = (&batch[place], &outcomes[place]);
        let at_end: &[NewEvent] = match &commit.run {
            RunChange::Succeed { events, .. } if outcome.ended.is_some() => events,
            _ => &[],
        };
        activated.sort_by(|a, b| (&a.node, &a.scope).cmp(&(&b.node, &b.scope)));
        let told = commit.events.iter().chain(at_end).map(Entry::from);
        let entries = told.chain(cut).chain(activated);
        logged.extend(entries.map(|entry| (run.clone(), entry)));
    }
    Ok(logged)
}

/// What is logged of a row that wanted to go on later and was cancelled instead.
fn cut(row: &PgRow, commit: &Commit) -> Result<Option<Entry>, StoreError> {
    let kind: &str = get(row, "kind")?;
    let is_cancelled = parse::<NodeState>(row, "node_state")? == NodeState::Cancelled;
    let is_cut = is_cancelled && *commit.outcome != AttemptOutcome::Cancelled && kind != END_KIND;
    let span = parse_optional(row, "node_span_id")?;
    Ok(is_cut.then(|| Entry::node_cancelled(kind, &commit.key, span)))
}

/// What is logged of a row that was activated, if anything is.
fn of_activated(run: RunId, kind: &str, row: &Activated) -> Option<Entry> {
    let (node, scope) = (Arc::clone(&row.node), Arc::clone(&row.scope));
    let key = ActivationKey { run, node, scope };
    match row.state {
        _ if kind == END_KIND => None,
        NodeState::Running => Some(Entry::node_started(kind, &key, 1, row.span)),
        NodeState::Cancelled => Some(Entry::node_cancelled(kind, &key, row.span)),
        _ => None,
    }
}

fn logged_run(row: &PgRow) -> Result<LoggedRun, StoreError> {
    Ok(LoggedRun {
        id: RunId(get(row, "id")?),
        identity: identity(row)?,
        workflow: Arc::from(text(row, "workflow")?),
        trace: parse(row, "trace_id")?,
        root: parse(row, "root_span_id")?,
    })
}

fn activated(row: &PgRow) -> Result<Activated, StoreError> {
    Ok(Activated {
        node: get::<&str>(row, "node_key")?.into(),
        scope: get::<&str>(row, "scope")?.into(),
        state: parse(row, "node_state")?,
        claim: count(row, "claim")?,
        publish_span: parse(row, "node_publish_span_id")?,
        span: parse_optional(row, "node_span_id")?,
    })
}
