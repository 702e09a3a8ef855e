//! What the API and the worker both speak: the domain, the broker, the store, telemetry and
//! configuration.

pub mod domain;
pub mod expression;

pub mod broker;
pub mod lane;
pub mod store;
pub mod telemetry;

pub mod dispatch;
pub mod finish;
mod portions;
pub mod sweeper;

pub mod config;
pub mod private;
pub mod shutdown;
