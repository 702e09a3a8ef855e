//! Conformance suites over every implementation.

mod store;
