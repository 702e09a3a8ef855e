//! Message in, nodes executed, checkpoints out.

pub mod egress;
pub mod nodes;
