//! Whether a version of a workflow is worse than another.
//!
//! Chance alone makes two versions differ, and many runs make any difference certain. So a verdict takes three things:
//! enough runs, a test that says that it is no chance, and a difference that somebody would notice.

use skein_shared::domain::analysis::histogram::Histogram;
use skein_shared::domain::analysis::significance::{mann_whitney, two_proportions};

use super::groups::Examples;
use super::tally::VersionTally;

/// Runs that each version needs.
pub(super) const RUNS_MIN: u64 = 20;
/// How unlikely chance must be. Smaller than the usual 0.05: some dozens of comparisons are made at a time.
const P_MAX: f64 = 0.01;
/// How likely a run of the worse version must be worse than one of the other: a small effect, by Vargha and Delaney.
const SUPERIORITY_MIN: f64 = 0.56;
/// By which part a median must differ.
const CHANGE_MIN: f64 = 0.05;
/// By how much a ratio of failures must.
const RATIO_CHANGE_MIN: f64 = 0.01;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Duration,
    FailureRatio,
    Cost,
}

impl Metric {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::FailureRatio => "failure_ratio",
            Self::Cost => "cost",
        }
    }

    pub(super) fn test(self) -> &'static str {
        match self {
            Self::Duration | Self::Cost => "mann_whitney_u",
            Self::FailureRatio => "two_proportion_z",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Regression,
    Improvement,
    None,
    TooFewRuns,
}

impl Verdict {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::Improvement => "improvement",
            Self::None => "none",
            Self::TooFewRuns => "too_few_runs",
        }
    }

    fn of(change: f64, is_certain: bool, is_large: bool) -> Self {
        match is_certain && is_large {
            true if change > 0.0 => Self::Regression,
            true => Self::Improvement,
            false => Self::None,
        }
    }
}

/// One version's part of a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Side {
    pub(super) runs: u64,
    /// The median in microseconds or nano-dollars, or the ratio of failures.
    pub(super) value: Option<f64>,
}

/// A comparison of two versions.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) metric: Metric,
    pub(super) before: Side,
    pub(super) after: Side,
    /// How likely a run of the later version is worse than one of the earlier, ties counted half.
    pub(super) superiority: Option<f64>,
    pub(super) p: Option<f64>,
    pub(super) verdict: Verdict,
    /// Runs of the later version that are worst.
    pub(super) examples: Examples,
}

/// Compares a version with an earlier one, as far as there is something to compare.
pub(super) fn compare(before: &VersionTally, after: &VersionTally) -> Vec<Comparison> {
    let mut all = vec![
        by_median(Metric::Duration, &before.times, &after.times, &after.slowest),
        by_ratio(before, after),
    ];
    if before.costs.count() > 0 && after.costs.count() > 0 {
        all.push(by_median(Metric::Cost, &before.costs, &after.costs, &after.dearest));
    }
    all
}

fn by_median(
    metric: Metric,
    before: &Histogram,
    after: &Histogram,
    examples: &Examples,
) -> Comparison {
    let side = |histogram: &Histogram| Side {
        runs: histogram.count(),
        value: histogram.quantile(0.5).map(|median| median as f64),
    };
    let shift = mann_whitney(before, after);
    let (one, other) = (side(before), side(after));
    let verdict = match (shift, one.value, other.value) {
        (Some(shift), Some(median), Some(later)) if one.runs.min(other.runs) >= RUNS_MIN => {
            let distance = (shift.superiority - 0.5).abs() + 0.5;
            let change = if median > 0.0 { (later - median).abs() / median } else { later };
            // Medians and ranks that point in different directions tell of no shift.
            let agree = (later - median) * (shift.superiority - 0.5) > 0.0;
            let is_large = agree && distance >= SUPERIORITY_MIN && change >= CHANGE_MIN;
            Verdict::of(shift.superiority - 0.5, shift.p <= P_MAX, is_large)
        }
        _ => Verdict::TooFewRuns,
    };
    Comparison {
        metric,
        before: one,
        after: other,
        superiority: shift.map(|shift| shift.superiority),
        p: shift.map(|shift| shift.p),
        verdict,
        examples: examples.clone(),
    }
}

fn by_ratio(before: &VersionTally, after: &VersionTally) -> Comparison {
    let ratio =
        |tally: &VersionTally| (tally.ended > 0).then(|| tally.failed as f64 / tally.ended as f64);
    let side = |tally: &VersionTally| Side { runs: tally.ended, value: ratio(tally) };
    let p = two_proportions((before.failed, before.ended), (after.failed, after.ended));
    let (one, other) = (side(before), side(after));
    let verdict = match (p, one.value, other.value) {
        (Some(p), Some(ratio), Some(later)) if one.runs.min(other.runs) >= RUNS_MIN => {
            let change = later - ratio;
            Verdict::of(change, p <= P_MAX, change.abs() >= RATIO_CHANGE_MIN)
        }
        _ => Verdict::TooFewRuns,
    };
    Comparison {
        metric: Metric::FailureRatio,
        before: one,
        after: other,
        superiority: None,
        p,
        verdict,
        examples: after.failures.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(times: impl Iterator<Item = u64>, failed: u64) -> VersionTally {
        let mut tally = VersionTally { failed, ..VersionTally::default() };
        times.for_each(|time| tally.times.record(time));
        tally.ended = tally.times.count() + failed;
        tally
    }

    fn verdicts(before: &VersionTally, after: &VersionTally) -> Vec<Verdict> {
        compare(before, after).iter().map(|comparison| comparison.verdict).collect()
    }

    #[test]
    fn a_slower_version_is_a_regression_and_the_other_way_round_an_improvement() {
        let fast = version((0..100).map(|n| 1_000_000 + n * 1_000), 0);
        let slow = version((0..100).map(|n| 2_000_000 + n * 1_000), 0);
        assert_eq!(verdicts(&fast, &slow), [Verdict::Regression, Verdict::None]);
        assert_eq!(verdicts(&slow, &fast), [Verdict::Improvement, Verdict::None]);
        let duration = &compare(&fast, &slow)[0];
        assert!(
            duration.superiority.is_some_and(|it| it > 0.99)
                && duration.p.is_some_and(|p| p < 1e-5)
        );
    }

    #[test]
    fn what_is_certain_and_nobody_would_notice_is_no_finding() {
        let one = version((0..20_000).map(|n| 1_000_000 + n * 50), 100);
        let other = version((0..20_000).map(|n| 1_030_000 + n * 50), 150);
        assert_eq!(verdicts(&one, &other), [Verdict::None, Verdict::None]);
        let comparisons = compare(&one, &other);
        assert!(comparisons.iter().all(|it| it.p.is_some_and(|p| p < P_MAX)), "{comparisons:?}");
    }

    #[test]
    fn few_runs_say_nothing() {
        let few = version((0..19).map(|n| 1_000_000 + n), 0);
        let many = version((0..100).map(|n| 9_000_000 + n), 0);
        assert_eq!(verdicts(&few, &many), [Verdict::TooFewRuns; 2]);
        assert_eq!(verdicts(&VersionTally::default(), &many), [Verdict::TooFewRuns; 2]);
    }

    #[test]
    fn failures_and_costs_are_compared_for_themselves() {
        let mut before = version((0..100).map(|n| 1_000_000 + n), 2);
        let mut after = version((0..100).map(|n| 1_000_000 + n), 40);
        for n in 0..50 {
            before.costs.record(1_000 + n);
            after.costs.record(3_000 + n);
        }
        let expected = [Verdict::None, Verdict::Regression, Verdict::Regression];
        assert_eq!(verdicts(&before, &after), expected);
    }
}
