//! `skein budget`: shows and sets what a run or the organization may spend.

use std::process::ExitCode;

use chrono::Utc;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{BudgetOwner, Client};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::print;
use crate::render::{Terminal, budget_table};
use crate::time_argument::{TimeArgument, rfc3339};
use crate::usage::UsageError;

const HELP: &str = "\
What is not named stays as it is. To set a limit takes a key with the scope `admin`.

Examples:
  skein budget last                        # what the run may spend, and has spent
  skein budget last --max-usd 2 --deadline 1h
  skein budget last --max-tokens none
  skein budget                             # the organization's
  skein budget --period day --max-usd 50";

/// What takes a limit away.
const NONE: &str = "none";

/// Arguments of `skein budget`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct BudgetArgs {
    /// The run's id, its trace, or `last`. Without it, the budgets are the organization's.
    run: Option<RunName>,
    /// The organization's budget that is set.
    #[arg(long, conflicts_with = "run", requires = "limits", value_parser = PossibleValuesParser::new(["day", "month"]))]
    period: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is set. What is not given stays as it is.
#[derive(Debug, clap::Args)]
#[group(id = "limits", multiple = true)]
struct LimitArgs {
    /// US dollars at most; `none` takes the limit away.
    #[arg(long, value_name = "AMOUNT", value_parser = limit)]
    max_usd: Option<Value>,
    /// Tokens of inputs and outputs at most, or `none`.
    #[arg(long, value_name = "COUNT", value_parser = limit)]
    max_tokens: Option<Value>,
    /// Calls to models and tools at most, or `none`.
    #[arg(long, value_name = "COUNT", value_parser = limit)]
    max_steps: Option<Value>,
    /// When the run is stopped: so long from now (90s, 2h), a time in RFC 3339, or `none`.
    #[arg(long, value_name = "TIME", value_parser = deadline, conflicts_with = "period")]
    deadline: Option<Value>,
}

impl LimitArgs {
    /// What is given, by the names of the API; null takes a limit away.
    fn given(&self) -> Vec<(&'static str, Value)> {
        [
            ("max_usd", self.max_usd.clone()),
            ("max_tokens", self.max_tokens.clone()),
            ("max_steps", self.max_steps.clone()),
            ("deadline", self.deadline.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

fn limit(text: &str) -> Result<Value, String> {
    if text == NONE {
        return Ok(Value::Null);
    }
    number(text).map_err(|_| format!("is neither a number nor `{NONE}`"))
}

fn deadline(text: &str) -> Result<Value, String> {
    if text == NONE {
        return Ok(Value::Null);
    }
    let time: TimeArgument = text.parse().map_err(|error| format!("{error}, or `{NONE}`"))?;
    time.after(Utc::now()).map(|time| rfc3339(time).into()).ok_or("is beyond all times".to_owned())
}

/// A number, which the server looks at.
pub(super) fn number(text: &str) -> Result<Value, &'static str> {
    serde_json::from_str(text).ok().filter(Value::is_number).ok_or("is no number")
}

pub(super) async fn budget(args: BudgetArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let given = args.limits.given();
    if args.run.is_none() && args.period.is_none() && !given.is_empty() {
        let message = "whose budget is it? Name a run, or give --period day or --period month";
        return Err(UsageError::new(message).into());
    }
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args, given, output).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    client: &Client,
    args: &BudgetArgs,
    given: Vec<(&'static str, Value)>,
    output: OutputArgs,
) -> anyhow::Result<()> {
    let owner = match args.run {
        Some(run) => BudgetOwner::Run(run.id(client).await?),
        None => BudgetOwner::Organization,
    };
    let shown = if given.is_empty() {
        client.budget(&owner).await?
    } else {
        let wanted = match &args.period {
            None => given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            Some(period) => {
                let before = client.budget(&owner).await?;
                let items = before["items"].as_array();
                let current =
                    items.and_then(|items| items.iter().find(|it| it["period"] == **period));
                Map::from_iter([(period.clone(), changed(current, given).into())])
            }
        };
        client.set_budget(&owner, &wanted).await?
    };
    let text = match output.shape() {
        Shape::Data(format) => format.document(&shown),
        Shape::Ids => String::new(),
        Shape::Text => match (&owner, shown["items"].as_array().map(Vec::as_slice)) {
            (BudgetOwner::Organization, Some([]) | None) => "no budgets\n".to_owned(),
            (BudgetOwner::Organization, Some(items)) => budget_table(items, &Terminal::stdout()),
            (BudgetOwner::Run(_), _) => budget_table(&[shown], &Terminal::stdout()),
        },
    };
    Ok(print(&text)?)
}

/// The budget of a period that is to be: as it is, but for what is given. The API sets it as a whole.
fn changed(current: Option<&Value>, given: Vec<(&'static str, Value)>) -> Map<String, Value> {
    let names = ["max_usd", "max_tokens", "max_steps"];
    let kept = names.into_iter().filter_map(|name| Some((name, current?.get(name)?.clone())));
    let mut wanted: Map<String, Value> =
        kept.map(|(name, value)| (name.to_owned(), value)).collect();
    wanted.extend(given.into_iter().map(|(name, value)| (name.to_owned(), value)));
    wanted.retain(|_, value| !value.is_null());
    wanted
}

#[cfg(test)]
mod tests {
    use clap::Args as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(limit("0.5"), Ok(json!(0.5)));
        assert_eq!(limit(NONE), Ok(Value::Null));
        for text in ["", "five", "\"5\"", "[5]", "null"] {
            assert!(limit(text).is_err(), "{text}");
        }
        assert_eq!(deadline("2030-01-31T13:00:00+01:00"), Ok(json!("2030-01-31T12:00:00Z")));
        assert_eq!(deadline(NONE), Ok(Value::Null));
        assert!(deadline("1h").is_ok_and(|time| time.is_string()));
        assert!(deadline("soon").unwrap_err().contains("`none`"));
    }

    #[test]
    fn what_is_not_given_stays_and_none_takes_a_limit_away() {
        let current = json!({ "period": "day", "max_usd": 1.5, "max_tokens": 10, "max_steps": null, "spent": {} });
        let given = vec![("max_tokens", Value::Null), ("max_steps", json!(3))];
        let expected = json!({ "max_usd": 1.5, "max_steps": 3 });
        assert_eq!(Value::Object(changed(Some(&current), given)), expected);
    }

    #[test]
    fn a_period_has_limits_and_no_run() {
        let command = || BudgetArgs::augment_args(clap::Command::new("budget"));
        let read = |args: &[&str]| command().try_get_matches_from([&["budget"], args].concat());
        assert!(read(&["--period", "day", "--max-usd", "5"]).is_ok());
        assert!(read(&["last", "--max-usd", "5", "--deadline", "2030-01-31T12:00:00Z"]).is_ok());
        for args in [
            &["--period", "day"][..],
            &["last", "--period", "day", "--max-usd", "5"],
            &["--period", "day", "--deadline", "2030-01-31T12:00:00Z"],
            &["last", "--max-usd", "five"],
        ] {
            assert_eq!(read(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }
}
