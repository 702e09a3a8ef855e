//! `delay`: waits without holding a worker.
//!
//! `{"for": "5s"}` or a number of seconds, or `{"until": "2030-01-01T00:00:00Z"}`. The first call asks
//! for the wait, the second reports that it is over.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use skein_shared::domain::limits;
use skein_shared::domain::outcome::WaitFor;
use skein_shared::workflow::params::delay::{DelayParams, Length, Moment};

use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Delay;

impl PureNode for Delay {
    type Params = DelayParams;

    fn evaluate(&self, context: &NodeContext, params: DelayParams) -> Result<Outcome, NodeError> {
        if let Some(moment) = context.waited_until {
            return Ok(over(moment));
        }
        match (params.length, params.until) {
            (Some(Length(wait)), None) if wait.is_zero() => Ok(over(context.now)),
            (Some(Length(wait)), None) => waiting(wait, "for"),
            (None, Some(Moment(until))) => match (until - context.now).to_std() {
                Ok(wait) if !wait.is_zero() => waiting(wait, "until"),
                _ => Ok(over(until)),
            },
            _ => Err(NodeError::invalid_params("either `for` or `until` is needed")),
        }
    }
}

fn waiting(wait: Duration, field: &str) -> Result<Outcome, NodeError> {
    if wait > limits::DELAY_MAX {
        let days = limits::DELAY_MAX.as_secs() / (24 * 3600);
        let message = format!("`{field}` asks for a wait of more than {days} days");
        return Err(NodeError::invalid_params(message));
    }
    Ok(Outcome::Wait(WaitFor::Time(wait)))
}

fn over(moment: DateTime<Utc>) -> Outcome {
    let moment = moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    Outcome::Done(Done::with_output(json!({ "waited_until": moment })))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::nodes::tests::{context, evaluate};

    fn asked(params: Value) -> Result<Outcome, NodeError> {
        evaluate(&Delay, params)
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
        let params = DelayParams { length: Some(Length(Duration::from_secs(5))), until: None };
        let Ok(Outcome::Done(done)) = Delay.evaluate(&context, params) else {
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
