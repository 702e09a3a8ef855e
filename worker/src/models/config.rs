//! Where providers come from: the variables that their own clients read too, and a file for all others.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use skein_shared::config::{ConfigError, SecretUrl};
use skein_shared::document;
use skein_shared::domain::diagnostic::{Diagnostic, nearest};
use skein_shared::domain::limits::{DOCUMENT_BYTES_MAX, NAME_CHARS_MAX};

use super::key::ProviderKey;
use super::settings::{ModelSettings, ProviderSettings};
use super::wire_format::WireFormat;

/// The variable that names the file.
const FILE_VARIABLE: &str = "SKEIN_MODEL_PROVIDERS";
/// Providers in the file at most. A fleet has some; each holds idle connections.
const PROVIDERS_MAX: usize = 64;
/// The fields of a provider in the file.
const FIELDS: [&str; 6] =
    ["key_env", "name", "requests_per_minute", "tokens_per_minute", "url", "wire"];

/// The providers of models.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelArgs {
    /// The key for OpenAI.
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub openai_api_key: Option<ProviderKey>,
    /// Where OpenAI is, or a server that speaks as it does (Ollama, vLLM, llama.cpp, a gateway) and may need no key.
    #[arg(long, env = "OPENAI_BASE_URL", hide_env_values = true, value_name = "URL")]
    pub openai_base_url: Option<SecretUrl>,
    /// The key for Anthropic.
    #[arg(long, env = "ANTHROPIC_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub anthropic_api_key: Option<ProviderKey>,
    /// Where Anthropic is, or a server that speaks as it does.
    #[arg(long, env = "ANTHROPIC_BASE_URL", hide_env_values = true, value_name = "URL")]
    pub anthropic_base_url: Option<SecretUrl>,
    /// The key for Google's Gemini API.
    #[arg(long, env = "GEMINI_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub gemini_api_key: Option<ProviderKey>,
    /// Where Google's Gemini API is, or a server that speaks as it does.
    #[arg(long, env = "GEMINI_BASE_URL", hide_env_values = true, value_name = "URL")]
    pub gemini_base_url: Option<SecretUrl>,
    /// A file of further providers, in YAML or JSON: `providers: [{name, wire: openai|anthropic|google, url, key_env?,
    /// requests_per_minute?, tokens_per_minute?}]`.
    #[arg(long, env = FILE_VARIABLE, value_name = "FILE")]
    pub model_providers: Option<PathBuf>,
}

impl ModelArgs {
    /// The providers that are set up; there may be none.
    ///
    /// # Errors
    /// When a URL or a key cannot be one, or the file cannot be read or is malformed.
    pub fn settings(&self) -> Result<ModelSettings, ConfigError> {
        self.settings_with(&|name| std::env::var(name).ok())
    }

    fn settings_with(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ModelSettings, ConfigError> {
        let mut providers = Vec::new();
        for (wire, key, url, key_variable, url_variable) in [
            (
                WireFormat::OpenAi,
                &self.openai_api_key,
                &self.openai_base_url,
                "OPENAI_API_KEY",
                "OPENAI_BASE_URL",
            ),
            (
                WireFormat::Anthropic,
                &self.anthropic_api_key,
                &self.anthropic_base_url,
                "ANTHROPIC_API_KEY",
                "ANTHROPIC_BASE_URL",
            ),
            (
                WireFormat::Google,
                &self.gemini_api_key,
                &self.gemini_base_url,
                "GEMINI_API_KEY",
                "GEMINI_BASE_URL",
            ),
        ] {
            // An empty variable is one that is not set, as in files of environments.
            let key = key.as_ref().filter(|key| !key.expose().is_empty());
            let url = url.as_ref().filter(|url| !url.expose().is_empty());
            if key.is_none() && url.is_none() {
                continue;
            }
            let base = url.map_or(wire.official_url(), SecretUrl::expose);
            let mut provider = ProviderSettings::at(wire.as_str(), wire, base)
                .map_err(|error| ConfigError::new(url_variable, error.to_string()))?;
            if let Some(key) = key {
                check(key).map_err(|problem| ConfigError::new(key_variable, problem))?;
                provider.key = Some(key.clone());
            }
            providers.push(provider);
        }
        if let Some(path) =
            self.model_providers.as_ref().filter(|path| !path.as_os_str().is_empty())
        {
            let listed =
                read(path, variable).map_err(|diagnostics| malformed(path, &diagnostics))?;
            for provider in &listed {
                if providers.iter().any(|other: &ProviderSettings| other.name == provider.name) {
                    let name = &provider.name;
                    let problem =
                        format!("lists `{name}`, which variables of its own set up as well");
                    return Err(ConfigError::new(FILE_VARIABLE, problem));
                }
            }
            providers.extend(listed);
        }
        Ok(ModelSettings { providers })
    }
}

fn check(key: &ProviderKey) -> Result<(), &'static str> {
    key.header("")
        .map(|_| ())
        .ok_or("holds what cannot be sent in a header: a key is a line of ASCII")
}

fn malformed(path: &Path, diagnostics: &[Diagnostic]) -> ConfigError {
    let mut problem = format!("names {}, which cannot be used:", path.display());
    for diagnostic in diagnostics {
        let message = diagnostic.placed_message();
        let Diagnostic { pointer, hint, .. } = diagnostic;
        let place = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
        let hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
        problem.push_str(&format!("\n  {place}{message}{hint}"));
    }
    ConfigError::new(FILE_VARIABLE, problem)
}

fn read(
    path: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ProviderSettings>, Vec<Diagnostic>> {
    let unreadable = |error: std::io::Error| vec![Diagnostic::new("", error.to_string(), "")];
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than is taken, so that what is too large is refused and not cut.
    file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    let document = document::parse(&text, None).map_err(|diagnostic| vec![diagnostic])?;
    let mut reader = Reader { variable, diagnostics: Vec::new() };
    let providers = reader.document(&document);
    match reader.diagnostics.is_empty() {
        true => Ok(providers),
        false => Err(reader.diagnostics),
    }
}

/// Reads the file's document and gathers what is wrong with it.
struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>, hint: &str) {
        self.diagnostics.push(Diagnostic::new(pointer, message, hint));
    }

    fn document(&mut self, document: &Value) -> Vec<ProviderSettings> {
        let fields = document.as_object();
        let Some(list) = fields.and_then(|fields| fields.get("providers")?.as_array()) else {
            self.add("", "there is no list of providers", "`providers:` and a list below it");
            return Vec::new();
        };
        for name in fields.into_iter().flat_map(Map::keys).filter(|name| *name != "providers") {
            self.add(format!("/{name}"), "unknown field", "`providers` and nothing else");
        }
        if list.len() > PROVIDERS_MAX {
            self.add(
                "/providers",
                format!("{} providers", list.len()),
                &format!("at most {PROVIDERS_MAX}"),
            );
            return Vec::new();
        }
        let mut providers: Vec<ProviderSettings> = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let at = format!("/providers/{index}");
            let Some(provider) = self.provider(&at, value) else { continue };
            if providers.iter().any(|other| other.name == provider.name) {
                self.add(
                    format!("{at}/name"),
                    format!("`{}` is there twice", provider.name),
                    "each name once",
                );
            }
            providers.push(provider);
        }
        providers
    }

    fn provider(&mut self, at: &str, value: &Value) -> Option<ProviderSettings> {
        let Some(fields) = value.as_object() else {
            self.add(at, "a provider is an object", "`name`, `wire` and `url` at least");
            return None;
        };
        for field in fields.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
            let hint = nearest(field, FIELDS)
                .map_or_else(|| FIELDS.join(", "), |near| format!("`{near}`?"));
            self.add(format!("{at}/{field}"), "unknown field", &hint);
        }
        let name = self.text(at, fields, "name").filter(|name| self.check_name(at, name));
        let wire = self.text(at, fields, "wire").and_then(|word| {
            let wire = word.parse::<WireFormat>();
            if wire.is_err() {
                self.add(
                    format!("{at}/wire"),
                    "unknown wire format",
                    "openai, anthropic or google",
                );
            }
            wire.ok()
        });
        let url = self.text(at, fields, "url");
        let key = fields.get("key_env").map(|name| self.key(at, name));
        let requests = self.rate(at, fields, "requests_per_minute");
        let tokens = self.rate(at, fields, "tokens_per_minute");
        let (name, wire, url) = (name?, wire?, url?);
        let provider = ProviderSettings::at(name, wire, url);
        let provider =
            provider.map_err(|error| self.add(format!("{at}/url"), error.to_string(), ""));
        Some(ProviderSettings {
            key: key.flatten(),
            requests_per_minute: requests.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)),
            tokens_per_minute: tokens,
            ..provider.ok()?
        })
    }

    fn text<'f>(
        &mut self,
        at: &str,
        fields: &'f Map<String, Value>,
        name: &str,
    ) -> Option<&'f str> {
        let value = fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if value.is_none() {
            self.add(format!("{at}/{name}"), "missing, or no text", "");
        }
        value
    }

    fn check_name(&mut self, at: &str, name: &str) -> bool {
        let is_sound = name.len() <= NAME_CHARS_MAX
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.chars().all(|char| char.is_ascii_alphanumeric() || "_-.".contains(char));
        if !is_sound {
            let hint = format!("letters, digits, `-`, `_` and `.`, {NAME_CHARS_MAX} at most");
            self.add(format!("{at}/name"), "not a name", &hint);
        }
        is_sound
    }

    /// The key in the variable that is named. What may be in its place is not repeated: it could be the key itself.
    fn key(&mut self, at: &str, name: &Value) -> Option<ProviderKey> {
        let at = format!("{at}/key_env");
        let is_name = |name: &&str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let Some(name) = name.as_str().filter(is_name) else {
            self.add(at, "not the name of a variable", "upper-case letters, digits and `_`");
            return None;
        };
        let value = (self.variable)(name).filter(|value| !value.trim().is_empty());
        let Some(Ok(key)) = value.map(|value| value.parse::<ProviderKey>()) else {
            self.add(
                at,
                format!("the variable {name} is not set"),
                "leave `key_env` out for a server without keys",
            );
            return None;
        };
        if let Err(problem) = check(&key) {
            self.add(at, format!("the variable {name} {problem}"), "");
        }
        Some(key)
    }

    fn rate(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Option<u64> {
        /// No provider grants as many; sums of some stay far from overflow.
        const RATE_MAX: u64 = 1_000_000_000_000;
        let value = fields.get(name)?;
        let rate = value.as_u64().filter(|rate| (1..=RATE_MAX).contains(rate));
        if rate.is_none() {
            self.add(format!("{at}/{name}"), "not a rate", "a whole number from 1");
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is gone with the test.
    struct Listing(PathBuf);

    impl Listing {
        fn new(text: &str) -> Self {
            let name = format!("skein_providers_{}_{}", std::process::id(), fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn settings(&self, args: &ModelArgs) -> Result<ModelSettings, ConfigError> {
            let model_providers = Some(self.0.clone());
            let variable = |name: &str| (name == "GROQ_KEY").then(|| "gsk-s3cret".to_owned());
            ModelArgs { model_providers, ..args.clone() }.settings_with(&variable)
        }
    }

    impl Drop for Listing {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn settings(args: &ModelArgs) -> Result<ModelSettings, ConfigError> {
        args.settings_with(&|_| None)
    }

    #[test]
    fn a_key_or_a_url_makes_a_provider() {
        let none = ModelArgs { openai_api_key: "".parse().ok(), ..ModelArgs::default() };
        assert_eq!(settings(&none), Ok(ModelSettings::default()));
        let args = ModelArgs {
            openai_base_url: "http://localhost:11434/".parse().ok(),
            anthropic_api_key: " sk-s3cret\n".parse().ok(),
            gemini_api_key: "AIza-s3cret".parse().ok(),
            gemini_base_url: "https://proxy.example".parse().ok(),
            ..ModelArgs::default()
        };
        let made = settings(&args).unwrap();
        let shown: Vec<_> = made
            .providers
            .iter()
            .map(|it| (&*it.name, it.base.as_str(), it.key.as_ref().map(ProviderKey::expose)))
            .collect();
        assert_eq!(
            shown,
            [
                ("openai", "http://localhost:11434/v1/", None),
                ("anthropic", "https://api.anthropic.com/v1/", Some("sk-s3cret")),
                ("google", "https://proxy.example/v1beta/", Some("AIza-s3cret")),
            ]
        );
        let debug = format!("{made:?} {args:?}");
        assert!(!debug.contains("s3cret"), "{debug}");
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_variable_and_not_repeated() {
        let url = ModelArgs { openai_base_url: "s3cret".parse().ok(), ..ModelArgs::default() };
        let key = ModelArgs { gemini_api_key: "s3cret\u{7}".parse().ok(), ..ModelArgs::default() };
        for (args, variable) in [(url, "OPENAI_BASE_URL"), (key, "GEMINI_API_KEY")] {
            let error = settings(&args).unwrap_err();
            assert_eq!(error.name, variable);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        let gone =
            ModelArgs { model_providers: Some("/nowhere/at/all".into()), ..ModelArgs::default() };
        let error = settings(&gone).unwrap_err().to_string();
        assert!(error.starts_with("SKEIN_MODEL_PROVIDERS names /nowhere/at/all"), "{error}");
    }

    #[test]
    fn a_file_lists_providers_with_keys_and_rates() {
        let file = Listing::new(
            "providers:\n  - { name: fast, wire: openai, url: https://api.groq.com/openai/v1, key_env: GROQ_KEY,\n      \
             requests_per_minute: 30, tokens_per_minute: 6000 }\n  - { name: local, wire: anthropic, url: 'http://[::1]:4000' }\n",
        );
        let listed = file.settings(&ModelArgs::default()).unwrap().providers;
        assert_eq!((&*listed[0].name, listed[0].wire), ("fast", WireFormat::OpenAi));
        assert_eq!(listed[0].key.as_ref().unwrap().expose(), "gsk-s3cret");
        assert_eq!(
            (listed[0].requests_per_minute, listed[0].tokens_per_minute),
            (Some(30), Some(6000))
        );
        assert_eq!(listed[1].base.as_str(), "http://[::1]:4000/v1/");
        assert_eq!((&listed[1].key, listed[1].requests_per_minute), (&None, None));
    }

    #[test]
    fn everything_that_is_wrong_with_a_file_is_reported_with_its_place() {
        let file = Listing::new(
            r#"{"provders": 1, "providers": [
                {"name": "a b", "wire": "soap", "url": "https://u:s3cret@x.example"},
                {"name": "b", "wire": "openai", "url": "nowhere", "key": "s3cret", "key_env": "s3cret"},
                {"name": "c", "wire": "openai", "url": "http://c", "key_env": "GONE", "requests_per_minute": 0},
                {"name": "d", "wire": "google", "url": "http://d"},
                {"name": "d", "wire": "google", "url": "http://d"},
                7
            ]}"#,
        );
        let error = file.settings(&ModelArgs::default()).unwrap_err().to_string();
        for expected in [
            "/provders: unknown field",
            "/providers/0/name: not a name",
            "/providers/0/wire: unknown wire format",
            "/providers/1/key: unknown field (key_env, name",
            "/providers/1/key_env: not the name of a variable",
            "/providers/1/url: is no address",
            "/providers/2/key_env: the variable GONE is not set",
            "/providers/2/requests_per_minute: not a rate",
            "/providers/4/name: `d` is there twice",
            "/providers/5: a provider is an object",
        ] {
            assert!(error.contains(expected), "{expected} is not in {error}");
        }
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_name_is_set_up_in_one_place() {
        let file = Listing::new("providers: [{ name: openai, wire: openai, url: http://a }]");
        assert!(file.settings(&ModelArgs::default()).is_ok());
        let args = ModelArgs { openai_api_key: "sk-123456".parse().ok(), ..ModelArgs::default() };
        let error = file.settings(&args).unwrap_err().to_string();
        assert!(error.contains("lists `openai`"), "{error}");
        for text in ["", "providers: {}", "[", "providers: []\nproviders: []"] {
            let error = Listing::new(text).settings(&args).unwrap_err().to_string();
            assert!(error.contains("cannot be used"), "{error}");
        }
    }
}
