//! `agent`: has a model reach a goal, by tools that it may call.
//!
//! An attempt plays back what is recorded of the steps so far into the strategy, which says what comes next, and goes on
//! from there. So a crash costs no more than the step that was under way, and a wait holds nothing.

mod ending;
mod events;
mod report;
mod session;
mod strategy;
mod tools;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use skein_shared::telemetry::spans::agent_span;
use skein_shared::workflow::params::agent::{AgentParams, OnLimit, ToolParams};

use super::http::conceal;
use super::{Done, NodeContext, NodeError, Outcome, SteppedNode};
use crate::egress::Egress;
use crate::evaluate::Evaluator;
use crate::journal::Journal;
use crate::steps::{ModelCaller, Steps};
use ending::{Ending, Stop, StoppedBy};
use report::Report;
use session::{Means, Session};
use tools::{HttpTool, McpServer, Tool};

/// How often what is recorded is played back once more because it has changed meanwhile. Once is what happens; the
/// second time somebody else is at work.
const REPLAYS_MAX: u32 = 3;

/// The tools that are requests, and the servers of the others.
type Tools = (Vec<Box<dyn Tool>>, Vec<McpServer>);

pub(super) struct Agent {
    egress: Egress,
    evaluator: Evaluator,
    caller: ModelCaller,
}

impl Agent {
    pub(super) fn new(egress: Egress, evaluator: Evaluator, caller: ModelCaller) -> Self {
        Self { egress, evaluator, caller }
    }

    /// The tools that are requests, and the servers of the others.
    fn tools(&self, params: &AgentParams) -> Result<Tools, NodeError> {
        let (mut tools, mut servers): (Vec<Box<dyn Tool>>, _) = (Vec::new(), Vec::new());
        for (at, tool) in params.tools.iter().enumerate() {
            match tool.clone() {
                ToolParams::Http(http) => {
                    let pointer = format!("/tools/{at}/http");
                    let (egress, evaluator) = (self.egress.clone(), self.evaluator.clone());
                    tools.push(Box::new(HttpTool::new(http, &pointer, egress, evaluator)?));
                }
                ToolParams::Mcp(mcp) => servers.push(McpServer::new(mcp, self.egress.clone())),
            }
        }
        Ok((tools, servers))
    }

    async fn attempt(
        &self,
        context: &NodeContext,
        journal: &dyn Journal,
        params: &AgentParams,
        report: &Report<'_>,
    ) -> Result<Outcome, NodeError> {
        let provider = self.caller.provider(params.provider.as_deref())?;
        report.asks(&provider.shown);
        let site = context.site(journal, agent_span(context.span.span));
        let strategy = strategy::of(params.framework);
        let means = Means { context, params, caller: &self.caller, provider, strategy, report };
        let around = NodeContext {
            span: context.span.with_span(agent_span(context.span.span)),
            ..context.clone()
        };
        for _ in 0..REPLAYS_MAX {
            let (tools, servers) = self.tools(params)?;
            let mut session = Session::new(means, Steps::open(site).await?);
            let result = session.run(tools, &servers).await;
            for server in &servers {
                server.close(&around).await;
            }
            let ending = match result {
                Ok(ending) => ending,
                Err(Stop::Limit(limit)) if params.on_exhausted == OnLimit::Stop => {
                    let answer = session.last_words().map(str::to_owned);
                    Ending { answer, by: StoppedBy::Limit(limit) }
                }
                Err(Stop::Limit(limit)) => return Err(limit.failure(&params.limits)),
                Err(Stop::Wait(wait)) => return Ok(Outcome::Wait(wait)),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Again) => continue,
            };
            return Ok(Outcome::Done(Done::with_output(output(&session, ending))));
        }
        Err(NodeError::retry("journal", "what is recorded of the steps changes all the time"))
    }
}

fn output(session: &Session<'_>, Ending { answer, by }: Ending) -> Value {
    let totals = session.steps().totals();
    json!({
        "answer": answer,
        "iterations": session.iterations(),
        "usage": totals.usage_json(),
        "cost_usd": totals.cost_json(),
        "stopped_by": by.as_str(),
        "steps": session.steps().next() - 1,
    })
}

impl SteppedNode for Agent {
    type Params = AgentParams;

    /// Without the credentials of its tools. Their templates are as they are written.
    fn shown(&self, params: &Value) -> Option<Value> {
        let mut shown = params.clone();
        let tools = shown.get_mut("tools").and_then(Value::as_array_mut);
        for tool in tools.into_iter().flatten() {
            for kind in ["http", "mcp"] {
                if let Some(fields) = tool.get_mut(kind) {
                    *fields = conceal(fields);
                }
            }
        }
        Some(shown)
    }

    async fn execute(
        &self,
        context: &NodeContext,
        journal: &dyn Journal,
        params: AgentParams,
    ) -> Result<Outcome, NodeError> {
        let report = Report::begin(context, &params);
        let result = self.attempt(context, journal, &params, &report).await;
        report.end(result.as_ref().err());
        result
    }
}
