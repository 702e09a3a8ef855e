//! `skein keys`: makes, lists and revokes API keys.

use std::process::ExitCode;

use chrono::Utc;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use skein_shared::domain::key_scopes::KeyScope;
use skein_shared::domain::limits::PAGE_MAX;

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{ApiKey, Client, CreatedKey, KeyQuery, KeySummary, WantedKey};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::{print, print_to_stderr};
use crate::render::{Terminal, clean, key_headline, key_table};

const CREATE_HELP: &str = "\
Only a digest of the key is stored. It takes a key with the scope `admin`, and no key is wider than its maker's or ends later.

Examples:
  skein keys create ci --scope read --scope run --expires 30d
  skein keys create ci --scope read -q               # the key and nothing else
  skein keys create deploy --scope write -o json     # with its id and when it ends";

const LIST_HELP: &str = "\
Examples:
  skein keys list
  skein keys list --user ada -o json";

const REVOKE_HELP: &str = "\
Examples:
  skein keys revoke key_5d41402abc4b2a76";

/// Arguments of `skein keys`.
#[derive(Debug, clap::Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    action: KeysAction,
}

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
enum KeysAction {
    /// Makes a key. It is printed once, alone; what is said about it goes to standard error.
    Create(CreateArgs),
    /// Lists the keys of the organization, newest first.
    List(ListArgs),
    /// Revokes a key, for good.
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = CREATE_HELP)]
struct CreateArgs {
    /// What the key is called.
    name: String,
    /// What the key may do; several are several of these. `admin` includes all others.
    #[arg(long = "scope", required = true, value_parser = PossibleValuesParser::new(KeyScope::WORDS))]
    scopes: Vec<String>,
    /// The workspace that the key stands for, if not that of the key that makes it.
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// The user that the key stands for, if not that of the key that makes it.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// How long the key is good: 12h, 30d.
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    /// Keys of this workspace only.
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// Keys of this user only.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Keys at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REVOKE_HELP)]
struct RevokeArgs {
    /// The key's id, as `skein keys list` shows it.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn keys(args: KeysArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let server = match &args.action {
        KeysAction::Create(args) => &args.server,
        KeysAction::List(args) => &args.server,
        KeysAction::Revoke(args) => &args.server,
    };
    let embedded = EmbeddedArgs::from_env()?;
    let connection = Connection::open(server, &embedded, Role::Reads).await?;
    let done = match &args.action {
        KeysAction::Create(args) => {
            let place = place(&connection, server, &embedded);
            create(&connection.client, args, &place, output).await
        }
        KeysAction::List(args) => list(&connection.client, args, output).await,
        KeysAction::Revoke(args) => revoke(&connection.client, &args.id, output).await,
    };
    connection.close().await?;
    done?;
    Ok(ExitCode::SUCCESS)
}

/// Where a key is good: which of several servers was found, nobody need have said.
fn place(connection: &Connection, server: &ServerArgs, embedded: &EmbeddedArgs) -> String {
    if !connection.is_embedded() {
        return format!("It is good at {}.", connection.client.url());
    }
    let named = embedded.store.store().ok().flatten().map(|store| store.to_string());
    let store = named.unwrap_or_else(|| server.data.display().to_string());
    format!("It is good for what is in {store}.")
}

async fn create(
    client: &Client,
    args: &CreateArgs,
    place: &str,
    output: OutputArgs,
) -> anyhow::Result<()> {
    let wanted = WantedKey {
        name: args.name.clone(),
        scopes: args.scopes.clone(),
        workspace: args.workspace.clone(),
        user: args.user.clone(),
        expires_in: args.expires.clone(),
    };
    if let Shape::Data(format) = output.shape() {
        let created = client.create_key::<Value>(&wanted).await?;
        return Ok(print(&format.document(&created))?);
    }
    let CreatedKey { details, key } = client.create_key(&wanted).await?;
    print_key(&key)?;
    print_to_stderr(&format!("{} {}\n", key_headline(&details), clean(place)));
    Ok(())
}

/// The only place where a key is printed: it was made for this.
fn print_key(key: &ApiKey) -> anyhow::Result<()> {
    Ok(print(&format!("{}\n", clean(key.expose())))?)
}

async fn list(client: &Client, args: &ListArgs, output: OutputArgs) -> anyhow::Result<()> {
    let query =
        KeyQuery { workspace: args.workspace.clone(), user: args.user.clone(), limit: args.limit };
    let (text, has_more) = match output.shape() {
        Shape::Data(format) => {
            let page = client.keys::<Value>(&query).await?;
            (format.listing(&page.items), page.next_cursor.is_some())
        }
        shape => {
            let page = client.keys::<KeySummary>(&query).await?;
            let text = match page.items.as_slice() {
                keys if shape == Shape::Ids => {
                    keys.iter().map(|key| format!("{}\n", clean(&key.id))).collect()
                }
                [] => "no keys\n".to_owned(),
                keys => key_table(keys, Utc::now(), &Terminal::stdout()),
            };
            (text, page.next_cursor.is_some())
        }
    };
    print(&text)?;
    if has_more {
        let limit = args.limit;
        print_to_stderr(&format!(
            "… there are more than these {limit}: see --limit, --workspace and --user\n"
        ));
    }
    Ok(())
}

async fn revoke(client: &Client, id: &str, output: OutputArgs) -> anyhow::Result<()> {
    client.revoke_key(id).await?;
    Ok(print(&match output.shape() {
        Shape::Data(format) => format.document(&json!({ "id": id, "revoked": true })),
        Shape::Ids => String::new(),
        Shape::Text => format!("{} revoked\n", clean(id)),
    })?)
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn a_key_without_a_scope_or_with_an_unknown_one_is_not_asked_for() {
        let command = || KeysArgs::augment_args(clap::Command::new("keys"));
        for scope in KeyScope::WORDS {
            let arguments = ["keys", "create", "ci", "--scope", scope, "--scope", "read"];
            assert!(command().try_get_matches_from(arguments).is_ok(), "{scope}");
        }
        for arguments in
            [&["keys", "create", "ci"][..], &["keys", "create", "ci", "--scope", "foo"]]
        {
            let refused = command().try_get_matches_from(arguments).unwrap_err();
            assert_eq!(refused.exit_code(), 2);
        }
    }
}
