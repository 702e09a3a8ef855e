//! The handlers, a file for each group of endpoints.

pub(crate) mod analysis;
pub(crate) mod archiving;
pub(crate) mod budgets;
pub(crate) mod costs;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod runs;
pub(crate) mod spans;
pub(crate) mod steps;
pub(crate) mod workers;
pub(crate) mod workflows;
