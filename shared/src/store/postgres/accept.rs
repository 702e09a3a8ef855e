//! Accepting runs.

use std::collections::HashMap;

use sqlx::Row;
use uuid::Uuid;

use super::rows::{get, place};
use super::{PostgresStore, store_error};
use crate::domain::ids::RunId;
use crate::domain::trace::TraceState;
use crate::store::StoreError;
use crate::store::rows::count;
use crate::store::runs::{Acceptance, NewRun};
use crate::store::timing::{FIRST_WAKE, millis};

impl PostgresStore {
    pub(super) async fn accept(&self, batch: &[NewRun]) -> Result<Vec<Acceptance>, StoreError> {
        let rows = self.insert_runs(batch).await?;
        let mut outcomes: Vec<Option<Acceptance>> = vec![None; batch.len()];
        let mut fresh = vec![false; batch.len()];
        for row in &rows {
            let place = place(row)?;
            fresh[place] = get(row, "fresh")?;
            if get::<Option<i32>>(row, "version")?.is_some() {
                outcomes[place] = Some(Acceptance::Accepted {
                    version: count(row, "version")?,
                    created_at: get(row, "created_at")?,
                });
            }
        }
        if outcomes.iter().any(Option::is_none) {
            self.explain_refusals(batch, &fresh, &mut outcomes).await?;
        }
        outcomes
            .into_iter()
            .collect::<Option<Vec<_>>>()
            // It was there for the insert and gone for the explanation.
            .ok_or_else(|| StoreError::Unavailable("a conflicting run vanished".into()))
    }

    async fn insert_runs(
        &self,
        batch: &[NewRun],
    ) -> Result<Vec<sqlx::postgres::PgRow>, StoreError> {
        let each = |field: fn(&NewRun) -> String| batch.iter().map(field).collect::<Vec<_>>();
        let entries =
            || batch.iter().flat_map(|run| run.entries.iter().map(move |entry| (run.id.0, entry)));
        sqlx::query(include_str!("sql/accept.sql"))
            .bind(batch.iter().map(|run| run.id.0).collect::<Vec<_>>())
            .bind(each(|run| run.identity.organization.to_string()))
            .bind(each(|run| run.identity.workspace.to_string()))
            .bind(each(|run| run.identity.user.to_string()))
            .bind(each(|run| run.workflow.to_string()))
            .bind(batch.iter().map(|run| run.version_id.0).collect::<Vec<_>>())
            .bind(batch.iter().map(|run| run.input.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|run| run.step_mode).collect::<Vec<_>>())
            .bind(each(|run| run.trace.trace.to_string()))
            .bind(each(|run| run.trace.publish.to_string()))
            .bind(each(|run| run.trace.root.to_string()))
            .bind(batch.iter().map(|run| i16::from(run.trace.flags)).collect::<Vec<_>>())
            .bind(each(|run| run.request_span.to_string()))
            .bind(
                batch
                    .iter()
                    .map(|run| run.idempotency.as_ref().map(|idempotency| idempotency.key.as_str()))
                    .collect::<Vec<_>>(),
            )
            .bind(
                batch
                    .iter()
                    .map(|run| run.idempotency.as_ref().map(|idempotency| &idempotency.digest[..]))
                    .collect::<Vec<_>>(),
            )
            .bind(millis(FIRST_WAKE))
            .bind(entries().map(|(run, _)| run).collect::<Vec<_>>())
            .bind(entries().map(|(_, entry)| &*entry.node).collect::<Vec<_>>())
            .bind(entries().map(|(_, entry)| &*entry.scope).collect::<Vec<_>>())
            .bind(entries().map(|(_, entry)| entry.kind).collect::<Vec<_>>())
            .bind(entries().map(|(_, entry)| millis(entry.timeout)).collect::<Vec<_>>())
            .bind(entries().map(|(_, entry)| entry.publish_span.to_string()).collect::<Vec<_>>())
            .bind(
                batch
                    .iter()
                    .map(|run| run.trace.state.as_ref().map(TraceState::as_str))
                    .collect::<Vec<_>>(),
            )
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
    }

    /// Says why runs were not inserted. A statement of its own: the row that is in the way may be
    /// younger than the insert's snapshot.
    async fn explain_refusals(
        &self,
        batch: &[NewRun],
        fresh: &[bool],
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
            .fetch_all(&self.pool)
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
                (None, None) if !fresh[place] => Some(Acceptance::Stale),
                (None, None) => None,
            };
        }
        Ok(())
    }
}
