//! Which providers there are: settings, checked, from wherever they came.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::Url;

use super::base_url::{self, MalformedBase};
use super::key::ProviderKey;
use super::wire_format::WireFormat;

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
