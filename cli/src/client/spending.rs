//! Steps, what they cost, what may be spent, and decisions.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::answers::label;
use super::{Client, ClientError, Page, RunError, Usage};

/// A try of a call to a model or to a tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Step {
    /// The node.
    pub node: String,
    /// Which repetition of it.
    pub scope: String,
    /// Its number within the node, from 1.
    pub index: u32,
    /// Which of its tries, from 1.
    pub attempt: u32,
    /// `model` or `tool`.
    pub kind: String,
    /// The model or the tool.
    pub name: String,
    /// How far it has come.
    pub status: String,
    /// Tokens, where they were counted.
    pub usage: Option<Usage>,
    /// What it cost in US dollars, where that is known.
    pub cost_usd: Option<f64>,
    /// How long it took.
    pub latency_ms: Option<u64>,
    /// Why it failed, or was denied.
    pub error: Option<RunError>,
    /// Its span.
    pub span_id: String,
    /// When it began, or began to wait for a decision.
    pub started_at: DateTime<Utc>,
}

impl Step {
    /// The node and which item of its maps it is for.
    #[must_use]
    pub fn node_label(&self) -> String {
        label(&self.node, &self.scope)
    }
}

/// Which costs to sum up, and by what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostQuery {
    /// What they are summed up by.
    pub by: String,
    /// Of this run only.
    pub run: Option<String>,
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// Of calls that ended at or after this time only, RFC 3339.
    pub from: Option<String>,
    /// Of calls that ended before this time only, RFC 3339.
    pub to: Option<String>,
    /// Rows at most.
    pub limit: u32,
}

/// Whose budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetOwner {
    /// This run's.
    Run(String),
    /// The organization's.
    Organization,
}

impl BudgetOwner {
    fn path(&self) -> Vec<&str> {
        match self {
            Self::Run(run) => vec!["v1", "runs", run, "budget"],
            Self::Organization => vec!["v1", "budgets"],
        }
    }
}

impl Client {
    /// A page of the steps of a run behind `cursor`; each as [`Step`], or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn steps<T: DeserializeOwned>(
        &self,
        run: &str,
        cursor: Option<&str>,
    ) -> Result<Page<T>, ClientError> {
        let request = self.request(Method::GET, &["v1", "runs", run, "steps"]);
        let cursor: Vec<_> = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
        self.answer(request.query(&cursor)).await
    }

    /// The first steps of a run, about as many as `wanted`, from as many pages as it takes: the server says how long a
    /// page is, as steps may be large. With `next_cursor` if there are more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn first_steps(&self, run: &str, wanted: usize) -> Result<Page<Step>, ClientError> {
        let mut all = self.steps::<Step>(run, None).await?;
        while let Some(cursor) = all.next_cursor.take_if(|_| all.items.len() < wanted) {
            let page = self.steps::<Step>(run, Some(&cursor)).await?;
            // A page without steps would go on for ever.
            all.next_cursor = page.next_cursor.filter(|_| !page.items.is_empty());
            all.items.extend(page.items);
        }
        Ok(all)
    }

    /// A page of costs, each as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn costs(&self, query: &CostQuery) -> Result<Page<Value>, ClientError> {
        let optional = [
            ("run", &query.run),
            ("workflow", &query.workflow),
            ("from", &query.from),
            ("to", &query.to),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given: Vec<_> = given.collect();
        let request = self.request(Method::GET, &["v1", "costs"]);
        let request = request.query(&[("group_by", &query.by)]).query(&given);
        self.answer(request.query(&[("limit", query.limit)])).await
    }

    /// What may be spent and has been spent.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn budget(&self, owner: &BudgetOwner) -> Result<Value, ClientError> {
        self.answer(self.request(Method::GET, &owner.path())).await
    }

    /// Sets what may be spent from now on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_budget(
        &self,
        owner: &BudgetOwner,
        budget: &Map<String, Value>,
    ) -> Result<Value, ClientError> {
        let method = match owner {
            BudgetOwner::Run(_) => Method::POST,
            BudgetOwner::Organization => Method::PUT,
        };
        self.answer(self.request(method, &owner.path()).json(budget)).await
    }

    /// Decides about the step of a node that waits for it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn decide(
        &self,
        (run, node, scope): (&str, &str, &str),
        step: u32,
        approved: bool,
        reason: Option<&str>,
    ) -> Result<(), ClientError> {
        let mut body = json!({ "step": step, "approved": approved });
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        let request = self.request(Method::POST, &["v1", "runs", run, "nodes", node, "decision"]);
        let scope: Vec<_> =
            Some(("scope", scope)).filter(|(_, it)| !it.is_empty()).into_iter().collect();
        self.send(request.query(&scope).json(&body)).await.map(drop)
    }
}
