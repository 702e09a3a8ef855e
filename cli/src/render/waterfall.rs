//! The trace of a run as bars over time, from what the store knows: no collector is needed.
//!
//! `█` is an attempt at work, `▒` one that is still under way, `░` time in the queue and `·` time between
//! attempts: a back-off, a delay, or the time until a crash was noticed.

use chrono::{DateTime, TimeDelta, Utc};

use super::table::cut;
use super::terminal::{Style, Terminal, clean, width_of};
use super::time::duration;
use crate::client::{NodeRun, Run};

/// Columns where there is no telling how wide the place is.
const COLUMNS_DEFAULT: usize = 120;
/// Columns of the bars at least; in a terminal that is too narrow, lines wrap.
const BAR_WIDTH_MIN: usize = 16;
/// Columns of the bars at most: wider ones are not read any better.
const BAR_WIDTH_MAX: usize = 100;
/// Columns of the names at most.
const LABEL_WIDTH_MAX: usize = 40;
/// Columns of what stands right of the bars: offset, duration, span id, and the gaps.
const NUMBERS_WIDTH: usize = 2 + 8 + 2 + 7 + 2 + 16;

/// A stretch of time on a line.
struct Stretch {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    glyph: char,
    style: Style,
}

/// A span with what came before it.
struct Line {
    label: String,
    stretches: Vec<Stretch>,
    start: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
    span: Option<String>,
}

/// Draws the run. `now` is where spans end that have not ended yet.
#[must_use]
pub fn waterfall(run: &Run, now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut lines = vec![publish(run), execute(run, now)];
    let mut nodes: Vec<&NodeRun> = run.nodes.iter().collect();
    nodes.retain(|node| node.first_started_at().is_some());
    nodes.sort_by_key(|node| node.first_started_at());
    lines.extend(nodes.into_iter().flat_map(|node| attempts(node, now)));

    let labels = lines.iter().map(|line| width_of(&line.label)).max().unwrap_or(0);
    let label_width = labels.min(LABEL_WIDTH_MAX);
    let columns = terminal.columns.unwrap_or(COLUMNS_DEFAULT);
    let bar_width =
        columns.saturating_sub(label_width + 2 + NUMBERS_WIDTH).clamp(BAR_WIDTH_MIN, BAR_WIDTH_MAX);
    let start = run.created_at;
    let end = lines.iter().filter_map(|line| line.stretches.last()).map(|it| it.to).max();
    let scale = Scale { start, end: end.unwrap_or(start), width: bar_width };
    lines.iter().map(|line| draw(line, label_width, &scale, terminal)).collect()
}

fn publish(run: &Run) -> Line {
    let at = run.created_at;
    Line {
        label: "publish".to_owned(),
        stretches: vec![Stretch { from: at, to: at, glyph: '▏', style: Style::Cyan }],
        start: at,
        end: None,
        span: Some(run.publish_span_id.clone()),
    }
}

fn execute(run: &Run, now: DateTime<Utc>) -> Line {
    let start = run.started_at.unwrap_or(run.created_at);
    let mut stretches = Vec::new();
    if start > run.created_at {
        let (from, to) = (run.created_at, start);
        stretches.push(Stretch { from, to, glyph: '░', style: Style::Dim });
    }
    let glyph = if run.finished_at.is_some() { '█' } else { '▒' };
    let to = run.finished_at.unwrap_or(now).max(start);
    stretches.push(Stretch { from: start, to, glyph, style: Style::of_status(&run.status) });
    Line {
        label: "└ workflow.execute".to_owned(),
        stretches,
        start,
        end: Some(to),
        span: Some(run.root_span_id.clone()),
    }
}

/// The spans of a node: one for each attempt.
fn attempts(node: &NodeRun, now: DateTime<Utc>) -> Vec<Line> {
    let name = format!("  └ {} {}", node.r#type, node.label());
    let mut before = node.queued_at.map(|since| (since, '░'));
    let mut lines = Vec::new();
    for earlier in &node.earlier_attempts {
        let work = Stretch {
            from: earlier.started_at,
            to: earlier.finished_at,
            glyph: '█',
            style: Style::of_status(&earlier.outcome),
        };
        let label = format!("{name} #{} {}", earlier.attempt, earlier.outcome);
        lines.push(attempt(label, before, work, earlier.span_id.clone()));
        before = Some((earlier.finished_at, '·'));
    }
    if let Some(start) = node.started_at.filter(|_| has_latest(node)) {
        let work = Stretch {
            from: start,
            to: node.finished_at.unwrap_or(now).max(start),
            glyph: if node.finished_at.is_some() { '█' } else { '▒' },
            style: Style::of_status(&node.status),
        };
        let label = match node.attempts {
            0 | 1 => name,
            number => format!("{name} #{number}"),
        };
        lines.push(attempt(label, before, work, node.span_id.clone()));
    }
    lines
}

/// Whether the latest attempt is one that the earlier ones do not tell of: between two attempts the store
/// still has the times of the one that is over.
fn has_latest(node: &NodeRun) -> bool {
    node.earlier_attempts.last().is_none_or(|last| node.started_at != Some(last.started_at))
}

fn attempt(
    label: String,
    before: Option<(DateTime<Utc>, char)>,
    work: Stretch,
    span: Option<String>,
) -> Line {
    let (start, end) = (work.from, work.to);
    let before = before.filter(|(since, _)| *since < start);
    let before = before.map(|(from, glyph)| Stretch { from, to: start, glyph, style: Style::Dim });
    let stretches = before.into_iter().chain([work]).collect();
    Line { label, stretches, start, end: Some(end), span }
}

/// From times to columns.
struct Scale {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    width: usize,
}

impl Scale {
    /// The columns of a stretch; at least one.
    fn columns(&self, stretch: &Stretch) -> std::ops::Range<usize> {
        let total = micros(self.end - self.start).max(1.0);
        let place = |time: DateTime<Utc>| micros(time - self.start) / total * self.width as f64;
        let from = (place(stretch.from).floor() as usize).min(self.width - 1);
        let to = (place(stretch.to).ceil() as usize).clamp(from + 1, self.width);
        from..to
    }
}

fn micros(span: TimeDelta) -> f64 {
    span.num_microseconds().map_or(f64::MAX, |micros| micros.max(0) as f64)
}

fn draw(line: &Line, label_width: usize, scale: &Scale, terminal: &Terminal) -> String {
    let mut cells = vec![(' ', Style::Plain); scale.width];
    for stretch in &line.stretches {
        cells[scale.columns(stretch)].fill((stretch.glyph, stretch.style));
    }
    let bar: String = cells
        .chunk_by(|one, other| one.1 == other.1)
        .map(|same| {
            let text: String = same.iter().map(|(glyph, _)| glyph).collect();
            terminal.paint(&text, same[0].1)
        })
        .collect();
    let label = cut(&clean(&line.label), label_width);
    let padding = " ".repeat(label_width - width_of(&label));
    let offset = format!("+{}", duration(line.start - scale.start));
    let took = line.end.map_or_else(String::new, |end| duration(end - line.start));
    let span = terminal.paint(&clean(line.span.as_deref().unwrap_or_default()), Style::Dim);
    let text = format!("{label}{padding}  {bar}  {offset:>8}  {took:>7}  {span}");
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{at, run};

    #[test]
    fn every_attempt_has_a_bar_and_a_span() {
        let place = Terminal { columns: Some(100), ..Terminal::plain() };
        let expected = "\
publish                  ▏                                         +0.0ms           c0c0c0c0c0c0c0c0
└ workflow.execute       ██████████████████████████████████████    +5.0ms    1.50s  b0b0b0b0b0b0b0b0
  └ http fetch           ██                                        +5.0ms     40ms  d0d0d0d0d0d0d0d0
  └ http flaky #1 retry   ██████████                                +60ms    340ms  e1e1e1e1e1e1e1e1
  └ http flaky #2                  ···············█████████████    +1.00s    500ms  e2e2e2e2e2e2e2e2
";
        assert_eq!(waterfall(&run(), at(9000), &place), expected);
    }

    #[test]
    fn what_is_under_way_ends_now_and_what_waits_is_not_told_twice() {
        let mut open = run();
        open.status = "running".to_owned();
        open.finished_at = None;
        open.nodes[1].status = "retry".to_owned();
        open.nodes[1].started_at = Some(at(60));
        open.nodes[1].finished_at = None;
        let text = waterfall(&open, at(3000), &Terminal::plain());
        assert_eq!(text.matches("flaky").count(), 1, "{text}");
        assert!(text.lines().nth(1).unwrap().contains('▒'), "{text}");
        assert!(text.lines().nth(1).unwrap().contains("3.00s"), "{text}");
    }

    #[test]
    fn a_run_that_has_not_started_has_two_lines() {
        let mut waiting = run();
        waiting.status = "queued".to_owned();
        (waiting.started_at, waiting.finished_at) = (None, None);
        waiting.nodes.clear();
        assert_eq!(waterfall(&waiting, at(0), &Terminal::plain()).lines().count(), 2);
    }
}
