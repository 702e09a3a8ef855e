//! From what was added up to what is answered: the findings that matter most, and how many more there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_shared::domain::analysis::phases::Phases;
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::usage::Usage;
use skein_shared::store::analysis::ModelCosts;
use skein_shared::store::spending::Spending;

use super::compare::{Comparison, Metric, RUNS_MIN, Side, Verdict, compare};
use super::groups::Examples;
use super::question::{Question, Section};
use super::tally::{NodeTally, Tally, VersionTally};
use crate::dto::analysis::{
    Analysis, Costs, Coverage, CriticalNode, CriticalPath, ExampleRun, HotSpot, HotSpots,
    ModelCost, Regressions, RunCounts, VersionComparison, VersionSide, Waiting, WorkflowWaiting,
    millis,
};

/// Findings of a section that are listed.
const FINDINGS_MAX: usize = 20;
/// Groups of costs that are told apart.
const COST_GROUPS_MAX: usize = 2_000;

/// The answer to a question. Without costs, they were not asked for.
pub(super) fn report(
    question: &Question,
    tally: &Tally,
    costs: Option<&[ModelCosts]>,
    coverage: Coverage,
) -> Analysis {
    let has = |section| question.sections.has(section);
    let counts = tally.counts;
    Analysis {
        from: question.from,
        to: question.to,
        workflow: question.workflow.clone(),
        coverage,
        runs: RunCounts {
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            timed_out: counts.timed_out,
            open: counts.open,
        },
        critical_path: has(Section::CriticalPath).then(|| critical_path(tally)),
        waiting: has(Section::Waiting).then(|| waiting(tally)),
        hot_spots: has(Section::HotSpots).then(|| hot_spots(tally)),
        costs: costs.map(model_costs),
        regressions: has(Section::Regressions).then(|| regressions(question, tally)),
    }
}

/// The first of these, and how many more there are.
fn first<T>(mut all: Vec<T>, left_out: u64) -> (Vec<T>, u64) {
    let others = all.len().saturating_sub(FINDINGS_MAX) as u64 + left_out;
    all.truncate(FINDINGS_MAX);
    (all, others)
}

/// A part of a whole, to four places: nobody reads more.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 1e4).round() / 1e4 } else { 0.0 }
}

fn examples(runs: &Examples) -> Vec<ExampleRun> {
    runs.iter().map(|(run, trace)| ExampleRun::new(run, trace)).collect()
}

fn critical_path(tally: &Tally) -> CriticalPath {
    let mut nodes: Vec<_> = tally.nodes.iter().filter(|(_, node)| node.runs > 0).collect();
    nodes.sort_unstable_by(|(one, a), (other, b)| {
        b.phases.total().cmp(&a.phases.total()).then_with(|| one.cmp(other))
    });
    let (nodes, others) = first(nodes, tally.nodes.left_out());
    let of_node = |((workflow, node), tallied): (&(Arc<str>, Arc<str>), &NodeTally)| {
        let whole = tally.workflows.find(workflow).map_or(0, |workflow| workflow.time);
        let quantile = |part| millis(tallied.times.quantile(part).unwrap_or_default());
        CriticalNode {
            workflow: workflow.to_string(),
            node: node.to_string(),
            r#type: tallied.kind.to_string(),
            runs: tallied.runs,
            share: share(tallied.phases.total() as f64, whole as f64),
            total_ms: millis(tallied.phases.total()),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            spent: (&tallied.phases).into(),
            examples: examples(&tallied.slowest),
        }
    };
    CriticalPath { items: nodes.into_iter().map(of_node).collect(), others }
}

fn waiting(tally: &Tally) -> Waiting {
    let waited = |phases: &Phases| phases.waiting();
    let mut workflows: Vec<_> = tally.workflows.iter().collect();
    workflows.sort_unstable_by(|(one, a), (other, b)| {
        waited(&b.phases).cmp(&waited(&a.phases)).then_with(|| one.cmp(other))
    });
    let (workflows, others) = first(workflows, tally.workflows.left_out());
    let items = workflows.into_iter().map(|(workflow, tallied)| WorkflowWaiting {
        workflow: workflow.to_string(),
        runs: tallied.runs,
        total_ms: millis(tallied.time),
        waiting_share: share(waited(&tallied.phases) as f64, tallied.time as f64),
        spent: (&tallied.phases).into(),
        examples: examples(&tallied.waited),
    });
    Waiting { items: items.collect(), others }
}

fn hot_spots(tally: &Tally) -> HotSpots {
    let mut spots: Vec<_> = tally.hot_spots.iter().collect();
    spots.sort_unstable_by(|(one, a), (other, b)| {
        (b.wasted, b.time).cmp(&(a.wasted, a.time)).then_with(|| one.cmp(other))
    });
    let (spots, others) = first(spots, tally.hot_spots.left_out());
    let items = spots.into_iter().map(|((name, code), tallied)| {
        let node = tally.nodes.find(name);
        HotSpot {
            workflow: name.0.to_string(),
            node: name.1.to_string(),
            r#type: node.map_or_else(String::new, |node| node.kind.to_string()),
            code: code.to_string(),
            attempts: node.map_or(tallied.wasted, |node| node.attempts),
            wasted_attempts: tallied.wasted,
            wasted_ms: millis(tallied.time),
            failed: tallied.failed,
            runs: tallied.runs,
            examples: examples(&tallied.worst),
        }
    });
    HotSpots { items: items.collect(), others }
}

/// Costs of several parts of the time, put together.
#[derive(Debug, Default)]
pub(super) struct CostSums {
    groups: BTreeMap<(String, String, String), ModelCosts>,
}

impl CostSums {
    pub(super) fn add(&mut self, costs: ModelCosts) {
        let key = (costs.workflow.clone(), costs.provider.clone(), costs.model.clone());
        if let Some(sum) = self.groups.get_mut(&key) {
            sum.spending = plus(&sum.spending, &costs.spending);
            if costs.dearest > sum.dearest {
                (sum.dearest, sum.run, sum.trace) = (costs.dearest, costs.run, costs.trace);
            }
        } else if self.groups.len() < COST_GROUPS_MAX {
            // What comes behind so many is of the cheapest.
            self.groups.insert(key, costs);
        }
    }

    /// All of them, those first that cost most.
    pub(super) fn dearest_first(self) -> Vec<ModelCosts> {
        let mut all: Vec<_> = self.groups.into_values().collect();
        all.sort_by(|one, other| {
            let amount = |costs: &ModelCosts| (costs.spending.cost, costs.spending.calls);
            amount(other).cmp(&amount(one))
        });
        all
    }
}

fn plus(one: &Spending, other: &Spending) -> Spending {
    let sum = |amount: fn(&Spending) -> u64| amount(one).saturating_add(amount(other));
    Spending {
        calls: sum(|it| it.calls),
        unpriced_calls: sum(|it| it.unpriced_calls),
        usage: Usage {
            input_tokens: sum(|it| it.usage.input_tokens),
            cached_tokens: sum(|it| it.usage.cached_tokens),
            cache_write_tokens: sum(|it| it.usage.cache_write_tokens),
            output_tokens: sum(|it| it.usage.output_tokens),
        },
        cost: one.cost.plus(other.cost),
        steps: sum(|it| it.steps),
    }
}

fn model_costs(all: &[ModelCosts]) -> Costs {
    let whole: NanoDollars = all.iter().map(|costs| costs.spending.cost).sum();
    let (listed, others) = first(all.iter().collect(), 0);
    let items = listed.into_iter().map(|costs| ModelCost {
        workflow: costs.workflow.clone(),
        provider: costs.provider.clone(),
        model: costs.model.clone(),
        share: (whole > NanoDollars::ZERO)
            .then(|| share(costs.spending.cost.to_dollars(), whole.to_dollars())),
        spent: costs.spending.into(),
        examples: vec![ExampleRun::new(costs.run, costs.trace)],
    });
    Costs { items: items.collect(), others }
}

fn regressions(question: &Question, tally: &Tally) -> Regressions {
    let none = VersionTally::default();
    let version = |workflow: &Arc<str>, number| {
        tally.versions.find(&(Arc::clone(workflow), number)).unwrap_or(&none)
    };
    let mut all = Vec::new();
    for (workflow, before, after) in pairs(question, tally) {
        let comparisons = compare(version(&workflow, before), version(&workflow, after));
        all.extend(comparisons.into_iter().map(|it| (Arc::clone(&workflow), before, after, it)));
    }
    // What is worse, what is better, what is neither, and what nobody knows; the most certain first.
    all.sort_by(|(one, .., a), (other, .., b)| {
        let rank = |it: &Comparison| match it.verdict {
            Verdict::Regression => 0,
            Verdict::Improvement => 1,
            Verdict::None => 2,
            Verdict::TooFewRuns => 3,
        };
        let certainty = a.p.unwrap_or(1.0).total_cmp(&b.p.unwrap_or(1.0));
        rank(a).cmp(&rank(b)).then(certainty).then_with(|| one.cmp(other))
    });
    let (listed, others) = first(all, tally.versions.left_out());
    let items = listed.into_iter().map(|(workflow, before, after, comparison)| {
        let side = |version, Side { runs, value }: Side| VersionSide {
            version,
            runs,
            value: value.map(|value| shown(comparison.metric, value)),
        };
        VersionComparison {
            workflow: workflow.to_string(),
            metric: comparison.metric.as_str(),
            test: comparison.metric.test(),
            before: side(before, comparison.before),
            after: side(after, comparison.after),
            superiority: comparison.superiority.map(|it| share(it, 1.0)),
            p: comparison.p,
            verdict: comparison.verdict.as_str(),
            examples: examples(&comparison.examples),
        }
    });
    Regressions { items: items.collect(), others }
}

fn shown(metric: Metric, value: f64) -> f64 {
    match metric {
        Metric::Duration => value / 1_000.0,
        Metric::FailureRatio => share(value, 1.0),
        Metric::Cost => value / 1e9,
    }
}

/// Which versions are compared: those that were asked for, or of each workflow the latest two that have had enough runs.
fn pairs(question: &Question, tally: &Tally) -> Vec<(Arc<str>, u32, u32)> {
    if let (Some(workflow), Some(versions)) = (&question.workflow, &question.versions) {
        return vec![(workflow.as_str().into(), versions.before, versions.after)];
    }
    let enough = tally.versions.iter().filter(|(_, tallied)| tallied.ended >= RUNS_MIN);
    let numbers: BTreeSet<_> = enough.map(|((workflow, number), _)| (workflow, *number)).collect();
    let numbers: Vec<_> = numbers.into_iter().rev().collect();
    let mut pairs: Vec<(Arc<str>, u32, u32)> = Vec::new();
    for two in numbers.windows(2) {
        let ((workflow, after), (other, before)) = (two[0], two[1]);
        let is_first = pairs.last().is_none_or(|(last, ..)| last != workflow);
        if workflow == other && is_first {
            pairs.push((Arc::clone(workflow), before, after));
        }
    }
    pairs
}
