//! How a command ends when it does not end well.

use std::process::ExitCode;

use crate::client::ClientError;
use crate::output::{PrintError, print_to_stderr};
use crate::render::{Style, Terminal, problem};
use crate::usage::UsageError;

/// The exit code after a run that did not succeed, or any error.
pub const EXIT_FAILED: u8 = 1;
/// The exit code when the command was not called right.
pub const EXIT_USAGE: u8 = 2;
/// The exit code when a part of what was asked for was done, and then something went wrong.
pub const EXIT_HALFWAY: u8 = 3;
/// The exit code after Ctrl-C: 128 and the number of SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Writes an error to standard error and chooses the exit code.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(PrintError::Unread) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    print_to_stderr(&describe(error, &Terminal::stderr()));
    let usage = error.downcast_ref::<UsageError>().is_some();
    ExitCode::from(if usage { EXIT_USAGE } else { EXIT_FAILED })
}

/// Writes to standard error what is wrong, where it is more than one error's text.
pub fn say(text: &str) {
    print_to_stderr(&format!("{}{text}", Terminal::stderr().paint("error: ", Style::Red)));
}

fn describe(error: &anyhow::Error, terminal: &Terminal) -> String {
    if let Some(ClientError::Refused(refusal)) = error.downcast_ref() {
        return problem(refusal, terminal);
    }
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
    format!("{}{text}\n", terminal.paint("error: ", Style::Red))
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
