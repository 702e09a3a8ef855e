//! `condition`: chooses a branch.
//!
//! Rendering evaluates the branches in their order and stops at the first that holds, so the
//! parameters arrive as `{"branch": name}`, or with a null when none held and there is no default.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::Fields;
use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Condition;

impl PureNode for Condition {
    fn evaluate(&self, _: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        let chosen = Fields::of(params)?.text("branch")?;
        let branch: Arc<str> = chosen
            .ok_or_else(|| NodeError::fail("no_branch", "no branch holds and there is no default"))?
            .into();
        Ok(Outcome::Done(Done {
            output: json!({ "branch": &*branch }),
            branch: Some(branch),
            log: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::tests::context;

    #[test]
    fn the_chosen_branch_is_passed_on() {
        let outcome = Condition.evaluate(&context(), json!({ "branch": "big" })).unwrap();
        let Outcome::Done(done) = outcome else { panic!("{outcome:?}") };
        assert_eq!(done.branch.as_deref(), Some("big"));
        assert_eq!(done.output, json!({ "branch": "big" }));
    }

    #[test]
    fn no_branch_is_a_failure_that_no_retry_mends() {
        let error = Condition.evaluate(&context(), json!({ "branch": null })).unwrap_err();
        assert_eq!((&*error.failure.code, error.retryable), ("no_branch", false));
    }
}
