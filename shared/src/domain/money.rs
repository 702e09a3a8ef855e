//! Money: whole nano-dollars, never a float on the way to a sum.

use std::fmt;
use std::iter::Sum;

use serde_json::Number;

use super::usage::Usage;

/// Nano-dollars of a dollar.
const NANOS: i64 = 1_000_000_000;
/// The most that is taken for an amount: a million dollars. What is more is a slip.
pub const DOLLARS_MAX: i64 = 1_000_000;
/// What one call counts as at most: nine million dollars. Sums of many of them still fit into 64 bits. It is cut where
/// a cost is reckoned, so that rows, outputs and spans say the same.
pub const CALL_COST_MAX: NanoDollars = NanoDollars(i64::MAX >> 10);
/// Prices are for so many tokens.
const PER_TOKENS: i128 = 1_000_000;

/// An amount in nano-dollars (10⁻⁹ US dollars). Sums saturate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoDollars(pub i64);

/// Why a number is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a number of US dollars from 0 to {DOLLARS_MAX}")]
pub struct NoAmount;

impl NanoDollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many nano-dollars, or the largest amount where they are more.
    #[must_use]
    pub fn of(nanos: u64) -> Self {
        Self(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// Reads a JSON number of dollars, by its decimal digits. What is below a nano-dollar is cut off: a limit is rounded
    /// down.
    ///
    /// # Errors
    /// When it is negative or more than a million dollars.
    pub fn from_dollars(dollars: &Number) -> Result<Self, NoAmount> {
        // The shortest decimal that stands for the number, which is what somebody has written.
        let text = dollars.to_string();
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().map_err(|_| NoAmount)?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all: i128 = format!("{whole}{fraction}").parse().map_err(|_| NoAmount)?;
        let fraction = i32::try_from(fraction.len()).map_err(|_| NoAmount)?;
        let shift = exponent - fraction + 9;
        let nanos = match u32::try_from(shift) {
            Ok(up) => 10_i128.checked_pow(up).and_then(|power| all.checked_mul(power)),
            Err(_) => {
                Some(10_i128.checked_pow(shift.unsigned_abs()).map_or(0, |power| all / power))
            }
        };
        let nanos =
            nanos.filter(|nanos| (0..=i128::from(DOLLARS_MAX * NANOS)).contains(nanos) && all >= 0);
        nanos.and_then(|nanos| i64::try_from(nanos).ok()).map(Self).ok_or(NoAmount)
    }

    /// The amount as a JSON number of dollars. Exact up to nine million dollars; beyond that it is the nearest number
    /// that JSON's readers have.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for showing only; sums are made of integers")]
    pub fn to_dollars(self) -> f64 {
        self.0 as f64 / NANOS as f64
    }

    /// The sum, which stays at the largest amount when it would be more.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for NanoDollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// `$0.0123`: all digits that are not zero, at least two.
impl fmt::Display for NanoDollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, nanos) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let (whole, fraction) = (nanos / NANOS.unsigned_abs(), nanos % NANOS.unsigned_abs());
        let fraction = format!("{fraction:09}");
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}${whole}.{}", &fraction[..kept])
    }
}

/// What a model costs: nano-dollars for a million tokens of each sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Tokens of the input that are in no cache.
    pub input: i64,
    /// Tokens of the output.
    pub output: i64,
    /// Tokens of the input that were read from the provider's cache.
    pub cache_read: i64,
    /// Tokens of the input that were written into it.
    pub cache_write: i64,
}

impl Price {
    /// What a call cost, rounded once, half up; [`CALL_COST_MAX`] at most.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> NanoDollars {
        let cached = usage.cached_tokens.saturating_add(usage.cache_write_tokens);
        let fresh = usage.input_tokens.saturating_sub(cached);
        let parts = [
            (fresh, self.input),
            (usage.cached_tokens, self.cache_read),
            (usage.cache_write_tokens, self.cache_write),
            (usage.output_tokens, self.output),
        ];
        nanos((total(&parts) + PER_TOKENS / 2) / PER_TOKENS)
    }

    /// What a call may cost at most, rounded up; [`CALL_COST_MAX`] at most.
    #[must_use]
    pub fn at_most(&self, input_tokens: u64, output_tokens: u64) -> NanoDollars {
        let input = self.input.max(self.cache_read).max(self.cache_write);
        let parts = [(input_tokens, input), (output_tokens, self.output)];
        nanos((total(&parts) + PER_TOKENS - 1) / PER_TOKENS)
    }
}

fn total(parts: &[(u64, i64)]) -> i128 {
    parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(*price)).sum()
}

fn nanos(amount: i128) -> NanoDollars {
    NanoDollars(i64::try_from(amount).unwrap_or(i64::MAX)).min(CALL_COST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(text: &str) -> Result<i64, NoAmount> {
        NanoDollars::from_dollars(&serde_json::from_str(text).unwrap()).map(|amount| amount.0)
    }

    #[test]
    fn a_number_of_dollars_is_read_by_its_digits() {
        for (text, nanos) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("0.1", 100_000_000),
            ("0.3", 300_000_000),
            ("1e-9", 1),
            ("1.9e-9", 1),
            ("1e-12", 0),
            ("1e-300", 0),
            ("2.50", 2_500_000_000),
            ("1e3", 1_000_000_000_000),
            ("1000000", 1_000_000_000_000_000),
        ] {
            assert_eq!(dollars(text), Ok(nanos), "{text}");
        }
        for text in ["-0.1", "-1e-12", "1000000.1", "1e18", "1e300", "18446744073709551615"] {
            assert_eq!(dollars(text), Err(NoAmount), "{text}");
        }
    }

    #[test]
    fn an_amount_is_shown_with_all_its_digits() {
        for (nanos, shown) in
            [(0, "$0.00"), (1, "$0.000000001"), (1_500_000_000, "$1.50"), (-20_000_000, "-$0.02")]
        {
            assert_eq!(NanoDollars(nanos).to_string(), shown);
        }
        assert_eq!(
            serde_json::to_string(&NanoDollars(12_345).to_dollars()).unwrap(),
            "0.000012345"
        );
    }

    #[test]
    fn a_cost_is_rounded_once_and_a_reservation_up() {
        let price =
            Price { input: 150_000, output: 600_000, cache_read: 75_000, cache_write: 200_000 };
        let usage =
            Usage { input_tokens: 10, cached_tokens: 3, cache_write_tokens: 2, output_tokens: 1 };
        // 5 * 0.15 + 3 * 0.075 + 2 * 0.2 + 0.6 nano-dollars
        assert_eq!(price.cost(&usage), NanoDollars(2));
        assert_eq!(price.at_most(10, 1), NanoDollars(3));
        let absurd = Usage { input_tokens: 1 << 60, output_tokens: 1 << 60, ..usage };
        assert_eq!(price.cost(&absurd), CALL_COST_MAX);
        assert_eq!(price.at_most(u64::MAX, u64::MAX), CALL_COST_MAX);
        assert_eq!(
            [NanoDollars(i64::MAX), NanoDollars(1)].into_iter().sum::<NanoDollars>().0,
            i64::MAX
        );
    }
}
