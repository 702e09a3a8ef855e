//! What may be spent.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::Value;
use skein_shared::domain::budget::{BudgetChange, BudgetPeriod, LimitChange, SpendingLimits};
use skein_shared::domain::diagnostic::{Diagnostic, join_pointer};
use skein_shared::workflow::budget::BudgetTerms;
use skein_shared::workflow::compile::schema::BUDGET;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::body::{Text, fields, only_json};
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};
use crate::words::OnExhausted;

const RUN_FIELDS: &str = "known fields: max_usd, max_tokens, max_steps, deadline, on_exhausted";
/// Of those, what null takes away.
const RUN_LIMITS: [&str; 4] = ["max_usd", "max_tokens", "max_steps", "deadline"];
const PERIOD_FIELDS: &str = "known fields: day, month";

/// What a run may spend at most. The document has the schema that [`BudgetTerms`] goes by under this name.
pub(crate) enum Budget {}

impl PartialSchema for Budget {
    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}

impl ToSchema for Budget {
    fn name() -> Cow<'static, str> {
        BUDGET.into()
    }
}

/// What may be spent in a day or in a month. What is absent is not limited.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "documents what `of_periods` reads")]
pub(crate) struct PeriodLimits {
    /// US dollars. With such a limit, a model that has no price is refused.
    #[schema(required = false, nullable = false, minimum = 0, maximum = 1_000_000)]
    max_usd: Option<f64>,
    /// Tokens of inputs and outputs.
    #[schema(required = false, nullable = false, minimum = 0, maximum = 1_000_000_000_000u64)]
    max_tokens: Option<u64>,
    /// Calls to models and tools.
    #[schema(required = false, nullable = false, minimum = 0, maximum = 1_000_000_000)]
    max_steps: Option<u64>,
}

/// What an organization may spend in a day and in a month, in UTC: `max_usd`, `max_tokens` and `max_steps` of each. A
/// period that is absent stays as it is, null takes its limits away.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "documents what `of_periods` reads")]
pub(crate) struct PeriodBudgets {
    /// In a day.
    #[schema(value_type = Option<PeriodLimits>, required = false)]
    day: Option<Value>,
    /// In a month.
    #[schema(value_type = Option<PeriodLimits>, required = false)]
    month: Option<Value>,
}

/// What of a run's budget is to be another from now on. What is absent stays as it is; null takes a limit away.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "documents what `of_run` reads")]
pub(crate) struct RunBudgetChange {
    /// US dollars. With such a limit, a model that has no price is refused.
    #[schema(required = false, nullable, minimum = 0, maximum = 1_000_000)]
    max_usd: Option<f64>,
    /// Tokens of inputs and outputs.
    #[schema(required = false, nullable, minimum = 0, maximum = 1_000_000_000_000u64)]
    max_tokens: Option<u64>,
    /// Calls to models and tools.
    #[schema(required = false, nullable, minimum = 0, maximum = 1_000_000_000)]
    max_steps: Option<u64>,
    /// When the run ends as `timed_out`, in RFC 3339.
    #[schema(required = false, nullable)]
    deadline: Option<DateTime<Utc>>,
    /// What becomes of a node whose next call the limits do not allow: `suspend` (it waits until they are raised) or
    /// `fail`.
    #[schema(value_type = OnExhausted, required = false)]
    on_exhausted: Option<String>,
}

/// Reads what of a run's budget is to be another from now on.
pub(crate) fn of_run(body: &Text) -> Result<BudgetChange, Problem> {
    only_json(body)?;
    let mut fields = fields(&body.text, RUN_FIELDS)?;
    let is_null = |name| fields.get(name).is_some_and(Value::is_null);
    let [no_usd, no_tokens, no_steps, no_deadline] = RUN_LIMITS.map(is_null);
    fields.retain(|name, value| !value.is_null() || !RUN_LIMITS.contains(&name.as_str()));
    let terms = BudgetTerms::parse(&Value::Object(fields), "").map_err(refuse)?;
    if terms.deadline_in.is_some() {
        let hint = "a time like `2030-01-31T12:00:00Z`: the run was accepted before";
        return Err(refuse(vec![Diagnostic::new("/deadline", "is a duration", hint)]));
    }
    Ok(BudgetChange {
        max_usd: change(no_usd, terms.limits.max_usd),
        max_tokens: change(no_tokens, terms.limits.max_tokens),
        max_steps: change(no_steps, terms.limits.max_steps),
        deadline: change(no_deadline, terms.deadline_at),
        on_exhausted: terms.on_exhausted,
    })
}

/// What becomes of a limit of which null, a value or nothing was written.
fn change<T>(is_null: bool, value: Option<T>) -> LimitChange<T> {
    match value {
        Some(value) => LimitChange::Set(value),
        None if is_null => LimitChange::Lift,
        None => LimitChange::Keep,
    }
}

/// Reads the budgets that an organization is to have, for the periods that are named.
pub(crate) fn of_periods(body: &Text) -> Result<Vec<(BudgetPeriod, SpendingLimits)>, Problem> {
    only_json(body)?;
    let mut fields = fields(&body.text, PERIOD_FIELDS)?;
    let mut diagnostics = Vec::new();
    let mut wanted = Vec::new();
    for period in [BudgetPeriod::Day, BudgetPeriod::Month] {
        let name = period.as_str();
        let pointer = join_pointer("", name);
        match fields.shift_remove(name) {
            None => {}
            Some(Value::Null) => wanted.push((period, SpendingLimits::default())),
            Some(value) => match BudgetTerms::parse(&value, &pointer) {
                Ok(terms) => {
                    let more = [
                        ("deadline", terms.deadline_in.is_some() || terms.deadline_at.is_some()),
                        ("on_exhausted", terms.on_exhausted.is_some()),
                    ];
                    for (name, _) in more.into_iter().filter(|(_, is_there)| *is_there) {
                        let hint = "it is for runs; known fields: max_usd, max_tokens, max_steps";
                        let pointer = join_pointer(&pointer, name);
                        diagnostics.push(Diagnostic::new(pointer, "is not known here", hint));
                    }
                    wanted.push((period, terms.limits));
                }
                Err(found) => diagnostics.extend(found),
            },
        }
    }
    for name in fields.keys() {
        diagnostics.push(Diagnostic::new(join_pointer("", name), "is not known", PERIOD_FIELDS));
    }
    if diagnostics.is_empty() { Ok(wanted) } else { Err(refuse(diagnostics)) }
}

fn refuse(diagnostics: Vec<Diagnostic>) -> Problem {
    let diagnostics = diagnostics.into_iter().map(ProblemDiagnostic::from).collect();
    Problem::with_diagnostics(ProblemKind::InvalidRequest, diagnostics)
}
