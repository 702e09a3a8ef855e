//! Workers.

use chrono::{DateTime, Utc};
use serde::Serialize;
use skein_shared::store::fleet;
use utoipa::ToSchema;

use crate::words::WorkerStatus;

/// A worker: one life of it, from its start, or from when it was taken for dead, to its end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    /// The id of its lease.
    #[schema(format = "uuid")]
    id: String,
    /// The host that it runs on. With the `pid` behind a colon, it is the `worker` of the attempts that it made.
    host: String,
    /// Its process there.
    pid: u32,
    /// The version of the program.
    version: String,
    /// `live`: it is heard of. `stopped`: it has ended in good order. `dead`: it was not heard of for longer than it may be
    /// silent.
    #[schema(value_type = WorkerStatus)]
    status: &'static str,
    /// Nodes that it runs at a time; null of a version that does not tell.
    #[schema(required)]
    slots: Option<u32>,
    /// Slots that were in use when it was heard of last; null of a version that does not tell.
    #[schema(required)]
    busy: Option<u32>,
    /// Since when it lives.
    started_at: DateTime<Utc>,
    /// When it was heard of last, or has ended. Of one that is `dead`, at the latest: nobody may have been there to notice that
    /// it fell silent.
    seen_at: DateTime<Utc>,
}

/// A page of workers, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerList {
    /// The workers.
    pub(crate) items: Vec<Worker>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

impl From<fleet::Worker> for Worker {
    fn from(worker: fleet::Worker) -> Self {
        Self {
            id: worker.id.to_string(),
            host: worker.host,
            pid: worker.pid,
            version: worker.version,
            status: worker.status.as_str(),
            slots: worker.slots,
            busy: worker.busy,
            started_at: worker.started_at,
            seen_at: worker.seen_at,
        }
    }
}
