//! What models cost.
//!
//! A table of the models of OpenAI, Anthropic and Google is part of the program: `prices.json` beside this file says where
//! it is from. A file of the operator's adds to it and wins over it. What stands in neither has no price, and nobody
//! knows what it costs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use clap::Args;
use skein_shared::config::ConfigError;
use skein_shared::domain::money::Price;

mod file;
#[cfg(test)]
mod tests;

/// The variable that names the file.
const FILE_VARIABLE: &str = "SKEIN_MODEL_PRICES";

/// The prices of models.
#[derive(Debug, Clone, Default, Args)]
pub struct PriceArgs {
    /// A file of prices, in YAML or JSON, that wins over those that are part of the program: `{provider: {model: {input,
    /// output, cache_read?, cache_write?}}}`, in US dollars for a million tokens; `{provider: openai}` gives a provider
    /// of another name the prices of OpenAI.
    #[arg(long, env = FILE_VARIABLE, value_name = "FILE")]
    pub model_prices: Option<PathBuf>,
}

impl PriceArgs {
    /// The prices.
    ///
    /// # Errors
    /// When the file cannot be read or is malformed.
    pub fn prices(&self) -> Result<Prices, ConfigError> {
        match self.model_prices.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => Ok(Prices::default()),
            Some(path) => file::read(path, &Prices::default())
                .map_err(|problem| ConfigError::new(FILE_VARIABLE, problem)),
        }
    }
}

/// What models cost, by provider and model. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prices(Arc<BTreeMap<String, Table>>);

/// The prices of a provider's models.
#[derive(Debug, Clone, Default)]
struct Table {
    models: HashMap<String, ModelPrice>,
    /// By the names without the dates at their ends. None where those of several dates have several prices.
    undated: HashMap<String, Option<ModelPrice>>,
}

/// What a model costs, which may depend on how much it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelPrice {
    price: Price,
    /// What it costs when the input has more tokens than so many.
    above: Option<(u64, Price)>,
}

impl ModelPrice {
    /// What a call costs whose input has so many tokens by its provider's count.
    #[must_use]
    pub fn at(&self, input_tokens: u64) -> Price {
        match self.above {
            Some((tokens, price)) if input_tokens > tokens => price,
            _ => self.price,
        }
    }

    /// What a call costs at most that has no more tokens than these: nobody counts tokens before it is made, so that the
    /// price of long inputs counts as soon as it may be one.
    #[must_use]
    pub fn at_most(&self, input_tokens: u64, output_tokens: u64) -> Price {
        let most = |price: &Price| price.at_most(input_tokens, output_tokens);
        std::cmp::max_by_key(self.price, self.at(input_tokens), most)
    }
}

impl Default for Prices {
    /// Those that are part of the program.
    fn default() -> Self {
        static BUILT_IN: LazyLock<Prices> =
            LazyLock::new(|| Prices(Arc::new(file::built_in(include_str!("prices.json")))));
        BUILT_IN.clone()
    }
}

impl Prices {
    /// What a model costs.
    #[must_use]
    pub fn of(&self, provider: &str, model: &str) -> Option<ModelPrice> {
        self.0.get(provider)?.find(model)
    }
}

impl Table {
    fn insert(&mut self, model: String, price: ModelPrice) {
        if let Some(undated) = undated(&model) {
            let known = self.undated.entry(undated.to_owned()).or_insert(Some(price));
            if known.is_some_and(|known| known != price) {
                *known = None;
            }
        }
        self.models.insert(model, price);
    }

    /// By the very name, or by the name without a date, on either side, if that is clear.
    fn find(&self, model: &str) -> Option<ModelPrice> {
        let known = self.models.get(model).copied();
        let known = known.or_else(|| self.models.get(undated(model)?).copied());
        known.or_else(|| *self.undated.get(model)?)
    }
}

/// The name without a date at its end: `-2024-07-18` or `-20240718`.
fn undated(model: &str) -> Option<&str> {
    let is_date = |text: &str, parts: &[usize]| {
        let mut found = text.split('-');
        let is_part = |length: &usize| {
            found.next().is_some_and(|part| {
                part.len() == *length && part.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        parts.iter().all(is_part)
    };
    [("-yyyy-mm-dd".len(), &[4, 2, 2][..]), ("-yyyymmdd".len(), &[8][..])].into_iter().find_map(
        |(length, parts)| {
            let at = model.len().checked_sub(length).filter(|at| *at > 0)?;
            let date = model.get(at..)?.strip_prefix('-')?;
            is_date(date, parts).then(|| &model[..at])
        },
    )
}
