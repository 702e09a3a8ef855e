//! Conformance suites over every implementation, and what only one of them can be asked.

mod postgres_only;
mod store;
