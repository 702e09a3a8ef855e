//! Which rows of a run's log are read.

use chrono::{DateTime, Utc};

use crate::workflow::params::log::Level;

/// Rows that a page reads at most where not all of them pass: some milliseconds. What is asked for may be few rows of a
/// long log; a page that has read as much ends there, with what it has found and a cursor.
const READ_ROWS_MAX: u32 = 2_000;

/// All rows of a log.
pub static WHOLE_LOG: LogFilter = LogFilter { level: None, node: None, since: None };

/// Which rows of a log are to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Rows of this level and of those that are more severe only.
    pub level: Option<Level>,
    /// Rows about this node only.
    pub node: Option<String>,
    /// Rows of this time and later only.
    pub since: Option<DateTime<Utc>>,
}

impl LogFilter {
    /// The words of the levels that pass.
    pub(super) fn levels(&self) -> Vec<&'static str> {
        let is_below = |level: &&Level| self.level.is_some_and(|least| **level != least);
        Level::ALL.iter().skip_while(is_below).map(|level| level.as_str()).collect()
    }

    /// How many rows a page of so many reads at most.
    pub(super) fn read_max(&self, limit: u32) -> u32 {
        if *self == WHOLE_LOG { limit } else { limit.max(READ_ROWS_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_lets_through_what_is_more_severe() {
        let levels = |level| LogFilter { level, ..LogFilter::default() }.levels();
        assert_eq!(levels(None), ["debug", "info", "warn", "error"]);
        assert_eq!(levels(Some(Level::Warn)), ["warn", "error"]);
        assert_eq!(levels(Some(Level::Error)), ["error"]);
    }

    #[test]
    fn no_more_is_read_than_is_shown_where_everything_passes() {
        let of_node = LogFilter { node: Some("a".to_owned()), ..LogFilter::default() };
        assert_eq!((WHOLE_LOG.read_max(10), of_node.read_max(10)), (10, READ_ROWS_MAX));
    }
}
