//! Skein.

pub mod broker_suite;
