//! What a document and a request say of what a run may spend.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::fields::Fields;
use super::json_schema::{self, closed, described, words};
use crate::domain::budget::{NewBudget, OnExhausted, SpendingLimits};
use crate::domain::diagnostic::{Diagnostic, Diagnostics};
use crate::domain::duration;
use crate::domain::limits::DELAY_MAX;
use crate::domain::money::{DOLLARS_MAX, NanoDollars};

/// Tokens that a limit may name. What is more is no limit.
pub const BUDGET_TOKENS_MAX: u64 = 1_000_000_000_000;
/// Steps that a limit may name. What is more is no limit.
pub const BUDGET_STEPS_MAX: u64 = 1_000_000_000;

/// What a budget has.
pub(super) const FIELDS: &[&str] =
    &["max_usd", "max_tokens", "max_steps", "deadline", "on_exhausted"];

/// The JSON Schema of a budget as it is written.
pub(super) fn schema() -> Value {
    let whole = |max: u64| json!({ "type": "integer", "minimum": 0, "maximum": max });
    let dollars = json!({ "type": "number", "minimum": 0, "maximum": DOLLARS_MAX });
    let deadline = json!({
        "anyOf": [json_schema::duration(DELAY_MAX), { "type": "string", "format": "date-time" }],
    });
    let properties = [
        (
            "max_usd",
            described(
                dollars,
                "US dollars. With such a limit, a model without a price is refused.",
            ),
        ),
        ("max_tokens", described(whole(BUDGET_TOKENS_MAX), "Tokens of inputs and outputs.")),
        ("max_steps", described(whole(BUDGET_STEPS_MAX), "Calls to models and tools.")),
        (
            "deadline",
            described(
                deadline,
                "When a run ends as `timed_out`: how long after its acceptance, like `2h`, or a time in RFC 3339.",
            ),
        ),
        (
            "on_exhausted",
            described(
                words(OnExhausted::WORDS),
                "What becomes of a node whose next call the limits do not allow: it waits until they are raised (`suspend`, unless given), or fails.",
            ),
        ),
    ];
    let about = "What a run may spend at most on calls to models, and until when. What is absent is not limited.";
    described(closed(properties, &[]), about)
}

/// A budget as somebody wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetTerms {
    /// How much may be spent.
    pub limits: SpendingLimits,
    /// How long a run may take from its acceptance on.
    pub deadline_in: Option<Duration>,
    /// Until when it may take.
    pub deadline_at: Option<DateTime<Utc>>,
    /// What becomes of a node whose next call the limits do not allow.
    pub on_exhausted: Option<OnExhausted>,
}

impl BudgetTerms {
    /// Reads a budget that stands at `pointer`: `{max_usd, max_tokens, max_steps, deadline, on_exhausted}`, each of them
    /// optional.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = Diagnostics::default();
        Self::read(value, pointer, &mut diagnostics).ok_or(diagnostics.0)
    }

    /// Like [`Self::parse`], for what is a part of something larger.
    pub(super) fn read(
        value: &Value,
        pointer: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let before = diagnostics.0.len();
        let fields = Fields::open(value, pointer.to_owned(), FIELDS, diagnostics)?;
        let (deadline_in, deadline_at) = deadline(&fields, diagnostics);
        let terms = Self {
            limits: SpendingLimits {
                max_usd: dollars(&fields, diagnostics),
                max_tokens: whole(&fields, "max_tokens", BUDGET_TOKENS_MAX, diagnostics),
                max_steps: whole(&fields, "max_steps", BUDGET_STEPS_MAX, diagnostics),
            },
            deadline_in,
            deadline_at,
            on_exhausted: on_exhausted(&fields, diagnostics),
        };
        (diagnostics.0.len() == before).then_some(terms)
    }

    /// The budget of a run under these terms, none of which goes beyond what its workflow allows.
    #[must_use]
    pub fn of_run(&self, workflow: &Self) -> NewBudget {
        NewBudget {
            limits: self.limits.capped(workflow.limits),
            deadline_in: self.deadline_in.into_iter().chain(workflow.deadline_in).min(),
            deadline_at: self.deadline_at.into_iter().chain(workflow.deadline_at).min(),
            on_exhausted: self.on_exhausted.or(workflow.on_exhausted).unwrap_or_default(),
        }
    }
}

fn dollars(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<NanoDollars> {
    let value = fields.get("max_usd")?;
    let amount = value.as_number().and_then(|number| NanoDollars::from_dollars(number).ok());
    if amount.is_none() {
        let hint = "a number of US dollars from 0 to 1000000";
        diagnostics.add(fields.at("max_usd"), "`max_usd` is no amount", hint);
    }
    amount
}

fn whole(fields: &Fields<'_>, name: &str, max: u64, diagnostics: &mut Diagnostics) -> Option<u64> {
    let number = fields.get(name)?.as_u64().filter(|number| *number <= max);
    if number.is_none() {
        let hint = format!("a whole number from 0 to {max}");
        diagnostics.add(fields.at(name), format!("`{name}` is no such number"), hint);
    }
    number
}

/// A deadline, which is either a duration or a time.
fn deadline(
    fields: &Fields<'_>,
    diagnostics: &mut Diagnostics,
) -> (Option<Duration>, Option<DateTime<Utc>>) {
    let Some(value) = fields.get("deadline") else { return (None, None) };
    let text = value.as_str();
    let time = text.and_then(|text| duration::parse(text).ok()).filter(|time| *time <= DELAY_MAX);
    let at = text.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    if time.is_none() && at.is_none() {
        let hint = "how long the run may take, like `2h`, or a time like `2030-01-31T12:00:00Z`";
        diagnostics.add(fields.at("deadline"), "`deadline` is neither a duration nor a time", hint);
    }
    (time, at.map(|at| at.to_utc()))
}

fn on_exhausted(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<OnExhausted> {
    let words: Vec<_> = OnExhausted::ALL.iter().map(|way| (way.as_str(), *way)).collect();
    fields.word("on_exhausted", &words, diagnostics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<BudgetTerms, Vec<String>> {
        BudgetTerms::parse(value, "/budget")
            .map_err(|found| found.into_iter().map(|it| it.pointer).collect())
    }

    #[test]
    fn a_budget_is_read() {
        let terms = read(&json!({
            "max_usd": 0.5, "max_tokens": 1000, "max_steps": 3, "deadline": "2h", "on_exhausted": "fail",
        }))
        .unwrap();
        let limits = SpendingLimits {
            max_usd: Some(NanoDollars(500_000_000)),
            max_tokens: Some(1000),
            max_steps: Some(3),
        };
        let expected = BudgetTerms {
            limits,
            deadline_in: Some(Duration::from_secs(7200)),
            deadline_at: None,
            on_exhausted: Some(OnExhausted::Fail),
        };
        assert_eq!(terms, expected);
        assert_eq!(read(&json!({})), Ok(BudgetTerms::default()));
    }

    #[test]
    fn everything_that_is_wrong_with_a_budget_is_reported() {
        for (value, pointers) in [
            (json!(5), vec!["/budget"]),
            (json!({"max_dollars": 1}), vec!["/budget/max_dollars"]),
            (
                json!({
                    "max_usd": -1, "max_tokens": 1.5, "max_steps": "3", "deadline": "soon",
                    "on_exhausted": "stop",
                }),
                vec![
                    "/budget/deadline",
                    "/budget/max_usd",
                    "/budget/max_tokens",
                    "/budget/max_steps",
                    "/budget/on_exhausted",
                ],
            ),
            (json!({"max_usd": 1e7}), vec!["/budget/max_usd"]),
            (json!({"deadline": "9999h"}), vec!["/budget/deadline"]),
        ] {
            let found = read(&value).unwrap_err();
            assert_eq!(found, pointers, "{value}");
        }
    }

    #[test]
    fn a_request_can_lower_what_its_workflow_allows_and_not_raise_it() {
        let workflow = read(
            &json!({"max_usd": 1, "max_tokens": 100, "deadline": "1h", "on_exhausted": "fail"}),
        )
        .unwrap();
        let request =
            read(&json!({"max_usd": 2, "max_tokens": 50, "max_steps": 7, "deadline": "2030-02-01T12:00:00Z"}))
                .unwrap();
        let budget = request.of_run(&workflow);
        assert_eq!(budget.limits.max_usd, Some(NanoDollars(1_000_000_000)));
        assert_eq!((budget.limits.max_tokens, budget.limits.max_steps), (Some(50), Some(7)));
        assert_eq!(budget.deadline_in, Some(Duration::from_secs(3600)));
        assert_eq!(budget.deadline_at, Some("2030-02-01T12:00:00Z".parse().unwrap()));
        assert_eq!(budget.on_exhausted, OnExhausted::Fail);
        let free = BudgetTerms::default().of_run(&BudgetTerms::default());
        assert_eq!(free, NewBudget::default());
    }
}
