//! What there is to draw: the spans of a run, trace by trace.

use chrono::{DateTime, Utc};

use crate::client::{EarlierTrace, NodeRun, Run};
use crate::render::terminal::Style;

/// The number of the first attempt in the first segment: before it come the spans of the run.
const FIRST_ATTEMPT: usize = 2;

/// An interval of time on a line.
pub(super) struct Interval {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) glyph: char,
    pub(super) style: Style,
}

/// A span with what came before it.
pub(super) struct Row {
    pub(super) label: String,
    /// The name for narrow terminals.
    pub(super) short: String,
    pub(super) intervals: Vec<Interval>,
    pub(super) start: DateTime<Utc>,
    pub(super) end: Option<DateTime<Utc>>,
    pub(super) span: Option<String>,
}

/// A part of the run that one trace shows.
pub(super) struct Segment {
    /// Its trace.
    pub(super) trace: String,
    /// When it began.
    pub(super) start: DateTime<Utc>,
    /// Since when everything waited, if another one follows.
    pub(super) suspended_at: Option<DateTime<Utc>>,
    /// Its spans.
    pub(super) rows: Vec<Row>,
}

/// The parts of a run, the first one first; mostly there is only one.
pub(super) fn segments(run: &Run, now: DateTime<Utc>) -> Vec<Segment> {
    let mut nodes: Vec<&NodeRun> = run.nodes.iter().collect();
    nodes.retain(|node| node.first_started_at().is_some());
    nodes.sort_by_key(|node| node.first_started_at());
    let attempts: Vec<_> = nodes.into_iter().flat_map(|node| attempts(node, now)).collect();
    let mut segments: Vec<_> = run
        .earlier_traces
        .iter()
        .map(|earlier| Segment {
            trace: earlier.trace_id.clone(),
            start: earlier.started_at,
            suspended_at: Some(earlier.suspended_at),
            rows: vec![execute_before(earlier)],
        })
        .collect();
    let start = run.resumed_at.or(run.started_at).unwrap_or(run.created_at);
    segments.push(Segment {
        trace: run.trace_id.clone(),
        start,
        suspended_at: None,
        rows: vec![execute(run, start, now)],
    });
    from_acceptance(&mut segments[0], run);
    for (trace, row) in attempts {
        let trace = trace.unwrap_or(&run.trace_id);
        if let Some(segment) = segments.iter_mut().find(|segment| segment.trace == trace) {
            segment.rows.push(row);
        }
    }
    let mut head = FIRST_ATTEMPT;
    for segment in &mut segments {
        hang(&mut segment.rows[head..]);
        for interval in segment.rows.iter_mut().flat_map(|row| &mut row.intervals) {
            // Waits reach beyond the trace, on both sides.
            interval.from = interval.from.max(segment.start);
            interval.to =
                interval.to.min(segment.suspended_at.unwrap_or(interval.to)).max(interval.from);
        }
        head = FIRST_ATTEMPT - 1;
    }
    segments
}

/// Has the first segment begin with the acceptance of the run.
fn from_acceptance(segment: &mut Segment, run: &Run) {
    if segment.start > run.created_at {
        let (from, to) = (run.created_at, segment.start);
        segment.rows[0].intervals.insert(0, Interval { from, to, glyph: '░', style: Style::Dim });
    }
    segment.start = run.created_at;
    segment.rows.insert(0, publish(run));
}

fn publish(run: &Run) -> Row {
    let at = run.created_at;
    Row {
        label: "publish".to_owned(),
        short: "publish".to_owned(),
        intervals: vec![Interval { from: at, to: at, glyph: '▏', style: Style::Cyan }],
        start: at,
        end: None,
        span: Some(run.publish_span_id.clone()),
    }
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
    Row {
        label: "└ workflow.execute".to_owned(),
        short: "└ execute".to_owned(),
        start: work.from,
        end: Some(work.to),
        intervals: vec![work],
        span,
    }
}

/// Hangs the spans of attempts below the one of the run.
fn hang(attempts: &mut [Row]) {
    let last = attempts.len().saturating_sub(1);
    for (index, row) in attempts.iter_mut().enumerate() {
        let branch = if index == last { "  └ " } else { "  ├ " };
        row.label.insert_str(0, branch);
        row.short.insert_str(0, branch);
    }
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
    (label, short): (String, String),
    before: Option<(DateTime<Utc>, char)>,
    work: Interval,
    span: Option<String>,
) -> Row {
    let (start, end) = (work.from, work.to);
    let before = before.filter(|(since, _)| *since < start);
    let before = before.map(|(from, glyph)| Interval { from, to: start, glyph, style: Style::Dim });
    let intervals = before.into_iter().chain([work]).collect();
    Row { label, short, intervals, start, end: Some(end), span }
}
