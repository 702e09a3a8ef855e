//! Durations as people write them: `250ms`, `5s`, `1m30s`, `2h`, `1d`.
//!
//! A duration is one or more whole numbers with a unit, the units falling: `d`, `h`, `m`, `s`, `ms`.
//! There is no bare number, so that nobody has to guess the unit, and no fraction, so that there is
//! one way to write each.

use std::fmt::Write;
use std::time::Duration;

/// The units in falling order, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Text that is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedDuration {
    /// It has nothing in it.
    #[error("a duration is empty")]
    Empty,
    /// It does not start with a digit where a number is due.
    #[error("a duration needs a number before each unit")]
    Number,
    /// A number without a unit, or with one that does not exist.
    #[error("a duration needs a unit after each number: d, h, m, s or ms")]
    Unit,
    /// The same unit twice, or a smaller one first.
    #[error("the units of a duration must fall: d, h, m, s, ms")]
    Order,
    /// More than fits.
    #[error("a duration is too long")]
    TooLong,
}

/// Reads a duration.
///
/// # Errors
/// When the text is not one or more `<whole number><unit>` with falling units.
pub fn parse(text: &str) -> Result<Duration, MalformedDuration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(MalformedDuration::Empty);
    }
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(MalformedDuration::Number);
        }
        let count: u64 = rest[..digits].parse().map_err(|_| MalformedDuration::TooLong)?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS
            .iter()
            .position(|(name, _)| *name == &rest[..letters])
            .ok_or(MalformedDuration::Unit)?;
        if unit < next_unit {
            return Err(MalformedDuration::Order);
        }
        next_unit = unit + 1;
        total = count
            .checked_mul(UNITS[unit].1)
            .and_then(|millis| total.checked_add(millis))
            .ok_or(MalformedDuration::TooLong)?;
        rest = &rest[letters..];
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration in the one canonical way: `90s` becomes `1m30s`, nothing is `0s`. What is
/// smaller than a millisecond is cut off.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in UNITS {
        let count = rest / u128::from(millis);
        rest %= u128::from(millis);
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_numbers_with_falling_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d12h", 129_600_000),
            ("0s", 0),
            (" 5s ", 5_000),
            ("90s", 90_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_says_what_is_missing() {
        for (text, error) in [
            ("", MalformedDuration::Empty),
            ("  ", MalformedDuration::Empty),
            ("5", MalformedDuration::Unit),
            ("s", MalformedDuration::Number),
            ("-5s", MalformedDuration::Number),
            ("1.5s", MalformedDuration::Unit),
            ("5 s", MalformedDuration::Unit),
            ("5sec", MalformedDuration::Unit),
            ("5é", MalformedDuration::Unit),
            ("5s1m", MalformedDuration::Order),
            ("1s1s", MalformedDuration::Order),
            ("99999999999999999999s", MalformedDuration::TooLong),
            ("999999999999999999d", MalformedDuration::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_canonical_text_is_short() {
        assert_eq!(format(Duration::from_secs(90)), "1m30s");
        assert_eq!(format(Duration::ZERO), "0s");
        assert_eq!(format(Duration::from_millis(86_400_250)), "1d250ms");
        assert_eq!(format(Duration::from_nanos(1)), "0s");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0_u64..u64::MAX / 2) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
