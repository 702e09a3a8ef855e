//! All providers of a worker, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::{Client, Url};
use skein_shared::telemetry::semconv;

use super::ChatModel;
use super::anthropic::Anthropic;
use super::google::Google;
use super::openai::OpenAi;
use super::provider::Provider;
use super::settings::{ModelSettings, ProviderSettings};
use super::wire::{self, Remote};
use super::wire_format::WireFormat;
use crate::egress::{Observer, SetupFailed};

/// What a provider is called in outputs and spans when a script answers in its place.
const MOCK: &str = "mock";

/// Companies by their hosts, in the words of the OpenTelemetry conventions (`gen_ai.provider.name`). A name that begins
/// with a dot stands for all hosts below it.
const COMPANIES: &[(&str, &str)] = &[
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("-aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".amazonaws.com", "aws.bedrock"),
    ("api.cohere.ai", "cohere"),
    ("api.cohere.com", "cohere"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    (".cloud.ibm.com", "ibm.watsonx.ai"),
];

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

impl Providers {
    /// Sets the providers up; `observer` watches their requests. Nothing is sent.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        settings: &ModelSettings,
        observer: &Arc<dyn Observer>,
    ) -> Result<Self, SetupFailed> {
        let client = wire::client()?;
        let provider = |of: &ProviderSettings| (Arc::clone(&of.name), open(of, &client, observer));
        Ok(Self(Arc::new(settings.providers.iter().map(provider).collect())))
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Provider, NoProvider> {
        self.0.get(name).ok_or_else(|| {
            if self.0.is_empty() {
                return NoProvider::NoneAtAll;
            }
            let known: Vec<_> =
                self.iter().map(|provider| format!("`{}`", provider.name)).collect();
            let remedy = match name.parse() {
                Ok(WireFormat::OpenAi) => "set OPENAI_API_KEY or OPENAI_BASE_URL",
                Ok(WireFormat::Anthropic) => "set ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL",
                Ok(WireFormat::Google) => "set GEMINI_API_KEY or GEMINI_BASE_URL",
                Err(_) => "list it in the file of SKEIN_MODEL_PROVIDERS",
            };
            NoProvider::Unknown { name: name.to_owned(), known: known.join(", "), remedy }
        })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.values()
    }
}

fn open(of: &ProviderSettings, client: &Client, observer: &Arc<dyn Observer>) -> Provider {
    let key = of.key.as_ref();
    let model: Arc<dyn ChatModel> = match of.wire {
        WireFormat::OpenAi => {
            let company = company(&of.base);
            let is_official = matches!(company, Some("openai" | "azure.ai.openai"));
            Arc::new(Remote::new(OpenAi { is_official }, client, &of.base, key, observer))
        }
        WireFormat::Anthropic => Arc::new(Remote::new(Anthropic, client, &of.base, key, observer)),
        WireFormat::Google => Arc::new(Remote::new(Google, client, &of.base, key, observer)),
    };
    let host = of.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    Provider {
        name: Arc::clone(&of.name),
        shown: if of.is_mock { MOCK.into() } else { Arc::clone(&of.name) },
        wire: of.wire,
        model,
        semconv_name: semconv_name(of),
        server_address: host.into(),
        server_port: of.base.port_or_known_default().unwrap_or_default(),
        requests_per_minute: of.requests_per_minute,
        tokens_per_minute: of.tokens_per_minute,
    }
}

fn semconv_name(of: &ProviderSettings) -> Arc<str> {
    if of.is_mock {
        return MOCK.into();
    }
    // Otherwise it is a compatible server or a proxy, of which nothing else is known.
    company(&of.base).unwrap_or_else(|| semconv::provider_name(&of.name)).into()
}

fn company(base: &Url) -> Option<&'static str> {
    let host = base.host_str()?;
    let is_it = |pattern: &str| match pattern.starts_with(['.', '-']) {
        true => host.ends_with(pattern),
        false => host == pattern,
    };
    COMPANIES.iter().find(|(pattern, _)| is_it(pattern)).map(|(_, company)| *company)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::Unobserved;

    fn providers(all: &[(&str, WireFormat, &str)]) -> Providers {
        let of = |(name, wire, url): &(&str, WireFormat, &str)| {
            ProviderSettings::at(name, *wire, url).unwrap()
        };
        let settings = ModelSettings { providers: all.iter().map(of).collect() };
        Providers::new(&settings, &(Arc::new(Unobserved) as _)).unwrap()
    }

    #[test]
    fn a_missing_provider_is_reported_with_what_would_make_it() {
        let none = providers(&[]).get("openai").unwrap_err();
        assert_eq!(none, NoProvider::NoneAtAll);
        assert!(none.to_string().contains("OPENAI_API_KEY"));
        let some = providers(&[
            ("openai", WireFormat::OpenAi, "http://localhost:1"),
            ("a", WireFormat::Google, "http://b"),
        ]);
        assert!(some.get("openai").is_ok());
        let expected = "this worker has no model provider `google`, only `a`, `openai`: set GEMINI_API_KEY or GEMINI_BASE_URL";
        assert_eq!(some.get("google").unwrap_err().to_string(), expected);
        assert!(some.get("groq").unwrap_err().to_string().contains("SKEIN_MODEL_PROVIDERS"));
    }

    #[test]
    fn providers_are_named_by_the_conventions_words_for_their_hosts() {
        use WireFormat::{Anthropic, Google, OpenAi};
        let all = [
            ("openai", OpenAi, "https://api.openai.com", "openai"),
            ("openai", OpenAi, "http://localhost:11434", "openai"),
            ("google", Google, "https://proxy.example", "gcp.gemini"),
            ("fast", OpenAi, "https://api.groq.com/openai/v1", "groq"),
            ("az", OpenAi, "https://me.openai.azure.com/openai/v1", "azure.ai.openai"),
            ("ollama", OpenAi, "http://[::1]:11434", "ollama"),
            ("claude", Anthropic, "https://api.anthropic.com", "anthropic"),
        ];
        for (name, wire, url, expected) in all {
            let providers = providers(&[(name, wire, url)]);
            let provider = providers.get(name).unwrap();
            assert_eq!((&*provider.semconv_name, &*provider.shown), (expected, name), "{url}");
        }
        let ollama = providers(&[("ollama", OpenAi, "http://[::1]:11434")]);
        let ollama = ollama.get("ollama").unwrap();
        assert_eq!((&*ollama.server_address, ollama.server_port), ("::1", 11434));
        let mock = ModelSettings::default().mocked("127.0.0.1:9".parse().unwrap());
        let mock = Providers::new(&mock, &(Arc::new(Unobserved) as _)).unwrap();
        for wire in WireFormat::ALL {
            let provider = mock.get(wire.as_str()).unwrap();
            assert_eq!((&*provider.semconv_name, &*provider.shown), (MOCK, MOCK));
        }
    }
}
