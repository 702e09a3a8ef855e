//! What a model has answered.

use std::sync::Arc;

use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::usage::Usage;

use crate::models::ToolCall;

/// What a model has answered, now or to an earlier attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Its text.
    pub(crate) text: String,
    /// The tools that it wants to have called.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub(crate) finish_reason: String,
    /// The model that answered.
    pub(crate) model: String,
    /// Who was asked, as outputs show it.
    pub(crate) provider: Arc<str>,
    /// Tokens, where the provider counted them.
    pub(crate) usage: Option<Usage>,
    /// What it cost; absent where the model has no price.
    pub(crate) cost: Option<NanoDollars>,
}
