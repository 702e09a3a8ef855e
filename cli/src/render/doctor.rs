//! What was found out about an installation.

use super::line::StyledLine;
use super::terminal::{Style, Terminal, clean, width_of};
use crate::doctor::{Finding, Outcome, Report, Settings};

/// Columns below which what goes on a further line is hardly indented.
const NARROW: usize = 60;
/// Columns before such a line then.
const NARROW_INDENT: usize = 6;
/// Columns before and behind the name of a check.
const AROUND_NAME: usize = 6;

/// Everything that was found, by group, and the sum of it.
#[must_use]
pub fn doctor(report: &Report, settings: &Settings, terminal: &Terminal) -> String {
    let mut text = String::new();
    let findings = report.findings();
    let width = findings.map(|finding| width_of(finding.name)).max().unwrap_or_default();
    if !settings.shown().is_empty() || !report.settings.is_empty() {
        text.push_str(&heading("settings", terminal));
        for (name, value) in settings.shown() {
            text.push_str(&format!("  {}\n", clean(&format!("{name}={value}"))));
        }
        for finding in &report.settings {
            text.push_str(&line(finding, width, terminal));
        }
    }
    for (group, findings) in &report.groups {
        text.push_str(&heading(group.as_str(), terminal));
        for finding in findings {
            text.push_str(&line(finding, width, terminal));
        }
    }
    text.push_str(&sum(report, terminal));
    text
}

fn heading(name: &str, terminal: &Terminal) -> String {
    format!("{}\n", terminal.paint(name, Style::Bold))
}

fn line(finding: &Finding, width: usize, terminal: &Terminal) -> String {
    let Finding { name, outcome, what, remedy } = finding;
    let (glyph, style) = match outcome {
        Outcome::Ok => ("✓", Style::Green),
        Outcome::Warning => ("!", Style::Yellow),
        Outcome::Failed => ("✗", Style::Red),
        Outcome::Skipped => ("-", Style::Dim),
    };
    let is_narrow = terminal.columns.is_some_and(|columns| columns < NARROW);
    let indent = if is_narrow { NARROW_INDENT } else { width + AROUND_NAME };
    let mut line = StyledLine::default();
    line.push("  ", Style::Plain);
    line.push(glyph, style);
    line.push(" ", Style::Plain);
    line.push_padded(name, Style::Plain, width + 2);
    line.push(what, Style::Plain);
    let mut text = format!("{}\n", line.wrap(terminal, indent));
    if let Some(remedy) = remedy {
        let mut line = StyledLine::default();
        line.push(&" ".repeat(indent), Style::Plain);
        line.push("→ ", Style::Plain);
        line.push(remedy, Style::Bold);
        text.push_str(&format!("{}\n", line.wrap(terminal, indent + 2)));
    }
    text
}

fn sum(report: &Report, terminal: &Terminal) -> String {
    let count = |outcome| report.count(outcome);
    let (warnings, failed) = (count(Outcome::Warning), count(Outcome::Failed));
    let style = match (failed, warnings) {
        (0, 0) => Style::Green,
        (0, _) => Style::Yellow,
        _ => Style::Red,
    };
    let (ok, skipped) = (count(Outcome::Ok), count(Outcome::Skipped));
    let plural = if warnings == 1 { "" } else { "s" };
    let text = format!("{ok} ok, {warnings} warning{plural}, {failed} failed, {skipped} skipped");
    format!("{}\n", terminal.paint(&text, style))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Group;

    #[test]
    fn what_was_found_stands_in_columns_with_what_to_do_below() {
        let report = Report {
            settings: vec![Finding::warning("variables", "SKEIN_X is set", "take it away")],
            groups: vec![
                (
                    Group::Otlp,
                    vec![
                        Finding::ok("connection", "http://c answers\x1b[2J"),
                        Finding::failed("key", "HTTP 401", "set a key"),
                    ],
                ),
                (Group::Broker, vec![Finding::skipped("connection", "no URL", None)]),
            ],
        };
        let set = std::iter::once(("RUST_LOG".to_owned(), "debug".to_owned()));
        let shown = doctor(&report, &Settings::of(set, &[]), &Terminal::plain());
        let expected = "\
settings
  RUST_LOG=debug
  ! variables   SKEIN_X is set
                → take it away
otlp
  ✓ connection  http://c answers [2J
  ✗ key         HTTP 401
                → set a key
broker
  - connection  no URL
1 ok, 1 warning, 1 failed, 1 skipped
";
        assert_eq!(shown, expected);
        let narrow = Terminal { columns: Some(26), ..Terminal::plain() };
        let shown = doctor(&report, &Settings::default(), &narrow);
        let expected = "\
otlp
  ✓ connection  http://c
      answers [2J
  ✗ key         HTTP 401
      → set a key
";
        assert!(shown.contains(expected), "{shown}");
    }
}
