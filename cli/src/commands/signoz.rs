//! `skein signoz`: dashboards and alert rules in SigNoz.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use skein_shared::config::SecretUrl;
use skein_shared::telemetry;

use crate::client::ApiKey;
use crate::failure::{self, EXIT_FAILED, EXIT_HALFWAY};
use crate::format::{OutputArgs, Shape};
use crate::output::{print, print_to_stderr};
use crate::render::clean;
use crate::signoz::api::Signoz;
use crate::signoz::apply::{Halfway, apply as do_all};
use crate::signoz::documents::{self, Document};
use crate::signoz::plan::{Action, Goal, Plan};
use crate::usage::UsageError;

/// Bytes that are read of a file with a key in it: no key is as long.
const KEY_BYTES_MAX: u64 = 4096;

const APPLY_HELP: &str = "\
The exit code is 4 if a part was done and then something went wrong; run again, it goes on.

Examples:
  skein signoz apply --url https://signoz.example --key-file signoz.key --dry-run
  skein signoz apply --url https://signoz.example --key-file signoz.key --channel oncall
  skein signoz apply --dir my/signoz --url https://signoz.example --key-file signoz.key
  skein signoz apply --delete --url https://signoz.example --key-file signoz.key";

/// Arguments of `skein signoz`.
#[derive(Debug, clap::Args)]
pub struct SignozArgs {
    #[command(subcommand)]
    action: SignozAction,
}

/// What to do with SigNoz.
#[derive(Debug, clap::Subcommand)]
enum SignozAction {
    /// Makes or updates Skein's dashboards and alert rules. May be repeated: each is found again by its name.
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = APPLY_HELP)]
struct ApplyArgs {
    /// Where SigNoz is: the address of its page.
    #[arg(long, env = "SIGNOZ_URL", hide_env_values = true, value_name = "URL")]
    url: Option<SecretUrl>,
    /// An API key of SigNoz's; not an ingestion key.
    #[arg(long, env = "SIGNOZ_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<ApiKey>,
    /// A file with the API key in it, which wins.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A directory with dashboards/*.json and rules/*.json, in place of those that the program carries.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// A notification channel of SigNoz's that every rule is to tell; several are several of these. Without it, SigNoz's
    /// routing policies say who is told.
    #[arg(long = "channel", value_name = "NAME", conflicts_with = "delete")]
    channels: Vec<String>,
    /// Only says what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Deletes them instead. What Skein has not made is left alone.
    #[arg(long)]
    delete: bool,
}

pub(super) async fn signoz(args: SignozArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    match args.action {
        SignozAction::Apply(args) => apply(args, output).await,
    }
}

async fn apply(args: ApplyArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    telemetry::install_crypto_provider();
    let mut documents = match &args.dir {
        Some(directory) => documents::in_directory(directory)?,
        None => documents::embedded()?,
    };
    if !args.channels.is_empty() {
        documents::tell(&mut documents, &args.channels)?;
    }
    let missing = || UsageError::new("which SigNoz? set SIGNOZ_URL or --url");
    let url = args.url.as_ref().ok_or_else(missing)?;
    let signoz = Signoz::new(url.expose(), &key(args.key_file.as_deref(), args.key)?)?;
    let goal = if args.delete { Goal::Absent } else { Goal::Present };
    let plan = Plan::make(&signoz, documents, goal).await?;
    if !plan.conflicts.is_empty() {
        let conflicts = plan.conflicts.iter();
        let lines = conflicts.map(|it| format!("  {}: {}\n", clean(&it.document), clean(&it.why)));
        let lines: String = lines.collect();
        failure::say(&format!("nothing was changed, because of what is in the way:\n{lines}"));
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    if args.dry_run {
        for (document, action) in &plan.steps {
            if *action != Action::Nothing {
                print(&told(output, document, action, &format!("would {action}")))?;
            }
        }
        let changes = plan.steps.iter().filter(|(_, action)| *action != Action::Nothing).count();
        print_to_stderr(&format!("{} would change at {}\n", count(changes), signoz.url()));
        return Ok(ExitCode::SUCCESS);
    }
    // A reader who went does not end it in the middle.
    let told = do_all(&signoz, plan, |document, action| {
        let _ = print(&told(output, document, action, &format!("{action}d")));
    });
    match told.await {
        Ok(done) => {
            print_to_stderr(&format!("{} changed at {}\n", count(done), signoz.url()));
            Ok(ExitCode::SUCCESS)
        }
        Err(halfway) => Ok(report(*halfway)),
    }
}

/// What is, or would be, done with a document.
fn told(output: OutputArgs, document: &Document, action: &Action, done: &str) -> String {
    let document = document.to_string();
    match output.shape() {
        Shape::Data(format) => {
            format.rows(&[json!({ "document": document, "action": action.to_string() })])
        }
        Shape::Ids => String::new(),
        Shape::Text => format!("{done} {}\n", clean(&document)),
    }
}

fn count(documents: usize) -> String {
    if documents == 1 { "1 document".to_owned() } else { format!("{documents} documents") }
}

fn report(halfway: Halfway) -> ExitCode {
    let Halfway { error, failed, done, left } = halfway;
    // Its own exit code does not say that a part is done.
    let _ = failure::report(&anyhow::Error::from(error).context(format!("at {failed}")));
    let mut text = format!("done before: {}; not tried: {}\n", count(done), count(left.len()));
    for document in left {
        text.push_str(&format!("  {}\n", clean(&document.to_string())));
    }
    text.push_str("run it again when the cause is gone: what is done is found again by its name\n");
    print_to_stderr(&text);
    ExitCode::from(EXIT_HALFWAY)
}

fn key(file: Option<&Path>, key: Option<ApiKey>) -> anyhow::Result<ApiKey> {
    let Some(file) = file else {
        let missing =
            "SigNoz wants an API key: set SIGNOZ_API_KEY or --key, or name a file with --key-file";
        return Ok(key.ok_or_else(|| UsageError::new(missing))?);
    };
    let shown = || format!("cannot read the key in {}", file.display());
    let mut text = String::new();
    let opened = fs::File::open(file).with_context(shown)?;
    opened.take(KEY_BYTES_MAX).read_to_string(&mut text).with_context(shown)?;
    Ok(text.trim().to_owned().into())
}
