//! `condition`: chooses a branch.
//!
//! The choice is made while the parameters are rendered, so that conditions behind the one that holds
//! are not evaluated. Rendered, they are `{"branch": name}`, or null in place of a name when no branch holds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::{Fields, invalid};
use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Condition;

impl PureNode for Condition {
    fn evaluate(&self, _: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        let branch: Arc<str> = chosen(Fields::of(params)?)?.into();
        Ok(Outcome::Done(Done {
            output: json!({ "branch": &*branch }),
            branch: Some(branch),
            log: Vec::new(),
        }))
    }
}

fn chosen(mut params: Fields) -> Result<String, NodeError> {
    match params.take_any("branch") {
        Some(Value::String(branch)) => Ok(branch),
        Some(Value::Null) => {
            Err(NodeError::fail("no_branch", "no branch holds and there is no default"))
        }
        _ => Err(invalid("`branch` must be the name of a branch")),
    }
}

#[cfg(test)]
mod tests {
    use skein_shared::domain::kind::NodeKind;
    use skein_shared::domain::{compile::compile, plan::Plan};
    use skein_shared::expression::Scope;

    use super::*;
    use crate::nodes::tests::context;

    /// What comes of these parameters as written in a document.
    fn chosen(params: &Value) -> Result<String, String> {
        let branch = if params.get("if").is_some() { "true" } else { "a" };
        let plan: Plan = compile(&json!({
            "name": "w",
            "nodes": [
                { "id": "c", "type": "condition", "params": params },
                { "id": "t", "type": "transform", "params": { "value": 1 } },
            ],
            "edges": [{ "from": "c", "to": "t", "branch": branch }],
        }))
        .unwrap();
        assert_eq!(plan.nodes[0].kind, NodeKind::Condition);
        let rendered = plan.nodes[0].params.render(&Scope::default()).unwrap();
        match Condition.evaluate(&context(), rendered) {
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
        assert_eq!(chosen(&json!({ "if": "1 < 2" })).unwrap(), "true");
        assert_eq!(chosen(&json!({ "if": "1 > 2" })).unwrap(), "false");
    }

    #[test]
    fn the_first_branch_that_holds_is_chosen() {
        let branch = |name: &str, when: bool| json!({ "name": name, "when": when });
        let all = json!([branch("a", false), branch("b", true), branch("c", true)]);
        assert_eq!(chosen(&json!({ "branches": all, "default": "d" })).unwrap(), "b");
        let none = json!([branch("a", false)]);
        assert_eq!(chosen(&json!({ "branches": none, "default": "d" })).unwrap(), "d");
        assert_eq!(chosen(&json!({ "branches": none })).unwrap_err(), "no_branch");
    }

    #[test]
    fn anything_but_a_rendered_choice_is_a_fault() {
        for params in [json!({}), json!({ "branch": 1 }), json!({ "if": true }), json!([])] {
            let error = Condition.evaluate(&context(), params.clone()).unwrap_err();
            assert_eq!(&*error.failure.code, "invalid_params", "{params}");
        }
    }
}
