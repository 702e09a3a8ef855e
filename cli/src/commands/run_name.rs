//! How a run is named on the command line.

use std::str::FromStr;

use skein_shared::domain::ids::RunId;

use crate::client::{Client, RunQuery, RunSummary};
use crate::usage::UsageError;

/// A run's id, or `last` for the newest one. Anything else is refused before a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunName {
    /// The newest run.
    Last,
    /// The run with this id.
    Id(RunId),
}

/// Text that names no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run is named by its id, a UUID, or by `last`")]
pub(super) struct NoRunName;

impl FromStr for RunName {
    type Err = NoRunName;

    fn from_str(text: &str) -> Result<Self, NoRunName> {
        match text {
            "last" => Ok(Self::Last),
            id => id.parse().map(Self::Id).map_err(|_| NoRunName),
        }
    }
}

impl RunName {
    /// The id, which a server knows for `last`.
    pub(super) async fn id(self, client: &Client) -> anyhow::Result<String> {
        if let Self::Id(id) = self {
            return Ok(id.to_string());
        }
        let query = RunQuery { limit: 1, ..RunQuery::default() };
        let newest = client.runs::<RunSummary>(&query).await?.items.into_iter().next();
        Ok(newest.ok_or_else(|| UsageError::new("there are no runs yet"))?.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_id_or_by_last() {
        let id = "019c0000-0000-7000-8000-000000000001";
        assert_eq!("last".parse(), Ok(RunName::Last));
        assert_eq!(id.parse(), Ok(RunName::Id(id.parse().unwrap())));
        for text in ["", "..", ".", "LAST", "019c0000", "../v1", "last "] {
            assert_eq!(text.parse::<RunName>(), Err(NoRunName), "{text:?}");
        }
    }
}
