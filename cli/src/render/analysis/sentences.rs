//! What was found, in words.

use chrono::TimeDelta;

use super::super::amounts::{dollars, plural, thousands};
use super::super::time::duration;
use super::NOTHING;
use crate::client::{
    Analysis, CriticalNode, HotSpot, ModelCost, TimeSpent, VersionComparison, VersionSide,
};

/// Findings of a kind that are told in a sentence.
const SENTENCES_MAX: usize = 2;
/// Which part of a node's time something that it waits for must take to be told.
const WORTH_TELLING: f64 = 0.1;

/// The findings that matter most.
pub(super) fn sentences(found: &Analysis) -> Vec<String> {
    let of_versions = found.regressions.items.iter().filter_map(of_versions);
    let of_path = found.critical_path.items.iter().map(of_path).take(SENTENCES_MAX);
    let of_hot_spots = found.hot_spots.items.iter().map(of_hot_spot).take(SENTENCES_MAX);
    let of_costs = found.costs.items.iter().filter_map(of_costs).take(1);
    of_versions.chain(of_path).chain(of_hot_spots).chain(of_costs).collect()
}

/// `fetch` owns 62 % of the time of `digest`: p95 4.10s; 38 % of it is waiting for a worker
fn of_path(node: &CriticalNode) -> String {
    let (name, workflow) = (&node.node, &node.workflow);
    let (share, p95) = (percent(node.share), millis(node.p95_ms));
    let sentence = format!("`{name}` owns {share} of the time of `{workflow}`: p95 {p95}");
    match most_waited(&node.spent) {
        Some((part, what)) => format!("{sentence}; {} of it is {what}", percent(part)),
        None => sentence,
    }
}

fn of_hot_spot(spot: &HotSpot) -> String {
    let HotSpot { workflow, node, code, wasted_attempts, attempts, failed, .. } = spot;
    let attempts = plural(*attempts, "attempt", "attempts");
    let for_good = match failed {
        0 => String::new(),
        times => format!(", {} for good", thousands(*times)),
    };
    format!(
        "`{node}` of `{workflow}` failed with `{code}` in {} of {attempts}{for_good}: {} of work in vain",
        thousands(*wasted_attempts),
        millis(spot.wasted_ms),
    )
}

fn of_costs(cost: &ModelCost) -> Option<String> {
    let (amount, share) = (cost.cost_usd?, cost.share?);
    let (model, workflow) = (&cost.model, &cost.workflow);
    Some(format!("`{model}` cost {} in `{workflow}`, {} of all", dollars(amount), percent(share)))
}

/// What differs; nothing where nothing does.
fn of_versions(it: &VersionComparison) -> Option<String> {
    let is_worse = match &*it.verdict {
        "regression" => true,
        "improvement" => false,
        _ => return None,
    };
    let what = match (&*it.metric, is_worse) {
        ("duration", true) => "is slower",
        ("duration", false) => "is faster",
        ("failure_ratio", true) => "fails more often",
        ("failure_ratio", false) => "fails less often",
        ("cost", true) => "costs more",
        ("cost", false) => "costs less",
        _ => return None,
    };
    let median = if it.metric == "failure_ratio" { "" } else { "median " };
    Some(format!(
        "version {} of `{}` {what} than version {}: {median}{} against {} ({}, {})",
        it.after.version,
        it.workflow,
        it.before.version,
        value(it, it.after),
        value(it, it.before),
        test(&it.test),
        probability(it.p),
    ))
}

fn test(test: &str) -> &str {
    match test {
        "mann_whitney_u" => "Mann-Whitney U",
        "two_proportion_z" => "two-proportion z",
        other => other,
    }
}

fn probability(p: Option<f64>) -> String {
    match p {
        Some(p) if p < 0.001 => "p < 0.001".to_owned(),
        Some(p) => format!("p = {p:.3}"),
        None => "p unknown".to_owned(),
    }
}

/// A median or a ratio as people read it.
pub(super) fn value(it: &VersionComparison, side: VersionSide) -> String {
    let Some(value) = side.value else { return NOTHING.to_owned() };
    match &*it.metric {
        "duration" => millis(value),
        "failure_ratio" => percent(value),
        "cost" => dollars(value),
        _ => value.to_string(),
    }
}

/// What a part of the time, and which, was spent waiting for, if it is worth telling.
pub(super) fn most_waited(spent: &TimeSpent) -> Option<(f64, &'static str)> {
    let total = total(spent);
    let parts = waits(spent).map(|(millis, what)| (millis / total.max(f64::MIN_POSITIVE), what));
    let most = parts.into_iter().max_by(|one, other| one.0.total_cmp(&other.0))?;
    (most.0 >= WORTH_TELLING).then_some(most)
}

fn waits(spent: &TimeSpent) -> [(f64, &'static str); 7] {
    [
        (spent.queue_ms, "waiting for a worker"),
        (spent.backoff_ms, "backing off before another attempt"),
        (spent.decision_ms, "waiting for a decision"),
        (spent.budget_ms, "waiting for a budget"),
        (spent.rate_ms, "waiting for its turn at a provider"),
        (spent.timer_ms, "waiting for a time"),
        (spent.crash_ms, "lost with workers that died"),
    ]
}

pub(super) fn total(spent: &TimeSpent) -> f64 {
    spent.work_ms + waits(spent).iter().map(|(millis, _)| millis).sum::<f64>()
}

pub(super) fn percent(part: f64) -> String {
    match part * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "<1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

pub(super) fn millis(millis: f64) -> String {
    duration(TimeDelta::microseconds((millis * 1_000.0) as i64))
}
