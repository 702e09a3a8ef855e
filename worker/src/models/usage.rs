//! Tokens that a call took.

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
