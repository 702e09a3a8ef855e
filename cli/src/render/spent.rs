//! What the calls of a run to models came to.

use serde_json::Number;

use super::amounts::{exact_dollars, plural, thousands};
use crate::client::Run;

/// The calls, tokens and cost of a run: `3 calls, 1,234 tokens in, 321 out, $0.0042`. `None` of one that has called no
/// model.
pub(super) fn spent(run: &Run) -> Option<String> {
    let (usage, unpriced) = (run.usage, run.unpriced_calls);
    let has_called = run.calls.map_or(usage.total_tokens > 0 || unpriced > 0, |calls| calls > 0);
    if !has_called {
        return None;
    }
    let calls = run.calls.map_or_else(String::new, |calls| plural(calls, "call", "calls") + ", ");
    let tokens = format!(
        "{} tokens in, {} out",
        thousands(usage.input_tokens),
        thousands(usage.output_tokens)
    );
    Some(format!("{calls}{tokens}, {}", cost(run)))
}

/// What nobody knows is not nothing.
fn cost(run: &Run) -> String {
    let known = run.cost_usd.and_then(Number::from_f64).map(|cost| exact_dollars(&cost));
    match (known, run.unpriced_calls) {
        (Some(known), 0) => known,
        (Some(known), unpriced) => {
            let unpriced = plural(unpriced, "call that has no price", "calls that have no price");
            format!("{known} and what {unpriced} cost")
        }
        (None, _) => "cost not known: the models have no price".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Usage;
    use crate::render::samples::run;

    fn shown(
        calls: Option<u64>,
        unpriced: u64,
        tokens: (u64, u64),
        cost: Option<f64>,
    ) -> Option<String> {
        let (input_tokens, output_tokens) = tokens;
        let usage =
            Usage { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens };
        spent(&Run { calls, unpriced_calls: unpriced, usage, cost_usd: cost, ..run() })
    }

    #[test]
    fn a_run_says_what_it_has_spent_on_models() {
        let text = shown(Some(3), 0, (1_234, 321), Some(0.0042)).unwrap();
        assert_eq!(text, "3 calls, 1,234 tokens in, 321 out, $0.0042");
        let text = shown(Some(1), 0, (7, 0), Some(0.0)).unwrap();
        assert_eq!(text, "1 call, 7 tokens in, 0 out, $0.00");
        // An older server does not say how many calls there were.
        let text = shown(None, 0, (42, 16), Some(0.000_001)).unwrap();
        assert_eq!(text, "42 tokens in, 16 out, $0.000001");
    }

    #[test]
    fn what_has_no_price_is_said_and_is_not_nothing() {
        let text = shown(Some(3), 1, (10, 5), Some(0.5)).unwrap();
        assert!(text.ends_with("$0.50 and what 1 call that has no price cost"), "{text}");
        let text = shown(Some(3), 2, (10, 5), Some(0.5)).unwrap();
        assert!(text.ends_with("$0.50 and what 2 calls that have no price cost"), "{text}");
        let text = shown(Some(2), 2, (10, 5), None).unwrap();
        assert!(text.ends_with("5 out, cost not known: the models have no price"), "{text}");
        assert!(!text.contains('$'), "{text}");
    }

    #[test]
    fn a_run_without_calls_to_models_says_nothing_of_them() {
        assert_eq!(shown(Some(0), 0, (0, 0), Some(0.0)), None);
        assert_eq!(shown(None, 0, (0, 0), Some(0.0)), None);
        assert_eq!(spent(&run()), None);
    }
}
