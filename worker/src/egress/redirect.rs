//! Redirects, followed by hand so that every hop passes the guard. The rules are those of the Fetch
//! standard, section 4.4, with one difference: across origins no header survives that might be a
//! credential, `X-Api-Key` as little as `Authorization`.

use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode, Url};

use super::Request;

/// Headers that may follow a redirect to another origin: they describe the request, not the requester.
const CARRIED_ACROSS_ORIGINS: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
    "user-agent",
];

/// Headers that speak of a body, and go when it does.
const OF_THE_BODY: &[&str] =
    &["content-encoding", "content-language", "content-location", "content-type"];

/// Where an answer sends its reader, if it does. A redirect that names no readable place is an
/// ordinary answer.
pub(super) fn target(url: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Url> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(header::LOCATION)?;
    url.join(std::str::from_utf8(location.as_bytes()).ok()?).ok()
}

/// The request that follows `request` after a redirect with `status` to `target`.
pub(super) fn follow(mut request: Request, status: StatusCode, mut target: Url) -> Request {
    let becomes_get = match status.as_u16() {
        301 | 302 => request.method == Method::POST,
        303 => request.method != Method::GET && request.method != Method::HEAD,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body = None;
        OF_THE_BODY.iter().for_each(|name| drop(request.headers.remove(*name)));
    }
    // What the other side wrote into its URL is not for this side to use: credentials come from the first URL
    // or not at all. Setting them can only fail for URLs without a host, which the guard refuses.
    let is_same_origin = request.url.origin() == target.origin();
    let (user, password) = match is_same_origin {
        true => (request.url.username().to_owned(), request.url.password().map(str::to_owned)),
        false => (String::new(), None),
    };
    let _ = target.set_username(&user);
    let _ = target.set_password(password.as_deref());
    if !is_same_origin {
        request.headers = carried(&request.headers);
    }
    request.url = target;
    request
}

fn carried(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| CARRIED_ACROSS_ORIGINS.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    const SECRETS: &[&str] = &["authorization", "cookie", "x-api-key", "proxy-authorization"];

    fn post() -> Request {
        let mut headers = HeaderMap::new();
        for name in SECRETS.iter().chain(&["content-type", "accept", "idempotency-key"]) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        Request {
            method: Method::POST,
            url: Url::parse("https://user:pass@a.example/x/y").unwrap(),
            headers,
            body: Some("body".into()),
            timeout: Duration::from_secs(1),
        }
    }

    fn followed(status: u16, location: &str) -> Request {
        let request = post();
        let headers = [(header::LOCATION, HeaderValue::from_str(location).unwrap())];
        let status = StatusCode::from_u16(status).unwrap();
        let next = target(&request.url, status, &HeaderMap::from_iter(headers)).unwrap();
        follow(request, status, next)
    }

    #[test]
    fn a_post_becomes_a_get_where_browsers_make_it_one() {
        for status in [301, 302, 303] {
            let next = followed(status, "/z");
            assert_eq!((next.method, next.body), (Method::GET, None), "{status}");
            assert!(!next.headers.contains_key("content-type"));
        }
        for status in [307, 308] {
            let next = followed(status, "/z");
            assert_eq!((next.method, next.body), (Method::POST, Some("body".into())), "{status}");
            assert!(next.headers.contains_key("content-type"));
        }
    }

    #[test]
    fn methods_besides_post_survive_a_302_but_not_a_303() {
        let put = |status| {
            let request = Request { method: Method::PUT, ..post() };
            let url = request.url.clone();
            follow(request, StatusCode::from_u16(status).unwrap(), url).method
        };
        assert_eq!((put(302), put(303)), (Method::PUT, Method::GET));
    }

    #[test]
    fn credentials_stay_within_their_origin() {
        let same = followed(307, "https://a.example:443/z");
        assert_eq!(same.url.as_str(), "https://user:pass@a.example/z");
        assert!(SECRETS.iter().all(|name| same.headers.contains_key(*name)));
        for elsewhere in
            ["http://a.example/", "https://a.example:8443/", "//b.a.example/", "//c.d/"]
        {
            let next = followed(307, elsewhere);
            assert_eq!((next.url.username(), next.url.password()), ("", None), "{elsewhere}");
            assert!(!SECRETS.iter().any(|name| next.headers.contains_key(*name)), "{elsewhere}");
            assert!(next.headers.contains_key("idempotency-key"));
        }
        assert_eq!(followed(302, "https://evil:x@b.example/").url.as_str(), "https://b.example/");
    }

    #[test]
    fn an_answer_without_a_place_to_go_is_just_an_answer() {
        let url = post().url;
        let there = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("/z"))]);
        let nowhere =
            HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("http://[bad"))]);
        assert_eq!(target(&url, StatusCode::FOUND, &HeaderMap::new()), None);
        assert_eq!(target(&url, StatusCode::FOUND, &nowhere), None);
        assert_eq!(target(&url, StatusCode::CREATED, &there), None);
        assert_eq!(target(&url, StatusCode::NOT_MODIFIED, &there), None);
    }
}
