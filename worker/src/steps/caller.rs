//! What all calls of a worker to models share.

use super::failed::CallFailed;
use crate::models::prices::Prices;
use crate::models::{Provider, Providers};

/// Calls models. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ModelCaller {
    pub(super) providers: Providers,
    pub(super) prices: Prices,
    /// Whether spans carry what is asked and answered.
    pub(super) exports_content: bool,
}

impl ModelCaller {
    /// Calls these providers at these prices. With `exports_content`, spans carry what is asked and answered.
    #[must_use]
    pub fn new(providers: Providers, prices: Prices, exports_content: bool) -> Self {
        Self { providers, prices, exports_content }
    }

    /// Whether spans carry what is asked and answered.
    #[must_use]
    pub fn exports_content(&self) -> bool {
        self.exports_content
    }

    /// The provider of that name, or the only one if none is named.
    ///
    /// # Errors
    /// `no_provider`, with what would make one.
    pub(crate) fn provider(&self, name: Option<&str>) -> Result<&Provider, CallFailed> {
        let mut all = self.providers.iter();
        let found = match (name, all.next(), all.next()) {
            (None, Some(only), None) => Ok(only),
            (None, Some(_), Some(_)) => {
                let names: Vec<_> =
                    self.providers.iter().map(|provider| format!("`{}`", provider.name)).collect();
                let names = names.join(", ");
                let message = format!("this worker has the model providers {names}: name one as `provider`");
                return Err(CallFailed::fail("no_provider", message));
            }
            (name, ..) => self.providers.get(name.unwrap_or_default()),
        };
        found.map_err(|error| CallFailed::fail("no_provider", error.to_string()))
    }
}
