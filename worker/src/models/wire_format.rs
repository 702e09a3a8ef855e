//! How providers are spoken to.

use std::fmt;
use std::str::FromStr;

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireFormat {
    /// Chat Completions, as OpenAI and many others speak it: Ollama, vLLM, llama.cpp, gateways.
    OpenAi,
    /// Messages, as Anthropic speaks it.
    Anthropic,
    /// `generateContent`, as Google's Gemini API speaks it.
    Google,
}

impl WireFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Google];

    /// The word in files, and the name of the provider that the environment alone sets up.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Google => "google",
        }
    }
}

impl fmt::Display for WireFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`WireFormat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a wire format: openai, anthropic or google")]
pub struct UnknownWireFormat;

impl FromStr for WireFormat {
    type Err = UnknownWireFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|wire| wire.as_str() == text).ok_or(UnknownWireFormat)
    }
}
