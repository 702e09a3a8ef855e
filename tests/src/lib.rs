//! Skein's tests and what they share.

pub mod otlp;
