//! How far a trace reaches.

use std::time::Duration;

use crate::domain::duration;
use crate::domain::limits::DELAY_MAX;

/// Longer than any statement may take: a claim that waits for a lock all that time must not come from the trace before.
const TRACE_WAIT_MIN: Duration = Duration::from_secs(10);

/// How far a trace reaches.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct TraceArgs {
    /// How long a run may be suspended and still go on in the same trace. Backends show no trace that is longer than
    /// they look back.
    #[arg(long, env = "SKEIN_TRACE_WAIT_MAX", default_value = "15m", value_parser = trace_wait)]
    pub trace_wait_max: Duration,
}

fn trace_wait(text: &str) -> Result<Duration, String> {
    let wait = duration::parse(text).map_err(|error| error.to_string())?;
    if (TRACE_WAIT_MIN..=DELAY_MAX).contains(&wait) {
        Ok(wait)
    } else {
        Err("must lie between 10s and 366d".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_duration_within_bounds() {
        assert_eq!(trace_wait("15m"), Ok(Duration::from_secs(900)));
        for (text, problem) in [("15", "unit"), ("9s", "between"), ("367d", "between")] {
            let error = trace_wait(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
