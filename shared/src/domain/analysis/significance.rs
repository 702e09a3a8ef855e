//! Whether two groups differ by more than chance would have it.

use super::histogram::Histogram;

/// The least probability that is told: below it, the approximation says nothing any more.
pub const P_MIN: f64 = 1e-6;

/// How large a count must be expected in each cell of a table for the normal distribution to fit: the usual rule.
const EXPECTED_MIN: f64 = 5.0;

/// How one group of numbers stands to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// How likely a number of the second group is larger than one of the first, ties counted half: 0.5 where neither is.
    /// By Vargha and Delaney, 0.56 is a small, 0.64 a medium and 0.71 a large effect.
    pub superiority: f64,
    /// How likely chance alone would part them this far, in either direction.
    pub p: f64,
}

/// The Mann-Whitney U test with the correction for ties: it asks for no distribution, and outliers have no weight of
/// their own. Numbers of one bucket count as equal. `None` where a group is empty.
#[must_use]
pub fn mann_whitney(first: &Histogram, second: &Histogram) -> Option<Shift> {
    let (n, m) = (first.count() as f64, second.count() as f64);
    if n == 0.0 || m == 0.0 {
        return None;
    }
    let (mut below, mut u, mut ties) = (0.0, 0.0, 0.0);
    for (one, other) in first.beside(second) {
        let (one, other) = (one as f64, other as f64);
        u += other * (below + one / 2.0);
        below += one;
        let tied = one + other;
        ties += tied * (tied * tied - 1.0);
    }
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    // Half a rank, because U goes in steps.
    let distance = ((u - n * m / 2.0).abs() - 0.5).max(0.0);
    let p = if variance > 0.0 { two_sided(distance / variance.sqrt()) } else { 1.0 };
    Some(Shift { superiority: u / (n * m), p })
}

/// How likely chance alone would part two ratios this far, in either direction: the z test for two proportions, each of
/// so many among all. `None` where they are too few for it.
#[must_use]
pub fn two_proportions(first: (u64, u64), second: (u64, u64)) -> Option<f64> {
    let [(a, n), (b, m)] = [first, second].map(|(some, all)| (some as f64, all as f64));
    if n == 0.0 || m == 0.0 {
        return None;
    }
    let pooled = (a + b) / (n + m);
    if pooled == 0.0 || pooled == 1.0 {
        return Some(1.0);
    }
    if n.min(m) * pooled.min(1.0 - pooled) < EXPECTED_MIN {
        return None;
    }
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    Some(two_sided((a / n - b / m).abs() / deviation))
}

/// How likely a number of the standard normal distribution is at least so far from zero.
fn two_sided(z: f64) -> f64 {
    erfc(z / std::f64::consts::SQRT_2).clamp(P_MIN, 1.0)
}

/// The complement of the error function of a number that is not negative: Abramowitz and Stegun, 7.1.26, which is off by
/// 1.5e-7 at most.
fn erfc(x: f64) -> f64 {
    const FACTORS: [f64; 5] =
        [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    FACTORS.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        numbers.into_iter().for_each(|number| histogram.record(number));
        histogram
    }

    #[test]
    fn tails_of_the_normal_distribution_are_those_of_the_tables() {
        for (z, p) in [(0.0, 1.0), (1.0, 0.317_311), (1.959_964, 0.05), (2.575_829, 0.01)] {
            assert!((two_sided(z) - p).abs() < 1e-5, "{z}: {}", two_sided(z));
        }
        assert!((two_sided(40.0) - P_MIN).abs() < 1e-12);
    }

    /// Of 1 to 10 against 6 to 15, as the formula gives it by hand: U is 87.5, the variance 174.
    #[test]
    fn a_known_case_comes_out_as_by_hand() {
        let (first, second) = (of((1..=10).map(|n| n * 1_000)), of((6..=15).map(|n| n * 1_000)));
        let shift = mann_whitney(&first, &second).unwrap();
        assert!((shift.superiority - 0.875).abs() < 1e-9, "{shift:?}");
        assert!((shift.p - 0.0050).abs() < 4e-4, "{shift:?}");
    }

    #[test]
    fn what_is_the_same_does_not_differ_and_nothing_is_compared_with_nothing() {
        let same = of([7; 100]);
        let shift = mann_whitney(&same, &same).unwrap();
        assert_eq!((shift.superiority, shift.p), (0.5, 1.0));
        assert_eq!(mann_whitney(&same, &Histogram::default()), None);
        assert_eq!(two_proportions((0, 0), (1, 9)), None);
        assert_eq!(two_proportions((0, 100), (0, 100)), Some(1.0));
    }

    #[test]
    fn ratios_differ_or_are_of_too_few() {
        // By hand: pooled 0.15, deviation 0.0505, z 1.98.
        let p = two_proportions((10, 100), (20, 100)).unwrap();
        assert!((p - 0.0477).abs() < 1e-3, "{p}");
        assert_eq!(two_proportions((1, 20), (2, 20)), None);
        assert!(two_proportions((10, 1_000), (100, 1_000)).unwrap() < 1e-5);
    }

    proptest! {
        #[test]
        fn the_other_way_round_it_is_the_same(
            first in proptest::collection::vec(1_u64..1_000_000, 1..60),
            second in proptest::collection::vec(1_u64..1_000_000, 1..60),
        ) {
            let (first, second) = (of(first), of(second));
            let one = mann_whitney(&first, &second).unwrap();
            let other = mann_whitney(&second, &first).unwrap();
            prop_assert!((one.superiority + other.superiority - 1.0).abs() < 1e-9);
            prop_assert!((one.p - other.p).abs() < 1e-9 && (P_MIN..=1.0).contains(&one.p));
        }

        #[test]
        fn superiority_is_what_counting_all_pairs_gives(
            first in proptest::collection::vec(0_u64..40, 1..30),
            second in proptest::collection::vec(0_u64..40, 1..30),
        ) {
            // Far apart, so that no two are in one bucket that are not equal.
            let far = |numbers: &[u64]| -> Vec<u64> { numbers.iter().map(|n| 3_u64.pow((*n).try_into().unwrap())).collect() };
            let (first, second) = (far(&first), far(&second));
            let pairs = first.iter().flat_map(|one| second.iter().map(move |other| other.cmp(one)));
            let sum: f64 = pairs.map(|order| match order {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            }).sum();
            let expected = sum / (first.len() * second.len()) as f64;
            let found = mann_whitney(&of(first), &of(second)).unwrap().superiority;
            prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }
}
