//! The circumstances of one call.

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::egress::Origin;

/// The circumstances of one call.
pub struct Call<'a> {
    /// For whom: the span that the request belongs to (`llm.generate`), and the run and node of it. The request gets a
    /// span of its own below it, whose context it carries as `traceparent`, with the run's `tracestate`.
    pub origin: &'a Origin,
    /// The same for every repetition of this call. Sent as `Idempotency-Key`; providers may ignore it.
    pub idempotency_key: &'a str,
    /// The longest wait for the first token, from the start of the call.
    pub first_token_timeout: Duration,
    /// The longest time for all of it.
    pub timeout: Duration,
    /// Takes pieces of the answer's text as they come. MUST NOT block. Joined they are [`super::ChatReply::text`].
    pub deltas: Option<&'a (dyn Fn(&str) + Send + Sync)>,
    /// Ends the call.
    pub cancelled: &'a CancellationToken,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("idempotency_key", &self.idempotency_key)
            .field("first_token_timeout", &self.first_token_timeout)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
