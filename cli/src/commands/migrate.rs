//! `skein migrate`: brings the schema of a database up to date.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use skein_shared::config::StoreArgs;
use skein_shared::{store, telemetry};

use crate::format::{OutputArgs, Shape};
use crate::output::print;
use crate::usage::UsageError;

const HELP: &str = "\
Processes of the version before work on meanwhile. The database is the one of DATABASE_URL unless it is named.

Examples:
  skein migrate
  skein migrate --database-url postgres://skein@db.example/skein";

/// Arguments of `skein migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct MigrateArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn migrate(args: MigrateArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    telemetry::install_crypto_provider();
    let missing = || {
        let wanted = "postgres://user:password@host/database";
        UsageError::new(format!("DATABASE_URL is not set: write {wanted}, or give --database-url"))
    };
    let url = args.store.store()?.ok_or_else(missing)?;
    let name = url.to_string();
    let store = store::open(&url, &args.store, None)
        .await
        .with_context(|| format!("cannot open {name} (DATABASE_URL)"))?;
    let migrated =
        store.migrate().await.with_context(|| format!("cannot migrate {name} (DATABASE_URL)"));
    store.close().await;
    migrated?;
    print(&match output.shape() {
        Shape::Data(format) => format.document(&json!({ "database": name, "up_to_date": true })),
        Shape::Ids => String::new(),
        Shape::Text => format!("{name} is up to date\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}
