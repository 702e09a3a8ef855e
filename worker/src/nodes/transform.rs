//! `transform`: yields its `value`.

use serde_json::Value;

use super::fields::{Fields, invalid};
use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Transform;

impl PureNode for Transform {
    fn evaluate(&self, _: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        let value = Fields::of(params)?.take_any("value");
        value
            .map(|value| Outcome::Done(Done::with_output(value)))
            .ok_or_else(|| invalid("`value` is missing"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::nodes::tests::context;

    #[test]
    fn the_output_is_the_value_whatever_it_is() {
        for value in [json!(null), json!(0), json!("x"), json!([1, {"a": 2}])] {
            let outcome = Transform.evaluate(&context(), json!({ "value": value }));
            assert_eq!(outcome, Ok(Outcome::Done(Done::with_output(value))));
        }
    }

    #[test]
    fn a_missing_value_is_a_diagnostic() {
        let error = Transform.evaluate(&context(), json!({})).unwrap_err();
        assert_eq!(&*error.failure.code, "invalid_params");
        assert!(Transform.evaluate(&context(), json!([1])).is_err());
    }
}
