//! How a workflow is named on the command line.

use std::str::FromStr;

use skein_shared::domain::limits::NAME_CHARS_MAX;
use skein_shared::workflow::name::{SPELLING, is_name};

use crate::usage::UsageError;

/// A name that a workflow may have. Anything else is refused before a server is asked: `..` in a path would be another path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkflowName(String);

impl WorkflowName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkflowName {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(match text.split_once('@') {
            Some((name, _)) if is_name(name) => UsageError::new(format!(
                "this is about all versions of a workflow, named without one: {name}"
            )),
            _ => UsageError::new(format!(
                "the name of a workflow is {SPELLING}, {NAME_CHARS_MAX} characters at most"
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skein_shared::document::Format;
    use skein_shared::workflow::compile::check;

    use super::*;

    #[test]
    fn names_are_those_that_a_document_may_have() {
        let (longest, longer) = ("x".repeat(NAME_CHARS_MAX), "x".repeat(NAME_CHARS_MAX + 1));
        for (text, is_right) in [
            ("digest", true),
            ("9-a_b.c", true),
            ("a..", true),
            (&*longest, true),
            (&*longer, false),
            (".", false),
            ("..", false),
            ("-a", false),
            ("_a", false),
            ("a/b", false),
            ("a b", false),
            ("\u{fc}", false),
            ("", false),
        ] {
            let node = json!({ "id": "a", "type": "transform", "params": { "value": 1 } });
            let document = json!({ "name": text, "nodes": [node] }).to_string();
            assert_eq!(check(&document, Some(Format::Json)).is_ok(), is_right, "{text}");
            assert_eq!(text.parse::<WorkflowName>().is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn a_version_is_refused_with_the_name_that_is_meant() {
        let message = |text: &str| text.parse::<WorkflowName>().unwrap_err().to_string();
        assert!(message("rep@1").ends_with("without one: rep"), "{}", message("rep@1"));
        assert!(message("../x@1").contains("starting with a letter"), "{}", message("../x@1"));
    }
}
