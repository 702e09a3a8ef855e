//! Many numbers in little room: how many of them are about how large.
//!
//! Buckets grow by a constant factor, so that what is read off is off by a percent at most, of milliseconds as of days.
//! Two of them can be added and compared bucket by bucket, which the sketches of libraries do not show.

use std::collections::BTreeMap;

/// By how much a bucket's upper bound is larger than the one before. What stands for a bucket is in its middle, so half
/// of that is the error.
const GROWTH: f64 = 1.02;

/// Counts of numbers by their size. It holds some 2,300 counts at most, whatever it is given, and mostly some dozens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: BTreeMap<u16, u64>,
    count: u64,
}

impl Histogram {
    /// Counts a number.
    pub fn record(&mut self, number: u64) {
        *self.counts.entry(bucket(number)).or_default() += 1;
        self.count += 1;
    }

    /// Numbers that were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number that this part of all are not larger than, from 0 to 1: the median is at 0.5. `None` of nothing.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<u64> {
        // Less a hair, so that a part which floats cannot hold does not go one place up.
        let place = (part * self.count as f64 - 1e-9).ceil().max(1.0);
        let mut left = (place as u64).min(self.count);
        for (bucket, count) in &self.counts {
            if *count >= left {
                return Some(middle(*bucket));
            }
            left -= count;
        }
        None
    }

    /// The counts of both, from the smallest numbers on. No bucket is empty in both.
    pub(super) fn beside<'h>(&'h self, other: &'h Self) -> impl Iterator<Item = (u64, u64)> + 'h {
        let mut buckets: Vec<_> = self.counts.keys().chain(other.counts.keys()).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let of = |histogram: &Self, bucket| histogram.counts.get(bucket).copied().unwrap_or(0);
        buckets.into_iter().map(move |bucket| (of(self, bucket), of(other, bucket)))
    }
}

/// Bucket 0 is of nothing, and bucket `n` of what is larger than `GROWTH^(n-2)`, up to `GROWTH^(n-1)`.
fn bucket(number: u64) -> u16 {
    if number == 0 {
        return 0;
    }
    1 + ((number as f64).ln() / GROWTH.ln()).ceil() as u16
}

fn middle(bucket: u16) -> u64 {
    if bucket == 0 {
        return 0;
    }
    GROWTH.powf(f64::from(bucket) - 1.5).round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        numbers.iter().for_each(|number| histogram.record(*number));
        histogram
    }

    #[test]
    fn nothing_has_no_quantile_and_one_number_is_all_of_them() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        for number in [0, 1, 2, 3] {
            for part in [0.0, 0.5, 1.0] {
                assert_eq!(of(&[number]).quantile(part), Some(number));
            }
        }
        assert_eq!(of(&[u64::MAX, 0]).quantile(0.5), Some(0));
    }

    #[test]
    fn two_are_compared_bucket_by_bucket() {
        let (one, other) = (of(&[1, 1, 100]), of(&[100, 0]));
        assert_eq!(one.beside(&other).collect::<Vec<_>>(), [(0, 1), (2, 0), (1, 1)]);
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_little_more_than_a_percent(
            mut numbers in proptest::collection::vec(100_u64..=1_000_000_000_000, 1..200),
            percent in 1_usize..=100,
        ) {
            let histogram = of(&numbers);
            numbers.sort_unstable();
            let exact = numbers[(numbers.len() * percent).div_ceil(100) - 1];
            let found = histogram.quantile(percent as f64 / 100.0).unwrap();
            let error = found.abs_diff(exact) as f64 / exact as f64;
            prop_assert!(error < 0.016, "{found} for {exact}");
        }

        #[test]
        fn a_larger_number_is_in_no_smaller_bucket(one: u64, other: u64) {
            prop_assert_eq!(bucket(one.min(other)).max(bucket(one.max(other))), bucket(one.max(other)));
            prop_assert!(bucket(one) < 2_400);
        }
    }
}
