//! One constructor for each span of the tree: who knows the facts fills a struct, and
//! [`super::emit`]s what comes out.

mod agent;
mod database;
mod http;
mod journaled;
mod node;
mod process;
mod publish;
mod rebuilt;
mod step;
mod workflow;

pub use agent::{AgentExecute, agent_span, steps_parent};
pub(super) use database::DatabaseCall;
pub use http::HttpClient;
pub(super) use node::node_status;
pub use node::{AroundAttempt, NodeExecute, WORKER_CRASHED, abandoned};
pub use process::Process;
pub(super) use process::received_from;
pub use publish::Publish;
pub(super) use publish::sent_to;
pub use rebuilt::{
    Maker, RebuiltSpan, rebuilt_attempt, rebuilt_run, rebuilt_segment, rebuilt_step,
};
pub use step::{
    LlmGenerate, ModelReply, ModelRequest, Settled, StepSpan, ToolExecute, lost_step, tool_failed,
};
pub(super) use workflow::status;
pub use workflow::{workflow_execute, workflow_suspended};

#[cfg(test)]
pub(super) mod samples;
