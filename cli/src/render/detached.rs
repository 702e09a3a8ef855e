//! What can be done about a run that goes on by itself.

use super::line::StyledLine;
use super::terminal::{Style, Terminal, clean};
use crate::shell::ShellCommand;

/// Columns before a command.
const INDENT: usize = 2;

/// What is said of a run that nobody waits for any more: it goes on, how to follow it and how to cancel it. `server` are the
/// flags of the server.
#[must_use]
pub fn detached(run: &str, server: &[String], terminal: &Terminal) -> String {
    let mut line = StyledLine::default();
    line.push(
        &format!("run {} goes on; to follow it, and to cancel it:", clean(run)),
        Style::Plain,
    );
    let mut text = format!("{}\n", line.wrap(terminal, INDENT));
    for command in [&["show", run, "--follow"][..], &["cancel", run]] {
        text.push_str(&indented(command, server, terminal));
    }
    text
}

/// How a run that was just started is followed.
#[must_use]
pub fn how_to_follow(run: &str, server: &[String], terminal: &Terminal) -> String {
    format!("to follow it:\n{}", indented(&["show", run, "--follow"], server, terminal))
}

fn indented(words: &[&str], server: &[String], terminal: &Terminal) -> String {
    let words = std::iter::once("skein").chain(words.iter().copied());
    let words = words.chain(server.iter().map(String::as_str));
    let Some(command) = ShellCommand::new(words) else { return String::new() };
    let width = terminal.columns.map(|columns| columns.saturating_sub(INDENT));
    let indent = " ".repeat(INDENT);
    let lines = command.lines(width).into_iter();
    lines.map(|line| format!("{indent}{}\n", terminal.paint(&line, Style::Bold))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_is_shown_with_what_can_be_done_about_it() {
        let server = ["--url", "http://x:1"].map(str::to_owned);
        let expected = "\
run 019c goes on; to follow it, and to cancel it:
  skein show 019c --follow --url http://x:1
  skein cancel 019c --url http://x:1
";
        assert_eq!(detached("019c", &server, &Terminal::plain()), expected);
        let expected = "to follow it:\n  skein show 019c --follow\n";
        assert_eq!(how_to_follow("019c", &[], &Terminal::plain()), expected);
    }
}
