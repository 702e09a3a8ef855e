//! Ctrl-C, and SIGTERM, which means the same.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The interrupts of this process. From the first of these on, neither signal ends it by itself, so whatever may take
/// long has to be waited for with [`Self::or`].
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Waits for signals from now on.
    ///
    /// # Errors
    /// When the process cannot wait for signals.
    pub fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// What comes of the work, unless an interrupt comes first.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.next() => None,
            done = work => Some(done),
        }
    }
}
