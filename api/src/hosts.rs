//! Which names the API answers to.
//!
//! A server on somebody's own machine is in reach of every page that their browser shows. A page can send requests
//! across sites, and a name whose owner has it lead to 127.0.0.1 makes them look like requests to the page's own site.
//! So such a server answers to addresses and to its own names, and to no page that is not from itself. The key is asked
//! for all the same.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};

use crate::problem::{Problem, ProblemKind};

/// What a browser says of where a request comes from: `same-origin`, `none` where nobody but the user has asked for it,
/// or another site.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which names the API answers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hosts {
    /// To all: a service stands behind something that knows them.
    #[default]
    Any,
    /// To addresses, to `localhost` and to these names, and to no page from elsewhere: a server on somebody's own
    /// machine.
    Local(Vec<String>),
}

impl Hosts {
    /// Why the request is refused, if it is.
    pub(crate) fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<Problem> {
        let Self::Local(names) = self else { return None };
        let texts = |name: &HeaderName| {
            let values = headers.get_all(name).into_iter();
            values.map(|value| value.to_str().unwrap_or_default())
        };
        // In a request that names the whole URL, that counts.
        let host = uri.authority().cloned();
        let host = host.or_else(|| texts(&header::HOST).next()?.parse::<Authority>().ok());
        let Some(host) = host.filter(|host| is_own(host.host(), names)) else {
            let detail = "this server answers to addresses, to localhost and to its own name only";
            return Some(Problem::new(ProblemKind::WrongHost, detail));
        };
        let is_from_here = |origin: &str| {
            origin
                .strip_prefix("http://")
                .is_some_and(|from| from.eq_ignore_ascii_case(host.as_str()))
        };
        let is_same_site = |site: &str| matches!(site, "same-origin" | "none");
        if texts(&header::ORIGIN).all(is_from_here) && texts(&SEC_FETCH_SITE).all(is_same_site) {
            return None;
        }
        Some(Problem::new(
            ProblemKind::CrossSite,
            "this server takes no requests from other sites' pages",
        ))
    }
}

/// Whether a host is an address or one of these names. No name server can have an address lead elsewhere.
fn is_own(host: &str, names: &[String]) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    address.unwrap_or(host).parse::<std::net::IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::IntoResponse;

    use super::*;

    /// The status of a request with these headers, if it is refused.
    fn refused(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let request = Request::get(uri);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (parts, _) = request.body(Body::empty()).unwrap().into_parts();
        let problem = hosts.refusal(&parts.uri, &parts.headers)?;
        Some(problem.into_response().status().as_u16())
    }

    #[test]
    fn a_local_server_answers_to_addresses_and_its_own_names() {
        let hosts = Hosts::Local(vec!["build-7".to_owned()]);
        for (host, status) in [
            ("127.0.0.1:8080", None),
            ("[::1]:8080", None),
            ("192.168.1.4", None),
            ("localhost:1", None),
            ("LocalHost", None),
            ("Build-7:8080", None),
            ("evil.example", Some(421)),
            ("127.0.0.1.evil.example:8080", Some(421)),
            ("localhost.evil.example", Some(421)),
            ("evil@", Some(421)),
            ("", Some(421)),
        ] {
            assert_eq!(refused(&hosts, "/livez", &[("host", host)]), status, "{host}");
            assert_eq!(refused(&Hosts::Any, "/livez", &[("host", host)]), None);
        }
        assert_eq!(refused(&hosts, "/livez", &[]), Some(421));
        let whole = "http://evil.example/livez";
        assert_eq!(refused(&hosts, whole, &[("host", "127.0.0.1")]), Some(421));
    }

    #[test]
    fn a_local_server_answers_to_its_own_pages() {
        let hosts = Hosts::Local(Vec::new());
        for (name, value, status) in [
            ("origin", "http://localhost:8080", None),
            ("origin", "http://localhost:3000", Some(403)),
            ("origin", "http://127.0.0.1:8080", Some(403)),
            ("origin", "https://localhost:8080", Some(403)),
            ("origin", "http://evil.example", Some(403)),
            ("origin", "null", Some(403)),
            ("origin", "", Some(403)),
            ("sec-fetch-site", "same-origin", None),
            ("sec-fetch-site", "none", None),
            ("sec-fetch-site", "same-site", Some(403)),
            ("sec-fetch-site", "cross-site", Some(403)),
        ] {
            let headers = [("host", "localhost:8080"), (name, value)];
            assert_eq!(refused(&hosts, "/v1/runs", &headers), status, "{name}: {value}");
        }
        for (name, own, other) in [
            ("origin", "http://localhost:8080", "http://evil.example"),
            ("sec-fetch-site", "same-origin", "cross-site"),
        ] {
            let twice = [("host", "localhost:8080"), (name, own), (name, other)];
            assert_eq!(refused(&hosts, "/v1/runs", &twice), Some(403), "{name}");
        }
    }
}
