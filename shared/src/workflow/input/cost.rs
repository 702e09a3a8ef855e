//! How much work a schema may make, computed before any value is checked by it.
//!
//! A validator follows every `$ref` each time it comes to one, so a schema of 2 KiB in which twenty definitions refer
//! twice to the next reads a value a million times; a recursive one can do that for every level of the value.
//! Counted here is the worst case for one value on the way from the top of an input to a leaf of it: how many
//! subschemas read it and what it lies in. Times the values of an input that bounds the whole work.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::parts::{Parts, Step, UNEVALUATED_READS, take_apart};
use crate::domain::diagnostic::Diagnostic;
use crate::domain::limits::{JSON_DEPTH_MAX, SCHEMA_COST_MAX};

/// Additions that counting may take: tens of milliseconds. Beyond it a schema has too many parts that share others.
const ADDITIONS_MAX: usize = 1_000_000;

/// What checking an input by a schema may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Subschemas that read one leaf of an input or what it lies in, at most.
    pub(super) leaf: u64,
    /// Bytes of compiled patterns that one text may be run through.
    pub(super) patterns: u64,
    /// How often the items of one list may be compared with each other.
    pub(super) unique: u64,
    /// Whether there are alternatives, of which an error lists what is wrong with each.
    pub(super) alternatives: bool,
}

/// Costs of what lies below, by the part of the value that it reads.
type Below<'a> = HashMap<Step<'a>, u64>;

fn at(below: &Below<'_>, step: &Step<'_>) -> u64 {
    let rest = match step {
        Step::Property(_) => Step::OtherProperty,
        Step::Item(_) => Step::OtherItem,
        other => *other,
    };
    below.get(step).or_else(|| below.get(&rest)).copied().unwrap_or(0)
}

fn add<'a>(sum: &mut Below<'a>, other: &Below<'a>, times: u64) {
    let steps: HashSet<Step<'a>> = sum.keys().chain(other.keys()).copied().collect();
    let sums = steps
        .iter()
        .map(|step| (*step, at(sum, step).saturating_add(at(other, step).saturating_mul(times))));
    *sum = sums.collect();
}

/// What checking an input by this schema may cost.
///
/// # Errors
/// When that is more than [`SCHEMA_COST_MAX`]: the innermost subschema of which that is so.
pub(super) fn cost(schema: &Value) -> Result<Cost, Diagnostic> {
    let parts = take_apart(schema)?;
    let order = parts.order().map_err(|index| {
        let hint = "a `$ref` to itself only inside of `properties`, `items` or the like";
        let message = "comes back to itself without going deeper into the value";
        Diagnostic::new(&parts.all[index].pointer, message, hint)
    })?;
    let reads = if parts.unevaluated { UNEVALUATED_READS as u64 } else { 1 };
    let mut counter = Counter { parts: &parts, order, reads, additions: 0 };
    let mut costs = vec![0; parts.all.len()];
    // Each round allows for values that nest one level deeper.
    for _ in 0..=JSON_DEPTH_MAX {
        let next = counter.round(&costs, CostKind::Reads).ok_or_else(too_shared)?;
        if next[0] > SCHEMA_COST_MAX {
            return Err(too_costly(&parts, &next));
        }
        if next == costs {
            break;
        }
        costs = next;
    }
    let patterns = counter.most(CostKind::Patterns)?;
    let unique = counter.most(CostKind::Unique)?;
    Ok(Cost { leaf: costs[0], patterns, unique, alternatives: parts.alternatives })
}

fn too_shared() -> Diagnostic {
    let message = "too many parts of the schema look at the same value";
    Diagnostic::new("", message, "fewer references from one definition to the next")
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CostKind {
    Reads,
    Patterns,
    Unique,
}

struct Counter<'p, 'a> {
    parts: &'p Parts<'a>,
    order: Vec<usize>,
    reads: u64,
    additions: usize,
}

impl<'a> Counter<'_, 'a> {
    /// The cost of the schema for values of any depth.
    fn most(&mut self, kind: CostKind) -> Result<u64, Diagnostic> {
        let mut costs = vec![0; self.parts.all.len()];
        for _ in 0..=JSON_DEPTH_MAX {
            let next = self.round(&costs, kind).ok_or_else(too_shared)?;
            if next == costs {
                break;
            }
            costs = next;
        }
        Ok(costs[0])
    }

    /// The costs of all subschemas, given those for values that nest one level less.
    fn round(&mut self, before: &[u64], kind: CostKind) -> Option<Vec<u64>> {
        let mut own = vec![0_u64; before.len()];
        let mut belows: Vec<Below<'a>> = vec![Below::new(); before.len()];
        let mut costs = vec![0; before.len()];
        for index in &self.order {
            let part = &self.parts.all[*index];
            let mut sum = match kind {
                CostKind::Reads => part.weight,
                CostKind::Patterns => part.patterns,
                CostKind::Unique => part.unique,
            };
            self.additions += 1 + part.below.values().map(Vec::len).sum::<usize>();
            if self.additions > ADDITIONS_MAX {
                return None;
            }
            let costs_of = |parts: &Vec<usize>| {
                parts.iter().fold(0, |sum: u64, it| sum.saturating_add(before[*it]))
            };
            let mut below: Below<'a> =
                part.below.iter().map(|(step, parts)| (*step, costs_of(parts))).collect();
            for other in &part.beside {
                sum = sum.saturating_add(own[*other].saturating_mul(self.reads));
                self.additions += 1 + below.len() + belows[*other].len();
                if self.additions > ADDITIONS_MAX {
                    return None;
                }
                add(&mut below, &belows[*other], self.reads);
            }
            own[*index] = sum;
            let deeper = below.values().copied().max().unwrap_or(0);
            costs[*index] = match kind {
                CostKind::Reads => sum.saturating_add(deeper),
                // A text is no part of another one, but a name may be read from two sides.
                CostKind::Patterns => sum.saturating_add(at(&below, &Step::Name)).max(deeper),
                CostKind::Unique => sum.max(deeper),
            };
            belows[*index] = below;
        }
        Some(costs)
    }
}

/// Follows the costs from the top to where they arise.
fn too_costly(parts: &Parts<'_>, costs: &[u64]) -> Diagnostic {
    let mut index = 0;
    let mut seen = HashSet::from([0]);
    let recursive = loop {
        let costly: Vec<usize> =
            parts.next(index).filter(|it| costs[*it] > SCHEMA_COST_MAX).collect();
        match costly.iter().find(|it| seen.insert(**it)) {
            Some(next) => index = *next,
            None => break !costly.is_empty() || recurs(parts, index),
        }
    };
    let message = format!(
        "may look at the same value more than {SCHEMA_COST_MAX} times, each `$ref` counted as often as it is followed"
    );
    let hint = match (recursive, parts.unevaluated) {
        (true, true) => {
            "`additionalProperties` in place of `unevaluated*` beside a recursive `$ref`"
        }
        (true, false) => {
            "a recursive schema that refers to itself at most once for each property and for `items`"
        }
        (false, true) => "`additionalProperties` in place of `unevaluated*`, or fewer alternatives",
        (false, false) => "one `$ref` to each definition instead of several beside each other",
    };
    Diagnostic::new(&parts.all[index].pointer, message, hint)
}

/// Whether a subschema leads back to itself.
fn recurs(parts: &Parts<'_>, index: usize) -> bool {
    let mut seen = HashSet::new();
    let mut open: Vec<usize> = parts.next(index).collect();
    while let Some(next) = open.pop() {
        if next == index {
            return true;
        }
        if seen.insert(next) {
            open.extend(parts.next(next));
        }
    }
    false
}
