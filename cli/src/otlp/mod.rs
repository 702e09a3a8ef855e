//! Sending spans to a collector by OTLP over HTTP, in its JSON encoding, which every collector takes beside protobuf.

mod batch;
mod collector;
mod destination;
mod error;

pub use batch::{Batch, Batcher, begun_at, spans_of};
pub use collector::{Collector, Delivered};
pub use destination::{Destination, Given};
pub use error::SendError;
