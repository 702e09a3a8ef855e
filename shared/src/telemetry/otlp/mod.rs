//! Spans and log records on their way to a collector, as OTLP over HTTP.
//!
//! Each is encoded by the thread that ends it, into bytes that wait in one buffer, and one thread for each signal posts
//! what waits. So nothing that is made here is taken apart or freed elsewhere, and what waits is as small as it gets.
//! Metrics, of which there are few, go through the SDK and its exporter.

mod batch;
mod envelope;
mod exporter;
mod item;
mod log;
mod processor;
mod producer;
mod protobuf;
mod queue;
mod request;
mod response;
mod retry;
mod scope;
mod span;
mod value;

pub(super) use envelope::single;
pub(super) use item::Item;
pub(super) use log::TextRecord;
pub(super) use processor::Queued;
pub(super) use producer::Producer;
pub(super) use queue::Batching;
pub(super) use request::Requests;
pub(super) use response::rejected;
