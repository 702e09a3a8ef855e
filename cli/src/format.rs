//! In which form commands print what was asked for.

use std::ffi::{OsStr, OsString};

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::render::ColourChoice;
use crate::usage::UsageError;

/// How a command prints. All commands take these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// The form of what is printed: table, json or yaml.
    ///
    /// With json and yaml it is all that is known. As JSON, a listing or a log is an object on each line; as YAML, one
    /// sequence. An error on standard error is an object too, with error, code and, where they are known, status, hint,
    /// diagnostics and trace_id.
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
    /// Prints ids alone in place of tables, nothing where there are none, and nothing but errors on standard error.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When text has colours: always, never, or auto, which is on a terminal unless NO_COLOR is set.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub color: ColourChoice,
}

/// The form of what is printed, as it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Text for people.
    Text,
    /// Ids, a line each, or nothing.
    Ids,
    /// All of it, for programs.
    Data(DataFormat),
}

/// How values are written for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataFormat {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl OutputArgs {
    /// The form.
    #[must_use]
    pub fn shape(self) -> Shape {
        match (self.output.data(), self.quiet) {
            (Some(format), _) => Shape::Data(format),
            (None, true) => Shape::Ids,
            (None, false) => Shape::Text,
        }
    }

    /// What a command that has a single form says to somebody who asks for another one.
    ///
    /// # Errors
    /// When that is asked for.
    pub fn refuse_data(self, what: &str) -> Result<(), UsageError> {
        match self.output {
            OutputFormat::Table => Ok(()),
            OutputFormat::Json | OutputFormat::Yaml => {
                Err(UsageError::new(format!("{what} has one form: leave out --output")))
            }
        }
    }

    /// What a command line asks for that cannot be read as a whole, so that its error has the form that was asked for.
    #[must_use]
    pub fn guess(words: &[OsString]) -> Self {
        let output = value_of(words, "--output", Some("-o"));
        let color = value_of(words, "--color", None);
        let read = |text: Option<&OsStr>| text.and_then(OsStr::to_str).map(str::to_owned);
        Self {
            output: read(output)
                .and_then(|it| OutputFormat::from_str(&it, false).ok())
                .unwrap_or_default(),
            quiet: false,
            color: read(color)
                .and_then(|it| ColourChoice::from_str(&it, false).ok())
                .unwrap_or_default(),
        }
    }
}

impl OutputFormat {
    /// How values are written, unless it is a table.
    #[must_use]
    pub fn data(self) -> Option<DataFormat> {
        match self {
            Self::Table => None,
            Self::Json => Some(DataFormat::Json),
            Self::Yaml => Some(DataFormat::Yaml),
        }
    }
}

impl DataFormat {
    /// A value alone, with a line's end.
    #[must_use]
    pub fn document(self, value: &Value) -> String {
        match self {
            Self::Json => format!("{value:#}\n"),
            Self::Yaml => yaml(value),
        }
    }

    /// An error, perhaps one of several: on one line, or as a document of its own. What stands in one stream one after the
    /// other would be a single mapping with each key twice.
    #[must_use]
    pub fn error(self, value: &Value) -> String {
        match self {
            Self::Json => format!("{value}\n"),
            Self::Yaml => format!("---\n{}", yaml(value)),
        }
    }

    /// Some rows of a listing. What is printed one after the other is one listing.
    #[must_use]
    pub fn rows(self, rows: &[Value]) -> String {
        match self {
            Self::Json => rows.iter().map(|row| format!("{row}\n")).collect(),
            Self::Yaml if rows.is_empty() => String::new(),
            Self::Yaml => yaml(&Value::Array(rows.to_vec())),
        }
    }

    /// A whole listing.
    #[must_use]
    pub fn listing(self, rows: &[Value]) -> String {
        match self {
            // Nothing at all would be null.
            Self::Yaml if rows.is_empty() => "[]\n".to_owned(),
            _ => self.rows(rows),
        }
    }
}

/// The value of a flag, in any of the ways in which it may be written.
fn value_of<'a>(words: &'a [OsString], long: &str, short: Option<&str>) -> Option<&'a OsStr> {
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        if text == long || Some(text) == short {
            return words.next().map(OsString::as_os_str);
        }
        if let Some(value) = text.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
            return Some(OsStr::new(value));
        }
        let short = short.and_then(|short| text.strip_prefix(short));
        if let Some(value) = short.filter(|_| !text.starts_with("--")) {
            return Some(OsStr::new(value.strip_prefix('=').unwrap_or(value)));
        }
    }
    None
}

fn yaml(value: &Value) -> String {
    // JSON is YAML: what cannot be laid out is there all the same.
    let mut text = serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skein_shared::document::{self, Format};

    use super::*;

    fn read(text: &str) -> Value {
        document::parse(text, Some(Format::Yaml)).unwrap_or_else(|it| panic!("{it:?}: {text}"))
    }

    #[test]
    fn yaml_is_read_back_as_it_was() {
        let value = json!({
            "texts": ["no", "1.0", "", "null", "- x", "a: b", "# c", "~", "2030-01-31", "two\nlines\n", "x ", " x", "{a",
                "a\u{1b}[2Jb", "ü", "y".repeat(300), "word ".repeat(60), "tab\there", "\n"],
            "numbers": [0, -1, 1.5, 1e300], "none": null, "empty": [{}, []], "nested": {"a": {"b": [1, [2]]}},
            "key: with a colon": true,
        });
        let text = DataFormat::Yaml.document(&value);
        assert_eq!(read(&text), value, "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for scalar in [json!("x"), json!(3), json!(null)] {
            assert_eq!(read(&DataFormat::Yaml.document(&scalar)), scalar);
        }
    }

    #[test]
    fn rows_that_are_printed_one_after_the_other_are_one_listing() {
        let rows = [json!({ "id": 1, "of": [{}] }), json!({ "id": 2 })];
        let yaml = DataFormat::Yaml;
        let text = yaml.rows(&rows[..1]) + &yaml.rows(&[]) + &yaml.rows(&rows[1..]);
        assert_eq!(read(&text), json!(rows), "{text}");
        assert_eq!(read(&yaml.listing(&[])), json!([]));
        assert_eq!(DataFormat::Json.listing(&rows), "{\"id\":1,\"of\":[{}]}\n{\"id\":2}\n");
        assert_eq!(DataFormat::Json.listing(&[]), "");
    }

    #[test]
    fn errors_that_are_written_one_after_the_other_are_documents_of_their_own() {
        let errors =
            [json!({ "code": "usage", "file": "a" }), json!({ "code": "usage", "file": "b" })];
        let text: String = errors.iter().map(|error| DataFormat::Yaml.error(error)).collect();
        let documents = text.split("---\n").filter(|document| !document.is_empty());
        assert_eq!(documents.map(read).collect::<Vec<_>>(), errors, "{text}");
        let lines: String = errors.iter().map(|error| DataFormat::Json.error(error)).collect();
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }

    #[test]
    fn quiet_is_about_tables() {
        let shape = |output, quiet| OutputArgs { output, quiet, ..OutputArgs::default() }.shape();
        assert_eq!(shape(OutputFormat::Table, false), Shape::Text);
        assert_eq!(shape(OutputFormat::Table, true), Shape::Ids);
        assert_eq!(shape(OutputFormat::Json, true), Shape::Data(DataFormat::Json));
    }

    #[test]
    fn the_form_is_found_in_a_command_line_that_is_wrong() {
        for (line, format) in [
            ("runs --no-such -o json", OutputFormat::Json),
            ("runs -ojson --no-such", OutputFormat::Json),
            ("-o=yaml nonsense", OutputFormat::Yaml),
            ("runs --output=yaml --limit x", OutputFormat::Yaml),
            ("runs --output", OutputFormat::Table),
            ("start x -i -- -o json", OutputFormat::Table),
            ("runs --out json -o nonsense", OutputFormat::Table),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(OutputArgs::guess(&words).output, format, "{line}");
        }
        let words = ["runs", "--color", "never"].map(OsString::from);
        assert_eq!(OutputArgs::guess(&words).color, ColourChoice::Never);
    }
}
