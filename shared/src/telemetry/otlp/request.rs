//! Where requests go and what their headers say.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Uri;
use opentelemetry_http::{Bytes, Request};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};

use crate::telemetry::TelemetryError;
use crate::telemetry::exporters::Destination;

/// What the SDK's exporter calls itself, which sends the metrics: to a collector, all three come from one.
const EXPORTER: &str = "OTel-OTLP-Exporter-Rust/0.33.1";

/// Makes the requests of a signal.
#[derive(Debug)]
pub(in crate::telemetry) struct Requests {
    url: Uri,
    /// Secret values among them are marked as such.
    headers: HeaderMap,
    is_compressed: bool,
}

impl Requests {
    /// Requests to where a signal goes.
    ///
    /// # Errors
    /// When that is no URL.
    pub(in crate::telemetry) fn new(destination: &Destination) -> Result<Self, TelemetryError> {
        let url = destination.endpoint().parse::<Uri>().map_err(|error| {
            let told = format!("{} is no URL: {error}", destination.url);
            TelemetryError::Exporter { signal: destination.signal.as_str(), source: told.into() }
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(EXPORTER));
        for (name, value) in destination.headers() {
            headers.insert(name.clone(), value.clone());
        }
        let is_compressed = destination.is_compressed();
        if is_compressed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self { url, headers, is_compressed })
    }

    /// The body of a request, compressed if it is to be. Takes the content away, or leaves its memory for the next one.
    pub(in crate::telemetry) fn body(&self, content: &mut Vec<u8>) -> std::io::Result<Bytes> {
        if !self.is_compressed {
            return Ok(std::mem::take(content).into());
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content)?;
        content.clear();
        Ok(encoder.finish()?.into())
    }

    /// A request with this body, which is not copied.
    pub(in crate::telemetry) fn request(&self, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::telemetry::tally::Signal;

    fn requests(vars: &[(&str, &str)]) -> Result<Requests, TelemetryError> {
        let var = |name: &str| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Requests::new(&Destination::of(Signal::Traces, &var).unwrap())
    }

    #[test]
    fn a_request_goes_to_the_whole_url_with_the_headers_of_its_signal() {
        let vars = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://ada:s3cret@c:4318/otlp?key=s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "signoz-ingestion-key=s3c%20ret,user-agent=mine"),
        ];
        let requests = requests(&vars).unwrap();
        let request = requests.request(Bytes::from_static(b"spans"));
        assert_eq!(request.uri(), "http://ada:s3cret@c:4318/otlp?key=s3cret/v1/traces");
        assert_eq!((request.method().as_str(), &request.body()[..]), ("POST", &b"spans"[..]));
        let of = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(of("content-type"), Some("application/x-protobuf"));
        assert_eq!(of("signoz-ingestion-key"), Some("s3c ret"));
        assert_eq!((of("user-agent"), of("content-encoding")), (Some("mine"), None));
        assert!(!format!("{:?}", request.headers()).contains("s3c"));
    }

    #[test]
    fn what_is_no_url_is_said_without_what_is_secret_in_it() {
        let error = requests(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:s3cret@ c")]);
        let TelemetryError::Exporter { signal, source } = error.unwrap_err() else {
            panic!("another error")
        };
        assert_eq!(signal, "traces");
        let text = source.to_string();
        assert!(text.contains("is no URL") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn a_body_is_taken_as_it_is_or_compressed() {
        let mut content = vec![7; 1000];
        let plain = requests(&[]).unwrap().body(&mut content).unwrap();
        assert_eq!((plain.len(), content.capacity()), (1000, 0));
        let mut content = plain.to_vec();
        let gzip = requests(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]).unwrap();
        let body = gzip.body(&mut content).unwrap();
        assert!(body.len() < 100 && content.is_empty() && content.capacity() >= 1000);
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, plain);
        assert_eq!(gzip.request(body).headers()["content-encoding"], "gzip");
    }
}
