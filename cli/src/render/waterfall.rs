//! The trace of a run as bars over time, from what the store knows: no collector is needed.
//!
//! `█` is an attempt at work, from its claim to its commit, `▒` one that is still under way, `░` time in the queue and `·`
//! time between attempts: a back-off, a delay, or the time until a crash was noticed. Below an attempt are its calls to
//! models and tools; of one that was lost in a crash, or is not over, nobody knows how long it took: it is `▒` as well.
//! Nodes that never started have a line without a bar.

mod calls;
mod layout;
mod legend;
mod row;
mod rows;

#[cfg(test)]
mod call_tests;

use chrono::{DateTime, TimeDelta, Utc};

use self::layout::{BAR_WIDTH_WANTED, DURATION_WIDTH, Layout, Wanted};
use self::legend::legend;
use self::row::{Interval, Line, Row};
use self::rows::{Segment, segments};
use super::amounts::thousands;
use super::line::StyledLine;
use super::plan::Plan;
use super::status::glyph;
use super::terminal::{Style, Terminal, clean, cut, width_of};
use super::time::{duration, took};
use crate::client::{Run, Step};
use crate::shell::ShellCommand;

/// Columns where the width of the terminal is unknown.
const COLUMNS_DEFAULT: usize = 120;
/// Columns of a name that are left however long the rest of its label is.
const NAME_WIDTH_MIN: usize = 4;

/// Draws the run of this plan, with these steps of its nodes, and a legend. `now` is where spans end that have not ended
/// yet. A run that was suspended for long has several traces, of which each is drawn on a scale of its own.
#[must_use]
pub fn waterfall(
    run: &Run,
    plan: &Plan,
    steps: &[Step],
    now: DateTime<Utc>,
    terminal: &Terminal,
) -> String {
    let mut segments = segments(run, plan, steps, now);
    let columns = terminal.columns.unwrap_or(COLUMNS_DEFAULT);
    let wanted = |segments: &[Segment]| {
        Wanted::by(segments.iter().flat_map(Segment::rows), !steps.is_empty())
    };
    if wanted(&segments).label + 2 + BAR_WIDTH_WANTED + DURATION_WIDTH > columns {
        segments.iter_mut().for_each(Segment::shorten);
    }
    let layout = Layout::of(&wanted(&segments), columns);
    let mut text = String::new();
    let mut drawn = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if segments.len() > 1 {
            let before = index.checked_sub(1).map(|index| &segments[index]);
            text.push_str(&heading(segment, before, terminal));
        }
        let ends = segment.rows().flat_map(|line| &line.intervals).map(|interval| interval.to);
        let end = ends.max().unwrap_or(segment.start);
        let scale = Scale { start: segment.start, end, width: layout.bar };
        for line in &segment.lines {
            match line {
                Line::Span(row) => {
                    let bar = bar(row, &scale);
                    text.push_str(&draw(row, &bar, &layout, &scale, terminal));
                    drawn.extend(bar);
                }
                Line::Note(note) => {
                    let mut line = StyledLine::default();
                    line.push(&format!("{}{}", note.branch, note.text), Style::Dim);
                    text.push_str(&format!("{}\n", line.render(terminal).0));
                }
            }
        }
    }
    text + &legend(&drawn, terminal)
}

/// What is said in place of calls that were not read, of which the first `shown` were. `server` are the flags of the server.
#[must_use]
pub fn calls_left_out(run: &Run, shown: usize, server: &[String]) -> String {
    let shown = thousands(shown as u64);
    let all = run.steps.map_or_else(String::new, |all| format!(", of some {}", thousands(all)));
    let words = ["skein", "steps", &run.id].into_iter().chain(server.iter().map(String::as_str));
    let command = ShellCommand::new(words).map_or_else(String::new, |it| format!(": {it}"));
    format!("… the first {shown} calls are shown{all}{command}")
}

/// What separates a trace from the one before.
fn heading(segment: &Segment, before: Option<&Segment>, terminal: &Terminal) -> String {
    let mut line = StyledLine::default();
    if let Some(since) = before.and_then(|before| before.suspended_at) {
        let waited = duration(segment.start - since);
        line.push(&format!("{} suspended for {waited}, then ", glyph("suspended")), Style::Yellow);
    }
    line.push(&format!("trace {}", segment.trace), Style::Dim);
    format!("{}\n", line.wrap(terminal, 0))
}

/// From times to columns.
struct Scale {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    width: usize,
}

impl Scale {
    /// The columns of a stretch; at least one.
    fn columns(&self, interval: &Interval) -> std::ops::Range<usize> {
        let total = micros(self.end - self.start).max(1.0);
        let column = |time: DateTime<Utc>| micros(time - self.start) / total * self.width as f64;
        let from = (column(interval.from).floor() as usize).min(self.width - 1);
        let to = (column(interval.to).ceil() as usize).clamp(from + 1, self.width);
        from..to
    }
}

fn micros(span: TimeDelta) -> f64 {
    span.num_microseconds().map_or(f64::MAX, |micros| micros.max(0) as f64)
}

/// The bar of a line, column by column.
fn bar(line: &Row, scale: &Scale) -> Vec<(char, Style)> {
    let mut cells = vec![(' ', Style::Plain); scale.width];
    for interval in &line.intervals {
        cells[scale.columns(interval)].fill((interval.glyph, interval.style));
    }
    cells
}

fn draw(
    line: &Row,
    bar: &[(char, Style)],
    layout: &Layout,
    scale: &Scale,
    terminal: &Terminal,
) -> String {
    let mut text = label(line, layout.label);
    text.push(&" ".repeat((layout.label + 2).saturating_sub(text.width())), Style::Plain);
    for same in bar.chunk_by(|one, other| one.1 == other.1) {
        let interval: String = same.iter().map(|(glyph, _)| glyph).collect();
        text.push(&interval, same[0].1);
    }
    if layout.has_offset {
        let offset = format!("+{}", duration(line.start - scale.start));
        text.push(&format!("  {offset:>8}"), Style::Plain);
    }
    let span = line.end.map(|end| end - line.start);
    let span = span.map_or_else(String::new, if line.is_attempt { took } else { duration });
    text.push(&format!("  {span:>7}"), Style::Plain);
    if let Some((input_width, output_width)) = layout.tokens {
        let tokens = line
            .tokens
            .as_ref()
            .map(|(input, output)| format!("{input:>input_width$} in {output:>output_width$} out"));
        let width = input_width + " in ".len() + output_width + " out".len();
        text.push(&format!("  {:width$}", tokens.unwrap_or_default()), Style::Plain);
    }
    if let Some(width) = layout.cost {
        text.push(&format!("  {:>width$}", line.cost.as_deref().unwrap_or_default()), Style::Plain);
    }
    if layout.has_span {
        text.push(&format!("  {}", line.span.as_deref().unwrap_or_default()), Style::Dim);
    }
    format!("{}\n", text.render(terminal).0)
}

/// What a line is of. Where there is no room, the name is cut and not what became of it.
fn label(line: &Row, width: usize) -> StyledLine {
    let mut text = StyledLine::default();
    let Some((outcome, style)) = &line.outcome else {
        let label = clean(&format!("{}{}", line.branch, line.label));
        text.push(&cut(&label, width), Style::Plain);
        return text;
    };
    let room = width.saturating_sub(width_of(&line.branch) + width_of(outcome));
    text.push(&line.branch, Style::Plain);
    text.push(&cut(&clean(&line.label), room.max(NAME_WIDTH_MIN)), Style::Plain);
    text.push(outcome, *style);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{EarlierTrace, NodeRun};
    use crate::render::samples::{at, plan, run};

    #[test]
    fn every_attempt_has_a_bar_and_a_span() {
        let terminal = Terminal { columns: Some(100), ..Terminal::plain() };
        let expected = "\
publish                  ▏                                         +0.0ms           c0c0c0c0c0c0c0c0
└ workflow.execute       ██████████████████████████████████████    +5.0ms    1.50s  b0b0b0b0b0b0b0b0
  ├ http fetch           ██                                        +5.0ms     40ms  d0d0d0d0d0d0d0d0
  ├ http flaky #1 retry   ██████████                                +60ms    340ms  e1e1e1e1e1e1e1e1
  ├ http flaky #2                  ···············█████████████    +1.00s    500ms  e2e2e2e2e2e2e2e2
  └ transform titles not reached
█ at work  · waiting  ▏ accepted
";
        assert_eq!(waterfall(&run(), &plan(), &[], at(9000), &terminal), expected);
        // Of what is not known, nothing is said.
        let text = waterfall(&run(), &Plan::default(), &[], at(9000), &terminal);
        assert!(!text.contains("titles") && text.contains("  └ http flaky #2 "), "{text}");
    }

    #[test]
    fn a_node_that_never_started_has_no_bar() {
        let mut ended = run();
        ended.status = "cancelled".to_owned();
        let fetch = ended.nodes[0].clone();
        ended.nodes.push(NodeRun {
            node: "titles".to_owned(),
            status: "cancelled".to_owned(),
            started_at: None,
            finished_at: Some(at(1500)),
            ..fetch
        });
        let text = waterfall(&ended, &plan(), &[], at(9000), &Terminal::plain());
        assert!(text.contains("\n  └ http titles cancelled\n"), "{text}");
        let narrow = Terminal { columns: Some(40), ..Terminal::plain() };
        let text = waterfall(&ended, &plan(), &[], at(9000), &narrow);
        assert!(text.contains("\n  └ titles cancelled\n"), "{text}");
        // While a run is open, that is nothing to say.
        let open = Run { status: "running".to_owned(), finished_at: None, ..run() };
        assert!(!waterfall(&open, &plan(), &[], at(9000), &narrow).contains("titles"));
    }

    #[test]
    fn what_is_under_way_ends_now_and_what_waits_is_not_shown_twice() {
        let mut open = run();
        open.status = "running".to_owned();
        open.finished_at = None;
        open.nodes[1].status = "retry".to_owned();
        open.nodes[1].started_at = Some(at(60));
        open.nodes[1].finished_at = None;
        let text = waterfall(&open, &plan(), &[], at(3000), &Terminal::plain());
        assert_eq!(text.matches("flaky").count(), 1, "{text}");
        assert!(text.lines().nth(1).unwrap().contains('▒'), "{text}");
        assert!(text.lines().nth(1).unwrap().contains("3.00s"), "{text}");
    }

    #[test]
    fn a_wait_is_drawn_until_it_is_over() {
        let terminal = Terminal { columns: Some(80), ..Terminal::plain() };
        let line = |wake_at, finished_at| {
            let mut open = run();
            let node = &mut open.nodes[1];
            (node.status, node.started_at) = ("waiting".to_owned(), Some(at(60)));
            (node.wake_at, node.finished_at) = (wake_at, finished_at);
            node.earlier_attempts[0].outcome = "waiting".to_owned();
            open.finished_at = Some(at(1500));
            let text = waterfall(&open, &Plan::default(), &[], at(1500), &terminal);
            // The last line is the legend.
            text.lines().rev().nth(1).unwrap().to_owned()
        };
        let name = "  └ http flaky #1 waiting  ";
        let numbers = "     +60ms    340ms";
        let drawn = |dots: usize| {
            let bar = format!(" {}{}", "█".repeat(9), "·".repeat(dots));
            format!("{name}{bar:<34}{numbers}")
        };
        assert_eq!(line(None, None), drawn(24));
        assert_eq!(line(Some(at(9000)), None), line(None, None), "until now");
        assert_eq!(line(Some(at(800)), None), drawn(9));
        assert_eq!(line(Some(at(9000)), Some(at(800))), line(Some(at(800)), None));
    }

    /// A wait of hours would leave nothing to see of the work before and after it.
    #[test]
    fn each_trace_of_a_run_has_a_scale_of_its_own() {
        let hours = 3 * 3_600_000;
        let mut run = run();
        (run.trace_id, run.root_span_id) = ("bb".repeat(16), "b2".repeat(8));
        run.earlier_traces = vec![EarlierTrace {
            trace_id: "aa".repeat(16),
            root_span_id: "b0".repeat(8),
            started_at: at(5),
            suspended_at: at(400),
        }];
        (run.resumed_at, run.finished_at) = (Some(at(hours)), Some(at(hours + 600)));
        let flaky = &mut run.nodes[1];
        (flaky.trace_id, flaky.started_at) = (None, Some(at(hours + 100)));
        flaky.finished_at = Some(at(hours + 600));
        let terminal = Terminal { columns: Some(100), ..Terminal::plain() };
        let expected = "\
trace aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
publish                  ▏                                         +0.0ms           c0c0c0c0c0c0c0c0
└ workflow.execute       ██████████████████████████████████████    +5.0ms    395ms  b0b0b0b0b0b0b0b0
  ├ http fetch           █████                                     +5.0ms     40ms  d0d0d0d0d0d0d0d0
  └ http flaky #1 retry      ░█████████████████████████████████     +60ms    340ms  e1e1e1e1e1e1e1e1
◷ suspended for 3h00m, then trace bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
└ workflow.execute       ██████████████████████████████████████    +0.0ms    600ms  b2b2b2b2b2b2b2b2
  └ http flaky #2        ······████████████████████████████████    +100ms    500ms  e2e2e2e2e2e2e2e2
█ at work  ░ queued  · waiting  ▏ accepted
";
        assert_eq!(waterfall(&run, &Plan::default(), &[], at(0), &terminal), expected);
    }

    #[test]
    fn a_narrow_terminal_keeps_the_bars() {
        for columns in [20, 30, 40, 80] {
            let narrow = Terminal { columns: Some(columns), ..Terminal::plain() };
            let text = waterfall(&run(), &plan(), &[], at(9000), &narrow);
            assert!(text.lines().all(|line| width_of(line) <= columns), "{text}");
        }
    }

    #[test]
    fn a_run_that_has_not_started_has_two_lines_and_the_legend() {
        let mut waiting = run();
        waiting.status = "queued".to_owned();
        (waiting.started_at, waiting.finished_at) = (None, None);
        waiting.nodes.clear();
        let text = waterfall(&waiting, &plan(), &[], at(0), &Terminal::plain());
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
