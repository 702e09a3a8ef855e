//! What stands in an event stream beside the rows of the log.

use serde::Serialize;
use skein_shared::broker::LiveEvent;
use skein_shared::domain::state::RunState;

/// More text of a call.
#[derive(Debug, Serialize)]
pub(crate) struct LiveText<'a> {
    /// The node.
    node: &'a str,
    /// All indices of maps around it, outermost first; empty outside of maps.
    scope: &'a str,
    /// The number of the call within the node.
    step: u32,
    /// The number of this event within the call.
    seq: u64,
    /// The text.
    text: &'a str,
}

impl<'a> From<&'a LiveEvent> for LiveText<'a> {
    fn from(event: &'a LiveEvent) -> Self {
        let LiveEvent { run: _, node, scope, step, seq, kind: _, text } = event;
        Self { node, scope, step: *step, seq: *seq, text }
    }
}

/// The last event of a stream.
#[derive(Debug, Serialize)]
pub(crate) struct End {
    /// How the run has ended.
    status: &'static str,
    /// The page of the trace that it had last, where the operator has set up such pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_url: Option<String>,
}

impl End {
    pub(crate) fn of(state: RunState, trace_url: Option<String>) -> Self {
        Self { status: state.as_str(), trace_url }
    }
}
