//! What an installation has to do, in numbers: sums over all tenants, for whoever runs it.

use std::collections::HashMap;
use std::time::Duration;

use super::state::{NodeState, RunState};

/// What was open in the store at one moment. No more is counted than was asked for: of states that are counted together
/// (queued and skipping nodes, those that wait for a time, runs that are queued or run) the sum ends there, and of blocked,
/// held and uncertain nodes as many are looked at of whatever state. The numbers are lower bounds then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenWork {
    /// Runs that have not ended. A state that is missing has none.
    pub runs: HashMap<RunState, u64>,
    /// Nodes that have not ended, likewise.
    pub nodes: HashMap<NodeState, u64>,
    /// How long the oldest queued node has waited for a worker; zero when none waits.
    pub oldest_queued: Duration,
    /// Delays, retries and deadlines that have been due for so long that somebody should have acted on them.
    pub overdue_timers: u64,
    /// Workers whose lease lives.
    pub live_workers: u64,
}

/// How many messages are ready in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue, as the broker calls it.
    pub queue: String,
    /// Messages that wait for a consumer.
    pub ready: u64,
}
