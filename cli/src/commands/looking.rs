//! Looking at a run that is there: what `skein show` and `skein trace` have in common.

use std::process::ExitCode;

use super::attach::Attachment;
use super::ending::{Part, show, to_the_end};
use super::planned::plan_of;
use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::EXIT_INTERRUPTED;
use crate::format::{OutputArgs, Shape};
use crate::interrupts::Interrupts;
use crate::output::print;
use crate::render::Plan;

/// Shows a run as it is; with `follow`, once it has ended.
///
/// # Errors
/// When there is no such run, or the server does not answer.
pub(super) async fn look(
    name: RunName,
    server: &ServerArgs,
    follow: bool,
    asked: (Part, OutputArgs),
) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::open(server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let mut interrupts = Interrupts::new()?;
    let flags = server.flags();
    let looked =
        Box::pin(look_at(&mut connection, name, flags, follow, asked, &mut interrupts)).await;
    match interrupts.or(connection.close()).await {
        Some(closed) => closed.and(looked),
        None => looked.map(|_| ExitCode::from(EXIT_INTERRUPTED)),
    }
}

async fn look_at(
    connection: &mut Connection,
    name: RunName,
    server: Vec<String>,
    follow: bool,
    (part, output): (Part, OutputArgs),
    interrupts: &mut Interrupts,
) -> anyhow::Result<ExitCode> {
    let client = connection.client.clone();
    let found = async {
        let id = name.id(&client).await?;
        let run = client.progress(&id).await?;
        let is_drawn = follow || output.shape() == Shape::Text;
        let plan = if is_drawn { plan_of(&client, &run).await } else { Plan::default() };
        anyhow::Ok((run, plan))
    };
    let Some(found) = interrupts.or(found).await else {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let (run, plan) = found?;
    if !follow {
        let shown = show(connection, (&run, &plan), &server, output.shape(), part);
        let Some(text) = interrupts.or(shown).await else {
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        };
        print(&text?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !run.has_ended() {
        // It goes on only where something executes it.
        connection.execute();
    }
    // The picture, in which nodes are seen; `skein logs --follow` has the lines.
    let attachment = Attachment { connection, server, follow: false, output, plan, is_own: false };
    to_the_end(attachment, run, part, interrupts).await
}
