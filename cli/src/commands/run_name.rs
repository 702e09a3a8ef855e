//! How a run is named on the command line.

use std::str::FromStr;

use skein_shared::domain::ids::RunId;
use skein_shared::domain::trace::TraceId;

use crate::client::{Client, ClientError, RunQuery, RunSummary};
use crate::usage::UsageError;

/// Digits of a trace id.
const TRACE_DIGITS: usize = 32;
/// Runs of one trace that are named where it does not say which is meant.
const NAMED_MAX: u32 = 10;

/// A run's id, the trace that it has or had, or `last` for the newest one. Anything else is refused before a server is
/// asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunName {
    /// The newest run.
    Last,
    /// The run with this id.
    Id(RunId),
    /// The run that this trace shows.
    Trace(TraceId),
}

/// Text that names no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run is named by its id, a UUID, by its trace, 32 hex digits, or by `last`")]
pub(super) struct NoRunName;

impl FromStr for RunName {
    type Err = NoRunName;

    fn from_str(text: &str) -> Result<Self, NoRunName> {
        match text {
            "last" => Ok(Self::Last),
            // An id is written with hyphens, as it is shown everywhere.
            trace if trace.len() == TRACE_DIGITS => {
                trace.to_ascii_lowercase().parse().map(Self::Trace).map_err(|_| NoRunName)
            }
            id => id.parse().map(Self::Id).map_err(|_| NoRunName),
        }
    }
}

impl RunName {
    /// The id, which a server knows for `last` and for a trace.
    pub(super) async fn id(self, client: &Client) -> anyhow::Result<String> {
        match self {
            Self::Id(id) => Ok(id.to_string()),
            Self::Last => {
                let query = RunQuery { limit: 1, ..RunQuery::default() };
                let newest =
                    client.newest_runs::<RunSummary>(&query).await?.items.into_iter().next();
                Ok(newest.ok_or_else(|| UsageError::new("there are no runs yet"))?.id)
            }
            Self::Trace(trace) => of_trace(client, trace).await,
        }
    }
}

async fn of_trace(client: &Client, trace: TraceId) -> anyhow::Result<String> {
    let query =
        RunQuery { trace_id: Some(trace.to_string()), limit: NAMED_MAX, ..RunQuery::default() };
    let found = match client.newest_runs::<RunSummary>(&query).await {
        Err(ClientError::Refused(problem)) if problem.refuses_parameter("trace_id") => {
            let url = client.url();
            anyhow::bail!(
                "the server at {url} is an older one and finds no run by its trace: name the run by its id"
            );
        }
        found => found?.items,
    };
    match found.as_slice() {
        [] => anyhow::bail!("no run has the trace {trace}"),
        [run] => Ok(run.id.clone()),
        runs => {
            let ids: Vec<_> = runs.iter().map(|run| run.id.as_str()).collect();
            let ids = ids.join(", ");
            Err(UsageError::new(format!("the trace {trace} shows several runs; name one: {ids}"))
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_id_by_its_trace_or_by_last() {
        let id = "019c0000-0000-7000-8000-000000000001";
        assert_eq!("last".parse(), Ok(RunName::Last));
        assert_eq!(id.parse(), Ok(RunName::Id(id.parse().unwrap())));
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for text in [trace.to_owned(), trace.to_uppercase()] {
            assert_eq!(text.parse(), Ok(RunName::Trace(trace.parse().unwrap())));
        }
        let no_trace = "0".repeat(32);
        for text in
            ["", "..", ".", "LAST", "019c0000", "../v1", "last ", &no_trace, &"g".repeat(32)]
        {
            assert_eq!(text.parse::<RunName>(), Err(NoRunName), "{text:?}");
        }
    }
}
