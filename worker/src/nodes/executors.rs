//! Which executor runs which kind, and how the engine calls it: the parameters are read on the way.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use skein_shared::domain::kind::NodeKind;
use skein_shared::workflow::params::Rendered;

use super::agent::Agent;
use super::condition::Condition;
use super::delay::Delay;
use super::fail::Fail;
use super::http::Http;
use super::llm::Llm;
use super::log::Log;
use super::transform::Transform;
use super::{EffectNode, NodeContext, NodeError, Outcome, PureNode, SteppedNode};
use crate::egress::Egress;
use crate::evaluate::Evaluator;
use crate::journal::Journal;
use crate::steps::ModelCaller;

/// The executor of a kind; those that reach outside do it through `egress`, those that ask models through `models`.
fn executor(
    kind: NodeKind,
    egress: &Egress,
    models: &ModelCaller,
    evaluator: &Evaluator,
) -> Executor {
    match kind {
        NodeKind::Http => Executor::effect(Http::new(egress.clone())),
        NodeKind::Transform => Executor::pure(Transform),
        NodeKind::Condition => Executor::pure(Condition),
        NodeKind::Delay => Executor::pure(Delay),
        NodeKind::Log => Executor::pure(Log),
        NodeKind::Llm => Executor::stepped(Llm::new(models.clone())),
        NodeKind::Agent => {
            Executor::stepped(Agent::new(egress.clone(), evaluator.clone(), models.clone()))
        }
        NodeKind::Fail => Executor::pure(Fail),
    }
}

/// The executors of all kinds, made once per worker.
#[derive(Clone)]
pub struct Executors(Arc<[Executor]>);

impl Executors {
    /// The executors; those that reach outside do it through `egress`, those that ask models through `models`, and those
    /// that render what was left unrendered through `evaluator`.
    #[must_use]
    pub(crate) fn new(egress: &Egress, models: &ModelCaller, evaluator: &Evaluator) -> Self {
        let executor = |kind: &NodeKind| executor(*kind, egress, models, evaluator);
        Self(NodeKind::ALL.iter().map(executor).collect())
    }

    /// The executor of a kind.
    #[must_use]
    pub fn of(&self, kind: NodeKind) -> &Executor {
        // `ALL` holds every kind in the order of the enum.
        &self.0[kind as usize]
    }
}

/// An executor, by what the engine may do with it.
pub enum Executor {
    /// May be inlined into the commit of its predecessor.
    Pure(Box<dyn Evaluate>),
    /// Needs a claim of its own.
    Effect(Box<dyn Execute>),
    /// Needs a claim of its own, and a journal.
    Stepped(Box<dyn ExecuteSteps>),
}

impl Executor {
    fn pure(node: impl PureNode) -> Self {
        Self::Pure(Box::new(Reading(node)))
    }

    fn effect(node: impl EffectNode) -> Self {
        Self::Effect(Box::new(Reading(node)))
    }

    fn stepped(node: impl SteppedNode) -> Self {
        Self::Stepped(Box::new(Reading(node)))
    }
}

/// A [`PureNode`], whatever its parameters.
pub trait Evaluate: Send + Sync {
    /// Reads the parameters and computes the outcome.
    ///
    /// # Errors
    /// `invalid_params`, or what the kind says.
    fn evaluate(&self, context: &NodeContext, params: Value) -> Result<Outcome, NodeError>;
}

/// An [`EffectNode`], whatever its parameters.
#[async_trait]
pub trait Execute: Send + Sync {
    /// Reads the parameters and executes one attempt.
    ///
    /// # Errors
    /// `invalid_params`, before anything has happened; or what the kind says.
    async fn execute(&self, context: &NodeContext, params: Value) -> Result<Outcome, NodeError>;

    /// See [`EffectNode::shown`].
    fn shown(&self, params: &Value) -> Option<Value>;
}

/// A [`SteppedNode`], whatever its parameters.
#[async_trait]
pub trait ExecuteSteps: Send + Sync {
    /// Reads the parameters and executes one attempt.
    ///
    /// # Errors
    /// `invalid_params`, before anything has happened; or what the kind says.
    async fn execute(
        &self,
        context: &NodeContext,
        journal: &dyn Journal,
        params: Value,
    ) -> Result<Outcome, NodeError>;

    /// See [`SteppedNode::shown`].
    fn shown(&self, params: &Value) -> Option<Value>;
}

/// A kind that is handed parameters as they were rendered.
struct Reading<N>(N);

impl<N: PureNode> Evaluate for Reading<N> {
    fn evaluate(&self, context: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        self.0.evaluate(context, read(params)?)
    }
}

#[async_trait]
impl<N: EffectNode> Execute for Reading<N> {
    async fn execute(&self, context: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        self.0.execute(context, read(params)?).await
    }

    fn shown(&self, params: &Value) -> Option<Value> {
        self.0.shown(params)
    }
}

#[async_trait]
impl<N: SteppedNode> ExecuteSteps for Reading<N> {
    async fn execute(
        &self,
        context: &NodeContext,
        journal: &dyn Journal,
        params: Value,
    ) -> Result<Outcome, NodeError> {
        self.0.execute(context, journal, read(params)?).await
    }

    fn shown(&self, params: &Value) -> Option<Value> {
        self.0.shown(params)
    }
}

/// Reads rendered parameters.
///
/// # Errors
/// `invalid_params` when an expression yielded what the kind cannot take.
pub(super) fn read<P: Rendered>(params: Value) -> Result<P, NodeError> {
    P::read(params).map_err(|error| NodeError::invalid_params(error.to_string()))
}
