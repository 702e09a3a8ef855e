//! The latest version of each workflow, and those that are started by their numbers, ready to start: remembered, because
//! starting a run is the hottest path and versions change rarely.
//!
//! What is remembered may be old. Nothing depends on it being fresh: the write that accepts a run
//! refuses a version that is not the latest any more or is gone, and then it is looked up again.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde_json::Value;
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::domain::ids::{NodeKey, VersionId};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::Store;
use skein_shared::store::workflows::WorkflowVersion;
use skein_shared::workflow::budget::BudgetTerms;
use skein_shared::workflow::compile::compile;
use skein_shared::workflow::input::InputSchema;
use tokio::sync::Mutex;

use crate::limits::{PLAN_IDLE_MAX, PLANS_MAX};
use crate::problem::{Problem, ProblemKind};

/// Locks that keep many requests from compiling the same workflow at once.
const STRIPES: usize = 32;

/// What a run of one version starts with.
#[derive(Debug)]
pub(crate) struct StartPlan {
    pub(crate) version_id: VersionId,
    pub(crate) workflow: Arc<str>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) schema: Option<InputSchema>,
    pub(crate) budget: BudgetTerms,
}

/// An entry node.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) node: NodeKey,
    pub(crate) kind: &'static str,
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    organization: Arc<str>,
    workspace: Arc<str>,
    workflow: Arc<str>,
    /// The version that was asked for by its number; none stands for the latest.
    version: Option<u32>,
}

impl Key {
    fn new(tenant: &Identity, workflow: &str, version: Option<u32>) -> Self {
        Self {
            organization: Arc::clone(&tenant.organization),
            workspace: Arc::clone(&tenant.workspace),
            workflow: workflow.into(),
            version,
        }
    }
}

/// The versions that were started lately.
pub(crate) struct Plans {
    known: Cache<Key, Arc<StartPlan>>,
    loading: [Mutex<()>; STRIPES],
}

impl Plans {
    pub(crate) fn new() -> Self {
        let known = Cache::builder().max_capacity(PLANS_MAX).time_to_idle(PLAN_IDLE_MAX).build();
        Self { known, loading: std::array::from_fn(|_| Mutex::new(())) }
    }

    /// The version with this number, or the one that was the latest when it was last looked at; `None` if there is none.
    pub(crate) async fn find(
        &self,
        store: &dyn Store,
        tenant: &Identity,
        workflow: &str,
        version: Option<u32>,
    ) -> Result<Option<Arc<StartPlan>>, Problem> {
        match self.known.get(&Key::new(tenant, workflow, version)) {
            Some(plan) => Ok(Some(plan)),
            None => self.look_up(store, tenant, workflow, version, None).await,
        }
    }

    /// The version with this number, or the one that is the latest now. `known` is one that the caller has found wanting:
    /// if another request has replaced it already, that is taken.
    pub(crate) async fn look_up(
        &self,
        store: &dyn Store,
        tenant: &Identity,
        workflow: &str,
        version: Option<u32>,
        known: Option<VersionId>,
    ) -> Result<Option<Arc<StartPlan>>, Problem> {
        let key = Key::new(tenant, workflow, version);
        let _loading = self.loading[stripe(&key)].lock().await;
        let cached = self.known.get(&key);
        if let Some(plan) = cached.as_ref().filter(|plan| Some(plan.version_id) != known) {
            return Ok(Some(Arc::clone(plan)));
        }
        let Some(version) = store.find_workflow(tenant, workflow, version).await? else {
            self.known.invalidate(&key);
            return Ok(None);
        };
        if let Some(plan) = cached.filter(|plan| plan.version_id == version.id) {
            return Ok(Some(plan));
        }
        // Compiling a large workflow takes milliseconds, and the runtime has few threads.
        let plan = tokio::task::spawn_blocking(move || prepare(&version))
            .await
            .map_err(Problem::internal)??;
        let plan = Arc::new(plan);
        self.known.insert(key, Arc::clone(&plan));
        Ok(Some(plan))
    }

    /// Forgets which version of a workflow is the latest: it has just got another one.
    pub(crate) fn forget_latest(&self, tenant: &Identity, workflow: &str) {
        self.known.invalidate(&Key::new(tenant, workflow, None));
    }
}

fn stripe(key: &Key) -> usize {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % STRIPES as u64).unwrap_or(0)
}

fn prepare(version: &WorkflowVersion) -> Result<StartPlan, Problem> {
    let document: Value = serde_json::from_str(&version.document).map_err(Problem::internal)?;
    let plan = compile(&document).map_err(|diagnostics| outdated(version, diagnostics.first()))?;
    let schema = plan.input_schema.as_ref().map(|schema| InputSchema::compile(schema, "/input"));
    let schema = schema.transpose().map_err(|diagnostic| outdated(version, Some(&diagnostic)))?;
    let entries = plan.entries().map(|index| &plan.nodes[index]);
    let entries = entries.map(|node| Entry {
        node: Arc::clone(&node.key),
        kind: node.kind.as_str(),
        timeout: node.timeout,
    });
    Ok(StartPlan {
        version_id: version.id,
        workflow: Arc::clone(&plan.name),
        entries: entries.collect(),
        schema,
        budget: plan.budget,
    })
}

/// A version that was valid when it was published and is not any more: the rules have become stricter.
fn outdated(version: &WorkflowVersion, diagnostic: Option<&Diagnostic>) -> Problem {
    let (name, number) = (&version.name, version.version);
    let why =
        diagnostic.map_or_else(String::new, |it| format!(" ({}: {})", it.pointer, it.message));
    let detail =
        format!("version {number} of `{name}` does not fit this server{why}; publish it again");
    Problem::new(ProblemKind::InvalidWorkflow, detail)
}
