//! Where the time of an activation went: from the moment at which everything before it was done to its own end.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::domain::words::words;

words!(
    /// What time is spent on.
    "phase" Phase {
        /// Executing.
        Work = "work",
        /// Runnable, until a worker takes it.
        Queue = "queue",
        /// Between an attempt that failed and the next, until that is due.
        Backoff = "backoff",
        /// Until somebody decides.
        Decision = "decision",
        /// Until there is money, or tokens, to spend.
        Budget = "budget",
        /// Until it is its turn at a provider.
        Rate = "rate",
        /// Until a time that the workflow names.
        Timer = "timer",
        /// In an attempt whose worker died or stalled, until that was noticed.
        Crash = "crash",
    }
);

words!(
    /// How an attempt ended that did not end its node.
    "outcome" AttemptEnd {
        /// It failed and was tried again.
        Retry = "retry",
        /// It waited for something.
        Waiting = "waiting",
        /// Its worker gave it back.
        Released = "released",
        /// Its worker died or stalled.
        Crashed = "crashed",
    }
);

words!(
    /// What an attempt waited for.
    "wait" Awaited {
        /// A time.
        Time = "time",
        /// A decision.
        Decision = "decision",
        /// Its turn at a provider.
        Rate = "rate",
        /// A budget.
        Budget = "budget",
    }
);

/// Times by what they were spent on, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases([u64; Phase::ALL.len()]);

impl Phases {
    /// What was spent on this.
    #[must_use]
    pub fn of(&self, phase: Phase) -> u64 {
        self.0[phase as usize]
    }

    /// Adds time.
    pub fn add(&mut self, phase: Phase, micros: u64) {
        let sum = &mut self.0[phase as usize];
        *sum = sum.saturating_add(micros);
    }

    /// Adds all of the other's.
    pub fn add_all(&mut self, other: &Self) {
        for phase in Phase::ALL {
            self.add(*phase, other.of(*phase));
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// What was not spent on work.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.total() - self.of(Phase::Work)
    }
}

/// An attempt that did not end its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierAttempt {
    /// How it ended.
    pub outcome: AttemptEnd,
    /// What it waited for, where that is known; a wait for nothing else is one for a time.
    pub awaited: Option<Awaited>,
    /// The code of what went wrong, if anything did.
    pub code: Option<Arc<str>>,
    /// When it was claimed.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    pub ended_at: DateTime<Utc>,
}

impl EarlierAttempt {
    /// What the attempt itself was.
    #[must_use]
    pub fn own_phase(&self) -> Phase {
        match self.outcome {
            AttemptEnd::Retry | AttemptEnd::Waiting => Phase::Work,
            // It was given back before anything came of it.
            AttemptEnd::Released => Phase::Queue,
            AttemptEnd::Crashed => Phase::Crash,
        }
    }

    /// What the time until the next one is due was spent on.
    fn phase_behind(&self) -> Phase {
        match (self.outcome, self.awaited) {
            (AttemptEnd::Retry, _) => Phase::Backoff,
            (AttemptEnd::Released | AttemptEnd::Crashed, _) => Phase::Queue,
            (AttemptEnd::Waiting, Some(Awaited::Decision)) => Phase::Decision,
            (AttemptEnd::Waiting, Some(Awaited::Budget)) => Phase::Budget,
            (AttemptEnd::Waiting, Some(Awaited::Rate)) => Phase::Rate,
            (AttemptEnd::Waiting, Some(Awaited::Time) | None) => Phase::Timer,
        }
    }
}

/// When things happened to an activation that is over.
#[derive(Debug, Clone, Copy)]
pub struct Times<'a> {
    /// Attempts before the last one, in order.
    pub earlier: &'a [EarlierAttempt],
    /// When it became runnable for the last time.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its last attempt began; absent where there was none.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}

/// What the time from `ready_at`, when everything before it was done, to its end was spent on: all of it, once.
///
/// When it was due again is known of the last attempt only. Before that, the time in the queue counts to what came before it.
#[must_use]
pub fn phases(ready_at: DateTime<Utc>, times: &Times<'_>) -> Phases {
    let mut clock = Clock { now: ready_at, end: times.ended_at, phases: Phases::default() };
    let mut between = Phase::Queue;
    for attempt in times.earlier {
        clock.spend(between, attempt.started_at);
        clock.spend(attempt.own_phase(), attempt.ended_at);
        between = attempt.phase_behind();
    }
    if let Some(started_at) = times.started_at {
        if let Some(queued_at) = times.queued_at.filter(|queued_at| *queued_at <= started_at) {
            clock.spend(between, queued_at);
            between = Phase::Queue;
        }
        clock.spend(between, started_at);
        between = Phase::Work;
    }
    clock.spend(between, times.ended_at);
    clock.phases
}

/// Goes forward only, and to the end at most, whatever the times say.
struct Clock {
    now: DateTime<Utc>,
    end: DateTime<Utc>,
    phases: Phases,
}

impl Clock {
    fn spend(&mut self, phase: Phase, until: DateTime<Utc>) {
        let until = until.min(self.end).max(self.now);
        self.phases.add(phase, micros_between(self.now, until));
        self.now = until;
    }
}

/// Microseconds from one time to a later one; none if it is not later.
#[must_use]
pub fn micros_between(from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
    let micros = to.signed_duration_since(from).num_microseconds().unwrap_or(i64::MAX);
    u64::try_from(micros).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn attempt(outcome: AttemptEnd, from: i64, to: i64) -> EarlierAttempt {
        let (started_at, ended_at) = (at(from), at(to));
        EarlierAttempt { outcome, awaited: None, code: None, started_at, ended_at }
    }

    fn spent(phases: &Phases) -> Vec<(&'static str, u64)> {
        let all = Phase::ALL.iter().map(|phase| (phase.as_str(), phases.of(*phase) / 1_000_000));
        all.filter(|(_, seconds)| *seconds > 0).collect()
    }

    #[test]
    fn each_stretch_of_time_has_its_name() {
        let budget = |it| EarlierAttempt { awaited: Some(Awaited::Budget), ..it };
        let earlier = [
            attempt(AttemptEnd::Retry, 2, 5),
            budget(attempt(AttemptEnd::Waiting, 9, 10)),
            attempt(AttemptEnd::Crashed, 30, 60),
            attempt(AttemptEnd::Released, 61, 62),
            attempt(AttemptEnd::Retry, 64, 65),
        ];
        let times = Times {
            earlier: &earlier,
            queued_at: Some(at(75)),
            started_at: Some(at(78)),
            ended_at: at(88),
        };
        let found = phases(at(0), &times);
        // Queued 2 s, 1 s behind the crash, 1 s given back and 2 s behind that, 3 s at last.
        let expected = [
            ("work", 3 + 1 + 1 + 10),
            ("queue", 9),
            ("backoff", 4 + 10),
            ("budget", 20),
            ("crash", 30),
        ];
        assert_eq!(spent(&found), expected);
        assert_eq!((found.total(), found.waiting()), (88_000_000, 73_000_000));
    }

    #[test]
    fn a_node_that_was_skipped_or_computed_on_the_way_takes_what_it_took() {
        let none =
            Times { earlier: &[], queued_at: Some(at(1)), started_at: None, ended_at: at(3) };
        assert_eq!(spent(&phases(at(1), &none)), [("queue", 2)]);
        let inlined = Times { started_at: Some(at(3)), queued_at: Some(at(3)), ..none };
        assert!(spent(&phases(at(3), &inlined)).is_empty());
    }

    proptest! {
        #[test]
        fn all_of_the_time_is_spent_once_however_the_clocks_went(
            times in proptest::collection::vec(0_i64..100, 12),
            outcomes in proptest::collection::vec(0_usize..4, 4),
            ready in 0_i64..100, has_started: bool, has_queued: bool,
        ) {
            let earlier: Vec<_> = outcomes.iter().zip(times.chunks(2))
                .map(|(outcome, times)| attempt(AttemptEnd::ALL[*outcome], times[0], times[1]))
                .collect();
            let all = Times {
                earlier: &earlier,
                queued_at: has_queued.then(|| at(times[9])),
                started_at: has_started.then(|| at(times[10])),
                ended_at: at(times[11]),
            };
            prop_assert_eq!(phases(at(ready), &all).total(), micros_between(at(ready), at(times[11])));
        }
    }
}
