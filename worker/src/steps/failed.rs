//! Why a call to a model yielded no answer, to the node that made it.

use std::time::Duration;

use skein_shared::domain::failure::Failure;

use crate::journal::JournalError;
use crate::models::{CallError, ErrorClass};

/// Why a node has no answer of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallFailed {
    /// What users see.
    pub(crate) failure: Failure,
    /// Whether another attempt of the node may help.
    pub(crate) retryable: bool,
    /// Whether another model may answer.
    pub(crate) is_worth_another: bool,
    /// How long the provider asked to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Whether that was recorded by an earlier attempt, and not found out by this one.
    pub(crate) is_replayed: bool,
}

impl CallFailed {
    /// Neither another attempt nor another model helps.
    pub(crate) fn fail(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(code, message),
            retryable: false,
            is_worth_another: false,
            retry_after: None,
            is_replayed: false,
        }
    }

    /// What an error of a provider means.
    pub(super) fn of(error: &CallError) -> Self {
        let failure = Failure::new(error.code, error.message.clone());
        let failure = failure.with_details(error.details.as_deref());
        Self { retry_after: error.retry_after, ..Self::by_class(failure, error.class) }
    }

    /// What an error of this class means.
    pub(super) fn by_class(failure: Failure, class: ErrorClass) -> Self {
        let (retryable, is_worth_another) = match class {
            ErrorClass::RateLimited
            | ErrorClass::Unavailable
            | ErrorClass::Cut
            | ErrorClass::Timeout => (true, true),
            // The request is not at fault.
            ErrorClass::Refused => {
                (false, matches!(&*failure.code, "provider_auth" | "provider_quota"))
            }
            ErrorClass::Cancelled => (true, false),
        };
        Self { failure, retryable, is_worth_another, retry_after: None, is_replayed: false }
    }
}

impl From<JournalError> for CallFailed {
    fn from(error: JournalError) -> Self {
        Self { retryable: true, ..Self::fail("journal", error.to_string()) }
    }
}
