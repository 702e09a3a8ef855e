//! What a suspect keeps from running beside it, and for how long.

use std::time::Duration;

use skein_shared::domain::limits::CRASHES_IN_COMPANY_MAX;
use skein_shared::store::engine::Claimed;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::slots::Reserved;

/// How long a suspect keeps other suspects away at most. What kills its worker mostly does so as it starts; a node that
/// takes an hour must not keep all others waiting for that long.
const SOLE_MAX: Duration = Duration::from_secs(10);
/// How long one that runs apart keeps everything away at first. It doubles with each further crash, up to the longest,
/// so that one which kills its worker late is alone with it in the end.
const APART_MIN: Duration = Duration::from_secs(30);
/// The longest that a worker runs nothing but one node.
const APART_MAX: Duration = Duration::from_secs(3600);

/// Whether a row has been in so many crashes that nothing is to run beside it.
pub(crate) fn is_to_run_apart(claimed: &Claimed) -> bool {
    claimed.crashes >= CRASHES_IN_COMPANY_MAX
}

/// Keeps others away while `run` goes on, until the guard that it is given is dropped (at the next commit) or the time
/// for that is up: other suspects by the permit that only one of them has, and if it runs `apart`, everything.
pub(crate) async fn with_precautions(
    sole: OwnedSemaphorePermit,
    apart: Option<Reserved>,
    crashes: u32,
    run: impl AsyncFnOnce(DropGuard),
) {
    let longest = match apart {
        None => SOLE_MAX,
        Some(_) => {
            let doublings = crashes.saturating_sub(CRASHES_IN_COMPANY_MAX);
            APART_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(APART_MAX)
        }
    };
    let committed = CancellationToken::new();
    let guard = committed.clone().drop_guard();
    let keep = async move {
        // Ends either way.
        let _committed = tokio::time::timeout(longest, committed.cancelled()).await;
        drop((sole, apart));
    };
    tokio::join!(run(guard), keep);
}
