//! What a worker knows of a run while it goes from node to node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::NodeKey;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::trace::TraceContext;
use skein_shared::expression::{RUN_MEMBERS, Scope};
use skein_shared::store::DatabaseClock;
use skein_shared::workflow::plan::Plan;
use tokio_util::sync::CancellationToken;

use super::prepared::{Prepared, ReadSets};
use crate::evaluate::For;
use crate::live::LivePublisher;

/// A run in the hands of this worker.
#[derive(Debug)]
pub(crate) struct RunContext {
    /// What is the same for all of its nodes.
    pub(crate) header: Arc<RunHeader>,
    /// Its plan.
    pub(crate) plan: Arc<Plan>,
    /// What its nodes look at.
    pub(crate) reads: Arc<ReadSets>,
    /// The clock by which its nodes wait.
    pub(crate) clock: DatabaseClock,
    /// Where its nodes publish what they are at.
    pub(crate) live: LivePublisher,
    /// What expressions may read, as far as it was read or computed here.
    pub(crate) scope: Scope,
    spans: HashMap<NodeIx, TraceContext>,
    /// Nodes that were looked up and had left nothing behind: skipped, or not there.
    absent: HashSet<NodeIx>,
    /// Nodes whose outputs are stored and cannot be read.
    unreadable: HashSet<NodeIx>,
    is_input_unreadable: bool,
}

impl RunContext {
    /// A run of which nothing but its header is known yet.
    pub(crate) fn new(
        header: Arc<RunHeader>,
        Prepared { plan, reads }: Prepared,
        clock: DatabaseClock,
        server_url: Option<&str>,
        live: LivePublisher,
    ) -> Self {
        let input = serde_json::from_str(&header.input);
        let is_input_unreadable = input.is_err();
        let input: Value = input.unwrap_or_default();
        let mut facts = json!({
            "id": header.id.to_string(),
            "workflow": &*header.workflow,
            "version": header.version,
            "created_at": header.created_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "trace_id": header.trace.trace.to_string(),
            "organization": &*header.identity.organization,
            "workspace": &*header.identity.workspace,
            "user": &*header.identity.user,
        });
        if let Some(url) = server_url {
            facts["server_url"] = url.into();
        }
        // Nobody can publish what reads another member.
        debug_assert!(
            RUN_MEMBERS.iter().all(|name| *name == "server_url" || facts.get(*name).is_some())
                && facts
                    .as_object()
                    .is_some_and(|it| it.keys().all(|it| RUN_MEMBERS.contains(&&**it)))
        );
        let scope = Scope { input: Arc::new(input), run: Arc::new(facts), ..Scope::default() };
        let (spans, absent, unreadable) = Default::default();
        Self {
            header,
            plan,
            reads,
            clock,
            live,
            scope,
            spans,
            absent,
            unreadable,
            is_input_unreadable,
        }
    }

    /// The key of the node at this position, which is not `__end__`.
    pub(crate) fn key(&self, node: NodeIx) -> &NodeKey {
        &self.plan.nodes[node].key
    }

    /// Remembers the output of a node.
    pub(crate) fn learn_output(&mut self, node: NodeIx, output: Arc<Value>) {
        let key = Arc::clone(self.key(node));
        self.scope.nodes.insert(key, output);
    }

    /// Remembers the output of a node as it is stored.
    pub(crate) fn learn_stored_output(&mut self, node: NodeIx, output: &str) {
        match serde_json::from_str(output) {
            Ok(output) => self.learn_output(node, Arc::new(output)),
            Err(_) => {
                self.unreadable.insert(node);
            }
        }
    }

    /// Forgets the output of a node again, which did not come to be after all.
    pub(crate) fn unlearn_output(&mut self, node: NodeIx) {
        self.scope.nodes.remove(&self.plan.nodes[node].key);
    }

    /// Remembers the span of a node's last attempt, which may be in an earlier trace of the run.
    pub(crate) fn learn_span(&mut self, node: NodeIx, span: TraceContext) {
        self.spans.insert(node, span);
    }

    /// Remembers that a node has no output.
    pub(crate) fn learn_absent(&mut self, node: NodeIx) {
        self.absent.insert(node);
    }

    /// Whether a node has no output, as far as is known: none was learnt, and none is there that cannot be read.
    pub(crate) fn is_missing(&self, node: NodeIx) -> bool {
        !self.knows_output(node) && !self.unreadable.contains(&node)
    }

    /// What the node at this index (or `__end__`) looks at that is stored and cannot be read, if anything. It MUST NOT be
    /// evaluated then: what is there would pass for nothing.
    pub(crate) fn unreadable(&self, node: NodeIx) -> Option<Failure> {
        let what = match self.reads.names(node).iter().find(|it| self.unreadable.contains(it)) {
            _ if self.is_input_unreadable => "the run's input".to_owned(),
            Some(named) => format!("the output of node {}", self.key(*named)),
            None => return None,
        };
        Some(Failure::new("unreadable", format!("what is stored of {what} cannot be read")))
    }

    /// For whom expressions are evaluated.
    pub(crate) fn whose<'a>(&'a self, cancelled: &'a CancellationToken) -> For<'a> {
        For { organization: &self.header.identity.organization, cancelled }
    }

    /// Whether the output of a node is known, or known to be absent.
    pub(crate) fn knows_output(&self, node: NodeIx) -> bool {
        self.absent.contains(&node) || self.scope.nodes.contains_key(self.key(node))
    }

    /// Whether everything that the expressions of the node at this index (or `__end__`) name is known.
    pub(crate) fn knows_names(&self, node: NodeIx) -> bool {
        !self.is_input_unreadable
            && self.reads.names(node).iter().all(|named| self.knows_output(*named))
    }

    /// Whether the span of a node is known.
    pub(crate) fn knows_span(&self, node: NodeIx) -> bool {
        self.spans.contains_key(&node)
    }

    /// The nodes whose tokens made `node` runnable, with their spans; skipped ones have none.
    pub(crate) fn upstream(&self, node: NodeIx) -> Vec<(NodeKey, TraceContext)> {
        let parents = self.plan.nodes[node].parents.iter();
        parents
            .filter_map(|parent| {
                let span = self.spans.get(parent)?;
                Some((Arc::clone(self.key(*parent)), *span))
            })
            .collect()
    }
}
