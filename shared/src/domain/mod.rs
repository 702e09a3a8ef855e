//! The nouns and rules of the product. Nothing in here does I/O, keeps time or knows a protocol.

pub mod ids;
pub mod key_id;
pub mod key_scopes;
pub mod tenant;
pub mod trace;

pub mod diagnostic;
pub mod duration;
pub mod graph;
pub mod kind;
pub mod words;

pub mod budget;
pub mod money;
pub mod rate;
pub mod step;
pub mod usage;

pub mod advance;
pub mod failure;
pub mod outcome;
pub mod retry;
pub mod state;

pub mod event_logs;
pub mod open_work;
pub mod run;
pub mod traced;
pub mod wakeup;
pub mod worker_status;

pub mod analysis;

pub mod limits;
pub mod text;
