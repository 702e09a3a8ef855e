//! The trace of a run as commands show it: the waterfall with the calls to models and tools.

use chrono::Utc;

use crate::client::{Client, ClientError, Page, Run, Step};
use crate::render::{Plan, Style, Terminal, calls_left_out, clean, waterfall};

/// Steps that are read for a picture. A page has some twenty of them, with all that was said in them.
const STEPS_MAX: usize = 200;

/// The trace of a run of this plan, on the server with these flags. What cannot be learned of its calls is said and left out: the
/// rest does not depend on it.
pub(super) async fn trace_of(
    client: &Client,
    run: &Run,
    plan: &Plan,
    server: &[String],
    terminal: &Terminal,
) -> String {
    let (steps, notice) = match steps(client, run).await {
        Ok(page) => {
            let has_more = page.next_cursor.is_some();
            let notice = has_more.then(|| calls_left_out(run, page.items.len(), server));
            (page.items, notice)
        }
        Err(error) => (Vec::new(), Some(format!("the calls of its nodes are not shown: {error}"))),
    };
    let mut text = waterfall(run, plan, &steps, Utc::now(), terminal);
    if let Some(notice) = notice {
        text.push_str(&format!("{}\n", terminal.paint(&clean(&notice), Style::Dim)));
    }
    text
}

/// The first steps of a run. Nobody is asked for those of a run that is known to have none.
async fn steps(client: &Client, run: &Run) -> Result<Page<Step>, ClientError> {
    let none = Page { items: Vec::new(), next_cursor: None };
    if run.steps == Some(0) {
        return Ok(none);
    }
    match client.first_steps(&run.id, STEPS_MAX).await {
        // An older server knows of no steps.
        Err(ClientError::Refused(problem)) if problem.is_of_no_route() => Ok(none),
        found => found,
    }
}
