//! What is shown while a run happens: a picture, or with `--follow` what comes.

use chrono::Utc;
use serde_json::{Value, json};

use crate::client::{Followed, Run};
use crate::format::{DataFormat, OutputArgs};
use crate::output::{PrintError, print_after_interrupt, print_if_read, print_to_stderr};
use crate::render::{LiveView, Plan, Progress, Style, Terminal, WaitNews};

/// The view of a run. It is talk beside the result and goes to standard error, but for JSON.
pub(super) struct View {
    terminal: Terminal,
    kind: Kind,
}

enum Kind {
    Picture(Progress),
    Lines(LiveView, WaitNews),
    Data(DataFormat),
}

impl View {
    pub(super) fn new(follow: bool, output: OutputArgs, server: Vec<String>, plan: Plan) -> Self {
        let terminal = Terminal::stderr();
        let kind = match (follow, output.output.data()) {
            (false, _) => Kind::Picture(Progress::new(terminal, plan, server)),
            (true, None) => Kind::Lines(LiveView::new(terminal), WaitNews::new(server)),
            (true, Some(format)) => Kind::Data(format),
        };
        Self { terminal, kind }
    }

    /// Shows how the run is.
    pub(super) fn draw(&mut self, run: &Run) {
        match &mut self.kind {
            Kind::Picture(progress) => {
                print_to_stderr(&progress.update(run, Utc::now(), Terminal::stderr()));
            }
            // The log says that a node waits, but not what ends that.
            Kind::Lines(lines, waits) => {
                let news = waits.update(run, Utc::now(), &self.terminal);
                if !news.is_empty() {
                    print_to_stderr(&(lines.end_line() + &news));
                }
            }
            Kind::Data(_) => {}
        }
    }

    /// Takes away what is not to stay.
    pub(super) fn clear(&mut self) {
        match &mut self.kind {
            Kind::Picture(progress) => print_to_stderr(&progress.clear()),
            Kind::Lines(lines, _) => print_to_stderr(&lines.end_line()),
            Kind::Data(_) => {}
        }
    }

    /// Takes away what is not to stay, after an interrupt: what is said next stands on a line of its own.
    pub(super) fn interrupt(&mut self) {
        let ended = match &mut self.kind {
            Kind::Picture(progress) => progress.clear(),
            Kind::Lines(lines, _) => lines.end_line(),
            Kind::Data(_) => String::new(),
        };
        if ended.is_empty() {
            print_after_interrupt("");
        } else {
            print_to_stderr(&ended);
        }
    }

    /// Shows what happened.
    ///
    /// # Errors
    /// When it is no row of a log, or standard output cannot be written.
    pub(super) fn show(&mut self, followed: &Followed) -> anyhow::Result<()> {
        if let Followed::Notice(notice) = followed {
            self.clear();
            print_to_stderr(&format!("{}\n", self.terminal.paint(notice, Style::Yellow)));
            return Ok(());
        }
        match &mut self.kind {
            Kind::Picture(_) => {}
            Kind::Lines(lines, _) => print_to_stderr(&lines.show(followed)?),
            Kind::Data(format) => print_event(*format, followed)?,
        }
        Ok(())
    }
}

fn print_event(format: DataFormat, followed: &Followed) -> Result<(), PrintError> {
    let event = match followed {
        Followed::Row(row) => json!({ "event": row["event"], "data": row }),
        Followed::Text(live) => {
            let (node, scope, text) = (&live.node, &live.scope, &live.text);
            let data = json!({
                "node": node, "scope": scope, "step": live.step, "seq": live.seq, "text": text,
            });
            json!({ "event": "llm.delta", "data": data })
        }
        Followed::End(status) => json!({ "event": "end", "data": { "status": status } }),
        Followed::Change | Followed::Notice(_) => Value::Null,
    };
    if event.is_null() { Ok(()) } else { print_if_read(&format.rows(&[event])) }
}
