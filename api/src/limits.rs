//! What one process of the API takes on. Sizes of documents, inputs and names are the domain's
//! ([`skein_shared::domain::limits`]).

use std::time::Duration;

/// A request body, in bytes. Twice a document, four times an input; larger values belong into storage,
/// with a reference in the input.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a client may take to send its body: 1 MiB over a slow mobile line.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(15);
/// How long a request may take, its wait for a run not counted. Beyond the store's own bounds
/// (5 s for a connection, 5 s for a statement, 2 s of patience) something is stuck.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Seconds that `?wait=` may ask for. Load balancers close what is silent for longer.
pub const WAIT_SECONDS_MAX: u32 = 60;
/// Requests served at a time. One costs some tens of KiB; beyond that many, refusing is kinder than
/// queueing.
pub const REQUESTS_MAX: usize = 4_096;
/// Requests of these that may wait for a run; others are answered 202 at once.
pub const WAITS_MAX: usize = 3_072;
/// Connections at a time; further ones stay in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Header lines of a request. More of them are answered below the router, with an empty 431; so is what is no HTTP at
/// all, with an empty 400.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's line and headers. Also the read buffer of a connection, so it is what an
/// idle one may cost. What fills the buffer and is not yet whole is answered below the router, with an empty 431.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// How long a client may take to send its headers, and how long a kept connection may be idle.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a client may take none of the answer that is being sent. One that never reads would keep its
/// connection for good.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a shutdown waits for requests in flight. Waits for runs end at once.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(15);
/// Inputs checked at a time whose check may take long, a second of a core at worst. Half of a small machine's cores;
/// what else the process does goes on.
pub const CHECKS_MAX: usize = 2;
/// How long such an input waits for its turn.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(5);
/// Steps of a check that is made in place: less than a tenth of a millisecond, about what handing it to another thread
/// costs.
pub const CHECK_STEPS_INLINE_MAX: u64 = 2_000;
/// How long reading a run may take that is to be shown in the answer to a write. The write has happened, so the answer
/// does without it after that.
pub const READ_BACK_TIME_MAX: Duration = Duration::from_secs(6);
/// How long a run is submitted again while the store is out of reach.
pub const ACCEPT_PATIENCE: Duration = Duration::from_secs(2);
/// How often a run is planned anew because its workflow got another version meanwhile. Publishing
/// takes milliseconds, so twice in a row is rare already.
pub const REPLANS_MAX: u32 = 5;
/// How long a key is trusted without asking the store: also how long a revoked one still works, as long as the
/// store can be asked in time.
pub const KEY_TRUST: Duration = Duration::from_secs(30);
/// How long a key is trusted while the store cannot be asked, or not in time.
pub const KEY_KEPT: Duration = Duration::from_secs(600);
/// How long a request waits for a place to have its key looked up.
pub const KEY_TURN_MAX: Duration = Duration::from_secs(1);
/// How long the store is asked about a key that was good a short while ago. The request waits for the store once more
/// after that, and a client gives up on both together.
pub const KEY_RENEWAL_MAX: Duration = Duration::from_secs(1);
/// How long a key that was refused is refused without asking the store: also how long a new one may not
/// work yet, if somebody tried it before it was made.
pub const KEY_DISTRUST: Duration = Duration::from_secs(1);
/// Keys remembered, good and refused ones apart.
pub const KEYS_MAX: u64 = 10_000;
/// Keys looked up in the store at a time, new ones and renewed ones apart, so that a flood of guesses leaves it to
/// those who have one.
pub const KEY_LOOKUPS_MAX: usize = 2;
/// Workflows whose latest version is remembered, ready to start.
pub const PLANS_MAX: u64 = 1_000;
/// How long a workflow that nobody starts is remembered.
pub const PLAN_IDLE_MAX: Duration = Duration::from_secs(600);
/// The pause between two looks at the runs that somebody waits for. Announcements are quicker, but
/// may be lost.
pub const WAIT_POLL: Duration = Duration::from_millis(250);
/// Runs looked at in one statement.
pub const WAIT_POLL_BATCH: usize = 1_000;
/// Seconds after which to try again, when the process is overloaded or the store is out of reach.
pub const RETRY_AFTER_SECONDS: u16 = 2;
/// How long the readiness probe waits for the store: less than the second or two that probes wait.
pub const READY_TIME_MAX: Duration = Duration::from_secs(2);
/// Faults listed in one answer; nobody reads more, and a body can provoke one a byte.
pub const FAULTS_MAX: usize = 100;

/// The bounds that a caller of [`crate::serve`] may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`REQUESTS_MAX`].
    pub requests: usize,
    /// See [`WAITS_MAX`].
    pub waits: usize,
    /// See [`CONNECTIONS_MAX`].
    pub connections: usize,
    /// See [`REQUEST_TIME_MAX`].
    pub request_time: Duration,
    /// See [`BODY_TIME_MAX`].
    pub body_time: Duration,
    /// See [`HEADER_TIME_MAX`].
    pub header_time: Duration,
    /// See [`WRITE_TIME_MAX`].
    pub write_time: Duration,
    /// See [`DRAIN_TIME_MAX`].
    pub drain_time: Duration,
    /// See [`WAIT_POLL`].
    pub wait_poll: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: REQUESTS_MAX,
            waits: WAITS_MAX,
            connections: CONNECTIONS_MAX,
            request_time: REQUEST_TIME_MAX,
            body_time: BODY_TIME_MAX,
            header_time: HEADER_TIME_MAX,
            write_time: WRITE_TIME_MAX,
            drain_time: DRAIN_TIME_MAX,
            wait_poll: WAIT_POLL,
        }
    }
}
