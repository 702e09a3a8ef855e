//! Which providers there are: settings, checked, from wherever they came.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;

use super::base_url::{self, MalformedBase};
use super::key::ProviderKey;

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

    /// What the OpenTelemetry conventions call the company.
    pub(super) fn semconv_name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Google => "gcp.gemini",
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

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// What workflows call it.
    pub name: Arc<str>,
    /// How it is spoken to.
    pub wire: WireFormat,
    /// Where its API begins: scheme, host, path with the version, and a slash. Holds no credentials and no query.
    pub base: Url,
    /// Its key; a server of one's own may need none.
    pub key: Option<ProviderKey>,
    /// Requests a minute that the key has.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute that the key has.
    pub tokens_per_minute: Option<u64>,
    /// Whether a script answers in its place.
    pub is_mock: bool,
}

impl ProviderSettings {
    /// A provider at `url`, with or without slash and version at its end, without key and rates.
    ///
    /// # Errors
    /// When the URL cannot be one of a provider.
    pub fn at(name: &str, wire: WireFormat, url: &str) -> Result<Self, MalformedBase> {
        Ok(Self {
            name: name.into(),
            wire,
            base: base_url::parse(wire, url)?,
            key: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            is_mock: false,
        })
    }
}

/// All providers, by name; none twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSettings {
    /// The providers.
    pub providers: Vec<ProviderSettings>,
}

impl ModelSettings {
    /// These providers and one of each wire format, all played by the same server, which needs no key and has no rates.
    #[must_use]
    pub fn mocked(self, server: SocketAddr) -> Self {
        let own = WireFormat::ALL.into_iter().map(|wire| (Arc::from(wire.as_str()), wire));
        let named = self.providers.into_iter().map(|provider| (provider.name, provider.wire));
        let mut providers: Vec<ProviderSettings> = Vec::new();
        for (name, wire) in named.chain(own) {
            if providers.iter().all(|other| other.name != name)
                && let Ok(provider) = ProviderSettings::at(&name, wire, &format!("http://{server}"))
            {
                providers.push(ProviderSettings { is_mock: true, ..provider });
            }
        }
        Self { providers }
    }
}
