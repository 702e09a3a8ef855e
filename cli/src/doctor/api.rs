//! The API: whether it is there and ready, is of this release, and takes the key.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use skein_shared::domain::key_scopes::KeyScope;
use skein_shared::domain::limits::PAGE_MAX;

use super::{ANSWER_MAX, Finding, workers as fleet};
use crate::arguments::{ServerArgs, data_flags};
use crate::client::ApiKey;
use crate::data_directory::DataDirectory;
use crate::http::{base_url, client, is_this_machine};
use crate::shell::hint;

/// Bytes of an answer that are read: the description of the API is the largest.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A server, and the key to it.
struct Server {
    base: Url,
    http: reqwest::Client,
    key: Option<ApiKey>,
}

pub(super) async fn check(args: &ServerArgs) -> Vec<Finding> {
    let Some((url, key)) = place(args) else {
        let dev = hint(&["dev"], &data_flags(&args.data));
        let remedy = format!("set SKEIN_URL and SKEIN_KEY, or start {dev}");
        return vec![Finding::skipped("connection", "no server is named", Some(&remedy))];
    };
    let server = match base_url(&url).map_err(anyhow::Error::from).and_then(|base| {
        let http = client(&base, HeaderMap::new(), ANSWER_MAX)?;
        Ok(Server { base, http, key })
    }) {
        Ok(server) => server,
        Err(error) => {
            let remedy = "write http://HOST:PORT or https://HOST into SKEIN_URL";
            return vec![Finding::failed("settings", format!("{error:#}"), remedy)];
        }
    };
    let mut findings = Vec::new();
    match server.get("readyz", &[], None).await {
        Ok(response) => findings.push(ready(&server, response).await),
        Err(cause) => {
            let what = format!("{}: {cause}", server.shown());
            findings.push(Finding::failed("connection", what, unreachable(&cause)));
            return findings;
        }
    }
    findings.push(release(&server).await);
    findings.extend(keys(&server).await);
    findings
}

/// The server that is named, else the one that owns the data directory. What is wrong with that is told of the database.
fn place(args: &ServerArgs) -> Option<(String, Option<ApiKey>)> {
    let directory = DataDirectory::new(&args.data);
    let owner = directory.owner().ok().flatten().map(|owner| owner.url);
    let url = args.url.as_ref().map(|url| url.expose().to_owned()).or_else(|| owner.clone())?;
    let is_owner = owner.is_some_and(|it| it.trim_end_matches('/') == url.trim_end_matches('/'));
    // The directory's key is for nobody elsewhere, whatever the directory says.
    let is_own = is_owner && base_url(&url).is_ok_and(|base| is_this_machine(&base));
    let own = || directory.key().ok().flatten().filter(|_| is_own).map(ApiKey::from);
    let key = args.key.clone().or_else(own);
    Some((url, key))
}

impl Server {
    fn shown(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// The answer, or the text of why there is none.
    async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        key: Option<&ApiKey>,
    ) -> Result<Response, String> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        let mut request = self.http.get(url).query(query);
        if let Some(key) = key {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
            let mut bearer = bearer.map_err(|_| "the key holds characters that cannot be sent")?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        request.send().await.map_err(|error| root(&error.without_url()))
    }
}

/// The innermost cause: the outer ones say the same in general terms.
fn root(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

async fn body(mut response: Response) -> Value {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Value::Null;
        }
    }
    serde_json::from_slice(&body).unwrap_or_default()
}

fn unreachable(cause: &str) -> &'static str {
    let cause = cause.to_ascii_lowercase();
    if cause.contains("refused") {
        "start skein-api, or correct SKEIN_URL (in a container, localhost is the container itself)"
    } else if cause.contains("certificate") {
        "name a file with the CA's certificate in SSL_CERT_FILE, and the host that the certificate is for in SKEIN_URL"
    } else if cause.contains("lookup") || cause.contains("name or service") {
        "correct the host in SKEIN_URL"
    } else {
        "see to SKEIN_URL, network and firewall"
    }
}

async fn ready(server: &Server, response: Response) -> Finding {
    let (shown, status) = (server.shown(), response.status());
    let body = body(response).await;
    if status.is_success() {
        return Finding::ok("connection", format!("{shown} is ready"));
    }
    let detail = body["detail"].as_str().map_or_else(String::new, |it| format!(": {it}"));
    let remedy = if status == StatusCode::SERVICE_UNAVAILABLE {
        "see the database, and the API's log"
    } else {
        "what answers there is no skein-api, or something in front of it: correct SKEIN_URL"
    };
    Finding::failed(
        "connection",
        format!("{shown} is not ready, HTTP {}{detail}", status.as_u16()),
        remedy,
    )
}

async fn release(server: &Server) -> Finding {
    const NAME: &str = "release";
    let own = env!("CARGO_PKG_VERSION");
    let found = match server.get("openapi.json", &[], None).await {
        Ok(response) => body(response).await["info"]["version"].as_str().map(str::to_owned),
        Err(_) => None,
    };
    match found {
        Some(found) if found == own => Finding::ok(NAME, format!("{own}, as this command")),
        Some(found) => Finding::warning(
            NAME,
            format!("{found}, and this command is {own}"),
            "use the same release for both: commands may ask for what an older server does not have",
        ),
        None => Finding::warning(NAME, "it does not say which", "see whether it is skein-api"),
    }
}

async fn keys(server: &Server) -> Vec<Finding> {
    const NAME: &str = "key";
    let Some(key) = &server.key else {
        let url = server.base.as_str().trim_end_matches('/');
        let create = hint(&["keys", "create"], &["--url".to_owned(), url.to_owned()]);
        let remedy = format!("set SKEIN_KEY or --key: {create} makes one");
        return vec![Finding::skipped(NAME, "none is given", Some(&remedy))];
    };
    let read = server.get("v1/runs", &[("limit", "1")], Some(key)).await;
    let read = match read {
        Ok(response) => response.status(),
        Err(cause) => return vec![Finding::failed(NAME, cause, "correct SKEIN_KEY")],
    };
    if read == StatusCode::UNAUTHORIZED {
        let remedy = "correct SKEIN_KEY: it is unknown there, revoked, or has expired";
        return vec![Finding::failed(NAME, "the API does not take it", remedy)];
    }
    // Only what changes nothing is asked for, so the other scopes stay unknown.
    let admin = server.get("v1/keys", &[("limit", "1")], Some(key)).await;
    let admin = admin.map(|response| response.status());
    let scopes = [(KeyScope::Read, Ok(read)), (KeyScope::Admin, admin)];
    let has: Vec<_> = scopes
        .iter()
        .filter(|(_, status)| status.as_ref().is_ok_and(StatusCode::is_success))
        .map(|(scope, _)| scope.as_str())
        .collect();
    if has.is_empty() && read != StatusCode::FORBIDDEN {
        let what = format!("it is answered HTTP {}", read.as_u16());
        return vec![Finding::warning(NAME, what, "see the API's log")];
    }
    let what = if has.is_empty() {
        "accepted; it has neither read nor admin".to_owned()
    } else {
        format!("accepted; of read and admin it has {}", has.join(" and "))
    };
    let mut findings = vec![Finding::ok(NAME, what)];
    if has.contains(&KeyScope::Admin.as_str()) {
        findings.extend(workers(server, key).await);
    }
    findings
}

/// Whether anybody executes what the API takes; nothing of an API that does not say. It takes the scope `admin`.
async fn workers(server: &Server, key: &ApiKey) -> Option<Finding> {
    let limit = PAGE_MAX.to_string();
    let answer = server.get("v1/workers", &[("limit", &*limit)], Some(key)).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    living(&body(answer).await)
}

/// Reads a page of workers, newest first.
fn living(page: &Value) -> Option<Finding> {
    let workers = page["items"].as_array()?;
    let living = workers.iter().filter(|worker| worker["status"] == "live").count();
    // One that lives may be on the next page.
    let is_known = living > 0 || page["next_cursor"].is_null();
    is_known.then(|| fleet(i64::try_from(living).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn a_fleet_of_which_nobody_lives_is_warned_of() {
        let outcome = |page: Value| living(&page).map(|finding| finding.outcome);
        let (live, dead) = (json!({ "status": "live" }), json!({ "status": "dead" }));
        assert_eq!(outcome(json!({ "items": [] })), Some(Outcome::Warning));
        assert_eq!(
            outcome(json!({ "items": [dead], "next_cursor": null })),
            Some(Outcome::Warning)
        );
        assert_eq!(outcome(json!({ "items": [dead, live] })), Some(Outcome::Ok));
        assert_eq!(outcome(json!({ "items": [dead], "next_cursor": "more" })), None);
        assert_eq!(outcome(json!({ "error": "something else" })), None);
    }
}
