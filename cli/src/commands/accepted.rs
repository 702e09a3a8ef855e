//! A run that was accepted, where no more of it is shown.

use serde_json::{Value, json};

use crate::client::Run;

/// The run in short, for programs: what is needed to find it again.
pub(super) fn in_short(run: &Run) -> Value {
    json!({
        "id": run.id, "workflow": run.workflow, "version": run.version, "status": run.status, "trace_id": run.trace_id,
    })
}
