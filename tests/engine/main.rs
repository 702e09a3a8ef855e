//! The engine as a whole: what it makes of any graph, under any order of events, next to a reference
//! interpreter; and what it does about retries, crashes, cancellation and limits.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, which is its purpose")]

mod advance;
mod agents;
mod altered;
mod clocks;
mod confidence;
mod deadlines;
mod economy;
mod endings;
mod expressions;
mod fleet;
mod intake;
mod locked;
mod model_calls;
mod nesting;
mod random;
mod scenarios;
mod server;
mod sketch;
mod unreliable;
