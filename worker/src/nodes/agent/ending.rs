//! What an agent comes to.

use crate::journal::STEPS_MAX;
use skein_shared::domain::duration;
use skein_shared::domain::outcome::WaitFor;
use skein_shared::workflow::params::agent::AgentLimits;

use crate::journal::JournalError;
use crate::nodes::NodeError;
use crate::steps::CallFailed;

/// It has come to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// What it has to say.
    pub(super) answer: Option<String>,
    /// What has ended it.
    pub(super) by: StoppedBy,
}

/// What has ended an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoppedBy {
    /// It has answered.
    Answer,
    /// It has called the tool that ends it.
    Finish,
    /// It has ended after a call of its was forbidden.
    Denied,
    /// A limit of its own.
    Limit(Limit),
}

/// A limit of an agent's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Answers of the model.
    Iterations,
    /// Steps that an activation may have, in number or in bytes; users see it as `iterations`.
    Steps,
    /// Tokens.
    Tokens,
    /// Money.
    Usd,
    /// Time of work.
    Wall,
}

/// Why an attempt does not come to an end.
#[derive(Debug)]
pub(super) enum Stop {
    /// It waits.
    Wait(WaitFor),
    /// It has failed.
    Failed(NodeError),
    /// A limit of its own is reached.
    Limit(Limit),
    /// What is recorded has changed meanwhile: it is to be played back once more.
    Again,
}

impl StoppedBy {
    /// The word in outputs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Finish => "finish",
            Self::Denied => "denied",
            Self::Limit(Limit::Iterations | Limit::Steps) => "iterations",
            Self::Limit(Limit::Tokens) => "tokens",
            Self::Limit(Limit::Usd) => "usd",
            Self::Limit(Limit::Wall) => "wall",
        }
    }
}

impl Limit {
    /// What fails an agent for which a limit is a failure.
    pub(super) fn failure(self, limits: &AgentLimits) -> NodeError {
        let reached = match self {
            Self::Iterations => format!("its limit of {} iterations", limits.iterations),
            Self::Steps => {
                format!("{STEPS_MAX} steps or what can be recorded of them, and no node has more")
            }
            Self::Tokens => {
                format!("its limit of {} tokens", limits.tokens.unwrap_or_default())
            }
            Self::Usd => {
                format!("its limit of {}", limits.max_cost().unwrap_or_default())
            }
            Self::Wall => {
                format!("its limit of {} of work", duration::format(limits.wall()))
            }
        };
        NodeError::fail("agent_exhausted", format!("the agent has reached {reached}"))
    }
}

impl From<NodeError> for Stop {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<CallFailed> for Stop {
    fn from(failed: CallFailed) -> Self {
        Self::Failed(failed.into())
    }
}
