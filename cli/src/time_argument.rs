//! Times on the command line.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use skein_shared::domain::duration;

/// A time as people say it: `90s`, `10m`, `2h` and `7d` are so far away from another one, mostly from now; anything else
/// is a point in time, RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeArgument {
    /// So far away from a time.
    Apart(Duration),
    /// This time.
    At(DateTime<Utc>),
}

/// Text that is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a time is said as a duration, like 90s, 10m, 2h or 7d, or in RFC 3339, like 2030-01-31T12:00:00Z"
)]
pub struct NoTime;

impl FromStr for TimeArgument {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        match (duration::parse(text), DateTime::parse_from_rfc3339(text)) {
            (Ok(apart), _) => Ok(Self::Apart(apart)),
            (_, Ok(time)) => Ok(Self::At(time.to_utc())),
            _ => Err(NoTime),
        }
    }
}

impl TimeArgument {
    /// The time that is so far before `end`, or this time. What is before all times is the beginning of 1970.
    #[must_use]
    pub fn before(self, end: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Apart(apart) => TimeDelta::from_std(apart)
                .ok()
                .and_then(|apart| end.checked_sub_signed(apart))
                .filter(|time| *time > DateTime::UNIX_EPOCH)
                .unwrap_or(DateTime::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }

    /// The time that is so far behind `start`, or this time; `None` if there is no such time.
    #[must_use]
    pub fn after(self, start: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Apart(apart) => start.checked_add_signed(TimeDelta::from_std(apart).ok()?),
            Self::At(time) => Some(time),
        }
    }
}

/// A time as a server reads it.
#[must_use]
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(text: &str) -> String {
        let end = "2030-01-31T12:00:00Z".parse().unwrap();
        rfc3339(text.parse::<TimeArgument>().unwrap().before(end))
    }

    #[test]
    fn a_time_may_be_said_as_how_far_away_it_is() {
        for (text, time) in [
            ("24h", "2030-01-30T12:00:00Z"),
            ("1d12h", "2030-01-30T00:00:00Z"),
            ("90s", "2030-01-31T11:58:30Z"),
            ("250ms", "2030-01-31T11:59:59.750Z"),
            ("2030-01-01T00:00:00+01:00", "2029-12-31T23:00:00Z"),
            ("400000d", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(before(text), time, "{text}");
        }
        let start: DateTime<Utc> = "2030-01-31T12:00:00Z".parse().unwrap();
        let hour = "1h".parse::<TimeArgument>().unwrap();
        assert_eq!(hour.after(start).map(rfc3339).unwrap(), "2030-01-31T13:00:00Z");
        assert_eq!("213503982334d".parse::<TimeArgument>().unwrap().after(start), None);
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for text in ["", "1", "yesterday", "2030-01-31", "2 h", "h"] {
            let refused = text.parse::<TimeArgument>().unwrap_err().to_string();
            assert!(refused.contains("2h") && refused.contains("RFC 3339"), "{text}");
        }
    }
}
