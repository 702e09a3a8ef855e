//! The parameters of each node kind.
