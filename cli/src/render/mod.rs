//! What people read. Everything here makes text out of values and prints nothing itself, so that tests
//! compare whole pictures.

mod amounts;
mod analysis;
mod chart;
mod doctor;
mod keys;
mod line;
mod live;
mod log;
mod places;
mod problem;
mod progress;
mod shell;
mod spending;
mod spent;
mod status;
mod summary;
mod table;
mod terminal;
mod time;
mod waits;
mod waterfall;

#[cfg(test)]
pub(crate) mod samples;

pub use analysis::analysis;
pub use doctor::doctor;
pub use keys::{key_headline, key_table};
pub use live::LiveView;
pub use log::LogView;
pub use problem::{diagnostics, problem};
pub use progress::{PlannedNode, Progress};
pub use spending::{budget_table, cost_table, step_table};
pub use summary::{headline, node_table, output, run_table};
pub use table::{Align, Cell, Table};
pub use terminal::{Style, Terminal, clean, clean_lines, width_of};
pub use time::{clock, duration, moment, seconds};
pub use waits::{WaitNews, waits};
pub use waterfall::{calls_left_out, waterfall};
