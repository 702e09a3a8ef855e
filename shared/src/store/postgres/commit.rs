//! Committing what activations did.

use sqlx::postgres::PgRow;

use super::rows::{get, place};
use super::{PostgresStore, store_error};
use crate::domain::ids::LeaseId;
use crate::store::StoreError;
use crate::store::engine::{
    Activated, Commit, CommitFrom, Committed, JoinTokens, NewEvent, NewRow, NewRowState, RunEffect,
};
use crate::store::row_values::{RowValues, failure_json};
use crate::store::rows::{count, ended, parse, parse_optional};
use crate::store::timing::{DEADLINE_GRACE, FIRST_WAKE, LONG_WAIT, RECHECK_AFTER, millis};

/// The parts of a batch, each with the number (from 1) of the commit that it belongs to.
struct Parts<'a> {
    rows: Vec<(i64, &'a NewRow, RowValues<'a>)>,
    tokens: Vec<(i64, &'a JoinTokens)>,
    effects: Vec<(i64, &'static str, Option<&'a str>, Option<String>)>,
    events: Vec<(i64, bool, &'a NewEvent)>,
}

impl<'a> Parts<'a> {
    fn of(batch: &'a [Commit]) -> Self {
        let mut parts =
            Self { rows: Vec::new(), tokens: Vec::new(), effects: Vec::new(), events: Vec::new() };
        for (commit, ord) in batch.iter().zip(1_i64..) {
            parts
                .rows
                .extend(commit.rows.iter().map(|row| (ord, row, RowValues::of_row(&row.state))));
            parts.tokens.extend(commit.tokens.iter().map(|tokens| (ord, tokens)));
            parts.events.extend(commit.events.iter().map(|event| (ord, false, event)));
            match &commit.run {
                RunEffect::None => {}
                RunEffect::Succeed { output, events } => {
                    parts.effects.push((ord, "succeed", Some(output), None));
                    parts.events.extend(events.iter().map(|event| (ord, true, event)));
                }
                RunEffect::Fail(failure) => {
                    parts.effects.push((ord, "fail", None, Some(failure_json(failure))));
                }
            }
        }
        parts
    }
}

impl PostgresStore {
    pub(super) async fn commit_batch(
        &self,
        lease: LeaseId,
        batch: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        let mut outcomes = vec![Committed::default(); batch.len()];
        read_outcomes(&self.run_commit(lease, batch).await?, &mut outcomes)?;
        let unflipped: Vec<_> = (1_i64..)
            .zip(batch.iter().zip(&outcomes))
            .filter(|(_, (_, outcome))| !outcome.flipped)
            .map(|(ord, (commit, _))| (ord, commit))
            .collect();
        if !unflipped.is_empty() {
            read_outcomes(&self.resolve(lease, &unflipped).await?, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    async fn run_commit(&self, lease: LeaseId, batch: &[Commit]) -> Result<Vec<PgRow>, StoreError> {
        let main: Vec<_> =
            batch.iter().map(|commit| (commit, RowValues::of_ending(&commit.ending))).collect();
        let Parts { rows, tokens, effects, events } = Parts::of(batch);
        sqlx::query(include_str!("sql/commit.sql"))
            .bind(lease.0)
            .bind(millis(DEADLINE_GRACE))
            .bind(millis(FIRST_WAKE))
            // The rows that flip.
            .bind(main.iter().map(|(commit, _)| commit.key.run.0).collect::<Vec<_>>())
            .bind(main.iter().map(|(commit, _)| &*commit.key.node).collect::<Vec<_>>())
            .bind(main.iter().map(|(commit, _)| &*commit.key.scope).collect::<Vec<_>>())
            .bind(main.iter().map(|(commit, _)| claim_number(commit)).collect::<Vec<_>>())
            .bind(main.iter().map(|(_, values)| values.state.as_str()).collect::<Vec<_>>())
            .bind(main.iter().map(|(_, values)| values.input).collect::<Vec<_>>())
            .bind(main.iter().map(|(_, values)| values.output).collect::<Vec<_>>())
            .bind(main.iter().map(|(_, values)| values.error_json()).collect::<Vec<_>>())
            .bind(main.iter().map(|(_, values)| millis(values.delay)).collect::<Vec<_>>())
            // New rows.
            .bind(rows.iter().map(|(ord, ..)| *ord).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row, _)| &*row.spec.node).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row, _)| &*row.spec.scope).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row, _)| row.spec.kind).collect::<Vec<_>>())
            .bind(rows.iter().map(|(.., values)| values.state.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row, _)| millis(row.spec.timeout)).collect::<Vec<_>>())
            .bind(
                rows.iter()
                    .map(|(_, row, _)| row.spec.publish_span.to_string())
                    .collect::<Vec<_>>(),
            )
            .bind(
                rows.iter()
                    .map(|(_, row, _)| row.span.map(|span| span.to_string()))
                    .collect::<Vec<_>>(),
            )
            .bind(rows.iter().map(|(.., values)| values.input).collect::<Vec<_>>())
            .bind(rows.iter().map(|(.., values)| values.output).collect::<Vec<_>>())
            .bind(rows.iter().map(|(.., values)| values.error_json()).collect::<Vec<_>>())
            .bind(rows.iter().map(|(.., values)| millis(values.delay)).collect::<Vec<_>>())
            // Tokens for joins.
            .bind(tokens.iter().map(|(ord, _)| *ord).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, join)| &*join.spec.node).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, join)| &*join.spec.scope).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, join)| join.spec.kind).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, join)| millis(join.spec.timeout)).collect::<Vec<_>>())
            .bind(
                tokens
                    .iter()
                    .map(|(_, join)| join.spec.publish_span.to_string())
                    .collect::<Vec<_>>(),
            )
            .bind(tokens.iter().map(|(_, join)| number(join.fan_in)).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, join)| number(join.arrived)).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, join)| number(join.live)).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, join)| join.always).collect::<Vec<_>>())
            .bind(
                tokens
                    .iter()
                    .map(|(_, join)| join.keep.map(|span| span.to_string()))
                    .collect::<Vec<_>>(),
            )
            // What it means for runs.
            .bind(effects.iter().map(|(ord, ..)| *ord).collect::<Vec<_>>())
            .bind(effects.iter().map(|(_, effect, ..)| *effect).collect::<Vec<_>>())
            .bind(effects.iter().map(|(_, _, output, _)| *output).collect::<Vec<_>>())
            .bind(effects.iter().map(|(.., error)| error.as_deref()).collect::<Vec<_>>())
            // Log rows.
            .bind(events.iter().map(|(ord, ..)| *ord).collect::<Vec<_>>())
            .bind(events.iter().map(|(_, at_end, _)| *at_end).collect::<Vec<_>>())
            .bind(events.iter().map(|(.., event)| event.node.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|(.., event)| event.scope.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|(.., event)| event.level).collect::<Vec<_>>())
            .bind(events.iter().map(|(.., event)| event.event).collect::<Vec<_>>())
            .bind(events.iter().map(|(.., event)| event.message.as_str()).collect::<Vec<_>>())
            .bind(events.iter().map(|(.., event)| event.data.as_deref()).collect::<Vec<_>>())
            .bind(
                events
                    .iter()
                    .map(|(.., event)| event.span.map(|span| span.to_string()))
                    .collect::<Vec<_>>(),
            )
            .bind(main.iter().map(|(commit, _)| skip_token(commit)).collect::<Vec<_>>())
            .bind(millis(LONG_WAIT))
            .bind(millis(RECHECK_AFTER))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
    }

    /// Finds out which of these commits are repetitions of ones whose reply was lost, and what those had
    /// done.
    async fn resolve(
        &self,
        lease: LeaseId,
        commits: &[(i64, &Commit)],
    ) -> Result<Vec<PgRow>, StoreError> {
        let each = || commits.iter().map(|(_, commit)| *commit);
        let values = |commit: &Commit| RowValues::of_ending(&commit.ending).state.as_str();
        let succeeds = |commit: &Commit| matches!(commit.run, RunEffect::Succeed { .. });
        let specs: Vec<_> = commits
            .iter()
            .flat_map(|(ord, commit)| {
                let rows = commit.rows.iter().map(|row| {
                    let claimed = row.state == NewRowState::Claimed;
                    (*ord, &row.spec, row.span.filter(|_| claimed))
                });
                rows.chain(commit.tokens.iter().map(|join| (*ord, &join.spec, join.keep)))
            })
            .collect();
        sqlx::query(include_str!("sql/resolve.sql"))
            .bind(lease.0)
            .bind(commits.iter().map(|(ord, _)| *ord).collect::<Vec<_>>())
            .bind(each().map(|commit| commit.key.run.0).collect::<Vec<_>>())
            .bind(each().map(|commit| &*commit.key.node).collect::<Vec<_>>())
            .bind(each().map(|commit| &*commit.key.scope).collect::<Vec<_>>())
            .bind(each().map(claim_number).collect::<Vec<_>>())
            .bind(each().map(values).collect::<Vec<_>>())
            .bind(each().map(succeeds).collect::<Vec<_>>())
            .bind(specs.iter().map(|(ord, ..)| *ord).collect::<Vec<_>>())
            .bind(specs.iter().map(|(_, spec, _)| &*spec.node).collect::<Vec<_>>())
            .bind(specs.iter().map(|(_, spec, _)| &*spec.scope).collect::<Vec<_>>())
            .bind(
                specs.iter().map(|(_, spec, _)| spec.publish_span.to_string()).collect::<Vec<_>>(),
            )
            .bind(specs.iter().map(|(.., span)| span.map(|s| s.to_string())).collect::<Vec<_>>())
            .bind(each().map(skip_token).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
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

fn claim_number(commit: &Commit) -> Option<i32> {
    match commit.from {
        CommitFrom::Running { claim } => Some(number(claim)),
        CommitFrom::Skipping { .. } => None,
    }
}

fn skip_token(commit: &Commit) -> Option<String> {
    match commit.from {
        CommitFrom::Running { .. } => None,
        CommitFrom::Skipping { token } => Some(token.to_string()),
    }
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
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
