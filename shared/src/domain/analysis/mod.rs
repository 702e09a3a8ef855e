//! What runs that are over tell of a workflow: where their time went, and whether two of its versions differ. Pure; whoever
//! asks reads the runs and adds them up.

pub mod critical_path;
pub mod histogram;
pub mod phases;
pub mod significance;
