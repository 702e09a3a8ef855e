//! The database's clock, as a process knows it between two answers.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

/// What the database's clock showed, and when that was heard of by a clock that nobody sets. Whatever is decided about
/// time in a process is decided by this one: its own wall clock may be wrong, or be set while it looks.
///
/// It is slow by the time that the answer took, and so never ahead of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseClock {
    shown: DateTime<Utc>,
    heard: Instant,
}

impl DatabaseClock {
    /// The database's clock shows this now.
    #[must_use]
    pub fn showing(shown: DateTime<Utc>) -> Self {
        Self { shown, heard: Instant::now() }
    }

    /// What it shows now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        // A process does not live for the hundreds of millions of years that a difference of times can hold.
        let since = TimeDelta::from_std(self.heard.elapsed()).unwrap_or(TimeDelta::MAX);
        self.shown.checked_add_signed(since).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_what_it_showed_whatever_that_was() {
        let shown = "2030-01-31T12:00:00Z".parse().unwrap();
        let clock = DatabaseClock::showing(shown);
        let (first, second) = (clock.now(), clock.now());
        assert!(shown <= first && first <= second);
        assert_eq!(
            DatabaseClock::showing(DateTime::<Utc>::MAX_UTC).now(),
            DateTime::<Utc>::MAX_UTC
        );
    }
}
