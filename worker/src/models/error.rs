//! Why a call to a model yielded no answer.

use std::fmt;
use std::time::Duration;

use skein_shared::domain::usage::Usage;

/// Why a call yielded no answer. Carries no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// A stable word: `rate_limited`, `overloaded`, `provider_unavailable`, `provider_refused`, `provider_auth`,
    /// `provider_error`, `redirected`, `connect`, `dns`, `certificate`, `interrupted`, `malformed_answer`,
    /// `answer_too_large`, `first_token_timeout`, `timeout`, `invalid_request` or `cancelled`.
    pub code: &'static str,
    /// What went wrong, and what would be right where that is known. Names the provider's host and port.
    pub message: String,
    /// What the provider has said of it, on one line; it may repeat the prompt. MUST NOT be logged or exported.
    pub details: Option<Box<str>>,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// How long the provider asked to be left alone, however long that is.
    pub retry_after: Option<Duration>,
    /// What it means for whoever called.
    pub class: ErrorClass,
    /// Whether it may cost something.
    pub billing: Billing,
    /// What the provider had counted until it broke off; rarely all that it will bill.
    pub usage: Option<Usage>,
}

/// What an error means for whoever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Too many requests or tokens (429), or too much load (529): later is better, and no fault of the request.
    RateLimited,
    /// The provider did not answer (no connection, 5xx, 408): another one may.
    Unavailable,
    /// The provider will not answer this request (other 4xx, a redirect): the same again is pointless.
    Refused,
    /// The answer broke off, is too large, or is none.
    Cut,
    /// No first token, or no end, in time.
    Timeout,
    /// Whoever called does not want the answer any more.
    Cancelled,
}

/// Whether a failed call may cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Billing {
    /// It was refused before anybody worked on it: 4xx and 529, a redirect, or no connection was made.
    Nothing,
    /// It may be billed, up to the most that it could cost.
    Unknown,
}

impl ErrorClass {
    /// The word for logs and spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CallError {
    /// An error without a status, which may have cost something.
    pub(super) fn new(code: &'static str, class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            status: None,
            retry_after: None,
            class,
            billing: Billing::Unknown,
            usage: None,
        }
    }

    /// What came is no answer.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new("malformed_answer", ErrorClass::Cut, message)
    }

    /// More came than is taken.
    pub(super) fn too_large(part: &str, limit: usize) -> Self {
        let message = format!("the {part} of the model's answer is larger than {limit} bytes");
        Self::new("answer_too_large", ErrorClass::Cut, message)
    }

    /// The same error of a call that was refused before anybody worked on it.
    pub(super) fn unbilled(self) -> Self {
        Self { billing: Billing::Nothing, ..self }
    }
}
