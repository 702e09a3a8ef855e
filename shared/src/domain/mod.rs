//! The nouns and rules of the product. Nothing in here does I/O, keeps time or knows a protocol.

pub mod ids;
pub mod tenant;
pub mod trace;

pub mod compile;
pub mod document;
pub mod duration;
pub mod fault;
mod fields;
pub mod graph;
pub mod input;
pub mod kind;
pub mod params;
pub mod plan;

pub mod advance;
pub mod failure;
pub mod retry;
pub mod state;

pub mod run;
pub mod wakeup;

pub mod limits;
pub mod text;
