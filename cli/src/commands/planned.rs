//! What the workflow of a run plans.

use std::time::Duration;

use tokio::time::timeout;

use crate::client::{Client, Run};
use crate::render::Plan;

/// How long a picture waits for the nodes that were not reached.
const PATIENCE: Duration = Duration::from_secs(3);

/// The plan of the version that the run is pinned to. A run is shown without it where it cannot be read: with a key that
/// may not, or while the server has other troubles. Nodes that were not reached are left out then.
pub(super) async fn plan_of(client: &Client, run: &Run) -> Plan {
    let version = timeout(PATIENCE, client.workflow(&run.workflow, Some(run.version))).await;
    version.ok().and_then(Result::ok).map_or_else(Plan::default, |it| Plan::of(&it["document"]))
}
