//! The workers, as people see them.
//!
//! All organizations share them: what is shown is the machines' own, and nothing of whom they work for. So it is not
//! filtered by a tenant.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::engine::NewLease;
use super::rows::{Columns, parse, text, time};
use super::{Page, PageRequest, StoreError};
use crate::domain::ids::LeaseId;
use crate::domain::limits::HOST_CHARS_MAX;
use crate::domain::worker_status::WorkerStatus;

/// One life of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its lease.
    pub id: LeaseId,
    /// The host that it runs on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// How it is.
    pub status: WorkerStatus,
    /// Activations that it runs at a time; not known of a program that does not tell.
    pub slots: Option<u32>,
    /// Slots that were in use when it was heard of last, likewise.
    pub busy: Option<u32>,
    /// Since when it lives.
    pub started_at: DateTime<Utc>,
    /// When it was heard of last; of one that is dead, at the latest.
    pub seen_at: DateTime<Utc>,
}

/// What is known of the workers.
#[async_trait]
pub trait FleetStore: Send + Sync + 'static {
    /// The workers that live and those that are gone since a day, newest first. One that is silent for longer than its
    /// lease allows MUST be shown as dead, also when nobody has declared it dead yet; and as
    /// heard of last before its silence was that long, not when it was declared dead.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_workers(&self, page: &PageRequest) -> Result<Page<Worker>, StoreError>;
}

/// What is stored of a host's name.
pub(super) fn kept_host(lease: &NewLease) -> String {
    lease.host.chars().take(HOST_CHARS_MAX).collect()
}

/// Where a page follows on: when the last worker seen had started, and its lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkerCursor {
    pub(super) started_at: DateTime<Utc>,
    pub(super) id: LeaseId,
}

impl WorkerCursor {
    /// That of a request; nothing on the first page.
    pub(super) fn of(request: &PageRequest) -> Option<Self> {
        let (micros, id) = request.cursor.as_deref()?.split_once('.')?;
        let started_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        Some(Self { started_at, id: id.parse().ok()? })
    }
}

/// A page of the workers that a statement has found, one more than asked for if there are more.
pub(super) fn page<R: Columns>(rows: &[R], limit: u32) -> Result<Page<Worker>, StoreError> {
    let workers = rows.iter().map(worker).collect::<Result<_, _>>()?;
    Ok(Page::cut(workers, limit, |last| {
        format!("{}.{}", last.started_at.timestamp_micros(), last.id)
    }))
}

fn worker(row: &impl Columns) -> Result<Worker, StoreError> {
    Ok(Worker {
        id: LeaseId(row.uuid("lease_id")?),
        host: text(row, "host")?.to_owned(),
        pid: number(row, "pid")?.unwrap_or_default(),
        version: text(row, "version")?.to_owned(),
        status: parse(row, "status")?,
        slots: number(row, "slots")?,
        busy: number(row, "busy")?,
        started_at: time(row, "started_at")?,
        seen_at: time(row, "seen_at")?,
    })
}

/// A number that is not negative, or null.
fn number(row: &impl Columns, column: &'static str) -> Result<Option<u32>, StoreError> {
    Ok(row.integer(column)?.and_then(|number| u32::try_from(number).ok()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_a_long_host_name_the_beginning_is_kept() {
        let lease = |host: &str| NewLease {
            id: LeaseId::generate(),
            host: host.to_owned(),
            pid: 1,
            version: "0.0.0",
            slots: 1,
            ttl: Duration::from_secs(30),
        };
        assert_eq!(kept_host(&lease("größe-7")), "größe-7");
        let long = "ß".repeat(HOST_CHARS_MAX + 1);
        assert_eq!(kept_host(&lease(&long)).chars().count(), HOST_CHARS_MAX);
    }

    #[test]
    fn a_cursor_leads_back_to_where_it_was_made() {
        let id = LeaseId::generate();
        let request = |cursor: String| PageRequest { limit: 1, cursor: Some(cursor) };
        let cursor = WorkerCursor::of(&request(format!("1767225600000001.{id}"))).unwrap();
        assert_eq!((cursor.started_at.timestamp_micros(), cursor.id), (1_767_225_600_000_001, id));
        for other in ["", "17", "x.y", "17."] {
            assert!(WorkerCursor::of(&request(other.to_owned())).is_none(), "{other:?}");
        }
    }
}
