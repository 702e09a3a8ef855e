//! What a suspect keeps from running beside it, and for how long.

use std::time::Duration;

use skein_shared::domain::limits::CRASHES_IN_COMPANY_MAX;
use skein_shared::store::engine::Claimed;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::slots::Reserved;

/// How long a suspect keeps other suspects away at most. What kills its worker mostly does so as it starts; and where
/// there is one worker, all that ran beside it waits in this line, behind nodes that may take an hour each.
const SOLE_MAX: Duration = Duration::from_secs(3);
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
/// for that is up: other suspects by the permit that only one of them has, and if it runs `apart`, everything. Then
/// wakes one that waits for it.
pub(crate) async fn with_precautions(
    sole: OwnedSemaphorePermit,
    apart: Option<Reserved>,
    crashes: u32,
    next_suspect: &Notify,
    run: impl AsyncFnOnce(DropGuard),
) {
    let doublings = crashes.saturating_sub(CRASHES_IN_COMPANY_MAX);
    let longest = match apart {
        None => SOLE_MAX,
        Some(_) => APART_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(APART_MAX),
    };
    let committed = CancellationToken::new();
    let guard = committed.clone().drop_guard();
    let keep = async move {
        // Ends either way.
        let _committed = tokio::time::timeout(longest, committed.cancelled()).await;
        drop((sole, apart));
        next_suspect.notify_one();
    };
    tokio::join!(run(guard), keep);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::slots::Slots;

    const HOUR: Duration = Duration::from_secs(3600);

    /// After how long others are let in beside a suspect that has been in so many crashes, commits first after
    /// `commits` and goes on for two hours.
    async fn kept_away(crashes: u32, commits: Duration) -> Duration {
        let (sole, slots) = (Arc::new(Semaphore::new(1)), Slots::new(2));
        let permit = Arc::clone(&sole).acquire_owned().await.expect("it is open");
        let is_apart = crashes >= CRASHES_IN_COMPANY_MAX;
        let apart = if is_apart { slots.reserve_within(Duration::ZERO).await } else { None };
        let begun = Instant::now();
        let next = Notify::new();
        let run = with_precautions(permit, apart, crashes, &next, async |suspect| {
            sleep(commits).await;
            drop(suspect);
            sleep(HOUR * 2).await;
        });
        let let_in = async {
            next.notified().await;
            let _suspect = sole.acquire().await;
            let _any = slots.take().await;
            begun.elapsed()
        };
        tokio::join!(run, let_in).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_keeps_others_away_until_its_commit_and_not_for_ever() {
        let second = Duration::from_secs(1);
        let about = |found: Duration| found.as_secs();
        assert_eq!(about(kept_away(2, second).await), 1);
        assert_eq!(about(kept_away(2, HOUR).await), SOLE_MAX.as_secs());
        assert_eq!(about(kept_away(CRASHES_IN_COMPANY_MAX, second).await), 1);
        for (crashes, longest) in [(3, APART_MIN), (5, APART_MIN * 4), (100, APART_MAX)] {
            assert_eq!(about(kept_away(crashes, HOUR * 2).await), longest.as_secs());
        }
    }
}
