//! The files of `deploy/signoz`: whether SigNoz takes them, and whether what they ask about exists.

mod collector;
mod embedded;
mod files;
mod metrics;
mod names;
mod runbooks;
mod schemas;
