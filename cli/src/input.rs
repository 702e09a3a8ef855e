//! Reading what a run is to work on, and the file of a workflow.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};
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

    /// What it says; null where that cannot be read: the server says what is wrong.
    #[must_use]
    pub fn document(&self) -> Value {
        document::parse(&self.text, Some(self.format)).unwrap_or_default()
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

/// What a run works on, as commands take it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct InputArgs {
    /// What the run works on: JSON or YAML, @FILE with either, or - for either on standard input.
    #[arg(long, value_name = "INPUT")]
    pub input: Option<String>,
    /// A member of it, whose value is JSON or else text: -i count=3 -i name=Ada. Several are several of these; each wins
    /// over the same member of --input.
    #[arg(short = 'i', value_name = "KEY=VALUE")]
    pub members: Vec<InputMember>,
}

/// A member of an input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputMember {
    name: String,
    value: Value,
}

impl FromStr for InputMember {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        // A whole input may hold a `=` too.
        let is_name = |name: &str| !name.is_empty() && !name.starts_with(['{', '[', '@']);
        let pair = text.split_once('=').filter(|(name, _)| is_name(name));
        let (name, value) = pair.ok_or_else(|| {
            UsageError::new("a member of the input is KEY=VALUE; --input takes a whole input")
        })?;
        // What looks like JSON and is broken is text: nobody would find out otherwise how to pass it. What is JSON is read
        // as everywhere: a number or a key that cannot be kept is an error.
        let is_json = serde_json::from_str::<IgnoredAny>(value).is_ok();
        let value = if is_json { parse(value, Some(Format::Json))? } else { value.into() };
        Ok(Self { name: name.to_owned(), value })
    }
}

impl InputArgs {
    /// The input; an empty object where nothing is said.
    ///
    /// # Errors
    /// When it cannot be read, has a member twice, has members and is no object, or is larger than an input may be.
    pub fn read(&self) -> Result<Value, UsageError> {
        let whole = match &self.input {
            Some(argument) => read_whole(argument)?,
            None => Value::Object(Map::new()),
        };
        let input = if self.members.is_empty() { whole } else { self.with_members(whole)? };
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

    fn with_members(&self, whole: Value) -> Result<Value, UsageError> {
        let Value::Object(mut object) = whole else {
            return Err(UsageError::new("-i adds a member to an object, and --input is none"));
        };
        for (at, InputMember { name, value, .. }) in self.members.iter().enumerate() {
            if self.members[..at].iter().any(|before| before.name == *name) {
                return Err(UsageError::new(format!("-i {name} is there twice")));
            }
            object.insert(name.clone(), value.clone());
        }
        Ok(Value::Object(object))
    }

    /// Reads the file of a workflow and the input.
    ///
    /// # Errors
    /// When one cannot be read, or both stand on standard input.
    pub fn read_with(&self, file: &Path) -> Result<(WorkflowFile, Value), UsageError> {
        if is_stdin(file) && self.input.as_deref() == Some(STDIN) {
            let message =
                "workflow and input cannot both stand on standard input: put one into a file";
            return Err(UsageError::new(message));
        }
        Ok((WorkflowFile::read(file)?, self.read()?))
    }
}

/// Reads `--input`: JSON or YAML, `@FILE` with either, or `-` for either on standard input.
fn read_whole(argument: &str) -> Result<Value, UsageError> {
    match (argument, argument.strip_prefix('@')) {
        (STDIN, _) => parse_file(&read_stdin(INPUT_FILE_BYTES_MAX)?, STDIN_NAME),
        (_, Some(path)) => parse_file(&read_file(Path::new(path), INPUT_FILE_BYTES_MAX)?, path),
        (text, None) => {
            let input = parse(text, None)?;
            // YAML takes any word for a text. Who means a text quotes it.
            if input.is_string() && !text.trim_start().starts_with(['"', '\''])
                || text.trim().is_empty()
            {
                let message = format!(
                    "the input cannot be read: `{text}` is neither JSON nor YAML of an object; @FILE reads a file"
                );
                return Err(UsageError::new(message));
            }
            Ok(input)
        }
    }
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

    fn read(argument: &str) -> Result<Value, UsageError> {
        InputArgs { input: Some(argument.to_owned()), members: Vec::new() }.read()
    }

    #[test]
    fn an_input_is_json_or_yaml_or_stands_in_a_file() {
        assert_eq!(read(r#"{"n": 1}"#), Ok(json!({"n": 1})));
        assert_eq!(read("[1, 2]"), Ok(json!([1, 2])));
        assert_eq!(read("{n: 1}"), Ok(json!({"n": 1})));
        assert_eq!(read("n: 1\nm: [x]"), Ok(json!({"n": 1, "m": ["x"]})));
        assert_eq!(read("\"x\""), Ok(json!("x")));
        assert_eq!(InputArgs::default().read(), Ok(json!({})));
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
        for text in ["{\"n\": 1", "{n: [", "input.json", "", "  "] {
            let message = message(text);
            assert!(message.starts_with("the input cannot be read: "), "{text}: {message}");
        }
        assert!(message("input.json").contains("@FILE"), "{}", message("input.json"));
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
    fn members_are_json_or_text_and_win_over_the_whole() {
        let read = |whole: Option<&str>, members: &[&str]| {
            let members: Result<Vec<InputMember>, _> =
                members.iter().map(|it| it.parse()).collect();
            InputArgs { input: whole.map(str::to_owned), members: members? }.read()
        };
        let members = [
            "n=3",
            "on=true",
            "name=Ada",
            "url=http://x/?a=b",
            "list=[1,{}]",
            "broken={",
            "empty=",
            "q=\"3\"",
        ];
        let expected = json!({ "n": 3, "on": true, "name": "Ada", "url": "http://x/?a=b", "list": [1, {}], "broken": "{",
            "empty": "", "q": "3" });
        assert_eq!(read(None, &members), Ok(expected));
        let both = read(Some("{n: 1, m: 2}"), &["n=3", "a.b=4"]);
        assert_eq!(both, Ok(json!({ "n": 3, "m": 2, "a.b": 4 })));
        for (whole, members, part) in [
            (Some("[1]"), &["n=1"][..], "object"),
            (None, &["n=1", "n=2"], "twice"),
            (None, &["n"], "KEY=VALUE"),
            (None, &["=1"], "KEY=VALUE"),
            (None, &["{\"a\": \"b=c\"}"], "--input"),
            // What would be another value than the one that was written.
            (None, &["n=18446744073709551616"], "64 bits"),
            (None, &["n={\"a\": [1e400]}"], "too large"),
            (None, &["n={\"a\": 1, \"a\": 2}"], "`a` is there twice"),
        ] {
            let message = read(whole, members).unwrap_err().to_string();
            assert!(message.contains(part), "{members:?}: {message}");
        }
        let large = format!("x={}", "y".repeat(INPUT_BYTES_MAX));
        assert!(read(None, &[&large]).unwrap_err().to_string().contains("262144 are the most"));
    }

    #[test]
    fn standard_input_is_read_for_one_thing() {
        let input = InputArgs { input: Some("-".to_owned()), members: Vec::new() };
        let message = input.read_with(Path::new("-")).unwrap_err().to_string();
        assert!(message.starts_with("workflow and input cannot both "), "{message}");
    }

    #[test]
    fn a_workflow_is_read_as_it_is_written() {
        let file = WorkflowFile {
            name: "x.yaml".to_owned(),
            text: "name: x\nnodes: []".to_owned(),
            format: Format::Yaml,
        };
        assert_eq!(file.document(), json!({"name": "x", "nodes": []}));
        let broken = WorkflowFile { text: "{".to_owned(), format: Format::Json, ..file };
        assert_eq!(broken.document(), Value::Null);
    }
}
