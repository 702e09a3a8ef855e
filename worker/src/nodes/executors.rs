//! Which executor runs which kind.

use std::sync::Arc;

use skein_shared::domain::kind::NodeKind;

use super::Executor;
use super::condition::Condition;
use super::delay::Delay;
use super::http::Http;
use super::log::Log;
use super::transform::Transform;
use crate::egress::Egress;

/// The executors of all kinds, made once per worker.
#[derive(Clone)]
pub struct Executors {
    http: Executor,
    transform: Executor,
    condition: Executor,
    delay: Executor,
    log: Executor,
}

impl Executors {
    /// The executors; those that reach outside do it through `egress`.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self {
            http: Executor::Effect(Arc::new(Http::new(egress))),
            transform: Executor::Pure(Arc::new(Transform)),
            condition: Executor::Pure(Arc::new(Condition)),
            delay: Executor::Pure(Arc::new(Delay)),
            log: Executor::Pure(Arc::new(Log)),
        }
    }

    /// The executor of a kind.
    #[must_use]
    pub fn of(&self, kind: NodeKind) -> Executor {
        match kind {
            NodeKind::Http => &self.http,
            NodeKind::Transform => &self.transform,
            NodeKind::Condition => &self.condition,
            NodeKind::Delay => &self.delay,
            NodeKind::Log => &self.log,
        }
        .clone()
    }
}
