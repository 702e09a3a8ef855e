//! What became of an attempt: decided once, and then written into its row, its log rows, its span and the metrics.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::budget::Exhausted;
use super::failure::Failure;
use super::state::NodeState;

/// What became of an attempt. Inputs and outputs are JSON text; an input is absent where the parameters were not rendered.
///
/// What is written while an attempt is under way is no part of it.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptOutcome {
    /// The node has ended with an output.
    Succeeded {
        /// Rendered parameters.
        input: Option<String>,
        /// The output.
        output: String,
    },
    /// The node has failed for good.
    Failed {
        /// Rendered parameters.
        input: Option<String>,
        /// What successors see, if the failure is handled.
        output: Option<String>,
        /// Why.
        error: Failure,
    },
    /// The attempt has failed and another follows.
    Retry {
        /// Rendered parameters.
        input: Option<String>,
        /// Why.
        error: Failure,
        /// When, from the commit on.
        delay: Duration,
    },
    /// The node waits, and holds no worker meanwhile. The attempt does not count.
    Waiting {
        /// Rendered parameters.
        input: Option<String>,
        /// What ends the wait.
        waiting_for: WaitFor,
    },
    /// It was deferred before it began: somebody else may make it. It does not count.
    Deferred {
        /// When, from the commit on.
        delay: Duration,
    },
    /// It was stopped: its run is cancelled or has failed, or its worker shuts down.
    Cancelled,
    /// There was none: no live token reached the node.
    Skipped,
}

/// What a node waits for.
///
/// What comes from outside (a decision, a raised budget) may come before the wait has begun: whoever brings it marks the
/// node's row whatever its state, and a wait of a row that was marked since its claim is over at once. A wait for a time
/// alone takes no notice.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitFor {
    /// A time, from the commit on.
    Time(Duration),
    /// Somebody's decision about a step.
    Decision {
        /// The step, from 1.
        step: u32,
        /// The tool that it would call.
        tool: Arc<str>,
        /// What it would call it with, as JSON text.
        arguments: Arc<str>,
        /// When no decision counts as a refusal, from the commit on.
        expires_in: Duration,
    },
    /// Its turn at a provider, which takes so many calls in a time and no more.
    Rate {
        /// The provider.
        provider: Arc<str>,
        /// The step that is to be made then, from 1.
        step: u32,
        /// When, from the commit on.
        starts_in: Duration,
    },
    /// A budget.
    Budget {
        /// What stands in the way; absent where that is only what other calls have reserved, which will be settled.
        exhausted: Option<Exhausted>,
        /// How often it has tried again since it began to wait for the same.
        looks: u32,
        /// When it tries again by itself, from the commit on.
        retry_in: Option<Duration>,
        /// The turn at a provider that it keeps meanwhile: who that is, and the step that is to be made, from 1.
        turn: Option<(Arc<str>, u32)>,
    },
}

impl WaitFor {
    /// When it is over, from the commit on. Absent where no time ends it.
    #[must_use]
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Time(delay) => Some(*delay),
            Self::Decision { expires_in, .. } => Some(*expires_in),
            Self::Rate { starts_in, .. } => Some(*starts_in),
            Self::Budget { retry_in, .. } => *retry_in,
        }
    }

    /// Whether something from outside ends it before its time.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Decision { .. } | Self::Budget { .. })
    }

    /// What is kept of it on the row and shown to users, as JSON: `{"type": ..., ...}`. What it waits until is beside it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Time(_) => json!({ "type": "time" }),
            Self::Decision { step, tool, arguments, .. } => {
                // Whoever decides sees all of it. What cannot be read, which nobody writes, is shown as it is.
                let arguments: Value =
                    serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(&**arguments));
                json!({ "type": "decision", "step": step, "tool": &**tool, "arguments": arguments })
            }
            Self::Rate { provider, step, .. } => {
                json!({ "type": "rate", "provider": &**provider, "step": step })
            }
            Self::Budget { exhausted, looks, turn, .. } => {
                // The type stays in front: the stores search for it there.
                let mut wait = json!({ "type": "budget" });
                let facts = exhausted.as_ref().map(Exhausted::to_json);
                if let (Value::Object(wait), Some(Value::Object(facts))) = (&mut wait, facts) {
                    wait.extend(facts);
                }
                if *looks > 0 {
                    wait["looks"] = json!(looks);
                }
                if let Some((provider, step)) = turn {
                    wait["provider"] = (&**provider).into();
                    wait["step"] = (*step).into();
                }
                wait
            }
        }
    }
}

impl AttemptOutcome {
    /// What its row becomes, unless its run has ended or is to end.
    #[must_use]
    pub fn state(&self) -> NodeState {
        match self {
            Self::Succeeded { .. } => NodeState::Succeeded,
            Self::Failed { .. } => NodeState::Failed,
            Self::Retry { .. } => NodeState::Retry,
            Self::Waiting { .. } => NodeState::Waiting,
            Self::Deferred { .. } => NodeState::Queued,
            Self::Cancelled => NodeState::Cancelled,
            Self::Skipped => NodeState::Skipped,
        }
    }

    /// Rendered parameters.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        match self {
            Self::Succeeded { input, .. }
            | Self::Failed { input, .. }
            | Self::Retry { input, .. }
            | Self::Waiting { input, .. } => input.as_deref(),
            Self::Deferred { .. } | Self::Cancelled | Self::Skipped => None,
        }
    }

    /// Rendered parameters, moved out.
    #[must_use]
    pub fn into_input(self) -> Option<String> {
        match self {
            Self::Succeeded { input, .. }
            | Self::Failed { input, .. }
            | Self::Retry { input, .. }
            | Self::Waiting { input, .. } => input,
            Self::Deferred { .. } | Self::Cancelled | Self::Skipped => None,
        }
    }

    /// What successors see.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Succeeded { output, .. } => Some(output),
            Self::Failed { output, .. } => output.as_deref(),
            Self::Retry { .. }
            | Self::Waiting { .. }
            | Self::Deferred { .. }
            | Self::Cancelled
            | Self::Skipped => None,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> Option<&Failure> {
        match self {
            Self::Failed { error, .. } | Self::Retry { error, .. } => Some(error),
            Self::Succeeded { .. }
            | Self::Waiting { .. }
            | Self::Deferred { .. }
            | Self::Cancelled
            | Self::Skipped => None,
        }
    }

    /// What it waits for.
    #[must_use]
    pub fn waiting_for(&self) -> Option<&WaitFor> {
        match self {
            Self::Waiting { waiting_for, .. } => Some(waiting_for),
            Self::Succeeded { .. }
            | Self::Failed { .. }
            | Self::Retry { .. }
            | Self::Deferred { .. }
            | Self::Cancelled
            | Self::Skipped => None,
        }
    }

    /// When its row is due again, from the commit on. Absent where it is not, or where no time says so.
    #[must_use]
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Retry { delay, .. } | Self::Deferred { delay } => Some(*delay),
            Self::Waiting { waiting_for, .. } => waiting_for.due_in(),
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Cancelled | Self::Skipped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_decides_sees_what_a_tool_would_be_called_with_even_if_it_cannot_be_read() {
        let shown = |arguments: &str| {
            let (tool, arguments) = ("send".into(), arguments.into());
            let expires_in = Duration::from_secs(60);
            let wait = WaitFor::Decision { step: 3, tool, arguments, expires_in };
            wait.to_json()["arguments"].clone()
        };
        assert_eq!(shown(r#"{"to":["ann"]}"#), json!({ "to": ["ann"] }));
        let too_deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(shown(&too_deep), Value::from(too_deep));
    }
}
