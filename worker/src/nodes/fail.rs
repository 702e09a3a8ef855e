//! `fail`: fails, and its run with it.

use skein_shared::workflow::params::fail::{Code, FailParams};

use super::{NodeContext, NodeError, Outcome, PureNode};

pub(super) struct Fail;

impl PureNode for Fail {
    type Params = FailParams;

    fn evaluate(&self, _: &NodeContext, params: FailParams) -> Result<Outcome, NodeError> {
        let FailParams { code: Code(code), message } = params;
        Err(NodeError::fail(code, message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use skein_shared::domain::limits::ERROR_BYTES_MAX;

    use super::*;
    use crate::nodes::tests::evaluate;

    fn error(params: Value) -> NodeError {
        evaluate(&Fail, params).unwrap_err()
    }

    #[test]
    fn it_fails_with_what_the_workflow_says_and_no_retry_mends_that() {
        let error = error(json!({ "code": "out_of_stock", "message": "none of 3 is left" }));
        assert_eq!(error, NodeError::fail("out_of_stock", "none of 3 is left"));
    }

    #[test]
    fn a_long_message_is_cut_as_any_is() {
        let message = "ü".repeat(ERROR_BYTES_MAX);
        let kept = error(json!({ "code": "long", "message": message })).failure.message;
        assert!(kept.len() <= ERROR_BYTES_MAX + '…'.len_utf8() && kept.ends_with("ü…"), "{kept}");
    }

    #[test]
    fn a_code_that_is_none_is_named_and_not_repeated() {
        for code in [json!("s3cret: x"), json!(""), json!("cancelled"), json!(null)] {
            let failure = error(json!({ "code": code, "message": "m" })).failure;
            assert_eq!(&*failure.code, "invalid_params", "{code}");
            let is_told = failure.message.starts_with("`code` must be ");
            assert!(is_told && !failure.message.contains("s3cret"), "{}", failure.message);
        }
    }
}
