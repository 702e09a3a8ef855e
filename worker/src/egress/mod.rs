//! The one client through which nodes reach the outside world.
//!
//! A workflow's author chooses the URLs, the operator owns the network that the worker stands in. So
//! private, loopback, link-local, reserved and metadata addresses are refused unless the operator
//! lists them, at every hop and for every address that a name stands for. Everything that comes back
//! has a limit in bytes and in time, and every request carries the trace on.

use std::time::Duration;

pub mod address;
pub mod allow;
mod client;
mod error;
mod guard;
mod message;
pub mod observer;
mod redirect;
mod target;

#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

use skein_shared::domain::limits;

pub use allow::{AllowRule, MalformedRule};
pub use client::{Egress, EgressConfig, SetupFailed};
pub use error::EgressError;
pub use message::{IsEnough, Request, Response};
pub(crate) use observer::InFlight;
pub use observer::{Exchange, Observer, Origin, Unobserved};
pub(crate) use target::Target;

/// Redirects that are followed. Honest chains (scheme, then host, then path) are shorter.
pub const REDIRECTS_MAX: u32 = 5;
/// For the lookup of a name, the connection and the TLS handshake. A host that takes longer is down.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of names and values of an answer's headers. Twice what common servers accept themselves.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes of an answer's body, decompressed: with its head it must fit into a node's output.
pub const RESPONSE_BYTES_MAX: usize = limits::OUTPUT_BYTES_MAX - 2 * RESPONSE_HEAD_BYTES_MAX;
/// Idle connections kept to one host. More than a worker usually has nodes in flight to it.
const IDLE_PER_HOST_MAX: usize = 16;
/// How long an idle connection is kept; shorter than the usual server's timeout of a minute, so
/// that requests rarely meet a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
