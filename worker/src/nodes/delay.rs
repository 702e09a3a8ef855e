//! `delay`: waits without holding a worker.
//!
//! `{"for": "5s"}` or a number of seconds, or `{"until": "2030-01-01T00:00:00Z"}`. The first call asks
//! for the wait, the second reports that it is over.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use skein_shared::domain::outcome::WaitFor;
use skein_shared::domain::{duration, limits};

use super::fields::{Fields, invalid, mistyped};
use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Delay;

impl PureNode for Delay {
    fn evaluate(&self, context: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        if let Some(moment) = context.waited_until {
            return Ok(over(moment));
        }
        let mut params = Fields::of(params)?;
        match (params.take("for"), params.text("until")?) {
            (Some(length), None) => {
                let wait = length_of(&length)?;
                if wait.is_zero() { Ok(over(context.now)) } else { waiting(wait, "for") }
            }
            (None, Some(until)) => {
                let until = DateTime::parse_from_rfc3339(&until)
                    .map_err(|_| invalid("`until` must be a time like 2030-01-31T12:00:00Z"))?
                    .to_utc();
                match (until - context.now).to_std() {
                    Ok(wait) if !wait.is_zero() => waiting(wait, "until"),
                    _ => Ok(over(until)),
                }
            }
            _ => Err(invalid("either `for` or `until` is needed")),
        }
    }
}

fn waiting(wait: Duration, field: &str) -> Result<Outcome, NodeError> {
    if wait > limits::DELAY_MAX {
        let days = limits::DELAY_MAX.as_secs() / (24 * 3600);
        return Err(invalid(format!("`{field}` asks for a wait of more than {days} days")));
    }
    Ok(Outcome::Wait(WaitFor::Time(wait)))
}

fn over(moment: DateTime<Utc>) -> Outcome {
    let moment = moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    Outcome::Done(Done::with_output(json!({ "waited_until": moment })))
}

fn length_of(value: &Value) -> Result<Duration, NodeError> {
    const EXPECTED: &str = "a length of time like `5s`, or a number of seconds";
    let length = match value {
        Value::String(text) => duration::parse(text).ok(),
        Value::Number(seconds) => {
            seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        }
        other => return Err(mistyped("for", EXPECTED, other)),
    };
    length.ok_or_else(|| invalid(format!("`for` must be {EXPECTED}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::tests::context;

    fn asked(params: Value) -> Result<Outcome, NodeError> {
        Delay.evaluate(&context(), params)
    }

    #[test]
    fn a_length_is_waited_for() {
        for (params, millis) in [
            (json!({ "for": "250ms" }), 250),
            (json!({ "for": "1m30s" }), 90_000),
            (json!({ "for": 2 }), 2_000),
            (json!({ "for": 0.5 }), 500),
        ] {
            let wait = WaitFor::Time(Duration::from_millis(millis));
            assert_eq!(asked(params), Ok(Outcome::Wait(wait)));
        }
    }

    #[test]
    fn a_moment_is_waited_for_unless_it_has_passed() {
        let now = context().now;
        let at = |offset| (now + chrono::Duration::seconds(offset)).to_rfc3339();
        let wait = WaitFor::Time(Duration::from_secs(7));
        assert_eq!(asked(json!({ "until": at(7) })), Ok(Outcome::Wait(wait)));
        for offset in [0, -7] {
            let moment = now + chrono::Duration::seconds(offset);
            assert_eq!(asked(json!({ "until": at(offset) })), Ok(over(moment)));
        }
        assert_eq!(asked(json!({ "for": 0 })), Ok(over(now)));
    }

    #[test]
    fn an_elapsed_wait_is_over() {
        let moment = "2030-01-31T12:00:00.250Z";
        let waited_until = Some(moment.parse().unwrap());
        let context = NodeContext { waited_until, ..context() };
        let Ok(Outcome::Done(done)) = Delay.evaluate(&context, json!({ "for": "5s" })) else {
            panic!("it still waits")
        };
        assert_eq!(done.output, json!({ "waited_until": moment }));
    }

    #[test]
    fn nonsense_and_waits_without_end_are_diagnostics() {
        for params in [
            json!({}),
            json!({ "for": "5s", "until": "2030-01-31T12:00:00Z" }),
            json!({ "for": -1 }),
            json!({ "for": 1e300 }),
            json!({ "for": "soon" }),
            json!({ "for": true }),
            json!({ "for": "400 days" }),
            json!({ "until": "tomorrow" }),
            json!({ "until": 5 }),
            json!({ "until": "9999-01-01T00:00:00Z" }),
        ] {
            let error = asked(params.clone()).unwrap_err();
            assert_eq!(&*error.failure.code, "invalid_params", "{params}");
            assert!(!error.retryable);
        }
    }
}
