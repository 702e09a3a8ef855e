//! Where traces are looked at, and what they call the processes.

use skein_shared::config::TraceUrlTemplate;
use skein_shared::domain::trace::TraceId;
use skein_shared::telemetry::ServiceNames;

/// Where traces are looked at, and what they call the processes.
#[derive(Debug, Clone, Default)]
pub struct TraceView {
    /// The page of a trace; absent where nobody has said.
    pub url: Option<TraceUrlTemplate>,
    /// What spans that are made once more call the processes whose they were.
    pub services: ServiceNames,
}

impl TraceView {
    /// The page of a trace, if there are such pages.
    pub(crate) fn link(&self, trace: TraceId) -> Option<String> {
        Some(self.url.as_ref()?.link(trace))
    }
}
