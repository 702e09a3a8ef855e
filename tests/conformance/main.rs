//! Every contract's suite over every implementation, and what only one of them can be asked.

mod analysis;
mod broker;
mod drafts;
mod event_logs;
mod leases;
mod listing;
mod migrations;
mod monitoring;
mod plans;
mod postgres_only;
mod sessions;
mod steps;
mod store;
mod sweeps;
