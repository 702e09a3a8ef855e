//! Where a provider's API begins, from what an operator writes.

use reqwest::Url;

use super::wire_format::WireFormat;

/// A URL that cannot be a provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedBase {
    /// It is no URL, or not one that requests can be made to.
    #[error("is no address: write https://host or http://host:port, with or without a path")]
    NoAddress,
    /// It holds a user or a password.
    #[error("must hold no user and password: a key has its own variable")]
    Credentials,
    /// It has a query or a fragment.
    #[error("must hold no query and no fragment")]
    Query,
}

impl WireFormat {
    /// Where the company that invented it serves it.
    pub(super) fn official_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com/v1",
            Self::Google => "https://generativelanguage.googleapis.com/v1beta",
        }
    }

    /// The version that its paths start with.
    fn version(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Anthropic => "v1",
            Self::Google => "v1beta",
        }
    }

    /// What an operator may have copied from an example, and the requests add by themselves.
    fn route(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["chat", "completions"],
            Self::Anthropic => &["messages"],
            Self::Google => &["models"],
        }
    }
}

/// Reads a base URL. A slash at its end makes no difference, and a version may be there or not: it is added unless the
/// path ends in one, or, for OpenAI's format, has one anywhere (`/openai/v1`, `/v1beta/openai`, `/v1/{account}/openai`).
///
/// # Errors
/// When it is none. The error does not repeat the URL, which may hold a secret.
pub(super) fn parse(wire: WireFormat, text: &str) -> Result<Url, MalformedBase> {
    let mut url = Url::parse(text.trim()).map_err(|_| MalformedBase::NoAddress)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(MalformedBase::NoAddress);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(MalformedBase::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(MalformedBase::Query);
    }
    let mut parts: Vec<_> =
        url.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let route = wire.route();
    if parts.len() >= route.len() && parts[parts.len() - route.len()..] == *route {
        parts.truncate(parts.len() - route.len());
    }
    let has_version = match wire {
        WireFormat::OpenAi => parts.iter().any(|part| is_version(part)),
        WireFormat::Anthropic | WireFormat::Google => {
            parts.last().is_some_and(|part| is_version(part))
        }
    };
    if !has_version {
        parts.push(wire.version().to_owned());
    }
    // The trailing slash makes it a directory, which routes are joined to.
    url.set_path(&format!("/{}/", parts.join("/")));
    Ok(url)
}

/// `v1`, `v1beta`, `v4`.
fn is_version(part: &str) -> bool {
    let rest = part.strip_prefix('v').unwrap_or_default();
    rest.starts_with(|first: char| first.is_ascii_digit())
        && rest.chars().all(|char| char.is_ascii_alphanumeric() || char == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(wire: WireFormat, text: &str) -> String {
        parse(wire, text).map_or_else(|error| error.to_string(), String::from)
    }

    #[test]
    fn slashes_and_versions_may_be_left_out() {
        use WireFormat::{Anthropic, Google, OpenAi};
        for (wire, text, expected) in [
            (OpenAi, "https://api.openai.com", "https://api.openai.com/v1/"),
            (OpenAi, "https://api.openai.com/", "https://api.openai.com/v1/"),
            (OpenAi, "https://api.openai.com/v1", "https://api.openai.com/v1/"),
            (OpenAi, " https://api.openai.com/v1/ ", "https://api.openai.com/v1/"),
            (OpenAi, "http://localhost:11434", "http://localhost:11434/v1/"),
            (OpenAi, "https://a.example/v1/chat/completions", "https://a.example/v1/"),
            (OpenAi, "https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/"),
            (OpenAi, "https://g.example/v1beta/openai/", "https://g.example/v1beta/openai/"),
            (OpenAi, "https://g.example/v1/acc/gw/openai", "https://g.example/v1/acc/gw/openai/"),
            (OpenAi, "https://z.example/api/paas/v4", "https://z.example/api/paas/v4/"),
            (OpenAi, "https://a.example/voices", "https://a.example/voices/v1/"),
            (Anthropic, "https://api.anthropic.com", "https://api.anthropic.com/v1/"),
            (Anthropic, "https://api.anthropic.com/v1/", "https://api.anthropic.com/v1/"),
            (Anthropic, "https://g.example/v1/a/anthropic", "https://g.example/v1/a/anthropic/v1/"),
            (Anthropic, "https://a.example/v1/messages", "https://a.example/v1/"),
            (Google, "https://g.example", "https://g.example/v1beta/"),
            (Google, "https://g.example/v1beta/models/", "https://g.example/v1beta/"),
            (Google, "https://g.example/v1", "https://g.example/v1/"),
        ] {
            assert_eq!(base(wire, text), expected, "{text}");
        }
        for wire in WireFormat::ALL {
            assert_eq!(base(wire, wire.official_url()), format!("{}/", wire.official_url()));
        }
    }

    #[test]
    fn what_is_no_base_is_refused_and_not_repeated() {
        for (text, expected) in [
            ("s3cret", MalformedBase::NoAddress),
            ("ftp://s3cret", MalformedBase::NoAddress),
            ("https://me:s3cret@a.example", MalformedBase::Credentials),
            ("https://a.example/v1?key=s3cret", MalformedBase::Query),
            ("https://a.example/v1#s3cret", MalformedBase::Query),
        ] {
            assert_eq!(parse(WireFormat::OpenAi, text), Err(expected), "{text}");
            assert!(!expected.to_string().contains("s3cret"));
        }
    }
}
