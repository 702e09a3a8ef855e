//! What a collector answers to a request that it has taken.

use opentelemetry_http::{Bytes, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

/// Items that a collector has not taken, although the status says yes, and why. The three signals' answers differ in
/// nothing but names. None may be rejected, and still something be said.
pub(in crate::telemetry) fn rejected(response: &Response<Bytes>) -> Option<(i64, String)> {
    if !response.status().is_success() {
        return None;
    }
    let said = ExportTraceServiceResponse::decode(response.body().clone()).ok()?.partial_success?;
    let ExportTracePartialSuccess { rejected_spans: items, error_message: why } = said;
    (items > 0 || !why.is_empty()).then_some((items, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, rejected_spans: i64, error_message: &str) -> Response<Bytes> {
        let said =
            ExportTracePartialSuccess { rejected_spans, error_message: error_message.to_owned() };
        let body = ExportTraceServiceResponse { partial_success: Some(said) }.encode_to_vec();
        Response::builder().status(status).body(body.into()).unwrap()
    }

    #[test]
    fn what_was_not_taken_is_told() {
        assert_eq!(rejected(&answer(200, 1, "too old")), Some((1, "too old".to_owned())));
        assert_eq!(rejected(&answer(200, 0, "soon")), Some((0, "soon".to_owned())));
        assert_eq!(rejected(&answer(200, 0, "")), None);
        assert_eq!(rejected(&answer(400, 1, "the status says it")), None);
        assert_eq!(rejected(&Response::new(Bytes::new())), None, "nothing to complain of");
        assert_eq!(rejected(&Response::new(Bytes::from_static(b"{}"))), None, "no protobuf");
    }
}
