//! Tokens that calls to models took.

/// Tokens of one call, as its provider counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// Tokens of the input, those of the cache included.
    pub input_tokens: u64,
    /// Those of the input that were read from the provider's cache.
    pub cached_tokens: u64,
    /// Those of the input that were written into it.
    pub cache_write_tokens: u64,
    /// Tokens of the output, those of reasoning included.
    pub output_tokens: u64,
}

impl Usage {
    /// Input and output together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
        }
    }
}
