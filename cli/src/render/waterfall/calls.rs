//! The calls of nodes to models and tools, below the attempts that made them.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::row::{Interval, Line, Note, Row};
use crate::client::{NodeRun, Step};
use crate::render::amounts::{dollars, thousands};
use crate::render::terminal::{Style, clean};

/// Calls of a node that are drawn: an agent may make a thousand, and nobody reads as many bars.
const CALLS_MAX: usize = 20;
/// Of them, how many are the last ones: where it ended is as telling as how it began.
const LAST_CALLS: usize = 8;

/// Calls by the node that made them.
pub(super) struct Calls<'a>(HashMap<(&'a str, &'a str), Vec<&'a Step>>);

impl<'a> Calls<'a> {
    /// Those of a run.
    pub(super) fn of(steps: &'a [Step]) -> Self {
        let mut calls: HashMap<_, Vec<&Step>> = HashMap::new();
        for step in steps {
            calls.entry((&*step.node, &*step.scope)).or_default().push(step);
        }
        for steps in calls.values_mut() {
            steps.sort_by_key(|step| (step.started_at, step.index, step.attempt));
        }
        Self(calls)
    }

    /// Hangs those of a node below its attempts. `until` is when the node ended, or now.
    pub(super) fn hang_below(
        &self,
        mut attempts: Vec<&mut Row>,
        node: &NodeRun,
        until: DateTime<Utc>,
    ) {
        let steps = self.0.get(&(&*node.node, &*node.scope)).map_or(&[][..], Vec::as_slice);
        let left_out = match steps.len().saturating_sub(CALLS_MAX) {
            0 => 0..0,
            left => CALLS_MAX - LAST_CALLS..CALLS_MAX - LAST_CALLS + left,
        };
        for (index, step) in steps.iter().enumerate() {
            if left_out.contains(&index) && index != left_out.start {
                continue;
            }
            let later = attempts.partition_point(|attempt| attempt.start <= step.started_at);
            let next = attempts.get(later.max(1)).map(|attempt| attempt.start);
            let Some(attempt) = attempts.get_mut(later.saturating_sub(1)) else { return };
            attempt.below.push(if index == left_out.start && !left_out.is_empty() {
                Line::Note(note(&steps[left_out.clone()]))
            } else {
                Line::Span(Box::new(call(
                    step,
                    attempt.end.unwrap_or(until),
                    next.unwrap_or(until),
                )))
            });
        }
    }
}

/// What is said in place of calls.
fn note(steps: &[&Step]) -> Note {
    let mut text = format!("… {} more", thousands(steps.len() as u64));
    for status in ["failed", "lost", "denied", "refused"] {
        let count = steps.iter().filter(|step| step.status == status).count();
        if count > 0 {
            text.push_str(&format!(", {} {status}", thousands(count as u64)));
        }
    }
    Note::new(format!("{text} (listed among the steps)"), text)
}

/// A call, of an attempt that ended at `attempt_end`. What waited for a decision waited until `wait_end` at most.
fn call(step: &Step, attempt_end: DateTime<Utc>, wait_end: DateTime<Utc>) -> Row {
    let style = Style::of_step(&step.status);
    let from = step.started_at;
    let took = step.latency_ms.and_then(|took| i64::try_from(took).ok());
    let took = took.and_then(TimeDelta::try_milliseconds);
    let ended = took.and_then(|took| from.checked_add_signed(took));
    let (glyph, style_of_bar, end) = match (&*step.status, ended) {
        (_, Some(ended)) => ('█', style, ended),
        ("pending" | "approved" | "denied", None) => ('·', Style::Dim, wait_end),
        // Nobody knows for how long it was under way when its attempt was over.
        (_, None) => ('▒', style, attempt_end),
    };
    // A bar does not reach beyond the one above it, whatever the clocks say.
    let bound = if glyph == '·' { end } else { end.min(attempt_end) };
    let bar = Interval { from, to: bound.max(from), glyph, style: style_of_bar };
    let name = clean(&step.name);
    let names = (format!("{} {name}", clean(&step.kind)), name);
    let is_unpriced = step.kind == "model"
        && step.cost_usd.is_none()
        && matches!(&*step.status, "succeeded" | "failed" | "lost" | "refused");
    let unpriced = is_unpriced.then(|| "no price".to_owned());
    Row {
        outcome: outcome(step).map(|text| (text, style)),
        end: Some(end.max(from)),
        tokens: step
            .usage
            .map(|usage| (thousands(usage.input_tokens), thousands(usage.output_tokens))),
        cost: step.cost_usd.map(dollars).or(unpriced),
        ..Row::new(names, bar, Some(step.span_id.clone()))
    }
}

/// What became of a call, unless it was made once and well.
fn outcome(step: &Step) -> Option<String> {
    let again = if step.attempt > 1 { format!(" #{}", step.attempt) } else { String::new() };
    match &*step.status {
        "succeeded" if again.is_empty() => None,
        "succeeded" => Some(again),
        status => Some(format!("{again} {status}")),
    }
}
