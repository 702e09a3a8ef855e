//! `condition`: chooses a branch.
//!
//! Rendering evaluates the branches in their order and stops at the first that holds, so what arrives is its name.

use serde_json::json;
use skein_shared::workflow::params::condition::ConditionParams;

use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Condition;

impl PureNode for Condition {
    type Params = ConditionParams;

    fn evaluate(&self, _: &NodeContext, params: ConditionParams) -> Result<Outcome, NodeError> {
        let branch = params.branch.ok_or_else(|| {
            NodeError::fail("no_branch", "no branch holds and there is no default")
        })?;
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
    use crate::nodes::tests::evaluate;

    #[test]
    fn the_chosen_branch_is_passed_on() {
        let outcome = evaluate(&Condition, json!({ "branch": "big" })).unwrap();
        let Outcome::Done(done) = outcome else { panic!("{outcome:?}") };
        assert_eq!(done.branch.as_deref(), Some("big"));
        assert_eq!(done.output, json!({ "branch": "big" }));
    }

    #[test]
    fn no_branch_is_a_failure_that_no_retry_mends() {
        let error = evaluate(&Condition, json!({ "branch": null })).unwrap_err();
        assert_eq!((&*error.failure.code, error.retryable), ("no_branch", false));
    }
}
