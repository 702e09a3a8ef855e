//! A queue within the process.
