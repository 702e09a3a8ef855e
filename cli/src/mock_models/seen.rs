//! What a mock server has been asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::asked::Wire;

/// Requests that are kept. Tests make some hundred.
pub(super) const REQUESTS_MAX: usize = 2_000;
/// Bytes of a body that is kept: of some thousand requests, some hundred megabytes at most.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Idempotency keys that are counted for.
const KEYS_MAX: usize = 100_000;

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRequest {
    /// The wire format.
    pub wire: Wire,
    /// The model that was asked.
    pub model: String,
    /// Its `traceparent`.
    pub traceparent: Option<String>,
    /// Its `tracestate`.
    pub tracestate: Option<String>,
    /// The key that it showed: `Authorization`, `x-api-key` or `x-goog-api-key`, as it was.
    pub authorization: Option<String>,
    /// Its `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Bytes of its body.
    pub bytes: usize,
    /// The body, if it is not too large to be kept.
    pub body: Option<Value>,
    /// Which reply of the script it got, from 0; none when there was none for it.
    pub reply: Option<usize>,
}

/// All that a server remembers.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    count: u64,
    requests: VecDeque<SeenRequest>,
    /// How often a reply was given for an idempotency key, by both.
    given: HashMap<(usize, String), u64>,
}

impl Log {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> u64 {
        self.memory().count
    }

    pub(super) fn requests(&self) -> Vec<SeenRequest> {
        self.memory().requests.iter().cloned().collect()
    }

    /// Notes a request and returns its number, from 1.
    pub(super) fn add(&self, mut request: SeenRequest) -> u64 {
        if request.bytes > BODY_BYTES_MAX {
            request.body = None;
        }
        let mut memory = self.memory();
        memory.count += 1;
        memory.requests.push_back(request);
        if memory.requests.len() > REQUESTS_MAX {
            memory.requests.pop_front();
        }
        memory.count
    }

    /// Whether a reply that is given `times` is left for this key; if so, it is one time less.
    pub(super) fn take(&self, reply: usize, key: &str, times: u64) -> bool {
        let mut memory = self.memory();
        if memory.given.len() >= KEYS_MAX {
            memory.given.clear();
        }
        let given = memory.given.entry((reply, key.to_owned())).or_default();
        *given += 1;
        *given <= times
    }
}
