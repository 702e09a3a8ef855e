//! Conformance suites over every implementation, and what only one of them can be asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, which is its purpose")]

mod postgres_only;
mod store;
