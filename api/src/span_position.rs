//! How far somebody has got with the spans of a run.

use std::fmt;
use std::str::FromStr;

use skein_shared::domain::traced::AttemptPosition;

/// Behind which row the next page begins. The segments that are over come first, then attempts, then steps: each is a
/// listing of its own in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpanPosition {
    /// Behind the segment of this number.
    Segment(u32),
    /// Behind this attempt.
    Attempt(AttemptPosition),
    /// Behind the step at this position.
    Step(i64),
}

impl SpanPosition {
    /// Before all of them.
    pub(crate) const START: Self = Self::Segment(0);
}

impl fmt::Display for SpanPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "r.{number}"),
            Self::Attempt(AttemptPosition { ordinal, claim }) => write!(f, "n.{ordinal}.{claim}"),
            Self::Step(position) => write!(f, "s.{position}"),
        }
    }
}

/// Text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoPosition;

impl FromStr for SpanPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let position = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        let read = match text.split_once('.') {
            Some(("r", number)) => number.parse().ok().map(Self::Segment),
            Some(("n", rest)) => rest.split_once('.').and_then(|(ordinal, claim)| {
                let (ordinal, claim) = (position(ordinal)?, claim.parse().ok()?);
                Some(Self::Attempt(AttemptPosition { ordinal, claim }))
            }),
            Some(("s", number)) => position(number).map(Self::Step),
            _ => None,
        };
        read.ok_or(NoPosition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_a_round_trip() {
        for position in [
            SpanPosition::START,
            SpanPosition::Segment(3),
            SpanPosition::Attempt(AttemptPosition { ordinal: i64::MAX, claim: 0 }),
            SpanPosition::Step(17),
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["", "r", "r.", "r.-1", "n.1", "n.1.2.3", "n.-1.2", "s.-1", "s.x", "x.1", "1"] {
            assert_eq!(text.parse::<SpanPosition>(), Err(NoPosition), "{text}");
        }
    }
}
