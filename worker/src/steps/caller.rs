//! What all calls of a worker to models share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::failed::CallFailed;
use crate::models::prices::Prices;
use crate::models::{Provider, Providers};

/// Calls models. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ModelCaller {
    providers: Arc<BTreeMap<Arc<str>, Provider>>,
    /// The same as they were set up, which knows what would make another one.
    setup: Providers,
    pub(super) prices: Prices,
    /// Whether spans carry what is asked and answered.
    pub(super) exports_content: bool,
}

impl ModelCaller {
    /// Calls these providers at these prices. With `exports_content`, spans carry what is asked and answered.
    #[must_use]
    pub fn new(setup: Providers, prices: Prices, exports_content: bool) -> Self {
        let providers = Self::by_name(setup.iter().cloned());
        Self { providers, setup, prices, exports_content }
    }

    fn by_name(providers: impl Iterator<Item = Provider>) -> Arc<BTreeMap<Arc<str>, Provider>> {
        Arc::new(providers.map(|provider| (Arc::clone(&provider.name), provider)).collect())
    }

    /// Calls providers that a test has made.
    #[cfg(test)]
    pub(crate) fn of(providers: impl IntoIterator<Item = Provider>) -> Self {
        Self { providers: Self::by_name(providers.into_iter()), ..Self::default() }
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
        let no_provider = |message| CallFailed::fail("no_provider", message);
        let only = self.providers.values().next().filter(|_| self.providers.len() == 1);
        match (name, only) {
            (None, Some(only)) => Ok(only),
            (None, None) if !self.providers.is_empty() => {
                let names: Vec<_> = self.providers.keys().map(|name| format!("`{name}`")).collect();
                let names = names.join(", ");
                Err(no_provider(format!(
                    "this worker has the model providers {names}: name one as `provider`"
                )))
            }
            (name, _) => {
                let name = name.unwrap_or_default();
                let known = self.providers.get(name).ok_or(());
                known
                    .or_else(|()| self.setup.get(name))
                    .map_err(|error| no_provider(error.to_string()))
            }
        }
    }
}
