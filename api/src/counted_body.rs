//! The body of an answer whose request counts as open until its last byte has left: a stream takes as long as somebody
//! follows it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use skein_shared::telemetry::metrics::ServedRequest;

/// A body that keeps its request counted.
#[derive(Debug)]
pub(crate) struct CountedBody {
    pub(crate) body: Body,
    pub(crate) _request: ServedRequest,
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
