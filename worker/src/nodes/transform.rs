//! `transform`: yields its `value`.

use skein_shared::workflow::params::transform::TransformParams;

use super::{Done, NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Transform;

impl PureNode for Transform {
    type Params = TransformParams;

    fn evaluate(&self, _: &NodeContext, params: TransformParams) -> Result<Outcome, NodeError> {
        Ok(Outcome::Done(Done::with_output(params.value)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::nodes::tests::evaluate;

    #[test]
    fn the_output_is_the_value_whatever_it_is() {
        for value in [json!(null), json!(0), json!("x"), json!([1, {"a": 2}])] {
            let outcome = evaluate(&Transform, json!({ "value": value }));
            assert_eq!(outcome, Ok(Outcome::Done(Done::with_output(value))));
        }
    }

    #[test]
    fn a_missing_value_is_a_diagnostic() {
        let error = evaluate(&Transform, json!({})).unwrap_err();
        assert_eq!(&*error.failure.code, "invalid_params");
        assert!(evaluate(&Transform, json!([1])).is_err());
    }
}
