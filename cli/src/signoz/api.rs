//! SigNoz's API, as far as it is needed.

use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::documents::{Kind, is_marked};
use super::error::{SignozError, said};
use crate::client::ApiKey;
use crate::http::{base_url, keyed_client};
use crate::usage::UsageError;

/// How long an answer may take: SigNoz's own clients wait as long for a dashboard to be written.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer at most. A list of rules has their queries in it; thousands fit.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Dashboards of a page.
const PAGE: usize = 200;
/// Pages at most: a list that goes on behind 20,000 dashboards does not end.
const PAGES_MAX: usize = 100;

/// What SigNoz calls the header of its API keys. `Authorization` is for sessions.
const KEY_HEADER: HeaderName = HeaderName::from_static("signoz-api-key");

/// A SigNoz and a key to it.
#[derive(Debug, Clone)]
pub struct Signoz {
    http: reqwest::Client,
    base: Url,
}

/// Something that is in SigNoz.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// What SigNoz calls it.
    pub id: String,
    /// What it is found by.
    pub name: String,
    /// Whether it carries the mark of Skein's own.
    pub is_marked: bool,
    /// Whether it is locked, so that nobody changes it.
    pub is_locked: bool,
}

impl Signoz {
    /// A SigNoz at an address.
    ///
    /// # Errors
    /// When the address or the key can be none.
    pub fn new(url: &str, key: &ApiKey) -> anyhow::Result<Self> {
        if url.contains('@') {
            let message = "the URL of SigNoz has no user and no password: the key goes into SIGNOZ_API_KEY or --key-file";
            return Err(UsageError::new(message).into());
        }
        let base = base_url(url)?;
        let refuse = |_| UsageError::new("the API key of SigNoz has characters that none has");
        let mut key = HeaderValue::from_str(key.expose()).map_err(refuse)?;
        if key.is_empty() {
            return Err(UsageError::new("the API key of SigNoz is empty").into());
        }
        key.set_sensitive(true);
        Ok(Self { http: keyed_client(&base, (KEY_HEADER, key), ANSWER_TIME_MAX)?, base })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Everything of a kind that the key may see.
    ///
    /// # Errors
    /// See [`SignozError`].
    pub async fn list(&self, kind: Kind) -> Result<Vec<Existing>, SignozError> {
        match kind {
            Kind::Dashboard => self.dashboards().await,
            Kind::Rule => {
                let answer = self.answer(self.request(Method::GET, kind, None), kind).await?;
                self.entries(&answer["data"], kind)
            }
        }
    }

    async fn dashboards(&self) -> Result<Vec<Existing>, SignozError> {
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let request = self.request(Method::GET, Kind::Dashboard, None);
            let request = request.query(&[("limit", PAGE), ("offset", found.len())]);
            let answer = self.answer(request, Kind::Dashboard).await?;
            let page = self.entries(&answer["data"]["dashboards"], Kind::Dashboard)?;
            let is_last = page.is_empty();
            found.extend(page);
            let total = answer["data"]["total"].as_u64();
            if is_last || total.is_none_or(|total| found.len() as u64 >= total) {
                return Ok(found);
            }
        }
        Err(self.malformed("its list of dashboards does not end"))
    }

    fn entries(&self, list: &Value, kind: Kind) -> Result<Vec<Existing>, SignozError> {
        // A list of nothing is `null` in some versions.
        let empty = Vec::new();
        let list = match list {
            Value::Null => &empty,
            list => list.as_array().ok_or_else(|| self.malformed("a list is none"))?,
        };
        let name = match kind {
            Kind::Dashboard => "name",
            Kind::Rule => "alert",
        };
        let entry = |it: &Value| {
            Some(Existing {
                id: it["id"].as_str()?.to_owned(),
                name: it[name].as_str()?.to_owned(),
                is_marked: is_marked(kind, it),
                is_locked: it["locked"] == true,
            })
        };
        let entries: Option<Vec<_>> = list.iter().map(entry).collect();
        entries.ok_or_else(|| self.malformed(&format!("a {kind} without `id` or `{name}`")))
    }

    /// Makes one.
    ///
    /// # Errors
    /// See [`SignozError`]. Without an answer it may have been made; it is found by its name then.
    pub async fn create(&self, kind: Kind, body: &Value) -> Result<(), SignozError> {
        self.answer(self.request(Method::POST, kind, None).json(body), kind).await.map(drop)
    }

    /// Replaces one.
    ///
    /// # Errors
    /// See [`SignozError`]. Doing it again does no harm.
    pub async fn update(&self, kind: Kind, id: &str, body: &Value) -> Result<(), SignozError> {
        self.answer(self.request(Method::PUT, kind, Some(id)).json(body), kind).await.map(drop)
    }

    /// Deletes one. One that is gone already is fine.
    ///
    /// # Errors
    /// See [`SignozError`].
    pub async fn delete(&self, kind: Kind, id: &str) -> Result<(), SignozError> {
        match self.answer(self.request(Method::DELETE, kind, Some(id)), kind).await {
            Ok(_) | Err(SignozError::NoSuchRoute { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn request(&self, method: Method, kind: Kind, id: Option<&str>) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v2", kind.folder()]).extend(id);
        }
        self.http.request(method, url)
    }

    /// The answer as JSON; `null` for an empty one.
    async fn answer(&self, request: RequestBuilder, kind: Kind) -> Result<Value, SignozError> {
        let url = || self.url().to_owned();
        let lost = |source: reqwest::Error| {
            let source = source.without_url();
            if source.is_connect() {
                SignozError::Unreachable { url: url(), source }
            } else {
                SignozError::Unanswered { url: url(), source }
            }
        };
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.malformed("an answer is larger than any of its"));
            }
        }
        let said = || said(status.as_u16(), &body);
        match status {
            status if status.is_success() => {
                if body.iter().all(u8::is_ascii_whitespace) {
                    return Ok(Value::Null);
                }
                serde_json::from_slice(&body).map_err(|error| self.malformed(&error.to_string()))
            }
            StatusCode::UNAUTHORIZED => Err(SignozError::UnknownKey { url: url(), said: said() }),
            StatusCode::FORBIDDEN => Err(SignozError::Forbidden { url: url(), said: said() }),
            StatusCode::NOT_FOUND => {
                let path = format!("/api/v2/{}", kind.folder());
                Err(SignozError::NoSuchRoute { url: url(), path, said: said() })
            }
            StatusCode::CONFLICT => Err(SignozError::Taken { said: said() }),
            status => Err(SignozError::Refused { status: status.as_u16(), said: said() }),
        }
    }

    fn malformed(&self, why: &str) -> SignozError {
        SignozError::Malformed { url: self.url().to_owned(), why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signoz(url: &str, key: &str) -> anyhow::Result<Signoz> {
        skein_shared::telemetry::install_crypto_provider();
        Signoz::new(url, &key.to_owned().into())
    }

    #[test]
    fn paths_are_put_behind_the_address_and_ids_are_escaped() {
        let signoz = signoz("https://example.com/signoz/", "s3cret").unwrap();
        let request = signoz.request(Method::PUT, Kind::Rule, Some("a/../b"));
        let url = request.build().unwrap().url().to_string();
        assert_eq!(url, "https://example.com/signoz/api/v2/rules/a%2F..%2Fb");
        assert!(!format!("{signoz:?}").contains("s3cret"));
    }

    #[test]
    fn an_address_or_a_key_that_can_be_none_is_refused_without_being_shown() {
        let refusal = |url: &str, key: &str| signoz(url, key).unwrap_err().to_string();
        assert!(refusal("http://me:s3cret@x", "k").contains("SIGNOZ_API_KEY"));
        assert!(!refusal("http://me:s3cret@x", "k").contains("s3cret"));
        assert!(!refusal("http://x", "s3\ncret").contains("cret"));
        assert!(refusal("http://x", "").contains("empty"));
        assert!(refusal("ftp://x", "k").contains("no http URL"));
    }
}
