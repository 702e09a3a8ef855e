//! What goes over the wire. Types of their own, so that a field of the store is shown only when somebody has decided so.

use serde::Serialize;
use serde_json::value::RawValue;
use skein_shared::domain::failure::Failure;
use utoipa::ToSchema;

use crate::problem::Problem;

pub(crate) mod analysis;
pub(crate) mod event;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod run;
pub(crate) mod spending;
pub(crate) mod worker;
pub(crate) mod workflow;

/// JSON as it is stored: handed on without being taken apart.
pub(crate) type StoredJson = Box<RawValue>;

pub(crate) fn stored(text: String) -> Result<StoredJson, Problem> {
    RawValue::from_string(text).map_err(Problem::internal)
}

pub(crate) fn stored_optional(text: Option<String>) -> Result<Option<StoredJson>, Problem> {
    text.map(stored).transpose()
}

/// Why a run or a node did not succeed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunError {
    /// A stable word: `http_status`, `timeout`, `expression` ...
    code: String,
    /// What went wrong.
    message: String,
    /// What the other side has said, or the model has answered, where that is why. It stands with the node and its steps, not
    /// with the run, its log or its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    details: Option<String>,
    /// The node that brought the run down.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    node: Option<String>,
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code.to_string(),
            message: failure.message,
            details: failure.details,
            node: failure.node.map(|node| node.to_string()),
        }
    }
}

/// The last index of a scope: which item of its map a node run is for.
pub(crate) fn item_index(scope: &str) -> Option<u32> {
    scope.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_item_is_the_innermost_index() {
        assert_eq!(item_index(""), None);
        assert_eq!(item_index("3"), Some(3));
        assert_eq!(item_index("3/0"), Some(0));
    }
}
