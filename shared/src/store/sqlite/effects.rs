//! What commits mean for their runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::flipped::Flipped;
use super::writer::Tx;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::store::StoreError;
use crate::store::engine::RunChange;
use crate::store::row_values::failure_json;

/// When the sweeper rechecks a failed run. Whoever commits a failure finishes the run at once; this is
/// for the case that it dies first.
const FINISH_WAKE: Duration = Duration::from_secs(2);

/// What a batch has done to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The commit at this index has ended it.
    Succeeded(usize),
    /// It is to end as failed.
    Failing,
}

/// Changes the runs of those commits that mean something for them. One commit decides about a run: of two
/// in one batch, the one that fails it. Returns what became of the runs that changed.
pub(super) async fn apply(
    tx: &mut Tx<'_>,
    flipped: &[Flipped<'_>],
) -> Result<BTreeMap<RunId, Effect>, StoreError> {
    let mut deciding: BTreeMap<RunId, &Flipped<'_>> = BTreeMap::new();
    for commit in flipped.iter().filter(|commit| commit.commit.run != RunChange::None) {
        let first = deciding.entry(commit.run.header.id).or_insert(commit);
        let fails = |flipped: &Flipped<'_>| matches!(flipped.commit.run, RunChange::Fail(_));
        if fails(commit) && !fails(first) {
            *first = commit;
        }
    }
    let mut effects = BTreeMap::new();
    for commit in deciding.into_values().filter(|commit| !commit.run.is_over()) {
        let id = commit.run.header.id;
        let effect = match &commit.commit.run {
            RunChange::None => continue,
            RunChange::Succeed { output, .. } => {
                succeed_run(tx, id, output).await?;
                Effect::Succeeded(commit.place)
            }
            RunChange::Fail(failure) => {
                fail_run(tx, id, failure).await?;
                Effect::Failing
            }
        };
        effects.insert(id, effect);
    }
    Ok(effects)
}

async fn succeed_run(tx: &mut Tx<'_>, id: RunId, output: &str) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "UPDATE runs SET state = 'succeeded', output = ?2, error = NULL, ended_at = ?3, wake_at = NULL WHERE id = ?1",
        )
        .bind(id.to_string())
        .bind(output)
        .bind(tx.now),
    )
    .await?;
    Ok(())
}

async fn fail_run(tx: &mut Tx<'_>, id: RunId, failure: &Failure) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "UPDATE runs SET error = ?2, cancel_requested_at = ?3, cancel_state = 'failed', wake_at = ?4 WHERE id = ?1",
        )
        .bind(id.to_string())
        .bind(failure_json(failure))
        .bind(tx.now)
        .bind(tx.after(FINISH_WAKE)),
    )
    .await?;
    Ok(())
}
