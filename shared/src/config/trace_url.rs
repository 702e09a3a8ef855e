//! Where somebody can look at a trace.

use std::sync::Arc;

use url::Url;

use super::{ConfigError, SecretUrl};
use crate::domain::trace::TraceId;

const NAME: &str = "TRACE_URL_TEMPLATE";
/// What the id of a trace takes the place of.
const PLACEHOLDER: &str = "{trace_id}";
/// Bytes of a template: longer than any backend's, and what every run of a page repeats.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// Where somebody can look at a trace.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct TraceUrlArgs {
    /// The page of a trace, with `{trace_id}` where its id is to stand: every run becomes a link to its trace. SigNoz:
    /// https://SIGNOZ/trace/{trace_id}
    // Read as what may hold a secret, which clap does not show: what is wrong with it is said without it.
    #[arg(long, env = NAME, hide_env_values = true, value_name = "URL")]
    pub trace_url_template: Option<SecretUrl>,
}

impl TraceUrlArgs {
    /// The template, if there is one.
    ///
    /// # Errors
    /// When no trace can be linked to by it. The error does not repeat it.
    pub fn template(&self) -> Result<Option<TraceUrlTemplate>, ConfigError> {
        let given = self.trace_url_template.as_ref().map(SecretUrl::expose);
        given.filter(|text| !text.is_empty()).map(TraceUrlTemplate::read).transpose()
    }
}

/// The page of a trace, whichever that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceUrlTemplate(Arc<str>);

impl TraceUrlTemplate {
    fn read(text: &str) -> Result<Self, ConfigError> {
        let wrong = |problem: &str| Err(ConfigError::new(NAME, problem));
        if text.len() > TEMPLATE_BYTES_MAX {
            return wrong("must have no more than 1024 bytes");
        }
        if !text.contains(PLACEHOLDER) {
            return wrong(
                "must have {trace_id} in it, where the id of the trace is to stand: https://signoz.example/trace/{trace_id}",
            );
        }
        let id = "0".repeat(32);
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let Some(url) = Url::parse(&text.replace(PLACEHOLDER, &id)).ok().filter(is_http) else {
            return wrong("must be an http or https URL");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("must hold no user and no password: every answer shows it");
        }
        if url.host_str().is_some_and(|host| host.contains(&id)) {
            return wrong(
                "must have {trace_id} in its path, its query or its fragment, not in its host",
            );
        }
        Ok(Self(text.into()))
    }

    /// The page of a trace.
    #[must_use]
    pub fn link(&self, trace: TraceId) -> String {
        self.0.replace(PLACEHOLDER, &trace.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<Option<TraceUrlTemplate>, ConfigError> {
        TraceUrlArgs { trace_url_template: Some(text.parse().unwrap()) }.template()
    }

    #[test]
    fn a_trace_becomes_a_link() {
        let trace: TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
        for (text, link) in [
            (
                "https://signoz.example/trace/{trace_id}",
                "https://signoz.example/trace/4bf92f3577b34da6a3ce929d0e0e4736",
            ),
            (
                "http://localhost:3000/explore?trace={trace_id}#{trace_id}",
                "http://localhost:3000/explore?trace=4bf92f3577b34da6a3ce929d0e0e4736#4bf92f3577b34da6a3ce929d0e0e4736",
            ),
        ] {
            assert_eq!(template(text).unwrap().unwrap().link(trace), link);
        }
    }

    #[test]
    fn without_one_there_are_no_links() {
        assert_eq!(template(""), Ok(None));
        assert_eq!(TraceUrlArgs { trace_url_template: None }.template(), Ok(None));
    }

    #[test]
    fn what_links_to_no_trace_is_refused_and_not_repeated() {
        let long = format!("https://x/{{trace_id}}?{}", "s3cret".repeat(TEMPLATE_BYTES_MAX));
        for (text, problem) in [
            ("https://s3cret.example/trace", "{trace_id}"),
            ("https://s3cret.example/trace/{traceId}", "{trace_id}"),
            ("s3cret/{trace_id}", "http or https"),
            ("ftp://s3cret/{trace_id}", "http or https"),
            ("https://me:s3cret@x/{trace_id}", "password"),
            ("https://s3cret@x/{trace_id}", "password"),
            ("https://{trace_id}.s3cret.example/", "host"),
            (&long, "1024"),
        ] {
            let error = template(text).unwrap_err().to_string();
            assert!(error.starts_with(NAME) && error.contains(problem), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
