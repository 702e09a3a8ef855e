//! Where a batcher splits batches that failed over something in them, so that it does not stand still meanwhile.
//!
//! A batch is split until the culprits are alone. One that fails for a passing reason (a locked row) is repeated from
//! time to time, behind everything that has not been tried yet: what fails for good stands in nobody's way.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Apply;
use super::part::{Applied, Part};

/// How many parts a batch is split into. What is innocent takes milliseconds, a culprit as long as a lock may be waited
/// for, at each level: with many parts there are few.
const PARTS: usize = 16;

struct Splitter<A: Apply> {
    arriving: mpsc::Receiver<Part<A>>,
    has_ended: bool,
    /// To be tried at once.
    fresh: VecDeque<Part<A>>,
    /// To be tried again, from then on.
    stuck: Vec<(Instant, Part<A>)>,
    /// Requests that are kept here at most. Then no more are taken, and the batcher waits.
    requests_max: usize,
}

/// Splits batches until the batcher has ended and everything is applied or has failed.
pub(super) async fn drive<A: Apply>(
    apply: Arc<A>,
    arriving: mpsc::Receiver<Part<A>>,
    requests_max: usize,
) {
    let (fresh, stuck) = (VecDeque::new(), Vec::new());
    let mut splitter = Splitter { arriving, has_ended: false, fresh, stuck, requests_max };
    while let Some(part) = splitter.next().await {
        match part.apply(&*apply).await {
            Applied::Done => {}
            Applied::Left(rest) => splitter.fresh.push_front(rest),
            Applied::Hindered(part) => splitter.split(part),
            Applied::Unavailable(part) => splitter.defer(part),
        }
    }
}

impl<A: Apply> Splitter<A> {
    /// What to try next; `None` when there is nothing left and nothing will come.
    async fn next(&mut self) -> Option<Part<A>> {
        loop {
            while self.has_room()
                && let Ok(part) = self.arriving.try_recv()
            {
                self.split(part);
            }
            if let Some(part) = self.fresh.pop_front() {
                return Some(part);
            }
            let next = (0..self.stuck.len()).min_by_key(|index| self.stuck[*index].0);
            let Some((index, due)) = next.map(|index| (index, self.stuck[index].0)) else {
                let part = self.arriving.recv().await?;
                self.split(part);
                continue;
            };
            let may_arrive = !self.has_ended && self.has_room();
            tokio::select! {
                arrived = self.arriving.recv(), if may_arrive => match arrived {
                    Some(part) => self.split(part),
                    None => self.has_ended = true,
                },
                () = tokio::time::sleep_until(due) => return Some(self.stuck.swap_remove(index).1),
            }
        }
    }

    fn has_room(&self) -> bool {
        let stuck = self.stuck.iter().map(|(_, part)| part.len());
        self.fresh.iter().map(Part::len).chain(stuck).sum::<usize>() < self.requests_max
    }

    fn split(&mut self, part: Part<A>) {
        if part.len() > 1 {
            self.fresh.extend(part.split(PARTS));
        } else {
            self.defer(part);
        }
    }

    fn defer(&mut self, mut part: Part<A>) {
        self.stuck.push((Instant::now() + part.next_pause(), part));
    }
}
