//! What runs and organizations may spend on calls to models.

use chrono::{DateTime, Utc};

use super::money::NanoDollars;
use super::words::words;

/// How much of each may be spent; absent where it is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpendingLimits {
    /// What calls to models cost.
    pub max_usd: Option<NanoDollars>,
    /// Tokens of their inputs and outputs.
    pub max_tokens: Option<u64>,
    /// Steps: calls to models and to tools.
    pub max_steps: Option<u64>,
}

impl SpendingLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The lower of each two.
    #[must_use]
    pub fn capped(self, by: Self) -> Self {
        fn lower<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        }
        Self {
            max_usd: lower(self.max_usd, by.max_usd),
            max_tokens: lower(self.max_tokens, by.max_tokens),
            max_steps: lower(self.max_steps, by.max_steps),
        }
    }
}

words!(
    /// What becomes of a node whose next call a budget does not allow.
    "way to go on" OnExhausted {
        /// It waits, and its run is suspended, until the budget is raised or begins anew.
        Suspend = "suspend",
        /// It fails with the code `budget_exhausted`.
        Fail = "fail",
    }
);

/// The budget of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunBudget {
    /// What it may spend.
    pub limits: SpendingLimits,
    /// When it ends as `timed_out`, whatever it does then.
    pub deadline: Option<DateTime<Utc>>,
    /// What becomes of a node whose next call the limits do not allow.
    pub on_exhausted: OnExhausted,
}

impl Default for RunBudget {
    fn default() -> Self {
        let on_exhausted = OnExhausted::Suspend;
        Self { limits: SpendingLimits::default(), deadline: None, on_exhausted }
    }
}

words!(
    /// Whose budget it is, and for how long.
    "budget" BudgetPeriod {
        /// That of a run, for as long as it takes.
        Run = "run",
        /// That of an organization, for a day in UTC.
        Day = "day",
        /// That of an organization, for a month in UTC.
        Month = "month",
    }
);

words!(
    /// What a budget limits.
    "resource" Resource {
        /// Money.
        Usd = "usd",
        /// Tokens.
        Tokens = "tokens",
        /// Steps.
        Steps = "steps",
    }
);

/// Why a call may not be made: a budget would be exceeded even if no other call were under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// Whose budget.
    pub period: BudgetPeriod,
    /// What of it.
    pub resource: Resource,
    /// How much there is in all: nano-dollars, tokens or steps.
    pub limit: u64,
    /// How much of it is spent.
    pub spent: u64,
    /// How much the call may take at most.
    pub needed: u64,
    /// When the budget begins anew by itself.
    pub renews_at: Option<DateTime<Utc>>,
}
