//! How an agent goes about its goal: one file a framework.

mod agentgpt;
mod autogpt;
mod list;
mod react;

use skein_shared::workflow::params::agent::Framework;

use crate::models::{Message, ToolCall};

/// A framework: from what has happened to what comes next.
///
/// It MUST be pure: for the same task and the same turns it MUST say the same, because an agent that is taken up again is
/// made of what is recorded of it. It does no I/O, and knows neither time nor chance. It SHOULD come to an end by
/// itself; the limits of the agent end it if it does not.
pub(super) trait Strategy: Send + Sync {
    /// What comes next. Every turn but the last has all results of its calls that were to be made.
    fn next(&self, task: &Task, turns: &[Turn]) -> Next;
}

/// What an agent is for.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// What it is to reach.
    pub(super) goal: String,
    /// What the model is to be besides.
    pub(super) system: Option<String>,
    /// Whether there are tools besides the one that ends it.
    pub(super) has_tools: bool,
}

/// One answer of the model, and what its calls of tools yielded.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Turn {
    /// What it said.
    pub(super) text: String,
    /// The tools that it called.
    pub(super) calls: Vec<ToolCall>,
    /// What they yielded, in the same order; fewer as long as they are not all made.
    pub(super) results: Vec<ToolResult>,
}

/// What a call of a tool yielded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolResult {
    /// As the model is to read it.
    pub(super) content: String,
    /// Whether the tool failed, or was not called at all.
    pub(super) is_error: bool,
    /// Whether somebody has forbidden the call.
    pub(super) is_denied: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Ask the model.
    Ask(Prompt),
    /// Call the tools that the last turn names.
    Call,
    /// It is done, and this is the answer.
    Done(String),
}

/// What the model is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prompt {
    /// What it is to be and do.
    pub(super) system: String,
    /// The conversation.
    pub(super) messages: Vec<Message>,
    /// Whether it may call tools now.
    pub(super) with_tools: bool,
}

impl Turn {
    /// Whether tools are still to be called.
    fn is_open(&self) -> bool {
        self.results.len() < self.calls.len()
    }

    /// The turn as the model is shown it; nothing if it said nothing, which no provider takes. Calls that were not made are
    /// left out: no provider takes one without its result.
    fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        let calls = if self.is_open() { &[][..] } else { &self.calls };
        let is_empty = self.text.is_empty() && calls.is_empty();
        let said = (!is_empty).then(|| said(&self.text, calls));
        let results = calls.iter().zip(&self.results).map(|(call, result)| Message::ToolResult {
            call_id: call.id.clone(),
            name: call.name.clone(),
            content: result.content.clone(),
            is_error: result.is_error,
        });
        said.into_iter().chain(results)
    }
}

fn said(text: &str, calls: &[ToolCall]) -> Message {
    Message::Assistant { text: text.to_owned(), tool_calls: calls.to_vec() }
}

impl Task {
    /// What the model is to be: what the workflow says, and then what the framework says.
    fn system(&self, framework: &str) -> String {
        match &self.system {
            Some(own) => format!("{own}\n\n{framework}"),
            None => framework.to_owned(),
        }
    }
}

/// The strategy of a framework.
pub(super) fn of(framework: Framework) -> &'static dyn Strategy {
    match framework {
        Framework::React => &react::React,
        Framework::AgentGpt => &agentgpt::AgentGpt,
        Framework::AutoGpt => &autogpt::AutoGpt,
    }
}

#[cfg(test)]
mod tests;
