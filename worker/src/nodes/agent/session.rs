//! An agent in the hands of one attempt: what is recorded is played back, and what is not is done.

mod calls;

use std::time::Duration;

use crate::journal::NewEvent;
use crate::journal::{JOURNAL_BYTES_MAX, STEP_RESULT_BYTES_MAX, STEPS_MAX};
use skein_shared::workflow::params::agent::AgentParams;

use super::ending::{Ending, Limit, Stop, StoppedBy};
use super::events;
use super::report::Report;
use super::strategy::{Next, Prompt, Strategy, Task, ToolResult, Turn};
use super::tools::{self, McpServer, Resolved, Tool, Toolbox};
use crate::models::{ChatRequest, Provider};
use crate::nodes::{NodeContext, NodeError};
use crate::steps::{Asked, ModelCaller, Question, Steps};

/// The longest time of one call to a model.
const ASK_TIME_MAX: Duration = Duration::from_secs(600);
/// Bytes of steps after which none begins: what is recorded is read whole, and a step more must fit beside it, with what
/// its model said before it called tools.
const RECORD_BYTES_MAX: usize = JOURNAL_BYTES_MAX - 2 * STEP_RESULT_BYTES_MAX;

/// What an agent works with.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) context: &'a NodeContext,
    pub(super) params: &'a AgentParams,
    pub(super) caller: &'a ModelCaller,
    pub(super) provider: &'a Provider,
    pub(super) strategy: &'static dyn Strategy,
    pub(super) report: &'a Report<'a>,
}

/// An agent in the hands of one attempt.
pub(super) struct Session<'a> {
    means: Means<'a>,
    steps: Steps<'a>,
    turns: Vec<Turn>,
    /// How long earlier attempts have worked on the steps so far.
    worked: Duration,
    /// Bytes of what is recorded of the steps so far.
    bytes: usize,
}

impl<'a> Session<'a> {
    pub(super) fn new(means: Means<'a>, steps: Steps<'a>) -> Self {
        Self { means, steps, turns: Vec::new(), worked: Duration::ZERO, bytes: 0 }
    }

    /// The steps.
    pub(super) fn steps(&self) -> &Steps<'a> {
        &self.steps
    }

    /// Answers of the model so far.
    pub(super) fn iterations(&self) -> u32 {
        u32::try_from(self.turns.len()).unwrap_or(u32::MAX)
    }

    /// The last thing that the model has said.
    pub(super) fn last_words(&self) -> Option<&str> {
        self.turns.iter().rev().map(|turn| &*turn.text).find(|text| !text.trim().is_empty())
    }

    /// Goes on until there is an answer, or something stands in the way. Writes down what is over in either case, as far
    /// as the store takes it.
    pub(super) async fn run(
        &mut self,
        tools: Vec<Box<dyn Tool>>,
        servers: &[McpServer],
    ) -> Result<Ending, Stop> {
        let result = self.go_on(tools, servers).await;
        self.steps.flush().await?;
        self.means.report.see(self.steps.totals(), self.iterations());
        result
    }

    async fn go_on(
        &mut self,
        mut tools: Vec<Box<dyn Tool>>,
        servers: &[McpServer],
    ) -> Result<Ending, Stop> {
        for server in servers {
            let pinned = self.tools_of(server).await?;
            tools.extend(pinned.into_iter().map(|pinned| pinned.tool(server)));
        }
        let toolbox = Toolbox::new(tools);
        let AgentParams { goal, system, .. } = self.means.params;
        let has_tools = toolbox.has_tools();
        let task = Task { goal: goal.clone(), system: system.clone(), has_tools };
        loop {
            self.means.report.see(self.steps.totals(), self.iterations());
            match self.means.strategy.next(&task, &self.turns) {
                Next::Ask(prompt) => self.ask(prompt, &toolbox).await?,
                Next::Call => {
                    if let Some(answer) = self.call_tools(&toolbox).await? {
                        return Ok(self.ended(answer, StoppedBy::Finish));
                    }
                }
                Next::Done(answer) => return Ok(self.ended(answer, StoppedBy::Answer)),
            }
        }
    }

    /// What it has come to, of itself. In the turn after a refusal, that is what has stopped it.
    fn ended(&self, answer: String, by: StoppedBy) -> Ending {
        let last = self.turns.iter().rev().take(2);
        let is_denied = last.flat_map(|turn| &turn.results).any(|result| result.is_denied);
        Ending { answer: Some(answer), by: if is_denied { StoppedBy::Denied } else { by } }
    }

    /// Asks the model, and takes its answer down as a turn.
    async fn ask(&mut self, prompt: Prompt, toolbox: &Toolbox) -> Result<(), Stop> {
        let Means { params, provider, caller, .. } = self.means;
        let tools = if prompt.with_tools { toolbox.specs().to_vec() } else { Vec::new() };
        let request = ChatRequest {
            model: params.model.clone(),
            system: Some(prompt.system),
            messages: prompt.messages,
            tools,
            schema: None,
            max_tokens: params.max_tokens,
            temperature: params.temperature,
            top_p: None,
            seed: None,
            stop: Vec::new(),
        };
        let (answer, step) = loop {
            let step = self.steps.next();
            let is_replayed = self.take_up();
            if !is_replayed {
                self.check_limits()?;
            }
            let left = self.time_left(ASK_TIME_MAX);
            self.steps.site.timeout = self.steps.site.begun.elapsed() + left;
            let question = Question { provider, request: &request, deltas: None };
            match caller.ask(&mut self.steps, question).await {
                Ok(Asked::Answered(answer)) => break (answer, (!is_replayed).then_some(step)),
                Ok(Asked::Wait(wait)) => return Err(Stop::Wait(wait)),
                // The node was to try again.
                Err(failed) if failed.is_replayed => {}
                Err(failed) => {
                    self.check_wall()?;
                    return Err(failed.into());
                }
            }
        };
        let calls = answer.tool_calls.iter().map(|call| escaped_len(&call.arguments));
        self.bytes += escaped_len(&answer.text) + calls.sum::<usize>();
        if !answer.tool_calls.is_empty() {
            // Recorded once more, as what it thought.
            self.bytes += answer.text.len();
        }
        self.turns.push(Turn { text: answer.text, calls: answer.tool_calls, results: Vec::new() });
        if let Some(step) = step {
            let events = self.said(step, toolbox);
            self.steps.log(events).await?;
        }
        Ok(())
    }

    /// The log rows of the last turn.
    fn said(&self, step: u32, toolbox: &Toolbox) -> Vec<NewEvent> {
        let Some(turn) = self.turns.last() else { return Vec::new() };
        let unknown =
            turn.calls.iter().filter(|call| matches!(toolbox.resolve(call), Resolved::Unknown));
        let denied = unknown.map(|call| {
            events::denied(&self.steps.site, step, tools::shown_name(&call.name), "unknown")
        });
        let said = events::step(&self.steps.site, step, self.iterations(), turn.calls.len());
        std::iter::once(said).chain(denied).collect()
    }

    /// Makes the calls of the last turn that are still to be made, one after the other. Yields an answer if one of them
    /// ends the agent.
    async fn call_tools(&mut self, toolbox: &Toolbox) -> Result<Option<String>, Stop> {
        let Some(turn) = self.turns.last() else { return Ok(None) };
        let calls = turn.calls[turn.results.len()..].to_vec();
        for call in calls {
            let result = match toolbox.resolve(&call) {
                Resolved::Finish(answer) => return Ok(Some(answer)),
                Resolved::Unknown => toolbox.unknown(&call.name),
                Resolved::Malformed(message) => refusal(message, false),
                Resolved::Call(tool, arguments) => self.call(tool, &call, arguments).await?,
            };
            self.turns.last_mut().into_iter().for_each(|turn| turn.results.push(result.clone()));
        }
        Ok(None)
    }

    /// Looks at the step that is to be made: whether it was made, and how long earlier attempts have worked on it.
    fn take_up(&mut self) -> bool {
        let tries = self.steps.tries();
        self.worked += tries.iter().filter_map(|step| step.latency).sum::<Duration>();
        tries.iter().any(|step| step.status.is_final())
    }

    /// The time that it has worked.
    fn worked(&self) -> Duration {
        self.worked + self.steps.site.begun.elapsed()
    }

    /// The time that a call may take.
    fn time_left(&self, most: Duration) -> Duration {
        let context = self.means.context;
        let wall = self.means.params.limits.wall().saturating_sub(self.worked());
        let attempt = context.timeout.saturating_sub(self.steps.site.begun.elapsed());
        most.min(wall).min(attempt)
    }

    fn check_wall(&self) -> Result<(), Stop> {
        let is_over = self.worked() >= self.means.params.limits.wall();
        if is_over { Err(Stop::Limit(Limit::Wall)) } else { Ok(()) }
    }

    fn check_steps(&self) -> Result<(), Stop> {
        let is_over = self.steps.next() > STEPS_MAX || self.bytes > RECORD_BYTES_MAX;
        if is_over { Err(Stop::Limit(Limit::Steps)) } else { Ok(()) }
    }

    /// Whether the model may be asked once more.
    fn check_limits(&self) -> Result<(), Stop> {
        let limits = &self.means.params.limits;
        let totals = self.steps.totals();
        self.check_steps()?;
        if self.iterations() >= limits.iterations {
            return Err(Stop::Limit(Limit::Iterations));
        }
        if limits.tokens.is_some_and(|most| totals.usage.total() >= most) {
            return Err(Stop::Limit(Limit::Tokens));
        }
        if let Some(most) = limits.max_cost() {
            if totals.unpriced > 0 {
                let message = format!(
                    "`limits.usd` is set, and {} has no price: give it one in the file of SKEIN_MODEL_PRICES",
                    self.means.params.model
                );
                return Err(NodeError::fail("price_unknown", message).into());
            }
            if totals.cost >= most {
                return Err(Stop::Limit(Limit::Usd));
            }
        }
        self.check_wall()
    }
}

/// Bytes of a text where it is recorded.
fn escaped_len(text: &str) -> usize {
    serde_json::to_string(text).map_or(0, |text| text.len())
}

fn refusal(content: String, is_denied: bool) -> ToolResult {
    ToolResult { content, is_error: true, is_denied }
}
