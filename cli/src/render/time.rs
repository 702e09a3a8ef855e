//! Times and durations as people read them.

use chrono::{DateTime, TimeDelta, Utc};

/// A duration with three significant digits or so: `0.4ms`, `3.2ms`, `214ms`, `1.24s`, `2m05s`, `3h02m`, `2d04h`.
#[must_use]
pub fn duration(span: TimeDelta) -> String {
    let micros = span.num_microseconds().unwrap_or(i64::MAX).max(0);
    // Rounded, as the fractions are: what is a minute but for a blink is a minute.
    let (millis, seconds) = (micros as f64 / 1e3, micros.saturating_add(500_000) / 1_000_000);
    match micros {
        0..=9_949 => format!("{millis:.1}ms"),
        9_950..=999_499 => format!("{millis:.0}ms"),
        999_500..=9_994_999 => format!("{:.2}s", millis / 1e3),
        9_995_000..=59_949_999 => format!("{:.1}s", millis / 1e3),
        _ if seconds < 3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long a node, or an attempt at one, took. What began and ended at the same moment, that of a commit, was computed
/// along with the node before it: nobody has measured that.
pub(super) fn took(span: TimeDelta) -> String {
    if span.is_zero() { "inlined".to_owned() } else { duration(span) }
}

/// A time as `HH:MM:SS.mmm`, UTC.
#[must_use]
pub fn clock(time: DateTime<Utc>) -> String {
    time.format("%H:%M:%S%.3f").to_string()
}

/// The day of a time, and whose day that is: the times of a log are UTC too.
pub(super) fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d UTC").to_string()
}

/// A time to the second, RFC 3339, UTC.
#[must_use]
pub fn moment(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Seconds as a number, for rates.
#[must_use]
pub fn seconds(span: TimeDelta) -> f64 {
    span.num_microseconds().map_or(f64::INFINITY, |micros| micros as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_said_to_have_taken_no_time() {
        assert_eq!(took(TimeDelta::zero()), "inlined");
        assert_eq!(took(TimeDelta::microseconds(420)), "0.4ms");
    }

    #[test]
    fn durations_are_short_and_never_jump_to_the_wrong_unit() {
        for (micros, text) in [
            (-5, "0.0ms"),
            (0, "0.0ms"),
            (420, "0.4ms"),
            (9_949, "9.9ms"),
            (9_950, "10ms"),
            (214_000, "214ms"),
            (999_499, "999ms"),
            (999_500, "1.00s"),
            (1_240_000, "1.24s"),
            (9_995_000, "10.0s"),
            (59_949_999, "59.9s"),
            (59_950_000, "1m00s"),
            (119_600_000, "2m00s"),
            (3_599_700_000, "1h00m"),
            (i64::MAX, "106751991d04h"),
            (125_000_000, "2m05s"),
            (10_920_000_000, "3h02m"),
            (187_200_000_000, "2d04h"),
        ] {
            assert_eq!(duration(TimeDelta::microseconds(micros)), text, "{micros}");
        }
    }
}
