//! `skein analyze`: looks back at runs.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde_json::Value;
use skein_shared::domain::duration;

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Analysis, AnalysisQuery, Client};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::print;
use crate::render::{Terminal, analysis};
use crate::usage::UsageError;

/// Arguments of `skein analyze`.
#[derive(Debug, clap::Args)]
pub struct AnalyzeArgs {
    /// At runs that were accepted since then: so long (`24h`, `7d`) before `--until`, or before now, or a time, RFC 3339. 31
    /// days before it at most.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    since: String,
    /// At runs that were accepted before this time only, RFC 3339.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Of this workflow only.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Of these two versions of it only, which are compared: `1,2`. Costs are of all versions.
    #[arg(long, value_name = "A,B", requires = "workflow")]
    versions: Option<String>,
    /// All of it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn analyze(args: AnalyzeArgs) -> anyhow::Result<ExitCode> {
    let until = match &args.until {
        None => Utc::now().trunc_subsecs(3),
        Some(until) => DateTime::parse_from_rfc3339(until)
            .map_err(|_| {
                UsageError::new(format!("--until {until}: a time like 2030-01-31T12:00:00Z"))
            })?
            .to_utc(),
    };
    let from = since(&args.since, until)?;
    // So long before now is said with its end: by the time the server reads it, 31 days would be more than that.
    let is_relative = from != args.since;
    let now = is_relative.then(|| until.to_rfc3339_opts(SecondsFormat::Millis, true));
    let query = AnalysisQuery {
        from: Some(from),
        to: args.until.clone().or(now),
        workflow: args.workflow.clone(),
        versions: args.versions.clone(),
    };
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &query, &args).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, query: &AnalysisQuery, args: &AnalyzeArgs) -> anyhow::Result<()> {
    let text = if args.json {
        format!("{}\n", client.analysis::<Value>(query).await?)
    } else {
        let found = client.analysis::<Analysis>(query).await?;
        analysis(&found, &args.server.flags(), &Terminal::stdout())
    };
    print(&text)?;
    Ok(())
}

/// A time as the server reads it, from one that may be said as how long ago it was.
fn since(text: &str, until: DateTime<Utc>) -> Result<String, UsageError> {
    if DateTime::parse_from_rfc3339(text).is_ok() {
        return Ok(text.to_owned());
    }
    let ago = duration::parse(text).map_err(|error| {
        UsageError::new(format!(
            "--since {text}: {error}; a duration like 24h, or a time like 2030-01-31T12:00:00Z"
        ))
    })?;
    let time = until.checked_sub_signed(chrono::TimeDelta::from_std(ago).unwrap_or_default());
    let time = time.unwrap_or(DateTime::UNIX_EPOCH);
    Ok(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_said_as_how_long_ago_it_was() {
        let now = "2030-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(since("24h", now).unwrap(), "2030-01-30T12:00:00.000Z");
        assert_eq!(since("1d12h", now).unwrap(), "2030-01-30T00:00:00.000Z");
        let time = "2030-01-01T00:00:00+01:00";
        assert_eq!(since(time, now).unwrap(), time);
        let refused = since("yesterday", now).unwrap_err().to_string();
        assert!(refused.contains("--since yesterday") && refused.contains("24h"), "{refused}");
    }
}
