//! Reading what a run is to work on, and the file of a workflow.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use skein_shared::domain::document::{self, Format};
use skein_shared::domain::limits::{DOCUMENT_BYTES_MAX, INPUT_BYTES_MAX};

use crate::failure::UsageError;

/// A workflow as it stands in its file.
#[derive(Debug)]
pub struct WorkflowFile {
    /// The text.
    pub text: String,
    /// How it is written.
    pub format: Format,
}

impl WorkflowFile {
    /// Reads a file. The name's ending tells the format, or else the text does.
    ///
    /// # Errors
    /// When there is no such file, or it is too large or no text.
    pub fn read(path: &Path) -> Result<Self, UsageError> {
        let text = read_file(path, DOCUMENT_BYTES_MAX)?;
        let ending = path.extension().and_then(|ending| ending.to_str());
        let format = match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Format::Json,
            Some("yaml" | "yml") => Format::Yaml,
            _ => Format::of_text(&text),
        };
        Ok(Self { text, format })
    }

    /// The ids and types of the nodes in document order, as far as they can be read: the server says what is
    /// wrong with the rest.
    #[must_use]
    pub fn nodes(&self) -> Vec<(String, String)> {
        let Ok(document) = document::parse(&self.text, Some(self.format)) else {
            return Vec::new();
        };
        let nodes = document.get("nodes").and_then(Value::as_array).into_iter().flatten();
        let text = |node: &Value, name: &str| Some(node.get(name)?.as_str()?.to_owned());
        nodes.filter_map(|node| Some((text(node, "id")?, text(node, "type")?))).collect()
    }
}

/// Reads `--input`: JSON, `@FILE` with JSON or YAML, or `-` for JSON on standard input.
///
/// # Errors
/// When it cannot be read.
pub fn read(argument: &str) -> Result<Value, UsageError> {
    match (argument, argument.strip_prefix('@')) {
        ("-", _) => parse(&read_all(std::io::stdin(), "standard input", INPUT_BYTES_MAX)?, None),
        (_, Some(path)) => {
            let path = Path::new(path);
            parse(&read_file(path, INPUT_BYTES_MAX)?, None)
                .map_err(|error| UsageError::new(format!("{}: {error}", path.display())))
        }
        (json, None) => parse(json, Some(Format::Json)),
    }
}

fn parse(text: &str, format: Option<Format>) -> Result<Value, UsageError> {
    document::parse(text, format).map_err(|fault| {
        let hint = if fault.hint.is_empty() { "" } else { "; " };
        UsageError::new(format!("the input cannot be read: {}{hint}{}", fault.message, fault.hint))
    })
}

fn read_file(path: &Path, bytes_max: usize) -> Result<String, UsageError> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| UsageError::new(format!("cannot read {name}: {error}")))?;
    read_all(file, &name, bytes_max)
}

fn read_all(from: impl Read, name: &str, bytes_max: usize) -> Result<String, UsageError> {
    let mut text = String::new();
    let limit = bytes_max as u64 + 1;
    from.take(limit)
        .read_to_string(&mut text)
        .map_err(|error| UsageError::new(format!("cannot read {name}: {error}")))?;
    if text.len() > bytes_max {
        return Err(UsageError::new(format!("{name} has more than {bytes_max} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_directory::TestDirectory;

    #[test]
    fn an_input_is_json_or_stands_in_a_file() {
        assert_eq!(read(r#"{"n": 1}"#), Ok(json!({"n": 1})));
        assert_eq!(read("[1, 2]"), Ok(json!([1, 2])));
        let place = TestDirectory::new();
        for (name, text) in [("in.json", r#"{"url": "x"}"#), ("in.yaml", "url: x\n")] {
            let file = place.path().join(name);
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(&format!("@{}", file.display())), Ok(json!({"url": "x"})));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let told = |argument: &str| read(argument).unwrap_err().to_string();
        assert!(told("{n: 1}").starts_with("the input cannot be read: "), "{}", told("{n: 1}"));
        assert!(told("@/no/such/file").starts_with("cannot read /no/such/file: "));
        let place = TestDirectory::new();
        let file = place.path().join("large.json");
        std::fs::write(&file, " ".repeat(INPUT_BYTES_MAX + 1)).unwrap();
        assert!(told(&format!("@{}", file.display())).contains("more than 262144 bytes"));
    }

    #[test]
    fn the_nodes_of_a_workflow_are_read_in_order() {
        let file = WorkflowFile {
            text: "name: x\nnodes: [{id: b, type: log}, {id: a, type: delay}, {id: 3}]".to_owned(),
            format: Format::Yaml,
        };
        let node = |id: &str, kind: &str| (id.to_owned(), kind.to_owned());
        assert_eq!(file.nodes(), [node("b", "log"), node("a", "delay")]);
        let broken = WorkflowFile { text: "{".to_owned(), format: Format::Json };
        assert_eq!(broken.nodes(), []);
    }
}
