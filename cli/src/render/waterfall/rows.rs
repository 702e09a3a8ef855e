//! What there is to draw: the spans of a run, trace by trace.

use chrono::{DateTime, Utc};

use super::calls::Calls;
use super::row::{Interval, Line, Note, Row};
use crate::client::{EarlierTrace, NodeRun, Run, Step};
use crate::render::plan::{Listed, Plan, PlannedNode};
use crate::render::status::NOT_REACHED;
use crate::render::terminal::Style;

/// A part of the run that one trace shows.
pub(super) struct Segment {
    /// Its trace.
    pub(super) trace: String,
    /// When it began.
    pub(super) start: DateTime<Utc>,
    /// Since when everything waited, if another one follows.
    pub(super) suspended_at: Option<DateTime<Utc>>,
    /// Its lines.
    pub(super) lines: Vec<Line>,
}

impl Segment {
    /// Its spans.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.lines.iter().filter_map(|line| match line {
            Line::Span(row) => Some(&**row),
            Line::Note(_) => None,
        })
    }

    /// Its spans.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Span(row) => Some(&mut **row),
            Line::Note(_) => None,
        })
    }

    /// Takes the names for narrow terminals.
    pub(super) fn shorten(&mut self) {
        self.lines.iter_mut().for_each(Line::shorten);
    }
}

/// The parts of a run, the first one first; mostly there is only one. Nodes that never started stand in the last one.
pub(super) fn segments(run: &Run, plan: &Plan, steps: &[Step], now: DateTime<Utc>) -> Vec<Segment> {
    let calls = Calls::of(steps);
    let nodes = plan.listed(run).into_iter().flat_map(|listed| match listed {
        Listed::Known(node) if node.first_started_at().is_some() => {
            let mut attempts = attempts(node, now);
            let rows = attempts.iter_mut().map(|(_, row)| row).collect();
            calls.hang_below(rows, node, node.finished_at.unwrap_or(now));
            let lines = attempts.into_iter();
            lines.map(|(trace, row)| (trace, Line::Span(Box::new(row)))).collect()
        }
        Listed::Known(node) if node.status == "cancelled" => {
            vec![(None, Line::Note(stopped(node)))]
        }
        Listed::Planned(node) if run.has_ended() => vec![(None, Line::Note(not_reached(node)))],
        Listed::Known(_) | Listed::Planned(_) => Vec::new(),
    });
    let nodes: Vec<_> = nodes.collect();
    let mut segments: Vec<_> = run
        .earlier_traces
        .iter()
        .map(|earlier| Segment {
            trace: earlier.trace_id.clone(),
            start: earlier.started_at,
            suspended_at: Some(earlier.suspended_at),
            lines: vec![Line::Span(Box::new(execute_before(earlier)))],
        })
        .collect();
    let start = run.resumed_at.or(run.started_at).unwrap_or(run.created_at);
    segments.push(Segment {
        trace: run.trace_id.clone(),
        start,
        suspended_at: None,
        lines: vec![Line::Span(Box::new(execute(run, start, now)))],
    });
    from_acceptance(&mut segments[0], run);
    let mut lines_of: Vec<Vec<Line>> = segments.iter().map(|_| Vec::new()).collect();
    for (trace, line) in nodes {
        let trace = trace.unwrap_or(&run.trace_id);
        if let Some(at) = segments.iter().position(|segment| segment.trace == trace) {
            lines_of[at].push(line);
        }
    }
    for (segment, lines) in segments.iter_mut().zip(lines_of) {
        segment.lines.extend(hung(lines, "  "));
        let (start, suspended_at) = (segment.start, segment.suspended_at);
        for interval in segment.rows_mut().flat_map(|row| &mut row.intervals) {
            // Waits reach beyond the trace, on both sides.
            interval.from = interval.from.max(start);
            interval.to = interval.to.min(suspended_at.unwrap_or(interval.to)).max(interval.from);
        }
    }
    segments
}

/// Has the first segment begin with the acceptance of the run.
fn from_acceptance(segment: &mut Segment, run: &Run) {
    if segment.start > run.created_at {
        let (from, to) = (run.created_at, segment.start);
        let queued = Interval { from, to, glyph: '░', style: Style::Dim };
        segment.rows_mut().for_each(|execute| execute.intervals.insert(0, queued.clone()));
    }
    segment.start = run.created_at;
    segment.lines.insert(0, Line::Span(Box::new(publish(run))));
}

fn publish(run: &Run) -> Row {
    let at = run.created_at;
    let moment = Interval { from: at, to: at, glyph: '▏', style: Style::Cyan };
    let names = ("publish".to_owned(), "publish".to_owned());
    Row { end: None, ..Row::new(names, moment, Some(run.publish_span_id.clone())) }
}

/// `workflow.execute` in the trace that the run has now.
fn execute(run: &Run, start: DateTime<Utc>, now: DateTime<Utc>) -> Row {
    let glyph = if run.finished_at.is_some() { '█' } else { '▒' };
    let to = run.finished_at.unwrap_or(now).max(start);
    let work = Interval { from: start, to, glyph, style: Style::of_status(&run.status) };
    root(work, Some(run.root_span_id.clone()))
}

/// `workflow.execute` in a trace that the run has left behind.
fn execute_before(earlier: &EarlierTrace) -> Row {
    let (from, to) = (earlier.started_at, earlier.suspended_at);
    let work = Interval { from, to, glyph: '█', style: Style::of_status("suspended") };
    root(work, Some(earlier.root_span_id.clone()))
}

fn root(work: Interval, span: Option<String>) -> Row {
    let names = ("workflow.execute".to_owned(), "execute".to_owned());
    Row { branch: "└ ".to_owned(), ..Row::new(names, work, span) }
}

/// What is said of a node that its run ended before it could start.
fn stopped(node: &NodeRun) -> Note {
    let label = node.label();
    Note::new(
        format!("{} {label} {}", node.r#type, node.status),
        format!("{label} {}", node.status),
    )
}

/// What is said of a node that the run never came to.
fn not_reached(node: &PlannedNode) -> Note {
    let PlannedNode { id, kind } = node;
    Note::new(format!("{kind} {id} {NOT_REACHED}"), format!("{id} {NOT_REACHED}"))
}

/// Lines as they hang below something that is this far indented, with all that hangs below them.
fn hung(lines: Vec<Line>, indent: &str) -> Vec<Line> {
    let last = lines.len().saturating_sub(1);
    let mut all = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        let (branch, rail) = if index == last { ("└ ", "  ") } else { ("├ ", "│ ") };
        let branch = format!("{indent}{branch}");
        match line {
            Line::Span(mut row) => {
                let below = std::mem::take(&mut row.below);
                row.branch = branch;
                all.push(Line::Span(row));
                all.extend(hung(below, &format!("{indent}{rail}")));
            }
            Line::Note(note) => all.push(Line::Note(Note { branch, ..note })),
        }
    }
    all
}

/// The spans of a node, one for each attempt, and in which trace each is.
fn attempts(node: &NodeRun, now: DateTime<Utc>) -> Vec<(Option<&str>, Row)> {
    let short = node.label();
    let name = format!("{} {short}", node.r#type);
    let mut before = node.queued_at.map(|since| (since, '░'));
    let mut lines = Vec::new();
    for earlier in &node.earlier_attempts {
        let work = Interval {
            from: earlier.started_at,
            to: earlier.finished_at,
            glyph: '█',
            style: Style::of_status(&earlier.outcome),
        };
        let suffix = format!(" #{} {}", earlier.attempt, earlier.outcome);
        let names = (format!("{name}{suffix}"), format!("{short}{suffix}"));
        let row = attempt(names, before, work, earlier.span_id.clone());
        lines.push((earlier.trace_id.as_deref(), row));
        before = Some((earlier.finished_at, '·'));
    }
    if let Some(start) = node.started_at.filter(|_| has_latest(node)) {
        let work = Interval {
            from: start,
            to: node.finished_at.unwrap_or(now).max(start),
            glyph: if node.finished_at.is_some() { '█' } else { '▒' },
            style: Style::of_status(&node.status),
        };
        let suffix = match node.attempts {
            0 | 1 => String::new(),
            number => format!(" #{number}"),
        };
        let names = (format!("{name}{suffix}"), format!("{short}{suffix}"));
        lines.push((node.trace_id.as_deref(), attempt(names, before, work, node.span_id.clone())));
    } else if let (Some((_, line)), Some((from, glyph))) = (lines.last_mut(), before) {
        // Nothing has come after the wait yet, or ever.
        let to = node.wake_at.unwrap_or(now).min(node.finished_at.unwrap_or(now)).max(from);
        line.intervals.insert(0, Interval { from, to, glyph, style: Style::Dim });
    }
    lines
}

/// Whether the latest attempt is one that the earlier ones do not show: between two attempts the store
/// still has the times of the one that is over.
fn has_latest(node: &NodeRun) -> bool {
    node.earlier_attempts.last().is_none_or(|last| node.started_at != Some(last.started_at))
}

fn attempt(
    names: (String, String),
    before: Option<(DateTime<Utc>, char)>,
    work: Interval,
    span: Option<String>,
) -> Row {
    let mut row = Row { is_attempt: true, ..Row::new(names, work, span) };
    if let Some((from, glyph)) = before.filter(|(since, _)| *since < row.start) {
        row.intervals.insert(0, Interval { from, to: row.start, glyph, style: Style::Dim });
    }
    row
}
