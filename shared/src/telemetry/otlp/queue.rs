//! What waits to be sent: bounded by items and by bytes, filled by any thread and emptied by one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::item::Item;
use crate::telemetry::tally::{DropReason, Signal, count_dropped};

/// Bytes of the items of one request. With what is around them that stays below the 1 MiB that nginx, which stands before
/// many a collector, takes unless it is told otherwise. An item that is larger goes alone.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// Bytes that may wait for each item that may. A span has some 700, and a row of a run's log half as many.
const ITEM_BYTES: usize = 1024;
/// Bytes that may wait in any case, so that a short queue takes single items of any reasonable size.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Batches that are kept to be filled again: while one is filled, another is being sent.
const SPARE_MAX: usize = 2;

/// How much may wait and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::telemetry) struct Batching {
    /// Items that wait at most.
    pub(in crate::telemetry) queue: usize,
    /// Items of one request at most. As many are sent at once, fewer when their time has come.
    pub(in crate::telemetry) batch: usize,
    /// The time between two requests that are not full.
    pub(in crate::telemetry) delay: Duration,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Waiting,
    /// There is no room for it.
    Full,
    /// Nothing is sent any more.
    Closed,
    /// The same, and not as it was meant: the thread that empties the queue has panicked.
    Abandoned,
}

/// Items that are not settled at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// So many could not be sent in time.
    Late(u64),
    /// So many were lost with the thread that sends, which has panicked, and has said so.
    Abandoned(u64),
}

/// The queue of a signal.
#[derive(Debug)]
pub(super) struct Queue {
    batching: Batching,
    bytes_max: usize,
    state: Mutex<State>,
    /// Told to the thread that empties it.
    due: Condvar,
    /// Told to those who wait until it is empty.
    settled: Condvar,
    /// Items that wait, for whoever need not know for sure.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct State {
    /// Batches that are full, or whose time has come.
    ready: VecDeque<Batch>,
    /// The one that items are put in.
    filling: Batch,
    spare: Vec<Batch>,
    items: usize,
    bytes: usize,
    /// When the next batch is sent that is not full.
    due: Instant,
    /// Items that were put in, since the start.
    accepted: u64,
    /// Items that were sent, or have failed for good.
    settled: u64,
    /// Nobody waits for the time to come until so many are settled.
    wanted: u64,
    closed: bool,
    ended: bool,
    /// The thread that empties it has ended by a panic.
    abandoned: bool,
}

impl Queue {
    pub(super) fn new(batching: Batching) -> Self {
        let batch = batching.batch.min(batching.queue);
        Self {
            batching: Batching { batch, ..batching },
            bytes_max: batching.queue.saturating_mul(ITEM_BYTES).max(BYTES_MAX),
            state: Mutex::new(State {
                ready: VecDeque::new(),
                filling: Batch::default(),
                spare: Vec::new(),
                items: 0,
                bytes: 0,
                due: Instant::now() + batching.delay,
                accepted: 0,
                settled: 0,
                wanted: 0,
                closed: false,
                ended: false,
                abandoned: false,
            }),
            due: Condvar::new(),
            settled: Condvar::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Whether it is likely that another item is turned away, for what it costs something to make one.
    pub(super) fn seems_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.batching.queue
    }

    /// Puts an item in. Never waits for the thread that sends, which holds the lock for moments only.
    pub(super) fn push(&self, item: &Item) -> Pushed {
        let bytes = item.bytes().len();
        let mut state = self.lock();
        if state.abandoned {
            return Pushed::Abandoned;
        }
        if state.closed {
            return Pushed::Closed;
        }
        if state.items >= self.batching.queue || state.bytes + bytes > self.bytes_max {
            return Pushed::Full;
        }
        let ready = state.ready.len();
        if state.filling.bytes() + bytes > BATCH_BYTES_MAX {
            state.finish_batch();
        }
        state.filling.push(item);
        state.items += 1;
        state.bytes += bytes;
        state.accepted += 1;
        if state.filling.items() >= self.batching.batch {
            state.finish_batch();
        }
        self.waiting.store(state.items, Ordering::Relaxed);
        let is_ready = state.ready.len() > ready;
        drop(state);
        if is_ready {
            self.due.notify_one();
        }
        Pushed::Waiting
    }

    /// Waits for the next batch: one that is full, or what there is once its time has come, or somebody waits for it.
    /// `None` when the queue is closed and nothing is left. The batch has left the queue, and is to be settled.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if now >= state.due || state.closed || state.settled < state.wanted {
                state.finish_batch();
                state.due = now + self.batching.delay;
            }
            if let Some(batch) = state.ready.pop_front() {
                state.items -= batch.items();
                state.bytes -= batch.bytes();
                self.waiting.store(state.items, Ordering::Relaxed);
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            let left = state.due.saturating_duration_since(now);
            let woken = self.due.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a batch back whose items are elsewhere by now.
    pub(super) fn give_back(&self, mut batch: Batch) {
        // One large item is no reason to keep its memory for good.
        if batch.bytes() <= BATCH_BYTES_MAX {
            batch.clear();
            let mut state = self.lock();
            if state.spare.len() < SPARE_MAX {
                state.spare.push(batch);
            }
        }
    }

    /// Takes note that so many items were sent, or have failed for good.
    pub(super) fn settle(&self, items: usize) {
        self.lock().settled += items as u64;
        self.settled.notify_all();
    }

    /// Waits until what was put in before is settled, for so long at most. Returns whether it is.
    pub(super) fn flush(&self, wait_max: Duration) -> bool {
        let mut state = self.lock();
        let wanted = state.accepted;
        state.wanted = state.wanted.max(wanted);
        self.due.notify_one();
        let is_open = |state: &mut State| state.settled < wanted && !state.ended;
        let waited = self.settled.wait_timeout_while(state, wait_max, is_open);
        waited.unwrap_or_else(PoisonError::into_inner).0.settled >= wanted
    }

    /// Takes nothing in any more, has what waits be sent at once, and waits until it is, for so long at most.
    ///
    /// # Errors
    /// When it is not by then, or will never be: with the number of items that are not settled.
    pub(super) fn close(&self, wait_max: Duration) -> Result<(), Unsettled> {
        let mut state = self.lock();
        state.closed = true;
        self.due.notify_one();
        let waited = self.settled.wait_timeout_while(state, wait_max, |state| !state.ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let unsettled = state.accepted - state.settled;
        match (state.ended, unsettled) {
            (true, 0) => Ok(()),
            (true, lost) => Err(Unsettled::Abandoned(lost)),
            (false, late) => Err(Unsettled::Late(late)),
        }
    }

    /// A guard of the thread that empties the queue: nobody waits for it once it has ended. Where it ends by a panic, the
    /// queue takes nothing in any more, and what is not settled is lost: counted, and said.
    pub(super) fn emptying(&self, signal: Signal) -> Emptying<'_> {
        Emptying { queue: self, signal }
    }

    /// The thread that empties it has panicked. Returns how many items are lost with it.
    fn abandon(&self) -> usize {
        let mut state = self.lock();
        (state.closed, state.abandoned) = (true, true);
        state.ready.clear();
        state.spare.clear();
        state.filling = Batch::default();
        (state.items, state.bytes) = (0, 0);
        self.waiting.store(0, Ordering::Relaxed);
        usize::try_from(state.accepted - state.settled).unwrap_or(usize::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The batch that is being filled is ready, unless it is empty.
    fn finish_batch(&mut self) {
        if self.filling.items() > 0 {
            let next = self.spare.pop().unwrap_or_default();
            self.ready.push_back(std::mem::replace(&mut self.filling, next));
        }
    }
}

/// See [`Queue::emptying`].
#[derive(Debug)]
pub(super) struct Emptying<'a> {
    queue: &'a Queue,
    signal: Signal,
}

impl Drop for Emptying<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let items = self.queue.abandon();
            count_dropped(self.signal, DropReason::ExportFailed, items);
            tracing::error!(
                telemetry.signal = self.signal.as_str(),
                items,
                "the thread that sends to the collector has panicked: nothing is sent until the process starts anew"
            );
        }
        self.queue.lock().ended = true;
        self.queue.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::batch::tests::item;
    use super::*;
    use crate::telemetry::tally::dropped;

    const HOUR: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(20);

    fn queue(queue: usize, batch: usize, delay: Duration) -> Queue {
        Queue::new(Batching { queue, batch, delay })
    }

    fn pushed(queue: &Queue, items: usize) -> usize {
        let one = item("a", "x");
        (0..items).filter(|_| queue.push(&one) == Pushed::Waiting).count()
    }

    fn next(queue: &Queue) -> Option<usize> {
        let batch = queue.next()?;
        let items = batch.items();
        queue.give_back(batch);
        queue.settle(items);
        Some(items)
    }

    #[test]
    fn a_full_batch_is_sent_at_once_and_a_part_of_one_when_its_time_has_come() {
        let queue = queue(100, 4, SOON);
        assert_eq!(pushed(&queue, 10), 10);
        assert_eq!([next(&queue), next(&queue)], [Some(4), Some(4)]);
        assert_eq!(next(&queue), Some(2));
    }

    #[test]
    fn what_has_no_room_is_turned_away_until_a_batch_has_left() {
        let queue = queue(5, 3, HOUR);
        assert_eq!((pushed(&queue, 7), queue.seems_full()), (5, true));
        assert_eq!((next(&queue), queue.seems_full()), (Some(3), false));
        assert_eq!(pushed(&queue, 7), 3);
        // A batch is no larger than the queue, which would never fill it.
        let short = self::queue(2, 512, HOUR);
        assert_eq!((pushed(&short, 3), next(&short)), (2, Some(2)));
    }

    #[test]
    fn bytes_are_bounded_too_those_of_a_batch_and_those_of_all() {
        let queue = queue(1000, 1000, HOUR);
        let megabyte = item("a", &"x".repeat(900_000));
        let room = BYTES_MAX / megabyte.bytes().len();
        let taken = (0..room + 3).filter(|_| queue.push(&megabyte) == Pushed::Waiting).count();
        assert_eq!((taken, queue.push(&megabyte)), (room, Pushed::Full));
        assert!(!queue.seems_full(), "a small one still fits");
        assert_eq!(pushed(&queue, 1), 1);
        // Each is a batch of its own, as two would be too large.
        assert_eq!(next(&queue), Some(1));
        assert_eq!(queue.push(&megabyte), Pushed::Waiting);
        // One that is larger than a batch may be goes alone, and keeps no memory.
        let large = self::queue(1000, 1000, HOUR);
        assert_eq!(pushed(&large, 2), 2);
        assert_eq!(large.push(&item("a", &"x".repeat(3_000_000))), Pushed::Waiting);
        assert_eq!(pushed(&large, 1), 1);
        assert_eq!([next(&large), next(&large)], [Some(2), Some(1)]);
        assert_eq!(large.lock().spare.len(), 1);
        let more_than_ever = item("a", &"x".repeat(BYTES_MAX));
        assert_eq!(large.push(&more_than_ever), Pushed::Full);
    }

    #[test]
    fn an_operator_that_lets_more_items_wait_lets_more_bytes_wait() {
        assert_eq!(queue(64, 64, HOUR).bytes_max, BYTES_MAX);
        assert_eq!(queue(65_536, 512, HOUR).bytes_max, 65_536 * ITEM_BYTES);
    }

    #[test]
    fn a_flush_and_the_end_wait_until_everything_is_settled_but_not_for_ever() {
        let queue = Arc::new(queue(100, 50, HOUR));
        assert_eq!(pushed(&queue, 3), 3);
        assert!(!queue.flush(SOON), "nobody empties it");
        let abandoned = self::queue(100, 50, HOUR);
        assert_eq!((pushed(&abandoned, 3), abandoned.close(SOON)), (3, Err(Unsettled::Late(3))));
        let emptied = Arc::clone(&queue);
        let emptying = thread::Builder::new().spawn(move || {
            let _emptying = emptied.emptying(Signal::Traces);
            std::iter::from_fn(|| next(&emptied)).collect::<Vec<_>>()
        });
        assert!(queue.flush(HOUR));
        assert_eq!(pushed(&queue, 2), 2);
        assert_eq!(queue.close(HOUR), Ok(()));
        assert_eq!(queue.push(&item("a", "x")), Pushed::Closed);
        assert_eq!(emptying.unwrap().join().unwrap(), [3, 2]);
        assert_eq!((queue.close(SOON), queue.flush(SOON)), (Ok(()), true), "again, and at once");
    }

    #[test]
    fn nobody_waits_for_a_thread_that_has_panicked() {
        let lost = || dropped(Signal::Traces, DropReason::ExportFailed);
        let before = lost();
        let queue = Arc::new(queue(5, 1, HOUR));
        assert_eq!(pushed(&queue, 5), 5);
        let emptied = Arc::clone(&queue);
        let panicking = thread::Builder::new().spawn(move || {
            let _emptying = emptied.emptying(Signal::Traces);
            next(&emptied);
            emptied.next();
            panic!("on purpose");
        });
        assert!(panicking.unwrap().join().is_err());
        // One was settled, one was on its way, and three were waiting.
        assert!(lost() >= before + 4, "{before} {}", lost());
        assert_eq!((queue.lock().items, queue.seems_full()), (0, false));
        assert_eq!(queue.push(&item("a", "x")), Pushed::Abandoned, "it would wait for ever");
        assert!(!queue.flush(HOUR));
        assert_eq!(queue.close(HOUR), Err(Unsettled::Abandoned(4)));
    }

    #[test]
    fn batches_are_filled_again() {
        let queue = queue(100, 2, HOUR);
        for _ in 0..5 {
            assert_eq!((pushed(&queue, 4), next(&queue), next(&queue)), (4, Some(2), Some(2)));
        }
        assert_eq!(queue.lock().spare.len(), SPARE_MAX);
    }
}
