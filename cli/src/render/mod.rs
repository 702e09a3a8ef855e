//! What people read. Everything here makes text out of values and prints nothing itself, so that tests
//! compare whole pictures.

mod amounts;
mod analysis;
mod chart;
mod colour;
mod detached;
mod doctor;
mod fleet;
mod keys;
mod line;
mod live;
mod log;
mod marked;
mod nodes;
mod outcome;
mod places;
mod plan;
mod problem;
mod progress;
mod report;
mod show;
mod spending;
mod spent;
mod status;
mod summary;
mod table;
mod terminal;
mod time;
mod waits;
mod waterfall;
mod workers;
mod workflows;

#[cfg(test)]
pub(crate) mod samples;

pub use analysis::analysis;
pub use colour::ColourChoice;
pub use detached::{detached, how_to_follow};
pub use doctor::doctor;
pub use fleet::worker_table;
pub use keys::{key_headline, key_table};
pub use live::LiveView;
pub use log::LogView;
pub use plan::Plan;
pub use problem::{diagnostics, problem};
pub use progress::Progress;
pub use report::Report;
pub use show::{attempt_table, node_values};
pub use spending::{budget_table, cost_table, step_table};
pub use summary::{headline, run_table};
pub use table::{Align, Cell, Table};
pub use terminal::{Style, Terminal, clean, clean_lines, width_of};
pub use time::{clock, duration, moment, seconds};
pub use waits::{WaitNews, waits};
pub use waterfall::{calls_left_out, waterfall};
pub use workflows::{version_table, workflow_table};
