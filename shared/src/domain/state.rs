//! The states of runs and nodes, and the one pure, total function that decides each transition.
//!
//! The stores enforce the same table in SQL; a conformance case walks all states and events and
//! compares what a store did with what [`NodeState::on`] says.

use super::words::words;

words!(
    /// The life of a run.
    "state" RunState {
        /// Accepted; no node has been claimed. The first claim moves it on.
        Queued = "queued",
        /// At least one node has been claimed. The commit that ends `__end__`, or the finisher, moves it on.
        Running = "running",
        /// Every open branch waits: for a time, a person or an event. Whatever ends the wait moves it on.
        Suspended = "suspended",
        /// Ended: `__end__` rendered the output.
        Succeeded = "succeeded",
        /// Ended: a node failed for good and nothing handled it.
        Failed = "failed",
        /// Ended: somebody asked for it.
        Cancelled = "cancelled",
        /// Ended: it took longer than it may.
        TimedOut = "timed_out",
    }
);

impl RunState {
    /// Whether nothing moves it on any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut)
    }
}

words!(
    /// The life of one activation.
    "state" NodeState {
        /// A join that misses tokens. The commit that delivers the last one moves it on.
        Blocked = "blocked",
        /// Runnable; a message hints at it, the sweeper repeats the hint. A claim moves it on.
        Queued = "queued",
        /// Claimed by a lease. Its owner moves it on, or the reaper when the lease is dead.
        Running = "running",
        /// Failed, to be tried again. The sweeper queues it when `wake_at` has come.
        Retry = "retry",
        /// Waits for time, a person or an event. The sweeper queues it when `wake_at` has come.
        Waiting = "waiting",
        /// Paused or stepped. A person moves it on.
        Held = "held",
        /// Crashed inside an effect that must not be repeated. A person moves it on.
        Uncertain = "uncertain",
        /// A dead path that is still to be passed on. Any worker does that.
        Skipping = "skipping",
        /// Ended with an output.
        Succeeded = "succeeded",
        /// Ended with an error.
        Failed = "failed",
        /// Ended without running: no live token reached it.
        Skipped = "skipped",
        /// Ended because its run did.
        Cancelled = "cancelled",
    }
);

/// What can happen to an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeEvent {
    /// The last token of a join arrived and at least one of them was live.
    Fire,
    /// The last token of a join arrived and none was live.
    Starve,
    /// A worker won the claim.
    Claim,
    /// The owner finished it.
    Succeed,
    /// The owner gave it up for good.
    Fail,
    /// The owner wants it to be tried again later.
    RetryLater,
    /// The owner parked it.
    Wait,
    /// The owner gave it back untouched (shutdown).
    Release,
    /// Its time has come.
    Wake,
    /// Its owner's lease died.
    Orphan,
    /// A worker passed its dead tokens on.
    Skip,
    /// Its run ended or is to end. Owned work is asked to stop and ends by its owner's commit.
    CancelRun,
}

impl NodeEvent {
    /// Every event.
    pub const ALL: &'static [Self] = &[
        Self::Fire,
        Self::Starve,
        Self::Claim,
        Self::Succeed,
        Self::Fail,
        Self::RetryLater,
        Self::Wait,
        Self::Release,
        Self::Wake,
        Self::Orphan,
        Self::Skip,
        Self::CancelRun,
    ];
}

impl NodeState {
    /// Whether nothing moves it on any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// The state after `event`, or `None` where the event does not apply and MUST change nothing.
    #[must_use]
    pub fn on(self, event: NodeEvent) -> Option<Self> {
        use NodeEvent as E;
        match (self, event) {
            (Self::Blocked, E::Fire) => Some(Self::Queued),
            (Self::Blocked, E::Starve) => Some(Self::Skipping),
            (Self::Queued, E::Claim) => Some(Self::Running),
            (Self::Running, E::Succeed) => Some(Self::Succeeded),
            (Self::Running, E::Fail) => Some(Self::Failed),
            (Self::Running, E::RetryLater) => Some(Self::Retry),
            (Self::Running, E::Wait) => Some(Self::Waiting),
            (Self::Running, E::Release | E::Orphan) => Some(Self::Queued),
            (Self::Retry | Self::Waiting, E::Wake) => Some(Self::Queued),
            (Self::Skipping, E::Skip) => Some(Self::Skipped),
            (
                Self::Blocked
                | Self::Queued
                | Self::Retry
                | Self::Waiting
                | Self::Held
                | Self::Uncertain
                | Self::Skipping,
                E::CancelRun,
            ) => Some(Self::Cancelled),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_an_ended_state() {
        for state in NodeState::ALL.iter().filter(|state| state.is_terminal()) {
            for event in NodeEvent::ALL {
                assert_eq!(state.on(*event), None, "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn every_open_state_can_be_left() {
        for state in NodeState::ALL.iter().filter(|state| !state.is_terminal()) {
            assert!(NodeEvent::ALL.iter().any(|event| state.on(*event).is_some()), "{state}");
        }
    }

    #[test]
    fn words_survive_a_round_trip() {
        for state in NodeState::ALL {
            assert_eq!(state.as_str().parse::<NodeState>().as_ref(), Ok(state));
        }
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse::<RunState>().as_ref(), Ok(state));
        }
    }
}
