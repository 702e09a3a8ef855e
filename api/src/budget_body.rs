//! What may be spent.

use utoipa::ToSchema;

/// What a run may spend at most on calls to models, and until when. What is absent is not limited.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "documents what `BudgetTerms` reads")]
pub(crate) struct Budget {
    /// US dollars. With such a limit, a model that has no price is refused.
    #[schema(required = false, minimum = 0, maximum = 1_000_000)]
    max_usd: Option<f64>,
    /// Tokens of inputs and outputs.
    #[schema(required = false, minimum = 0)]
    max_tokens: Option<u64>,
    /// Calls to models and tools.
    #[schema(required = false, minimum = 0)]
    max_steps: Option<u64>,
    /// When the run ends as `timed_out`: how long after its acceptance, like `2h`, or a time in RFC 3339.
    #[schema(required = false)]
    deadline: Option<String>,
    /// What becomes of a node whose next call the limits do not allow: `suspend` (it waits until they are raised) or
    /// `fail`.
    #[schema(required = false, default = "suspend")]
    on_exhausted: Option<String>,
}
