//! `skein doctor`: looks into an installation and says what to do.

use std::process::ExitCode;

use clap::Subcommand as _;
use serde::Serialize;
use serde_json::{Value, json};
use skein_shared::config::{BrokerArgs, StoreArgs, TraceUrlArgs};
use skein_shared::telemetry;

use super::Command;
use crate::arguments::ServerArgs;
use crate::doctor::{Finding, Flag, Group, Installation, Outcome, Report, Settings, examine};
use crate::failure::EXIT_FAILED;
use crate::format::{OutputArgs, Shape};
use crate::output::print;
use crate::render::{Terminal, doctor as shown};
use crate::usage::UsageError;

const HELP: &str = "\
It makes and changes nothing, but for one test span. The exit code is 1 if something failed.

Examples:
  skein doctor
  skein doctor --only broker,database
  skein doctor -o json                  # ok, checks, settings";

/// Arguments of `skein doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct DoctorArgs {
    /// What to look at, if not all: otlp, broker, database, api.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "GROUPS",
        hide_possible_values = true
    )]
    only: Vec<Group>,
    #[command(flatten)]
    trace_url: TraceUrlArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A finding with the group that it belongs to.
#[derive(Debug, Serialize)]
struct Line<'a> {
    group: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

pub(super) async fn doctor(args: DoctorArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    telemetry::install_crypto_provider();
    let settings = Settings::from_env(&flags());
    let trace_url =
        args.trace_url.template().map_err(|error| UsageError::new(error.to_string()))?;
    let installation = Installation {
        store: &args.store,
        broker: &args.broker,
        server: &args.server,
        settings: &settings,
        trace_url: trace_url.as_ref(),
    };
    let groups = if args.only.is_empty() { &Group::ALL[..] } else { &args.only };
    let report = examine(installation, groups).await;
    print(&match output.shape() {
        Shape::Data(format) => format.document(&as_json(&report, &settings)),
        Shape::Ids => String::new(),
        Shape::Text => shown(&report, &settings, &Terminal::stdout()),
    })?;
    let failed = report.count(Outcome::Failed) > 0;
    Ok(if failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

fn as_json(report: &Report, settings: &Settings) -> Value {
    let settings_lines = report.settings.iter().map(|it| ("settings", it));
    let groups = report
        .groups
        .iter()
        .flat_map(|(group, findings)| findings.iter().map(|finding| (group.as_str(), finding)));
    let lines = settings_lines.chain(groups).map(|(group, finding)| Line { group, finding });
    let lines: Vec<_> = lines.collect();
    let is_well = report.count(Outcome::Failed) == 0;
    json!({ "ok": is_well, "checks": lines, "settings": settings.shown() })
}

/// The variables that are flags of some command as well.
fn flags() -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut commands = vec![Command::augment_subcommands(clap::Command::new("skein"))];
    while let Some(command) = commands.pop() {
        for argument in command.get_arguments() {
            let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            let flag = Flag { name: name.to_owned(), is_secret: argument.is_hide_env_values_set() };
            if !flags.contains(&flag) {
                flags.push(flag);
            }
        }
        commands.extend(command.get_subcommands().cloned());
    }
    flags
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::doctor::TELEMETRY_VARIABLES;

    /// The variables in the first column of README's table.
    fn of_the_front_page() -> Vec<String> {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        let (_, table) = readme.split_once("\n## Configuration\n").unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let columns = rows.filter_map(|row| row.split('|').nth(1));
        let words = columns.flat_map(|column| column.split('`').skip(1).step_by(2));
        let is_variable = |word: &&str| word.starts_with(|first: char| first.is_ascii_uppercase());
        words.filter(is_variable).map(str::to_owned).collect()
    }

    fn is_known(name: &str) -> bool {
        let set = std::iter::once((name.to_owned(), "x".to_owned()));
        Settings::of(set, &flags()).get(name).is_some()
    }

    #[test]
    fn every_variable_of_the_front_page_is_known() {
        let variables = of_the_front_page();
        assert!(variables.len() > 30, "{variables:?}");
        let unknown: Vec<_> = variables.into_iter().filter(|name| !is_known(name)).collect();
        assert_eq!(unknown, [] as [&str; 0]);
    }

    /// The variables that the guide to SigNoz names.
    fn of_the_guide() -> BTreeSet<String> {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/signoz/SIGNOZ_SETUP.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        let is_part =
            |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
        let words = guide.split(|char: char| !is_part(char)).filter(|word| {
            let prefixes = ["OTEL_", "SKEIN_", "SIGNOZ_", "SSL_", "TRACE_URL_"];
            prefixes.iter().any(|prefix| word.starts_with(prefix))
        });
        // The guide's own name.
        words.filter(|word| *word != "SIGNOZ_SETUP").map(str::to_owned).collect()
    }

    #[test]
    fn the_guide_to_signoz_names_variables_that_there_are_and_all_of_telemetry() {
        let guide = of_the_guide();
        let unknown: Vec<_> = guide.iter().filter(|name| !is_known(name)).collect();
        assert_eq!(unknown, [] as [&str; 0], "the program does not read them");
        let missing = TELEMETRY_VARIABLES.iter().filter(|name| !guide.contains(**name));
        assert_eq!(missing.collect::<Vec<_>>(), [] as [&&str; 0], "the guide does not name them");
    }

    /// What is set or may be set in the example of what services read.
    #[test]
    fn every_variable_of_the_services_is_known() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/skein.env");
        let example = std::fs::read_to_string(example).unwrap();
        let assigned = example.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix('#').unwrap_or(line).split_once('=')?;
            let is_name = |it: char| it.is_ascii_uppercase() || it == '_';
            let is_quoted = value.len() >= 2 && value.starts_with('\'') && value.ends_with('\'');
            (is_quoted && name.chars().all(is_name)).then_some(name)
        });
        let variables: Vec<_> = assigned.collect();
        // Each line of an assignment, and no other one.
        assert_eq!(variables.len(), example.lines().filter(|it| it.contains("='")).count());
        assert!(["DATABASE_URL", "AMQP_URL"].iter().all(|name| variables.contains(name)));
        let unknown: Vec<_> = variables.into_iter().filter(|name| !is_known(name)).collect();
        assert_eq!(unknown, [] as [&str; 0]);
    }

    /// Some are flags of `skein traces export` too.
    #[test]
    fn a_variable_of_telemetry_is_shown_as_one_also_where_it_is_a_flag() {
        let flags = flags();
        assert!(flags.iter().any(|flag| flag.name == "DATABASE_URL" && flag.is_secret));
        assert!(flags.iter().any(|flag| flag.name == "SKEIN_NAMESPACE" && !flag.is_secret));
        let set = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "signoz-ingestion-key=a-secret"),
        ];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::of(set.into_iter(), &flags);
        assert_eq!(settings.get("OTEL_EXPORTER_OTLP_ENDPOINT"), Some("http://collector:4318/"));
        let headers = settings.get("OTEL_EXPORTER_OTLP_HEADERS").unwrap();
        assert!(
            headers.contains("signoz-ingestion-key") && !headers.contains("a-secret"),
            "{headers}"
        );
    }

    #[test]
    fn json_says_of_each_check_how_it_ended() {
        let report = Report {
            settings: Vec::new(),
            groups: vec![(Group::Broker, vec![Finding::failed("login", "no", "do something")])],
        };
        let json = as_json(&report, &Settings::default());
        let expected = json!({
            "ok": false,
            "checks": [{
                "group": "broker", "name": "login", "outcome": "failed",
                "what": "no", "remedy": "do something",
            }],
            "settings": {},
        });
        assert_eq!(json, expected);
    }
}
