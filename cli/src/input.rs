//! Reading what a run is to work on, and the file of a workflow.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use skein_shared::document::{self, Format};
use skein_shared::domain::limits::{DOCUMENT_BYTES_MAX, INPUT_BYTES_MAX};

use crate::usage::UsageError;

/// A workflow as it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowFile {
    /// How the file is called where something is wrong with it.
    pub name: String,
    /// The text.
    pub text: String,
    /// How it is written.
    pub format: Format,
}

impl WorkflowFile {
    /// Reads a file, or standard input for `-`. The name's ending decides the format, or else the text does.
    ///
    /// # Errors
    /// When there is no such file, or it is too large or no text.
    pub fn read(path: &Path) -> Result<Self, UsageError> {
        let (name, text) = if is_stdin(path) {
            (STDIN_NAME.to_owned(), read_stdin(DOCUMENT_BYTES_MAX)?)
        } else {
            (path.display().to_string(), read_file(path, DOCUMENT_BYTES_MAX)?)
        };
        let ending = path.extension().and_then(|ending| ending.to_str());
        let format = match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Format::Json,
            Some("yaml" | "yml") => Format::Yaml,
            _ => Format::of_text(&text),
        };
        Ok(Self { name, text, format })
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

/// Bytes of a file with an input at most: indented JSON takes several times as much as the compact JSON that is
/// sent.
const INPUT_FILE_BYTES_MAX: usize = 16 * INPUT_BYTES_MAX;
/// What stands for standard input.
const STDIN: &str = "-";
/// How standard input is called in errors.
const STDIN_NAME: &str = "standard input";

/// Whether a file's name stands for standard input.
#[must_use]
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// Reads the file of a workflow and `--input`.
///
/// # Errors
/// When one cannot be read, or both stand on standard input.
pub fn read_both(file: &Path, input: &str) -> Result<(WorkflowFile, Value), UsageError> {
    if is_stdin(file) && input == STDIN {
        let message = "workflow and input cannot both stand on standard input: put one into a file";
        return Err(UsageError::new(message));
    }
    Ok((WorkflowFile::read(file)?, read(input)?))
}

/// Reads `--input`: JSON, `@FILE` with JSON or YAML, or `-` for either on standard input.
///
/// # Errors
/// When it cannot be read, or is larger than an input may be.
pub fn read(argument: &str) -> Result<Value, UsageError> {
    let input = match (argument, argument.strip_prefix('@')) {
        (STDIN, _) => parse_file(&read_stdin(INPUT_FILE_BYTES_MAX)?, STDIN_NAME)?,
        (_, Some(path)) => parse_file(&read_file(Path::new(path), INPUT_FILE_BYTES_MAX)?, path)?,
        (json, None) => parse(json, Some(Format::Json))?,
    };
    // As it is sent: a file may be laid out for people.
    let bytes = input.to_string().len();
    if bytes > INPUT_BYTES_MAX {
        let message = format!(
            "the input has {bytes} bytes as compact JSON, and {INPUT_BYTES_MAX} are the most"
        );
        return Err(UsageError::new(message));
    }
    Ok(input)
}

fn parse_file(text: &str, name: &str) -> Result<Value, UsageError> {
    if text.trim().is_empty() {
        // YAML would take it for null, and nobody means that.
        return Err(UsageError::new(format!(
            "{name} is empty: an input is JSON, for instance {{}}"
        )));
    }
    // What is larger than a document is JSON that is laid out for people, or too large anyhow.
    let parsed = if text.len() > DOCUMENT_BYTES_MAX {
        parse(&without_layout(text), Some(Format::Json))
    } else {
        parse(text, None)
    };
    parsed.map_err(|error| UsageError::new(format!("{name}: {error}")))
}

fn parse(text: &str, format: Option<Format>) -> Result<Value, UsageError> {
    document::parse(text, format).map_err(|diagnostic| {
        let hint = if diagnostic.hint.is_empty() { "" } else { "; " };
        UsageError::new(format!(
            "the input cannot be read: {}{hint}{}",
            diagnostic.placed_message(),
            diagnostic.hint
        ))
    })
}

/// JSON without the blanks between its tokens.
fn without_layout(json: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let is_kept = |char: &char| {
        let is_blank = !in_string && matches!(char, ' ' | '\t' | '\n' | '\r');
        in_string ^= *char == '"' && !is_escaped;
        is_escaped = in_string && *char == '\\' && !is_escaped;
        !is_blank
    };
    json.chars().filter(is_kept).collect()
}

fn read_stdin(bytes_max: usize) -> Result<String, UsageError> {
    read_all(std::io::stdin(), STDIN_NAME, bytes_max)
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
        let temp = TestDirectory::new();
        for (name, text) in [("in.json", r#"{"url": "x"}"#), ("in.yaml", "url: x\n")] {
            let file = temp.path().join(name);
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(&format!("@{}", file.display())), Ok(json!({"url": "x"})));
        }
    }

    #[test]
    fn what_cannot_be_read_is_reported_with_its_location() {
        let message = |argument: &str| read(argument).unwrap_err().to_string();
        assert!(
            message("{n: 1}").starts_with("the input cannot be read: "),
            "{}",
            message("{n: 1}")
        );
        assert!(message("@/no/such/file").starts_with("cannot read /no/such/file: "));
        let temp = TestDirectory::new();
        let message_of = |name: &str, text: &str| {
            let file = temp.path().join(name);
            std::fs::write(&file, text).unwrap();
            message(&format!("@{}", file.display()))
        };
        assert!(message_of("none.yaml", " \n").contains("none.yaml is empty: "));
        assert!(message_of("bad.json", "{").contains("bad.json: the input cannot be read: "));
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        assert!(
            message_of("large.json", &text(INPUT_FILE_BYTES_MAX + 1)).contains("more than 4194304")
        );
        let message = message_of("input.json", &text(INPUT_BYTES_MAX + 1));
        assert_eq!(message, "the input has 262145 bytes as compact JSON, and 262144 are the most");
    }

    #[test]
    fn an_input_is_measured_as_it_is_sent() {
        let temp = TestDirectory::new();
        let file = temp.path().join("pretty.json");
        let read_spread = |blanks: usize| {
            let text = format!(r#"[{}1, "a \" b\\", " \n" ]"#, " ".repeat(blanks));
            std::fs::write(&file, text).unwrap();
            read(&format!("@{}", file.display()))
        };
        for blanks in [1, INPUT_BYTES_MAX, DOCUMENT_BYTES_MAX] {
            assert_eq!(read_spread(blanks), Ok(json!([1, "a \" b\\", " \n"])), "{blanks}");
        }
    }

    #[test]
    fn standard_input_is_read_for_one_thing() {
        let message = read_both(Path::new("-"), "-").unwrap_err().to_string();
        assert!(message.starts_with("workflow and input cannot both "), "{message}");
    }

    #[test]
    fn the_nodes_of_a_workflow_are_read_in_order() {
        let file = WorkflowFile {
            name: "x.yaml".to_owned(),
            text: "name: x\nnodes: [{id: b, type: log}, {id: a, type: delay}, {id: 3}]".to_owned(),
            format: Format::Yaml,
        };
        let node = |id: &str, kind: &str| (id.to_owned(), kind.to_owned());
        assert_eq!(file.nodes(), [node("b", "log"), node("a", "delay")]);
        let broken = WorkflowFile { text: "{".to_owned(), format: Format::Json, ..file };
        assert_eq!(broken.nodes(), []);
    }
}
