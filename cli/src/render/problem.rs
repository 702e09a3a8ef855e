//! A refusal, shown so that the one who asked can do it right.

use super::line::StyledLine;
use super::places::Places;
use super::terminal::{Style, Terminal, clean};
use crate::client::{Diagnostic, Problem};
use crate::input::WorkflowFile;

/// The kind of problem whose pointers lie in the input of a run.
const INVALID_INPUT: &str = "urn:skein:problem:invalid-input";

/// The refusal as lines: what, where, how to do it right, and the trace of the request.
#[must_use]
pub fn problem(problem: &Problem, terminal: &Terminal) -> String {
    let mut text = format!(
        "{} {} ({})\n",
        terminal.paint("error:", Style::Red),
        terminal.paint(&clean(&problem.title), Style::Bold),
        problem.status
    );
    // The detail of a single diagnostic is that diagnostic again.
    if problem.errors.len() != 1 && !problem.detail.is_empty() {
        text.push_str(&indented(2, &[(&problem.detail, Style::Plain)], terminal));
    }
    if problem.r#type == INVALID_INPUT {
        let found: Vec<Diagnostic> = problem.errors.iter().map(of_input).collect();
        text.push_str(&diagnostics(&found, None, terminal));
    } else {
        text.push_str(&diagnostics(&problem.errors, problem.document.as_deref(), terminal));
    }
    if let Some(remedy) = &problem.remedy {
        let hint = [("hint: ", Style::Cyan), (remedy.as_str(), Style::Plain)];
        text.push_str(&indented(2, &hint, terminal));
    }
    if let Some(trace) = &problem.trace_id {
        let line = format!("  trace {}", clean(trace));
        text.push_str(&format!("{}\n", terminal.paint(&line, Style::Dim)));
    }
    text
}

/// A diagnostic of a run's input, whose pointer must not look like the `input` of a workflow: that is its schema.
fn of_input(diagnostic: &Diagnostic) -> Diagnostic {
    let inside = diagnostic.pointer.as_deref().and_then(|it| it.strip_prefix("/input"));
    let location = inside.map(|it| match it {
        "" => "the run's input".to_owned(),
        inside => format!("the run's input, {inside}"),
    });
    Diagnostic { pointer: location.or_else(|| diagnostic.pointer.clone()), ..diagnostic.clone() }
}

/// Diagnostics as lines: location and message, and the hint below. Of a document that is at hand, each with its place in
/// the file and the line that stands there.
#[must_use]
pub fn diagnostics(
    diagnostics: &[Diagnostic],
    document: Option<&WorkflowFile>,
    terminal: &Terminal,
) -> String {
    let places = document.map(Places::of);
    let mut text = String::new();
    for diagnostic in diagnostics {
        let place = places.as_ref().and_then(|places| places.of_diagnostic(diagnostic, terminal));
        match place {
            Some(place) => text.push_str(&format!("\n{place}")),
            None => {
                let location = terminal.paint(&clean(diagnostic.location()), Style::Yellow);
                text.push_str(&format!("\n  {location}\n"));
            }
        }
        text.push_str(&indented(6, &[(&diagnostic.message, Style::Plain)], terminal));
        if !diagnostic.hint.is_empty() {
            let hint = [("hint: ", Style::Cyan), (diagnostic.hint.as_str(), Style::Plain)];
            text.push_str(&indented(6, &hint, terminal));
        }
    }
    if !diagnostics.is_empty() {
        text.push('\n');
    }
    text
}

/// Text that keeps its indentation where it is broken.
fn indented(indent: usize, pieces: &[(&str, Style)], terminal: &Terminal) -> String {
    let mut line = StyledLine::default();
    line.push(&" ".repeat(indent), Style::Plain);
    for (text, style) in pieces {
        line.push(text, *style);
    }
    format!("{}\n", line.wrap(terminal, indent))
}

#[cfg(test)]
mod tests {
    use skein_shared::document::Format;

    use super::*;

    fn diagnostic(pointer: &str, hint: &str) -> Diagnostic {
        Diagnostic {
            pointer: Some(pointer.to_owned()),
            parameter: None,
            header: None,
            message: format!("wrong at {pointer}"),
            hint: hint.to_owned(),
            line: None,
            column: None,
        }
    }

    fn with(errors: Vec<Diagnostic>) -> Problem {
        Problem {
            r#type: "urn:skein:problem:invalid-workflow".to_owned(),
            title: "The workflow is not valid".to_owned(),
            status: 422,
            detail: "there are 2 faults".to_owned(),
            errors,
            trace_id: Some("07".repeat(16)),
            document: None,
            retry_after: None,
            remedy: None,
        }
    }

    #[test]
    fn the_command_that_helps_is_shown_below_what_is_wrong() {
        let remedied = Problem { remedy: Some("`skein x` helps".to_owned()), ..with(Vec::new()) };
        let shown = problem(&remedied, &Terminal::plain());
        assert!(shown.contains("\n  there are 2 faults\n  hint: `skein x` helps\n"), "{shown}");
    }

    #[test]
    fn every_diagnostic_is_shown_with_its_pointer_and_hint() {
        let many = with(vec![
            diagnostic("/nodes/0/type", "did you mean `http`?"),
            diagnostic("/edges/1", ""),
        ]);
        let expected = "\
error: The workflow is not valid (422)
  there are 2 faults

  /nodes/0/type
      wrong at /nodes/0/type
      hint: did you mean `http`?

  /edges/1
      wrong at /edges/1

  trace 07070707070707070707070707070707
";
        assert_eq!(problem(&many, &Terminal::plain()), expected);
    }

    #[test]
    fn diagnostics_of_a_runs_input_do_not_look_like_those_of_the_document() {
        let errors = vec![diagnostic("/input", ""), diagnostic("/input/n", "")];
        let of_input = Problem { r#type: INVALID_INPUT.to_owned(), ..with(errors.clone()) };
        let text = problem(&of_input, &Terminal::plain());
        assert!(text.contains("\n  the run's input\n"), "{text}");
        assert!(text.contains("\n  the run's input, /n\n"), "{text}");
        let of_document = problem(&with(errors), &Terminal::plain());
        assert!(of_document.contains("\n  /input\n"), "{of_document}");
    }

    #[test]
    fn what_is_long_is_broken_below_itself() {
        let narrow = Terminal { columns: Some(24), ..Terminal::plain() };
        let text = diagnostics(&[diagnostic("/nodes/0", "did you mean `http`?")], None, &narrow);
        let expected = [
            "",
            "  /nodes/0",
            "      wrong at /nodes/0",
            "      hint: did you mean",
            "      `http`?",
            "",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn of_a_document_at_hand_the_line_is_shown() {
        let text = "name: w\nnodes:\n  - id: big\n    type: htpp\n    params: {}\n".to_owned();
        let document = WorkflowFile { name: "w.yaml".to_owned(), text, format: Format::Yaml };
        let found = |pointer: &str, line, column| Diagnostic {
            line: Some(line),
            column: Some(column),
            ..diagnostic(pointer, "did you mean `http`?")
        };
        let errors = vec![found("/nodes/0/type", 4, 11), found("", 1, 1)];
        let problem_of = Problem { document: Some(Box::new(document)), ..with(errors) };
        let expected = "\
error: The workflow is not valid (422)
  there are 2 faults

  w.yaml:4:11 (node big) /nodes/0/type
    4 |     type: htpp
      |           ^
      wrong at /nodes/0/type
      hint: did you mean `http`?

  w.yaml:1:1
    1 | name: w
      | ^
      wrong at
      hint: did you mean `http`?

  trace 07070707070707070707070707070707
";
        assert_eq!(problem(&problem_of, &Terminal::plain()), expected);
    }

    #[test]
    fn a_single_diagnostic_is_shown_once() {
        let text = problem(&with(vec![diagnostic("/input", "")]), &Terminal::plain());
        assert!(!text.contains("there are"), "{text}");
        let bare = problem(&with(Vec::new()), &Terminal::plain());
        assert!(bare.contains("  there are 2 faults\n"), "{bare}");
    }
}
