//! How a worker is, as people see it.

use super::words::words;

words!(
    /// How a worker is.
    "status" WorkerStatus {
        /// It is heard of.
        Live = "live",
        /// It has ended in good order: it was stopped, or goes on under another lease.
        Stopped = "stopped",
        /// It was not heard of for longer than it may be silent, whether or not somebody has noticed yet.
        Dead = "dead",
    }
);
