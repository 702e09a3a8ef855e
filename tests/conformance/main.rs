//! Every contract's suite over every implementation.

mod broker;
mod store;
