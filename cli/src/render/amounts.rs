//! Numbers of tokens and of calls, and money, as people read them.

use serde_json::Number;
use skein_shared::domain::money::NanoDollars;

/// A number with its thousands set off: `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 call`, `3 calls`.
pub(super) fn plural(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { more })
}

/// An amount of money in a column. Six places: a call to a small model costs some millionths of a dollar. All nine
/// below that.
pub(super) fn dollars(amount: f64) -> String {
    let is_tiny = amount > 0.0 && amount < 0.000_001;
    if is_tiny { format!("${amount:.9}") } else { format!("${amount:.6}") }
}

/// An amount of money in words: all its digits, and no more. What is no amount is shown as it came.
pub(super) fn exact_dollars(amount: &Number) -> String {
    NanoDollars::from_dollars(amount)
        .map_or_else(|_| format!("${amount}"), |amount| amount.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_off() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (18_000, "18,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
        let calls = [0, 1, 2].map(|number| plural(number, "call", "calls"));
        assert_eq!(calls, ["0 calls", "1 call", "2 calls"]);
    }

    #[test]
    fn what_costs_something_is_not_shown_as_nothing() {
        assert_eq!(dollars(0.0), "$0.000000");
        assert_eq!(dollars(0.000_029_4), "$0.000029");
        assert_eq!(dollars(0.000_000_5), "$0.000000500");
        assert_eq!(dollars(0.000_000_002), "$0.000000002");
        let exact = |text: &str| exact_dollars(&serde_json::from_str(text).unwrap());
        assert_eq!(exact("0"), "$0.00");
        assert_eq!(exact("0.0000294"), "$0.0000294");
        assert_eq!(exact("12"), "$12.00");
        assert_eq!(exact("12345678"), "$12345678");
    }
}
