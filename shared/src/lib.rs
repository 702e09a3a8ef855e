//! What the API and the worker both speak: the domain, the broker, the store, telemetry and
//! configuration.

pub mod domain;

pub mod document;
pub mod expression;
pub mod workflow;

pub mod batcher;
pub mod broker;
pub mod store;
pub mod telemetry;

pub mod abandoned;
pub mod dispatch;
pub mod finish;
pub mod monitor;
pub mod ops;
mod portions;
pub mod sweeper;

pub mod config;
pub mod host;
pub mod private;
pub mod shutdown;
