//! What tests of more than one crate share: conformance suites, and the systems that they run against.

pub mod broker_suite;
pub mod otlp;
pub mod pooler;
pub mod postgres;
pub mod proxy;
pub mod rabbitmq;
pub mod reference;
pub mod signoz;
pub mod sqlite;
pub mod stack;
pub mod store_suite;
pub mod tls;
