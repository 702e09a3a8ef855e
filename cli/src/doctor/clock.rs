//! Clocks that differ.

use chrono::{DateTime, TimeDelta, Utc};

use super::Finding;

/// How far two clocks may be apart. A date in a header is cut to seconds, and answers take a while; a span that begins
/// that much before its parent is seen in the waterfall.
const OFFSET_MAX: TimeDelta = TimeDelta::seconds(2);

/// What another clock showed at some time between two looks at this machine's.
pub(super) fn check(
    whose: &str,
    shown: DateTime<Utc>,
    (before, after): (DateTime<Utc>, DateTime<Utc>),
) -> Finding {
    const NAME: &str = "clock";
    // The least that it can be: the answer may have been written at any time in between.
    let offset = if shown < before {
        before - shown
    } else if shown > after {
        shown - after
    } else {
        TimeDelta::zero()
    };
    let direction = if shown < before { "behind" } else { "ahead of" };
    let text = format!("{:.1} s {direction} this machine's", offset.as_seconds_f64());
    if offset > OFFSET_MAX {
        return Finding::warning(
            NAME,
            format!("{whose} is {text}"),
            "have NTP set both clocks (chrony, systemd-timesyncd): spans would stand before their parents",
        );
    }
    Finding::ok(NAME, format!("{whose} is less than {} s off", OFFSET_MAX.num_seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn only_clocks_that_are_far_apart_are_worth_a_word() {
        let at = |second: i64| DateTime::from_timestamp(1_893_456_000 + second, 0).unwrap();
        let seen = |shown| check("the clock", at(shown), (at(10), at(13)));
        for close in [8, 10, 11, 13, 15] {
            assert_eq!(seen(close).outcome, Outcome::Ok, "{close}");
        }
        let behind = seen(4);
        assert_eq!(behind.outcome, Outcome::Warning);
        assert_eq!(behind.what, "the clock is 6.0 s behind this machine's");
        assert_eq!(seen(20).what, "the clock is 7.0 s ahead of this machine's");
    }
}
