//! Steps, costs and budgets.

use chrono::TimeDelta;
use serde_json::Value;

use super::amounts::dollars;
use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal};
use super::time::duration;
use crate::client::Step;

/// What is not known, or not limited.
const NOTHING: &str = "–";

/// A table of steps.
#[must_use]
pub fn step_table(steps: &[Step], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("STEP", Align::Right),
        ("TRY", Align::Right),
        ("KIND", Align::Left),
        ("NAME", Align::Left),
        ("STATUS", Align::Left),
        ("TOKENS", Align::Right),
        ("COST", Align::Right),
        ("TOOK", Align::Right),
    ])
    .sparing(&["TRY", "KIND", "TOOK", "TOKENS", "COST"])
    .cutting("NAME")
    .cutting("NODE");
    for step in steps {
        let took =
            step.latency_ms.and_then(|took| TimeDelta::try_milliseconds(took.try_into().ok()?));
        table.row(vec![
            Cell::plain(step.node_label()),
            Cell::plain(step.index.to_string()),
            Cell::plain(step.attempt.to_string()),
            Cell::plain(&step.kind),
            Cell::plain(&step.name),
            Cell::new(&step.status, Style::of_step(&step.status)),
            Cell::plain(or_nothing(step.usage.map(|usage| usage.total_tokens.to_string()))),
            Cell::plain(or_nothing(step.cost_usd.map(dollars))),
            Cell::plain(or_nothing(took.map(duration))),
        ]);
    }
    table.render(terminal)
}

/// A table of costs that are summed up by what the rows call `by`.
#[must_use]
pub fn cost_table(costs: &[Value], by: &str, terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("WHAT", Align::Left),
        ("CALLS", Align::Right),
        ("UNPRICED", Align::Right),
        ("INPUT", Align::Right),
        ("CACHED", Align::Right),
        ("OUTPUT", Align::Right),
        ("COST", Align::Right),
    ])
    .sparing(&["CACHED", "UNPRICED", "CALLS", "INPUT", "OUTPUT"])
    .cutting("WHAT");
    for cost in costs {
        let number = |name: &str| Cell::plain(count(&cost[name]));
        table.row(vec![
            Cell::plain(cost[by].as_str().unwrap_or(NOTHING)),
            number("calls"),
            number("unpriced_calls"),
            number("input_tokens"),
            number("cached_tokens"),
            number("output_tokens"),
            Cell::plain(amount(&cost["cost_usd"])),
        ]);
    }
    table.render(terminal)
}

/// A table of budgets: of a run, or of the periods of an organization.
#[must_use]
pub fn budget_table(budgets: &[Value], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("BUDGET", Align::Left),
        ("SPENT", Align::Right),
        ("OF", Align::Right),
        ("TOKENS", Align::Right),
        ("OF TOKENS", Align::Right),
        ("STEPS", Align::Right),
        ("OF STEPS", Align::Right),
        ("UNTIL", Align::Left),
    ])
    .sparing(&["UNTIL", "OF STEPS", "STEPS", "OF TOKENS", "TOKENS"]);
    for budget in budgets {
        let spent = &budget["spent"];
        let until = ["deadline", "renews_at"].into_iter().find_map(|name| budget[name].as_str());
        table.row(vec![
            Cell::plain(budget["period"].as_str().unwrap_or("run")),
            Cell::plain(amount(&spent["cost_usd"])),
            Cell::plain(amount(&budget["max_usd"])),
            Cell::plain(count(&spent["total_tokens"])),
            Cell::plain(count(&budget["max_tokens"])),
            Cell::plain(count(&spent["steps"])),
            Cell::plain(count(&budget["max_steps"])),
            Cell::plain(until.unwrap_or(NOTHING)),
        ]);
    }
    table.render(terminal)
}

fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.to_owned())
}

fn count(value: &Value) -> String {
    or_nothing(value.as_u64().map(|number| number.to_string()))
}

fn amount(value: &Value) -> String {
    or_nothing(value.as_f64().map(dollars))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cost_that_nobody_knows_is_not_shown_as_none() {
        let step = json!({ "node": "ask", "scope": "3", "index": 1, "attempt": 2, "kind": "model", "name": "m\u{1b}[2J",
            "status": "succeeded", "usage": { "input_tokens": 8, "output_tokens": 4, "total_tokens": 12 }, "cost_usd": 0.000_025, "latency_ms": 7, "error": null,
            "span_id": "dd", "started_at": "2030-01-31T12:00:00Z" });
        let mut tool = step.clone();
        (tool["usage"], tool["cost_usd"], tool["kind"]) = (Value::Null, Value::Null, json!("tool"));
        let steps = [step, tool].map(|step| serde_json::from_value::<Step>(step).unwrap());
        let table = step_table(&steps, &Terminal::plain());
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].starts_with("ask[3]") && lines[1].contains("$0.000025"), "{table}");
        assert!(!lines[2].contains('$') && lines[2].contains(NOTHING), "{table}");
        assert!(!table.contains('\u{1b}'), "{table}");
    }

    #[test]
    fn a_narrow_terminal_shows_what_each_call_was_and_what_became_of_it() {
        let step = json!({ "node": "research", "scope": "", "index": 1, "attempt": 1, "kind": "model",
            "name": "gpt-4o-mini", "status": "succeeded", "usage": null, "cost_usd": 0.001_25, "latency_ms": 1_240,
            "error": null, "span_id": "dd", "started_at": "2030-01-31T12:00:00Z" });
        let step: Step = serde_json::from_value(step).unwrap();
        let at = |columns| {
            let terminal = Terminal { columns: Some(columns), ..Terminal::plain() };
            step_table(std::slice::from_ref(&step), &terminal)
        };
        assert!(at(100).contains("1.24s") && at(100).contains("TRY"), "{}", at(100));
        let expected = "\
NODE      STEP  NAME         STATUS
research     1  gpt-4o-mini  succeeded
";
        assert_eq!(at(40), expected);
    }

    #[test]
    fn a_narrow_terminal_shows_what_was_spent_of_each_budget() {
        let budget = json!({ "period": "month", "max_usd": 5.0, "max_tokens": 1_000_000, "max_steps": 9,
            "renews_at": "2030-02-01T00:00:00Z", "spent": { "cost_usd": 1.25, "total_tokens": 40, "steps": 2 } });
        let narrow = Terminal { columns: Some(40), ..Terminal::plain() };
        let expected = "\
BUDGET      SPENT         OF  TOKENS
month   $1.250000  $5.000000      40
";
        assert_eq!(budget_table(&[budget], &narrow), expected);
    }

    #[test]
    fn a_budget_is_shown_with_what_has_been_spent_of_it() {
        let budget = json!({ "period": "day", "max_usd": 5.0, "max_tokens": null, "max_steps": 9, "renews_at": "2030-02-01T00:00:00Z",
            "spent": { "cost_usd": 1.25, "total_tokens": 40, "steps": 2 } });
        let table = budget_table(&[budget], &Terminal::plain());
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        let expected =
            ["day", "$1.250000", "$5.000000", "40", NOTHING, "2", "9", "2030-02-01T00:00:00Z"];
        assert_eq!(row, expected);
    }
}
