//! `skein migrate`: brings the schema of a database up to date.

use std::process::ExitCode;

use anyhow::Context;
use skein_shared::config::{StoreArgs, StoreUrl};
use skein_shared::{store, telemetry};

use crate::output::print;
use crate::usage::UsageError;

/// Arguments of `skein migrate`.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn migrate(args: MigrateArgs) -> anyhow::Result<ExitCode> {
    telemetry::install_crypto_provider();
    let missing = || {
        let wanted = "postgres://user:password@host/database";
        UsageError::new(format!("DATABASE_URL is not set: write {wanted}, or give --database-url"))
    };
    let url = args.store.store()?.ok_or_else(missing)?;
    let store = store::open(&url, &args.store, None).await.context("cannot open the store")?;
    let migrated = store.migrate().await.context("cannot migrate the store");
    store.close().await;
    migrated?;
    let name = match &url {
        StoreUrl::Postgres(url) => url.to_string(),
        StoreUrl::Sqlite(path) => path.display().to_string(),
    };
    print(&format!("{name} is up to date\n"))?;
    Ok(ExitCode::SUCCESS)
}
