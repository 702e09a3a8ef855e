//! What to change when a collector does not take what it is sent: one answer for whoever reports it.

use url::Url;

/// The port that collectors take gRPC at, which Skein does not speak.
const GRPC_PORT: u16 = 4317;
/// The port that they take HTTP at.
const HTTP_PORT: u16 = 4318;

/// What to change, in one sentence, when an export to `url` failed: with the HTTP `status` of the answer, or without an
/// answer for the `cause`, which is the text of the error with those that it was caused by. `None` when nobody can say.
/// Repeats nothing of `url` but its host and port, and nothing of `cause`.
#[must_use]
pub fn remedy(url: &str, status: Option<u16>, cause: &str) -> Option<String> {
    let url = Url::parse(url).ok();
    match status {
        Some(status) => of_status(url.as_ref(), status),
        None => of_cause(url.as_ref(), &cause.to_ascii_lowercase()),
    }
}

fn of_status(url: Option<&Url>, status: u16) -> Option<String> {
    let text = match status {
        400 if url.is_some_and(|url| url.scheme() == "http") => {
            "if TLS is expected at that port, write https:// in the URL; else the collector's log says what it refuses"
        }
        401 | 403 => {
            "the key is missing, wrong or of another region: set OTEL_EXPORTER_OTLP_HEADERS \
             (SigNoz Cloud: signoz-ingestion-key=KEY, with the ingestion key of the region in the URL)"
        }
        404 | 405 => return Some(path(url)),
        // The gRPC part of a server that takes both says this of HTTP.
        406 | 415 => return Some(grpc(url)),
        407 => "the proxy wants a password: put it into HTTPS_PROXY, or name the host in NO_PROXY",
        413 => {
            "the collector takes less at once: lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE, or raise its limit"
        }
        429 => {
            "the collector wants less: sample (OTEL_TRACES_SAMPLER=parentbased_traceidratio), or raise its quota"
        }
        301 | 302 | 303 | 307 | 308 => {
            "the collector is somewhere else: write the address that it redirects to into the URL"
        }
        502..=504 => {
            "the collector is overloaded, or what stands in front of it does not reach it: see whether it runs, and its log"
        }
        500..=599 => "the collector has failed: its log says why",
        400..=499 => "the collector refuses it: its log says why",
        _ => return None,
    };
    Some(text.to_owned())
}

/// `cause` is in lower case.
fn of_cause(url: Option<&Url>, cause: &str) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    of_certificate(says).or_else(|| of_connection(url, says))
}

/// What TLS says about who the collector is.
fn of_certificate(says: impl Fn(&[&str]) -> bool) -> Option<String> {
    let text = if says(&["unknownissuer", "unknown issuer", "self-signed", "causedasendentity"]) {
        "nobody here trusts the issuer of its certificate: name a file with the CA's certificate in SSL_CERT_FILE"
    } else if says(&["no ca certificates"]) {
        "this system trusts no CA: install ca-certificates, or name a file with the CA's certificate in SSL_CERT_FILE"
    } else if says(&["not valid for name", "notvalidforname"]) {
        "write the name that the certificate is for into the URL"
    } else if says(&["certificate expired", "certificate not valid yet"]) {
        "renew the collector's certificate, or set the clock of this machine"
    } else {
        return None;
    };
    Some(text.to_owned())
}

fn of_connection(url: Option<&Url>, says: impl Fn(&[&str]) -> bool) -> Option<String> {
    let place = url.map_or_else(|| "the URL's host".to_owned(), place);
    // What a server makes of a request that it takes for something else.
    let is_foreign = says(&[
        "http version",
        "connection closed",
        "connection reset",
        "incomplete message",
        "broken pipe",
        "end of file",
        "corrupt message",
        "unexpected message",
    ]);
    let is_refused = says(&["connection refused"]);
    let is_late = says(&["timed out", "timeout", "deadline"]);
    if url.and_then(Url::port) == Some(GRPC_PORT) && (is_foreign || is_refused || is_late) {
        return Some(grpc(url));
    }
    Some(if says(&["corrupt message"]) {
        "no TLS is spoken at that port: write http:// in the URL".to_owned()
    } else if says(&["handshake", "peer is incompatible"]) {
        "the collector and Skein share no version of TLS (1.2 or 1.3) or no cipher".to_owned()
    } else if says(&["dns error", "lookup address", "name or service not known"]) {
        format!("no address is known for {place}: correct the host in the URL")
    } else if is_refused {
        format!(
            "nobody listens at {place}: start the collector, or correct host and port \
             (in a container, localhost is the container itself)"
        )
    } else if says(&["unreachable", "no route"]) {
        format!("no way leads to {place}: correct the host, or see to network and firewall")
    } else if says(&["proxy", "tunnel"]) {
        "the proxy of HTTPS_PROXY does not let it through: correct it, or name the host in NO_PROXY"
            .to_owned()
    } else if is_late {
        format!(
            "{place} does not answer: see whether a firewall is in between, and whether the collector is overloaded"
        )
    } else if is_foreign {
        format!(
            "what listens at {place} speaks no HTTP/1.1: correct the port (OTLP over HTTP is usually at {HTTP_PORT}), \
             or write https:// where TLS is expected"
        )
    } else {
        return None;
    })
}

/// What to do about an endpoint that has no such path.
fn path(url: Option<&Url>) -> String {
    let path = url.map_or("", Url::path);
    let what = if path == "/" { "the path is missing" } else { "nothing is at that path" };
    let signals = ["traces", "metrics", "logs"];
    let signal = signals.into_iter().find(|signal| path.ends_with(signal)).unwrap_or("traces");
    format!(
        "{what}: OTEL_EXPORTER_OTLP_ENDPOINT gets /v1/{signal} behind it, \
         OTEL_EXPORTER_OTLP_{}_ENDPOINT is taken as it stands and usually ends so",
        signal.to_ascii_uppercase()
    )
}

/// What to do about an endpoint that speaks gRPC.
fn grpc(url: Option<&Url>) -> String {
    let host = url.and_then(Url::host_str).unwrap_or("HOST");
    let scheme = url.map_or("http", Url::scheme);
    format!(
        "that port is for gRPC, and Skein sends http/protobuf: use the one for HTTP, usually {HTTP_PORT} \
         ({scheme}://{host}:{HTTP_PORT})"
    )
}

/// Host and port.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACES: &str = "https://me:s3cret@collector.example:4318/v1/traces?token=s3cret";

    #[test]
    fn a_status_has_a_remedy() {
        for (status, part) in [
            (401, "OTEL_EXPORTER_OTLP_HEADERS"),
            (403, "signoz-ingestion-key"),
            (404, "/v1/traces"),
            (405, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            (400, "its log"),
            (413, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
            (415, "4318"),
            (429, "OTEL_TRACES_SAMPLER"),
            (307, "redirects"),
            (500, "its log"),
            (503, "overloaded"),
        ] {
            let remedy = remedy(TRACES, Some(status), "").unwrap();
            assert!(remedy.contains(part), "{status}: {remedy}");
            assert!(!remedy.contains("s3cret"), "{status}: {remedy}");
        }
        assert_eq!(remedy(TRACES, Some(200), ""), None);
    }

    #[test]
    fn a_cause_has_a_remedy() {
        for (url, cause, part) in [
            (TRACES, "invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            (TRACES, "No CA certificates were loaded from the system", "ca-certificates"),
            (TRACES, "certificate not valid for name \"x\"; certificate is", "the name that"),
            (TRACES, "certificate expired: verification time 1", "clock"),
            (TRACES, "received corrupt message of type InvalidContentType", "http://"),
            (TRACES, "dns error: failed to lookup address", "for collector.example:4318"),
            (TRACES, "Connection refused (os error 111)", "listens at collector.example:4318"),
            (TRACES, "Network is unreachable (os error 101)", "network and firewall"),
            (TRACES, "operation timed out", "does not answer"),
            (TRACES, "connection closed before message completed", "HTTP/1.1"),
            (TRACES, "received unexpected message from connection", "HTTP/1.1"),
            ("http://c:4317/v1/traces", "invalid HTTP version parsed", "http://c:4318"),
            ("http://c:4317/v1/traces", "Connection refused", "http://c:4318"),
            ("https://c:4317/v1/traces", "UnknownIssuer", "SSL_CERT_FILE"),
            ("http://c/v1/traces", "Connection refused", "c:80"),
            ("no URL", "Connection refused", "the URL's host"),
        ] {
            let remedy = remedy(url, None, cause).unwrap();
            assert!(remedy.contains(part), "{cause}: {remedy}");
            assert!(!remedy.contains("s3cret"), "{cause}: {remedy}");
        }
        assert_eq!(remedy(TRACES, None, "something that nobody has heard of"), None);
    }

    #[test]
    fn an_endpoint_without_a_path_is_told_what_is_missing() {
        let bare = remedy("http://collector:4318", Some(404), "").unwrap();
        assert!(bare.starts_with("the path is missing: "), "{bare}");
        let logs = remedy("http://collector:4318/x/v1/logs", Some(404), "").unwrap();
        assert!(logs.contains("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"), "{logs}");
    }
}
