//! What the API and the worker both speak: the domain, the broker, the store, telemetry and
//! configuration.

pub mod broker;
pub mod domain;
pub mod expression;
pub mod telemetry;
