//! `condition`: chooses a branch.
//!
//! Rendered parameters are either `{"if": bool}`, which chooses `true` or `false`, or
//! `{"branches": [{"name", "when": bool}], "default"?}`, which chooses the first branch that holds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::{Fields, invalid};
use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Condition;

impl PureNode for Condition {
    fn evaluate(&self, _: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        let branch: Arc<str> = choose(Fields::of(params)?)?.into();
        Ok(Outcome::Done(Done {
            output: json!({ "branch": &*branch }),
            branch: Some(branch),
            log: Vec::new(),
        }))
    }
}

fn choose(mut params: Fields) -> Result<String, NodeError> {
    if let Some(truth) = params.truth("if")? {
        return Ok(truth.to_string());
    }
    let branches = params.items("branches")?;
    let default = params.text("default")?;
    if branches.is_empty() && default.is_none() {
        return Err(invalid("either `if` or `branches` is needed"));
    }
    // As in any chain of if and else-if: what stands behind the first branch that holds is not looked at.
    for (index, branch) in branches.into_iter().enumerate() {
        let at = |error: NodeError| invalid(format!("branch {index}: {}", error.failure.message));
        let mut branch = Fields::of(branch).map_err(at)?;
        let name = branch.text("name").map_err(at)?;
        let holds = branch.truth("when").map_err(at)?;
        match (name, holds) {
            (Some(name), Some(true)) => return Ok(name),
            (Some(_), Some(false)) => {}
            _ => return Err(invalid(format!("branch {index} needs `name` and `when`"))),
        }
    }
    default.ok_or_else(|| NodeError::fail("no_branch", "no branch holds and there is no default"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::tests::context;

    fn chosen(params: Value) -> Result<String, String> {
        match Condition.evaluate(&context(), params) {
            Ok(Outcome::Done(done)) => {
                let branch = done.branch.unwrap().to_string();
                assert_eq!(done.output, json!({ "branch": branch }));
                Ok(branch)
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(!error.retryable);
                Err(error.failure.code.to_string())
            }
        }
    }

    #[test]
    fn an_if_chooses_true_or_false() {
        assert_eq!(chosen(json!({ "if": true })).unwrap(), "true");
        assert_eq!(chosen(json!({ "if": false })).unwrap(), "false");
    }

    #[test]
    fn the_first_branch_that_holds_is_chosen() {
        let branch = |name: &str, when: bool| json!({ "name": name, "when": when });
        let all = json!([branch("a", false), branch("b", true), branch("c", true)]);
        assert_eq!(chosen(json!({ "branches": all, "default": "d" })).unwrap(), "b");
        let none = json!([branch("a", false)]);
        assert_eq!(chosen(json!({ "branches": none, "default": "d" })).unwrap(), "d");
        assert_eq!(chosen(json!({ "branches": none })).unwrap_err(), "no_branch");
    }

    #[test]
    fn only_booleans_decide() {
        for params in [
            json!({}),
            json!({ "if": "true" }),
            json!({ "if": 1 }),
            json!({ "branches": [{ "name": "a", "when": "yes" }], "default": "d" }),
            json!({ "branches": [{ "name": "a" }], "default": "d" }),
            json!({ "branches": ["a"], "default": "d" }),
            json!({ "branches": { "a": true } }),
            json!({ "branches": [], "default": 1 }),
        ] {
            assert_eq!(chosen(params.clone()).unwrap_err(), "invalid_params", "{params}");
        }
    }
}
