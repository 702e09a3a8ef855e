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
/// Requests with a key that are served at a time. One costs some tens of KiB; beyond that many, refusing is kinder than
/// queueing. A key may have as many of them as are still free.
pub const REQUESTS_MAX: usize = 4_096;
/// Requests of these that may wait for a run; others are answered 202 at once. Fewer than there may be requests, so that
/// a key whose waits take all of its part can still cancel what it waits for.
pub const WAITS_MAX: usize = 3_072;
/// Connections at a time, if there are descriptors for so many. An address may have as many of them as are still free;
/// beyond that, an idle one makes way.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Connections beside these, for when they are taken: each is asked one thing. Probes are answered, others are refused
/// because no permit is left.
pub const RESERVED_CONNECTIONS_MAX: usize = 64;
/// Descriptors left to what is no connection of a client: those to database and broker, files, what an embedded worker
/// calls.
pub const DESCRIPTORS_RESERVED: usize = 256;
/// Bytes of all answers that are being written or sent. A key may have as much of it as is still free, so alone it gets
/// half, which is three times the largest run that is shown.
pub const ANSWER_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Bytes of an answer that are counted, sent and given back together.
pub const ANSWER_CHUNK_BYTES: usize = 32 * 1024;
/// Bytes of an answer that the kernel may take before the client does; it doubles the number for what it needs itself.
/// Enough for 25 Mbit/s over a line of 80 ms.
pub const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// Bytes of room that a key must have left for an answer of some size.
pub const ANSWER_ROOM_BYTES_MIN: usize = 256 * 1024;
/// Bytes of room that a key must have left before something large is read beside what it is being sent already: a run
/// with all that is shown of it, its own input and output and the errors of its attempts included.
pub const LARGE_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a log's rows from which on no more are read for the same page: what is shown of a run, too.
pub const LOG_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Rows of a log read at a time. Each may have a megabyte.
pub const LOG_ROWS_READ: u32 = 10;
/// Runs, nodes, logs and documents read at a time, half of them for the same key: as many as there are connections to
/// the database. One may be in memory three times, of some 5 MiB each, before it is an answer.
pub const LARGE_READS_MAX: usize = 8;
/// How long a request waits for its turn at that.
pub const LARGE_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions that read as much as an organization has, asked of the store at a time; one for the same organization. Others
/// read meanwhile: the store has twice as many connections for all that is read.
pub const BROAD_READS_MAX: usize = 2;
/// How long a request waits for its turn at that. A question takes some seconds at most.
pub const BROAD_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of all request bodies that are being received or worked on. A key may have as much of it as is still free.
pub const BODIES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Header lines of a request. More of them are answered below the router, with an empty 431; so is what is no HTTP at
/// all, with an empty 400.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's line and headers. Also the read buffer of a connection, so it is what an
/// idle one may cost. What fills the buffer and is not yet whole is answered below the router, with an empty 431.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// How long a new connection may send nothing. Clients connect because they have something to ask.
pub const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to send the whole of its headers, from the first byte of them.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a kept connection may be idle between two requests. As long as load balancers keep theirs.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// The same bounds for a reserved connection, together: probes ask at once.
pub const RESERVED_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a client may take none of the answer that is being sent. One that never reads would keep its
/// connection and what is held for it for good.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer that a client must take in a second, on average. The largest run that is shown is sent within
/// twenty minutes.
pub const WRITE_BYTES_PER_SECOND_MIN: u32 = 4 * 1024;
/// How long a shutdown waits for requests in flight. Waits for runs end at once.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(15);
/// Inputs checked at a time whose check may take long, a second of a core at worst. Half of a small machine's cores;
/// what else the process does goes on.
pub const CHECKS_MAX: usize = 2;
/// How long such an input waits for its turn.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(5);
/// Steps of a check that is made in place: less than a tenth of a millisecond, about what handing it to another thread
/// costs.
pub const CHECK_STEPS_IN_PLACE_MAX: u64 = 2_000;
/// How long reading a run may take that is to be shown in the answer to a write. The write has happened, so the answer
/// does without it after that.
pub const READ_BACK_TIME_MAX: Duration = Duration::from_secs(6);
/// How long a run is submitted again while the store is out of reach.
pub const ACCEPT_PATIENCE: Duration = Duration::from_secs(2);
/// How often a run is planned anew because its workflow got another version meanwhile. Publishing
/// takes milliseconds, so twice in a row is rare already.
pub const REPLANS_MAX: u32 = 5;
/// How long a key is trusted without asking the store: also how long a revoked one still works at another replica, as
/// long as that can ask the store in time.
pub const KEY_TRUST: Duration = Duration::from_secs(30);
/// How long a key is trusted while the store cannot be asked, or not in time: also how long a revoked one works at most,
/// whatever fails. As long as a database takes to fail over; in a longer outage nothing works anyway.
pub const KEY_KEPT: Duration = Duration::from_secs(120);
/// The pause between two checks of a key whose answer takes long, where the store cannot be asked about it.
pub const KEY_RECHECK_PAUSE: Duration = Duration::from_millis(250);
/// Keys whose use waits to be noted. What is beyond is noted the next time that they are looked up.
pub const KEY_USES_WAITING_MAX: usize = 1_000;
/// The pause between two statements that note the use of keys. It need not be known at once.
pub const KEY_USES_PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for a permit to have its key looked up.
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
/// Versions of workflows that are remembered, ready to start: the latest ones, and those that are started by their
/// numbers.
pub const PLANS_MAX: u64 = 1_000;
/// Versions of workflows of which it is remembered which nodes lead to which. That of a large one takes some 100 KiB.
pub const LINEAGES_MAX: u64 = 100;
/// Rows that a page of spans is made of. Each has three spans at most, of some kilobytes; links and texts of all that may be
/// are a few megabytes.
pub const SPAN_ROWS_MAX: u32 = 100;
/// How long a workflow that nobody starts is remembered.
pub const PLAN_IDLE_MAX: Duration = Duration::from_secs(600);
/// The pause between two polls of the runs that somebody waits for. Announcements are quicker, but
/// may be lost.
pub const WAIT_POLL: Duration = Duration::from_millis(250);
/// Runs polled in one statement.
pub const WAIT_POLL_BATCH: usize = 1_000;
/// Event streams that are open at a time. One costs a connection, and up to some 100 KiB where its client does not keep
/// up. A key may have as many of them as are still free.
pub const STREAMS_MAX: usize = 1_024;
/// How long one lasts. The client comes back, perhaps to another replica, so that load spreads again.
pub const STREAM_TIME_MAX: Duration = Duration::from_secs(3600);
/// How long one is silent: proxies close what is silent for a minute, some for half of that.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is looked whether a stream's key is still good. The store is asked no more often than for requests:
/// so that much longer than [`KEY_TRUST`] a revoked one may still listen.
pub const STREAM_KEY_CHECK: Duration = Duration::from_secs(5);
/// The pause between two polls of the log of a run that is followed, while there is something new.
pub const STREAM_POLL_MIN: Duration = Duration::from_millis(250);
/// The pause that it grows to while nothing happens.
pub const STREAM_POLL_MAX: Duration = Duration::from_secs(2);
/// Bytes of the values of a page of a log that is kept for others who follow the same run: some rows of the usual size. It is
/// in memory for as long as somebody follows the run.
pub const STREAM_PAGE_BYTES_MAX: usize = 64 * 1024;
/// Logs polled at a time: the other connections to the database stay with requests.
pub const STREAM_POLLS_MAX: usize = 2;
/// The pause before a stream reads on after the store was out of reach, or there was no room for what it read.
pub const STREAM_PAUSE: Duration = Duration::from_secs(1);
/// Seconds after which to try again, when the process is overloaded or the store is out of reach.
pub const RETRY_AFTER_SECONDS: u16 = 2;
/// How long the readiness probe waits for the store: less than the second or two that probes wait.
pub const READY_TIME_MAX: Duration = Duration::from_secs(2);
/// Diagnostics listed in one answer; nobody reads more, and a body can provoke one a byte.
pub const DIAGNOSTICS_MAX: usize = 100;
/// Bytes of text of all diagnostics in one answer. They repeat names from the body, and belong to no key's part of the
/// room for answers.
pub const DIAGNOSTICS_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one text of a diagnostic, or of a problem's detail; the rest is cut off.
pub const PROBLEM_TEXT_BYTES_MAX: usize = 4 * 1024;

/// The bounds that a caller of [`crate::serve`] may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`REQUESTS_MAX`].
    pub requests: usize,
    /// See [`WAITS_MAX`].
    pub waits: usize,
    /// See [`CONNECTIONS_MAX`].
    pub connections: usize,
    /// See [`ANSWER_BYTES_MAX`].
    pub answer_bytes: usize,
    /// See [`BROAD_READS_MAX`].
    pub broad_reads: usize,
    /// See [`BROAD_READ_TIMEOUT`].
    pub broad_read_time: Duration,
    /// See [`REQUEST_TIME_MAX`].
    pub request_time: Duration,
    /// See [`BODY_TIME_MAX`].
    pub body_time: Duration,
    /// See [`FIRST_BYTE_TIME_MAX`].
    pub first_byte_time: Duration,
    /// See [`HEAD_TIME_MAX`].
    pub head_time: Duration,
    /// See [`IDLE_TIME_MAX`].
    pub idle_time: Duration,
    /// See [`WRITE_TIME_MAX`].
    pub write_time: Duration,
    /// See [`DRAIN_TIME_MAX`].
    pub drain_time: Duration,
    /// See [`STREAMS_MAX`].
    pub streams: usize,
    /// See [`STREAM_TIME_MAX`].
    pub stream_time: Duration,
    /// See [`STREAM_HEARTBEAT`].
    pub stream_heartbeat: Duration,
    /// See [`WAIT_POLL`].
    pub wait_poll: Duration,
    /// See [`KEY_TRUST`].
    pub key_trust: Duration,
    /// See [`KEY_KEPT`].
    pub key_kept: Duration,
}

impl Limits {
    /// The same for a process that has room for this many connections. One key's requests stay fewer than one address's
    /// connections, so that a key behind a proxy takes nobody's connections away.
    pub(crate) fn within(self, connections: usize) -> Self {
        if self.connections <= connections {
            return self;
        }
        let requests = self.requests.min((connections / 2).max(1));
        let waits = self.waits.min(requests - requests / 4);
        let streams = self.streams.min((connections / 4).max(1));
        Self { connections, requests, waits, streams, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: REQUESTS_MAX,
            waits: WAITS_MAX,
            connections: CONNECTIONS_MAX,
            answer_bytes: ANSWER_BYTES_MAX,
            broad_reads: BROAD_READS_MAX,
            broad_read_time: BROAD_READ_TIMEOUT,
            request_time: REQUEST_TIME_MAX,
            body_time: BODY_TIME_MAX,
            first_byte_time: FIRST_BYTE_TIME_MAX,
            head_time: HEAD_TIME_MAX,
            idle_time: IDLE_TIME_MAX,
            write_time: WRITE_TIME_MAX,
            drain_time: DRAIN_TIME_MAX,
            streams: STREAMS_MAX,
            stream_time: STREAM_TIME_MAX,
            stream_heartbeat: STREAM_HEARTBEAT,
            wait_poll: WAIT_POLL,
            key_trust: KEY_TRUST,
            key_kept: KEY_KEPT,
        }
    }
}
