//! What runs and organizations may spend on calls to models.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};

use serde_json::{Value, json};

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
    #[derive(Default)]
    "way to go on" OnExhausted {
        /// It waits, and its run is suspended, until the budget is raised or begins anew.
        #[default]
        Suspend = "suspend",
        /// It fails with the code `budget_exhausted`.
        Fail = "fail",
    }
);

/// The budget of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunBudget {
    /// What it may spend.
    pub limits: SpendingLimits,
    /// When it ends as `timed_out`, whatever it does then.
    pub deadline: Option<DateTime<Utc>>,
    /// What becomes of a node whose next call the limits do not allow.
    pub on_exhausted: OnExhausted,
}

/// What becomes of a limit that somebody may name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitChange<T> {
    /// It stays as it is, whatever it is by then.
    #[default]
    Keep,
    /// It is this one from now on.
    Set(T),
    /// There is none any more.
    Lift,
}

impl<T> LimitChange<T> {
    /// The limit that is named; nothing where it stays or there is none any more.
    #[must_use]
    pub fn set(self) -> Option<T> {
        match self {
            Self::Set(limit) => Some(limit),
            Self::Keep | Self::Lift => None,
        }
    }

    /// Whether it is another one from now on.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !matches!(self, Self::Keep)
    }
}

/// What of a run's budget is to be another from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetChange {
    /// What calls to models may cost.
    pub max_usd: LimitChange<NanoDollars>,
    /// Tokens of their inputs and outputs.
    pub max_tokens: LimitChange<u64>,
    /// Steps.
    pub max_steps: LimitChange<u64>,
    /// When the run ends as `timed_out`.
    pub deadline: LimitChange<DateTime<Utc>>,
    /// What becomes of a node whose next call the limits do not allow. Absent: what became of it before.
    pub on_exhausted: Option<OnExhausted>,
}

/// The budget of a run that is to be accepted. When its deadline is, the store reckons by its own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewBudget {
    /// What it may spend.
    pub limits: SpendingLimits,
    /// How long it may take from its acceptance on.
    pub deadline_in: Option<Duration>,
    /// Until when it may take; the earlier one holds.
    pub deadline_at: Option<DateTime<Utc>>,
    /// What becomes of a node whose next call the limits do not allow.
    pub on_exhausted: OnExhausted,
}

impl NewBudget {
    /// The budget of a run that was accepted at this time.
    #[must_use]
    pub fn of_run_accepted_at(&self, time: DateTime<Utc>) -> RunBudget {
        let within = self.deadline_in.and_then(|within| TimeDelta::from_std(within).ok());
        let within = within.and_then(|within| time.checked_add_signed(within));
        RunBudget {
            limits: self.limits,
            deadline: within.into_iter().chain(self.deadline_at).min(),
            on_exhausted: self.on_exhausted,
        }
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

impl Exhausted {
    /// It as users see it, as JSON: amounts of money in dollars.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let amount = |amount: u64| match self.resource {
            Resource::Usd => json!(NanoDollars::of(amount).to_dollars()),
            Resource::Tokens | Resource::Steps => json!(amount),
        };
        json!({
            "period": self.period.as_str(),
            "resource": self.resource.as_str(),
            "limit": amount(self.limit),
            "spent": amount(self.spent),
            "needed": amount(self.needed),
            "renews_at": self.renews_at,
        })
    }
}

/// So much of everything that a budget limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Nano-dollars.
    pub nanos: u64,
    /// Tokens.
    pub tokens: u64,
    /// Steps.
    pub steps: u64,
}

/// What a step may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Nano-dollars; absent if nobody knows, because the model has no price.
    pub nanos: Option<u64>,
    /// Tokens.
    pub tokens: u64,
    /// Steps: one, or none if an earlier try of the step was counted.
    pub steps: u64,
}

/// A budget as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub period: BudgetPeriod,
    /// How much there is in all.
    pub limits: SpendingLimits,
    /// How much is spent.
    pub spent: Amounts,
    /// How much others have reserved, or will have if they are served before.
    pub reserved: Amounts,
    /// When it begins anew by itself.
    pub renews_at: Option<DateTime<Utc>>,
}

/// Whether a step may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every budget has room for it.
    Granted,
    /// Every budget would, but for what others have reserved.
    Contended,
    /// A budget has no room for it whatever becomes of those.
    Exhausted(Exhausted),
    /// Money is limited, and nobody knows what it costs.
    PriceUnknown,
}

impl Standing {
    /// What of the budget the wish is for, and how much there is, is spent, is reserved and is wished for. Without what
    /// is not limited.
    fn parts(&self, wish: &Wish) -> impl Iterator<Item = (Resource, u64, u64, u64, u64)> {
        let Self { limits, spent, reserved, .. } = *self;
        let max_nanos = limits.max_usd.map(|limit| u64::try_from(limit.0).unwrap_or_default());
        let needed = wish.nanos.unwrap_or_default();
        let parts = [
            (Resource::Usd, max_nanos, spent.nanos, reserved.nanos, needed),
            (Resource::Tokens, limits.max_tokens, spent.tokens, reserved.tokens, wish.tokens),
            (Resource::Steps, limits.max_steps, spent.steps, reserved.steps, wish.steps),
        ];
        parts.into_iter().filter_map(|(resource, limit, spent, reserved, needed)| {
            Some((resource, limit?, spent, reserved, needed))
        })
    }
}

/// Judges a wish by all budgets that hold for it. Of several that are exhausted, the answer names the one that would be
/// exceeded by the largest part of itself.
///
/// What takes nothing of a resource is stopped by no limit of it, even if more than that is spent: the cost of a call may
/// turn out larger than what was reserved for it.
#[must_use]
pub fn judge(wish: &Wish, standings: &[Standing]) -> Verdict {
    if wish.nanos.is_none() && standings.iter().any(|budget| budget.limits.max_usd.is_some()) {
        return Verdict::PriceUnknown;
    }
    let mut worst: Option<Exhausted> = None;
    let mut is_contended = false;
    for budget in standings {
        for (resource, limit, spent, reserved, needed) in budget.parts(wish) {
            let alone = spent.saturating_add(needed);
            if needed == 0 || alone.saturating_add(reserved) <= limit {
                continue;
            }
            if alone <= limit {
                is_contended = true;
                continue;
            }
            let (period, renews_at) = (budget.period, budget.renews_at);
            let found = Exhausted { period, resource, limit, spent, needed, renews_at };
            if worst.is_none_or(|worst| exceeds_by_more(&found, &worst)) {
                worst = Some(found);
            }
        }
    }
    match worst {
        Some(exhausted) => Verdict::Exhausted(exhausted),
        None if is_contended => Verdict::Contended,
        None => Verdict::Granted,
    }
}

/// Whether the first is exceeded by a larger part of itself.
fn exceeds_by_more(one: &Exhausted, other: &Exhausted) -> bool {
    let sum = |of: &Exhausted| u128::from(of.spent) + u128::from(of.needed);
    let (one_limit, other_limit) = (u128::from(one.limit), u128::from(other.limit));
    sum(one).saturating_mul(other_limit) > sum(other).saturating_mul(one_limit)
}

/// What of a budget so many percent are spent of, if there is something: how much there is, and how much is spent.
#[must_use]
pub fn spent_to(
    limits: &SpendingLimits,
    spent: &Amounts,
    percent: u64,
) -> Option<(Resource, u64, u64)> {
    let (limits, spent) = (*limits, *spent);
    let nothing = Amounts::default();
    let budget =
        Standing { period: BudgetPeriod::Run, limits, spent, reserved: nothing, renews_at: None };
    let wish = Wish { nanos: Some(0), tokens: 0, steps: 0 };
    let reached = budget.parts(&wish).find(|(_, limit, spent, ..)| {
        *spent > 0 && u128::from(*spent) * 100 >= u128::from(*limit) * u128::from(percent)
    });
    reached.map(|(resource, limit, spent, ..)| (resource, limit, spent))
}

impl BudgetPeriod {
    /// When the one that holds at `now` is over. Absent where no time ends it.
    #[must_use]
    pub fn renews_at(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let day = now.date_naive();
        let next = match self {
            Self::Run => None,
            Self::Day => day.succ_opt(),
            Self::Month if day.month() == 12 => NaiveDate::from_ymd_opt(day.year() + 1, 1, 1),
            Self::Month => NaiveDate::from_ymd_opt(day.year(), day.month() + 1, 1),
        };
        next.map(|day| day.and_time(NaiveTime::MIN).and_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max: (Option<i64>, Option<u64>, Option<u64>)) -> SpendingLimits {
        let (usd, max_tokens, max_steps) = max;
        SpendingLimits { max_usd: usd.map(NanoDollars), max_tokens, max_steps }
    }

    fn budget(period: BudgetPeriod, max_tokens: u64, spent: u64, reserved: u64) -> Standing {
        let amounts = |tokens| Amounts { tokens, ..Amounts::default() };
        let limits = limits((None, Some(max_tokens), None));
        Standing {
            period,
            limits,
            spent: amounts(spent),
            reserved: amounts(reserved),
            renews_at: None,
        }
    }

    const TEN_TOKENS: Wish = Wish { nanos: Some(0), tokens: 10, steps: 0 };

    #[test]
    fn a_wish_is_granted_as_long_as_it_fits_beside_all_others() {
        let verdict = |spent, reserved| {
            judge(&TEN_TOKENS, &[budget(BudgetPeriod::Run, 100, spent, reserved)])
        };
        assert_eq!(verdict(0, 0), Verdict::Granted);
        assert_eq!(verdict(50, 40), Verdict::Granted);
        assert_eq!(verdict(50, 41), Verdict::Contended);
        assert_eq!(verdict(90, u64::MAX), Verdict::Contended);
        let exhausted = Exhausted {
            period: BudgetPeriod::Run,
            resource: Resource::Tokens,
            limit: 100,
            spent: 91,
            needed: 10,
            renews_at: None,
        };
        assert_eq!(verdict(91, 0), Verdict::Exhausted(exhausted));
        assert_eq!(judge(&TEN_TOKENS, &[]), Verdict::Granted);
    }

    #[test]
    fn the_budget_that_is_exceeded_most_is_named() {
        let budgets = [
            budget(BudgetPeriod::Run, 1_000, 1_000, 0),
            budget(BudgetPeriod::Day, 5, 0, 0),
            budget(BudgetPeriod::Month, 100, 0, 1_000),
        ];
        let Verdict::Exhausted(exhausted) = judge(&TEN_TOKENS, &budgets) else { panic!() };
        assert_eq!(exhausted.period, BudgetPeriod::Day);
        let nothing = budget(BudgetPeriod::Month, 0, 0, 0);
        let Verdict::Exhausted(exhausted) = judge(&TEN_TOKENS, &[budgets[1], nothing]) else {
            panic!()
        };
        assert_eq!(exhausted.period, BudgetPeriod::Month);
    }

    #[test]
    fn a_call_without_a_price_is_stopped_by_a_limit_of_money_only() {
        let wish = Wish { nanos: None, ..TEN_TOKENS };
        let mut budget = budget(BudgetPeriod::Run, 100, 0, 0);
        assert_eq!(judge(&wish, &[budget]), Verdict::Granted);
        budget.limits.max_usd = Some(NanoDollars(i64::MAX));
        assert_eq!(judge(&wish, &[budget]), Verdict::PriceUnknown);
    }

    #[test]
    fn what_takes_nothing_of_a_resource_is_not_stopped_by_it() {
        let budget = budget(BudgetPeriod::Run, 100, 150, 0);
        let step = Wish { nanos: Some(0), tokens: 0, steps: 1 };
        assert_eq!(judge(&step, &[budget]), Verdict::Granted);
    }

    #[test]
    fn a_budget_is_warned_of_at_four_fifths() {
        let spent = |nanos| Amounts { nanos, tokens: 0, steps: 0 };
        let limit = limits((Some(10), Some(1), None));
        assert_eq!(spent_to(&limit, &spent(7), 80), None);
        assert_eq!(spent_to(&limit, &spent(8), 80), Some((Resource::Usd, 10, 8)));
        let nothing = limits((Some(0), None, None));
        assert_eq!(spent_to(&nothing, &spent(0), 80), None, "nothing is spent");
        assert_eq!(spent_to(&nothing, &spent(1), 80), Some((Resource::Usd, 0, 1)));
    }

    #[test]
    fn days_and_months_end_in_utc() {
        let renews = |period: BudgetPeriod, now: &str| {
            period.renews_at(now.parse().unwrap()).map(|at| at.to_rfc3339())
        };
        let new_year = Some("2027-01-01T00:00:00+00:00".to_owned());
        assert_eq!(renews(BudgetPeriod::Day, "2026-12-31T23:59:59Z"), new_year);
        assert_eq!(renews(BudgetPeriod::Month, "2026-12-01T00:00:00Z"), new_year);
        assert_eq!(
            renews(BudgetPeriod::Month, "2026-11-30T10:00:00Z"),
            Some("2026-12-01T00:00:00+00:00".to_owned())
        );
        assert_eq!(renews(BudgetPeriod::Run, "2026-11-30T10:00:00Z"), None);
    }
}
