//! All providers of a worker, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::provider::Provider;

/// All providers of a worker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Providers(Arc<BTreeMap<Arc<str>, Provider>>);

/// There is no such provider. The message says what would make one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProvider {
    /// None at all is set up.
    #[error(
        "this worker has no model provider: set OPENAI_API_KEY (or OPENAI_BASE_URL, for a compatible server), \
         ANTHROPIC_API_KEY or GEMINI_API_KEY, or list providers in the file of SKEIN_MODEL_PROVIDERS"
    )]
    NoneAtAll,
    /// None of that name.
    #[error("this worker has no model provider `{name}`, only {known}: {remedy}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
        /// What would make one.
        remedy: &'static str,
    },
}
