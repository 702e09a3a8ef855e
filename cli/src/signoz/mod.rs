//! Dashboards and alert rules in a SigNoz: [`documents`] says what there is to be, [`api`] speaks to SigNoz, [`plan`]
//! compares the two, [`apply`] changes what differs.
//!
//! Everything is found again by its name and by a mark that says that it is Skein's. So it may be applied as often as one
//! likes, and after a failure in the middle it is applied again.

pub mod api;
pub mod apply;
pub mod documents;
mod embedded;
mod error;
pub mod plan;

pub use error::SignozError;
