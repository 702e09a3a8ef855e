//! How a command ends when it does not end well.

use std::process::ExitCode;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::client::{ClientError, Problem};
use crate::format::{DataFormat, OutputFormat};
use crate::output::{PrintError, print_error};
use crate::render::{Style, Terminal, clean, problem};
use crate::usage::UsageError;

/// The exit code when something could not be done.
pub const EXIT_FAILED: u8 = 1;
/// The exit code when the command was not called right.
pub const EXIT_USAGE: u8 = 2;
/// The exit code after a run that did not succeed.
pub const EXIT_RUN_FAILED: u8 = 3;
/// The exit code when a part of what was asked for was done, and then something went wrong.
pub const EXIT_HALFWAY: u8 = 4;
/// The exit code after Ctrl-C: 128 and the number of SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// In which form errors are written. Standard error is the whole process's.
static FORMAT: OnceLock<DataFormat> = OnceLock::new();

/// From now on, errors are written in this form. The first one holds.
pub fn report_as(format: OutputFormat) {
    if let Some(format) = format.data() {
        let _ = FORMAT.set(format);
    }
}

/// Writes an error to standard error and chooses the exit code.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(PrintError::Unread) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    print_error(&match FORMAT.get() {
        Some(format) => format.error(&Value::Object(object(error))),
        None => describe(error, &Terminal::stderr()),
    });
    ExitCode::from(code_of(error))
}

/// Writes an error about a file, perhaps one of several, to standard error, and chooses the exit code. Of several, the
/// greatest is that of the command.
#[must_use]
pub fn report_file(file: &str, error: &anyhow::Error) -> u8 {
    print_error(&match FORMAT.get() {
        Some(format) => {
            let mut object = object(error);
            object.insert("file".to_owned(), file.into());
            format.error(&Value::Object(object))
        }
        // One that cannot be read is named by what is said of it.
        None if is_usage(error) => describe(error, &Terminal::stderr()),
        None => format!("{}:\n{}", clean(file), describe(error, &Terminal::stderr())),
    });
    code_of(error)
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.downcast_ref::<UsageError>().is_some()
}

fn code_of(error: &anyhow::Error) -> u8 {
    if is_usage(error) { EXIT_USAGE } else { EXIT_FAILED }
}

/// Writes to standard error what is wrong, where it is more than one error's text.
pub fn say(text: &str) {
    print_error(&match FORMAT.get() {
        Some(format) => format.error(&json!({ "error": text.trim_end(), "code": "failed" })),
        None => format!("{}{text}", Terminal::stderr().paint("error: ", Style::Red)),
    });
}

/// Answers a command line that cannot be read, or asks for help; the exit code.
#[must_use]
pub fn refuse(error: &clap::Error) -> ExitCode {
    match FORMAT.get().filter(|_| error.exit_code() != 0) {
        Some(format) => {
            let text = error.render().to_string();
            let text = text.split("\n\nUsage:").next().unwrap_or_default();
            let text = text.split("\n\nFor more information").next().unwrap_or_default();
            let text = text.strip_prefix("error: ").unwrap_or(text).trim();
            print_error(&format.error(&json!({ "error": text, "code": "usage" })));
        }
        // There is nowhere left to report that it cannot be written.
        None => drop(error.print()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
}

/// An error for programs.
fn object(error: &anyhow::Error) -> Map<String, Value> {
    if let Some(ClientError::Refused(problem)) = error.downcast_ref() {
        return of_problem(problem);
    }
    let code = match error.downcast_ref() {
        _ if is_usage(error) => "usage",
        Some(ClientError::Unreachable { .. }) => "unreachable",
        Some(ClientError::Malformed { .. }) => "malformed-answer",
        Some(ClientError::Refused(_)) | None => "failed",
    };
    [("error".to_owned(), chain(error).into()), ("code".to_owned(), code.into())]
        .into_iter()
        .collect()
}

fn of_problem(problem: &Problem) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("error", problem.to_string().into());
    put("code", problem.code().into());
    put("status", problem.status.into());
    // Where there is one thing to do, it need not be looked for.
    if let Some(remedy) = &problem.remedy {
        put("hint", remedy.clone().into());
    } else if let [only] = problem.errors.as_slice()
        && !only.hint.is_empty()
    {
        put("hint", only.hint.clone().into());
    }
    if !problem.errors.is_empty() {
        put("diagnostics", json!(problem.errors));
    }
    if let Some(trace) = &problem.trace_id {
        put("trace_id", trace.clone().into());
    }
    object
}

fn describe(error: &anyhow::Error, terminal: &Terminal) -> String {
    if let Some(ClientError::Refused(refusal)) = error.downcast_ref() {
        return problem(refusal, terminal);
    }
    format!("{}{}\n", terminal.paint("error: ", Style::Red), chain(error))
}

/// An error with its causes, on one line but for lines of its own.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = crate::render::clean_lines(&cause.to_string());
        let cause = without_source_line(&cause);
        // Some errors name their cause themselves.
        if text.ends_with(cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(cause);
    }
    text
}

/// A message of PostgreSQL without the line of the server's own source, which the driver adds and which people take for
/// one of theirs.
fn without_source_line(message: &str) -> &str {
    match message.rsplit_once(" at line ") {
        Some((said, line)) if line.bytes().all(|byte| byte.is_ascii_digit()) => said,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_is_shown_with_its_causes() {
        let error = Err::<(), _>(UsageError::new("no such file")).context("flow.yaml").unwrap_err();
        assert_eq!(describe(&error, &Terminal::plain()), "error: flow.yaml: no such file\n");
        assert_eq!(error.downcast_ref(), Some(&UsageError::new("no such file")));
        let expected = json!({ "error": "flow.yaml: no such file", "code": "usage" });
        assert_eq!(Value::Object(object(&error)), expected);
    }

    #[test]
    fn a_refusal_is_an_object_with_all_that_is_known_of_it() {
        let body = json!({
            "type": "urn:skein:problem:invalid-workflow", "title": "The workflow is not valid", "status": 422,
            "detail": "x", "trace_id": "07", "errors": [{ "pointer": "/nodes/0", "message": "m", "hint": "h" }],
        });
        let problem: Problem = serde_json::from_value(body).unwrap();
        let remedied = Problem { remedy: Some("do it".to_owned()), ..problem.clone() };
        let error = anyhow::Error::from(ClientError::Refused(Box::new(problem)));
        let expected = json!({
            "error": "The workflow is not valid: x", "code": "invalid-workflow", "status": 422, "hint": "h",
            "diagnostics": [{ "pointer": "/nodes/0", "message": "m", "hint": "h" }], "trace_id": "07",
        });
        assert_eq!(Value::Object(object(&error)), expected);
        assert_eq!(of_problem(&remedied)["hint"], "do it");
    }

    #[test]
    fn a_cause_that_was_shown_already_is_not_shown_again() {
        let cause = || io::Error::other("database \"x\" does not exist at line 948");
        let error = anyhow::Error::from(cause())
            .context(format!("error returned from database: {}", cause()))
            .context("the store is unavailable");
        let expected = "error: the store is unavailable: error returned from database: database \"x\" does not exist\n";
        assert_eq!(describe(&error, &Terminal::plain()), expected);
        let located = anyhow::anyhow!("malformed JSON at line 3 column 4");
        assert!(describe(&located, &Terminal::plain()).ends_with("at line 3 column 4\n"));
    }

    #[test]
    fn only_a_reader_who_went_is_no_failure() {
        let unread = anyhow::Error::from(PrintError::Unread);
        assert_eq!(report(&unread), ExitCode::SUCCESS);
        let lost = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(report(&lost.context("the server")), ExitCode::from(EXIT_FAILED));
    }
}
