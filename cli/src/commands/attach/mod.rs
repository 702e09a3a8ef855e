//! Watching a run until it has ended, as every command does that waits for one.

mod view;
mod watch;
#[cfg(test)]
mod watch_tests;

use chrono::Utc;

use crate::client::Run;
use crate::connection::Connection;
use crate::format::OutputArgs;
use crate::interrupts::Interrupts;
use crate::output::print_to_stderr;
use crate::render::{Plan, Style, Terminal, detached, waits};
use crate::shell::hint;
use view::View;
use watch::{Seen, Watch};

/// How a run is watched.
pub(super) struct Attachment<'a> {
    /// The server that has it.
    pub(super) connection: &'a Connection,
    /// The flags with which another command talks to that server.
    pub(super) server: Vec<String>,
    /// Whether its log is shown as it comes, in place of a picture.
    pub(super) follow: bool,
    /// In which form.
    pub(super) output: OutputArgs,
    /// What its workflow plans, as far as that is known.
    pub(super) plan: Plan,
    /// Whether the run was started by this command.
    pub(super) is_own: bool,
}

/// How watching has ended.
pub(super) enum Watched {
    /// The run has ended.
    Ended(Run),
    /// The run was cancelled because of an interrupt, and has ended.
    Cancelled(Run),
    /// An interrupt came, and the run, as it was seen last, goes on or stays open; that was said.
    Left(Run),
}

impl Attachment<'_> {
    /// Watches the run until it has ended. An interrupt ends the watching and not the run, but for a run that this command
    /// has started in a server within its process, where nobody else would go on with it at once: there the first
    /// interrupt asks for it to be cancelled, and the second leaves it.
    ///
    /// # Errors
    /// When the server does not answer for long, or says no; it was said what becomes of the run.
    pub(super) async fn watch(
        self,
        mut run: Run,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<Watched> {
        let Self { connection, server, follow, output, plan, is_own } = self;
        let client = &connection.client;
        let terminal = Terminal::stderr();
        let mut view = View::new(follow, output, server.clone(), plan);
        print_to_stderr(&format!("{}\n", title(&run.id, client.url(), &terminal)));
        view.draw(&run);
        let mut watch = Watch::new(client, &run.id, follow);
        let cancels = is_own && connection.is_embedded();
        let mut is_cancelled = false;
        while follow || !run.has_ended() {
            let Some(seen) = interrupts.or(watch.next()).await else {
                view.interrupt();
                if is_cancelled || !cancels {
                    print_to_stderr(&left(connection, &run, &server));
                    return Ok(Watched::Left(run));
                }
                is_cancelled = true;
                watch.cancel();
                print_to_stderr("cancelling; Ctrl-C again leaves the run to itself\n");
                continue;
            };
            match seen {
                Ok(Seen::Run(newer)) => {
                    run = newer;
                    view.draw(&run);
                }
                Ok(Seen::Nothing) => view.draw(&run),
                Ok(Seen::Event(followed)) => view.show(&followed)?,
                Ok(Seen::Last(newer)) => {
                    run = newer;
                    view.draw(&run);
                    break;
                }
                Err(error) => {
                    view.clear();
                    print_to_stderr(&left(connection, &run, &server));
                    let lost = format!("run {} is lost sight of", run.id);
                    return Err(anyhow::Error::from(error).context(lost));
                }
            }
        }
        view.clear();
        Ok(if is_cancelled { Watched::Cancelled(run) } else { Watched::Ended(run) })
    }
}

/// The run and where it is: on two lines where one has no room for both.
fn title(id: &str, url: &str, terminal: &Terminal) -> String {
    let fits =
        terminal.columns.is_none_or(|columns| "run  at ".len() + id.len() + url.len() <= columns);
    let title = format!("run {id}{}at {url}", if fits { " " } else { "\n" });
    terminal.paint(&title, Style::Dim)
}

/// What becomes of a run that is not waited for, and what it waited for when it was seen last.
fn left(connection: &Connection, run: &Run, server: &[String]) -> String {
    let (id, terminal) = (&run.id, Terminal::stderr());
    let becomes = if connection.is_embedded() {
        let (dev, run) = (hint(&["dev"], server), hint(&["run", "FILE"], server));
        format!("run {id} stays open; {dev} or the next {run} goes on with it\n")
    } else {
        detached(id, server, &terminal)
    };
    becomes + &waits(run, server, Utc::now(), &terminal)
}
