//! One connection as its parts see it: the stream under the protocol, the requests above it, and its permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::permits::{Idle, Permit};

/// What happens on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody is being served.
    Idle(Idle),
    /// A request has come in and is not answered yet.
    Serving,
    /// The answer has left the handlers; what the connection holds of it has not left that yet.
    Answered,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Idle(Idle::Silent),
        Self::Idle(Idle::Head),
        Self::Idle(Idle::Kept),
        Self::Serving,
        Self::Answered,
    ];

    /// What it waits for; `None` while a request is being served.
    fn idle(self) -> Option<Idle> {
        match self {
            Self::Idle(idle) => Some(idle),
            Self::Serving | Self::Answered => None,
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Idle(Idle::Silent) => 0,
            Self::Idle(Idle::Head) => 1,
            Self::Idle(Idle::Kept) => 2,
            Self::Serving => 3,
            Self::Answered => 4,
        }
    }
}

/// Bits of a phase in [`ConnectionState::phases`]; the rest counts phases.
const PHASE_BITS: u32 = 3;

/// A connection that is open.
#[derive(Debug)]
pub(super) struct ConnectionState {
    permit: Permit,
    /// How many phases there were before, and which one it is: so two of the same kind are distinguished.
    phases: AtomicU64,
}

impl ConnectionState {
    pub(super) fn new(permit: Permit) -> Self {
        Self { permit, phases: AtomicU64::new(Phase::Idle(Idle::Silent).number()) }
    }

    /// The phase and its number.
    pub(super) fn phase(&self) -> (Phase, u64) {
        let phases = self.phases.load(Ordering::Relaxed);
        let phase = usize::try_from(phases & ((1 << PHASE_BITS) - 1)).unwrap_or(0);
        (Phase::ALL[phase], phases >> PHASE_BITS)
    }

    /// One task drives a connection, so nobody changes the phase at the same time.
    fn enter(&self, phase: Phase) {
        let (before, number) = self.phase();
        self.phases.store(((number + 1) << PHASE_BITS) | phase.number(), Ordering::Relaxed);
        if before.idle() != phase.idle() {
            self.permit.set_idle(phase.idle());
        }
    }

    /// Bytes have come in.
    pub(super) fn heard(&self) {
        if matches!(self.phase().0, Phase::Idle(Idle::Silent | Idle::Kept)) {
            self.enter(Phase::Idle(Idle::Head));
        }
    }

    /// The headers of a request are there.
    pub(super) fn serve(&self) {
        self.enter(Phase::Serving);
    }

    /// Everything that was written has been taken by the socket.
    pub(super) fn flushed(&self) {
        if self.phase().0 == Phase::Answered {
            self.enter(Phase::Idle(Idle::Kept));
        }
    }

    /// The answer has been handed to the connection, whole.
    pub(super) fn answered(&self) {
        if self.phase().0 == Phase::Serving {
            self.enter(Phase::Answered);
        }
    }
}

/// An answer that is being sent, which reports to the connection when it is over.
#[derive(Debug)]
pub(super) struct Answering(pub(super) Arc<ConnectionState>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered();
    }
}
