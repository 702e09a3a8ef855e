//! Questions that read as much as an organization has, such as sums of what it has spent: few at a time, so that they leave
//! the store's connections to what others read.

use std::sync::Arc;
use std::time::Duration;

use crate::problem::{Problem, ProblemKind};
use crate::read_permits::{ReadPermit, ReadPermits};

/// Turns at such questions, shared by organizations.
#[derive(Debug)]
pub(crate) struct BroadReads {
    permits: ReadPermits<Arc<str>>,
    wait_max: Duration,
}

impl BroadReads {
    pub(crate) fn new(max: usize, wait_max: Duration) -> Self {
        Self { permits: ReadPermits::new(max), wait_max }
    }

    /// Waits for a turn, to be kept until the store has answered, whether or not the client is still there.
    ///
    /// # Errors
    /// When others are before for too long.
    pub(crate) async fn permit(&self, organization: &Arc<str>) -> Result<ReadPermit, Problem> {
        let permit = self.permits.take(organization);
        match tokio::time::timeout(self.wait_max, permit).await {
            Ok(permit) => permit.map_err(Problem::internal),
            Err(_) => Err(Problem::new(
                ProblemKind::Overloaded,
                "as many questions of this kind are being answered as may be, one at a time for an organization; ask for \
                 less, one after another",
            )),
        }
    }
}
