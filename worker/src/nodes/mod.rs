//! What nodes do. One file a kind; the engine knows none of them, and none of them knows a queue or SQL.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::kind::OnUncertain;
use skein_shared::domain::outcome::WaitFor;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_shared::expression::Scope;
use skein_shared::workflow::params::Rendered;
use skein_shared::workflow::params::log::Level;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, JournalError};
use crate::steps::{CallFailed, Site};

mod agent;
mod condition;
mod delay;
mod executors;
mod fail;
mod http;
mod llm;
mod log;
mod transform;

pub use executors::{Executor, Executors};

use crate::live::Live;

/// What an executor is given besides its parameters.
#[derive(Debug, Clone)]
pub struct NodeContext {
    /// The run, with the identity that it runs under.
    pub run: Arc<RunHeader>,
    /// Which activation this is.
    pub key: ActivationKey,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The moment at which the engine began this attempt, by the database's clock, which is also the one that waits are
    /// measured by: the only clock that a pure kind has.
    pub now: DateTime<Utc>,
    /// How long this attempt may take. An executor that waits for somebody outside SHOULD give up
    /// by itself after this time, with an error that says for whom it waited; the engine's own
    /// timer follows a moment later and ends what did not.
    pub timeout: Duration,
    /// When a wait that this node asked for has elapsed: the moment that it waited for.
    pub waited_until: Option<DateTime<Utc>>,
    /// What this node has waited for before this attempt, if that was not a time alone: what
    /// [`WaitFor::to_json`] says of it.
    pub waited_for: Option<Value>,
    /// What expressions of the node read that were left unrendered: the run's input, what is known of the run, and the
    /// outputs that they name.
    pub scope: Scope,
    /// What a crash inside a step means that must not be repeated.
    pub on_uncertain: OnUncertain,
    /// The node's span: spans made by the executor are its children, requests carry it on.
    pub span: TraceContext,
    /// Publishes what the node is at to whoever watches the run. An effect only: a pure kind has nothing to tell.
    pub live: Live,
    /// Cancelled when the run is, when the worker loses its lease, or when the attempt timed out. An
    /// executor SHOULD stop soon after; its result is then ignored. It MAY simply be dropped at any
    /// await as well.
    pub cancelled: CancellationToken,
}

impl NodeContext {
    /// The attempt as its steps see it, which have just begun. Their spans stand below `parent`.
    pub(crate) fn site<'a>(&'a self, journal: &'a dyn Journal, parent: SpanId) -> Site<'a> {
        Site {
            run: &self.run,
            key: &self.key,
            parent,
            journal,
            now: self.now,
            begun: Instant::now(),
            timeout: self.timeout,
            patience: self.timeout,
            waited_for: self.waited_for.as_ref(),
            cancelled: &self.cancelled,
        }
    }
}

/// What an executor decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is done.
    Done(Done),
    /// It wants to be called again when the wait is over, with [`NodeContext::waited_until`] set if that was one for a
    /// time. No worker is held meanwhile.
    Wait(WaitFor),
}

/// What a node yields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// Its output.
    pub output: Value,
    /// The branch that it chose, for kinds that choose.
    pub branch: Option<Arc<str>>,
    /// Lines for the run's log, written in the commit that ends the node.
    pub log: Vec<LogLine>,
}

impl Done {
    /// Just an output.
    #[must_use]
    pub fn with_output(output: Value) -> Self {
        Self { output, ..Self::default() }
    }
}

/// A line for the run's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// How important it is.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Anything that goes with it.
    pub data: Option<Value>,
}

/// Why an attempt failed, and whether another may help. Which of the two is decided here, once: the
/// engine adds the node's policy and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeError {
    /// What users see.
    pub failure: Failure,
    /// Whether trying again may help.
    pub retryable: bool,
    /// How long the other side asked us to wait, however long that is: the node's policy decides whether it does.
    pub retry_after: Option<Duration>,
}

impl NodeError {
    /// Trying again may help.
    pub fn retry(code: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self { failure: Failure::new(code, message), retryable: true, retry_after: None }
    }

    /// Trying again is pointless.
    pub fn fail(code: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self { failure: Failure::new(code, message), retryable: false, retry_after: None }
    }

    /// The same with what the other side has said, or a model has answered.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { failure: self.failure.with_details(Some(details)), ..self }
    }

    /// A parameter was rendered to something that the kind cannot take. The message names fields and types, never
    /// values: those may hold secrets.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::fail("invalid_params", message)
    }
}

impl From<JournalError> for NodeError {
    fn from(error: JournalError) -> Self {
        Self::retry("journal", error.to_string())
    }
}

impl From<CallFailed> for NodeError {
    fn from(failed: CallFailed) -> Self {
        let CallFailed { failure, retryable, retry_after, .. } = failed;
        Self { failure, retryable, retry_after }
    }
}

/// A kind that computes: no I/O, no waiting, the same result for the same parameters. The engine may
/// run it inside the commit of its predecessor, and again after a crash.
pub trait PureNode: Send + Sync + 'static {
    /// What its parameters are once they are rendered.
    type Params: Rendered;

    /// Computes the outcome.
    ///
    /// # Errors
    /// When the parameters make no sense; MUST NOT be retryable, as the next attempt would compute the same.
    fn evaluate(&self, context: &NodeContext, params: Self::Params) -> Result<Outcome, NodeError>;
}

/// A kind that touches the outside world. Before it starts, one commit has recorded its inputs and its claim.
///
/// A crash in the middle leaves no trace of the attempt but its claim; what happens next depends on
/// the [`Effect`](skein_shared::domain::kind::Effect) that the kind declared. Every attempt carries the same
/// [`ActivationKey::idempotency_key`].
pub trait EffectNode: Send + Sync + 'static {
    /// What its parameters are once they are rendered.
    type Params: Rendered;

    /// Executes one attempt. MUST be cancel-safe in the sense that dropping the future leaks nothing.
    ///
    /// # Errors
    /// When the attempt failed; says whether another may help.
    fn execute(
        &self,
        context: &NodeContext,
        params: Self::Params,
    ) -> impl Future<Output = Result<Outcome, NodeError>> + Send;

    /// The rendered parameters as the run's record may hold them, where that differs: without credentials. They may
    /// be anything that an expression can yield, and are recorded before they are read.
    fn shown(&self, _params: &Value) -> Option<Value> {
        None
    }
}

/// A kind that touches the outside world in steps each of which must not be done again: every one is written down before
/// it is sent, and what came of it afterwards.
///
/// After a crash, what is recorded is gone through again, and only a step that was under way is repeated, under the same
/// number. An attempt that is stopped gets a moment to write down what it knows.
pub trait SteppedNode: Send + Sync + 'static {
    /// What its parameters are once they are rendered.
    type Params: Rendered;

    /// Executes one attempt. Nothing MUST be sent before the journal has taken its intent. MUST be cancel-safe in the
    /// sense that dropping the future leaks nothing: the step that is under way then counts as lost.
    ///
    /// # Errors
    /// When the attempt failed; says whether another may help.
    fn execute(
        &self,
        context: &NodeContext,
        journal: &dyn Journal,
        params: Self::Params,
    ) -> impl Future<Output = Result<Outcome, NodeError>> + Send;

    /// See [`EffectNode::shown`].
    fn shown(&self, _params: &Value) -> Option<Value> {
        None
    }
}

#[cfg(test)]
pub(crate) use tests::context as sample_context;

#[cfg(test)]
mod tests {
    use skein_shared::domain::ids::{RunId, VersionId};
    use skein_shared::domain::kind::NodeKind;
    use skein_shared::domain::run::RunTrace;
    use skein_shared::domain::tenant::Identity;
    use skein_shared::domain::trace::SAMPLED;

    use super::*;
    use crate::egress::{Egress, EgressConfig};
    use crate::evaluate::Evaluator;
    use crate::steps::ModelCaller;

    /// The context of a first attempt.
    pub(crate) fn context() -> NodeContext {
        let trace = RunTrace {
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap(),
            publish: "00f067aa0ba902b7".parse().unwrap(),
            root: "00f067aa0ba902b8".parse().unwrap(),
            flags: SAMPLED,
            state: None,
        };
        let now = "2030-01-31T12:00:00Z".parse().unwrap();
        let run = RunHeader {
            id: RunId::generate(),
            identity: Identity::new("org", "space", "user"),
            version_id: VersionId::generate(),
            workflow: "digest".into(),
            version: 1,
            input: "null".into(),
            step_mode: false,
            node_count: 1,
            edge_count: 0,
            trace: trace.clone(),
            created_at: now,
        };
        NodeContext {
            key: ActivationKey::root(run.id, "fetch"),
            run: Arc::new(run),
            attempt: 1,
            now,
            timeout: Duration::from_secs(20),
            waited_until: None,
            waited_for: None,
            scope: Scope::default(),
            on_uncertain: OnUncertain::Fail,
            span: trace.context_of("00f067aa0ba902b9".parse().unwrap()),
            live: crate::live::LivePublisher::unheard().attempt(),
            cancelled: CancellationToken::new(),
        }
    }

    /// Evaluates a kind with parameters as they are rendered.
    pub(crate) fn evaluate(node: &impl PureNode, params: Value) -> Result<Outcome, NodeError> {
        node.evaluate(&context(), executors::read(params)?)
    }

    #[test]
    fn only_some_kinds_have_effects() {
        let egress = Egress::new(&EgressConfig::default()).unwrap();
        let executors = Executors::new(&egress, &ModelCaller::default(), &Evaluator::new());
        for kind in NodeKind::ALL {
            let form = match executors.of(*kind) {
                Executor::Pure(_) => "computes",
                Executor::Effect(_) => "has an effect",
                Executor::Stepped(_) => "works in steps",
            };
            let expected = match kind {
                NodeKind::Http => "has an effect",
                NodeKind::Llm | NodeKind::Agent => "works in steps",
                _ => "computes",
            };
            assert_eq!(form, expected, "{kind}");
        }
    }
}
