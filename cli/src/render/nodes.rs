//! The nodes of a run, in a table.

use chrono::{DateTime, Utc};

use super::marked::{mark, marked};
use super::plan::{Listed, Plan, PlannedNode};
use super::status::{NOT_REACHED, PENDING};
use super::summary::error_text;
use super::table::{Align, Cell};
use super::terminal::{Style, Terminal};
use super::time::took;
use super::workers::{are_several, workers_of};
use crate::client::{NodeRun, Run};

/// The nodes of a run, parents before children: how each ended, after how many attempts and how long. Those of the plan
/// that the run never came to stand among them. Workers are named where several took part, or `names_workers` is set.
#[must_use]
pub(super) fn node_table(
    run: &Run,
    plan: &Plan,
    names_workers: bool,
    now: DateTime<Utc>,
    terminal: &Terminal,
) -> String {
    let is_known = run.nodes.iter().any(|node| !workers_of(node).is_empty());
    let shown = Columns {
        workers: is_known && (names_workers || are_several(run)),
        errors: run.nodes.iter().any(|node| node.error.is_some()),
    };
    let mut columns = vec![
        ("NODE", Align::Left),
        ("TYPE", Align::Left),
        ("STATUS", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("TOOK", Align::Right),
    ];
    columns.extend(shown.workers.then_some(("WORKER", Align::Left)));
    columns.extend(shown.errors.then_some(("ERROR", Align::Left)));
    let mut table = marked(&columns, terminal)
        .sparing(&["ATTEMPTS", "WORKER", "TYPE", "ERROR", "TOOK"])
        .cutting("NODE");
    for listed in plan.listed(run) {
        table.row(match listed {
            Listed::Known(node) => shown.of_node(node, now, terminal),
            Listed::Planned(node) => shown.of_planned(node, run.has_ended(), terminal),
        });
    }
    table.render(terminal)
}

/// Which columns there are beside those that there are always.
struct Columns {
    workers: bool,
    errors: bool,
}

impl Columns {
    fn of_node(&self, node: &NodeRun, now: DateTime<Utc>, terminal: &Terminal) -> Vec<Cell> {
        let span = node.first_started_at().map(|start| node.finished_at.unwrap_or(now) - start);
        let mut cells = mark(&node.status, terminal);
        cells.extend([
            Cell::plain(node.label()),
            Cell::plain(&node.r#type),
            Cell::new(&node.status, Style::of_status(&node.status)),
            Cell::plain(match node.latest_attempt() {
                0 => String::new(),
                number => number.to_string(),
            }),
            Cell::plain(span.map_or_else(String::new, took)),
        ]);
        cells.extend(self.workers.then(|| Cell::plain(workers_of(node))));
        let error = node.error.as_ref().map_or_else(String::new, error_text);
        cells.extend(self.errors.then(|| Cell::new(error, Style::Red)));
        cells
    }

    fn of_planned(&self, node: &PlannedNode, is_over: bool, terminal: &Terminal) -> Vec<Cell> {
        let status = if is_over { NOT_REACHED } else { PENDING };
        let mut cells = mark(status, terminal);
        cells
            .extend([node.id.as_str(), &node.kind, status].map(|text| Cell::new(text, Style::Dim)));
        let rest = 2 + usize::from(self.workers) + usize::from(self.errors);
        cells.extend(std::iter::repeat_n(Cell::plain(""), rest));
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{at, plan, run};

    fn drawn(run: &Run, names_workers: bool, terminal: &Terminal) -> String {
        node_table(run, &plan(), names_workers, at(2000), terminal)
    }

    #[test]
    fn the_nodes_stand_in_a_table_with_those_that_were_not_reached() {
        let expected = "\
NODE    TYPE       STATUS       ATTEMPTS   TOOK  ERROR
fetch   http       succeeded           1   40ms
flaky   http       failed              2  1.44s  connect: connection refused
titles  transform  not reached
";
        assert_eq!(drawn(&run(), false, &Terminal::plain()), expected);
        let open = Run { status: "running".to_owned(), ..run() };
        let text = drawn(&open, false, &Terminal::plain());
        assert!(text.ends_with("titles  transform  pending\n"), "{text}");
        let unknown = node_table(&run(), &Plan::default(), false, at(2000), &Terminal::plain());
        assert_eq!(unknown.lines().count(), 3, "{unknown}");
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters() {
        let narrow = Terminal { columns: Some(34), ..Terminal::plain() };
        let expected = [
            "  NODE    STATUS        TOOK",
            "✓ fetch   succeeded     40ms",
            "✗ flaky   failed       1.44s",
            "· titles  not reached",
        ];
        let text = drawn(&run(), true, &narrow);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn workers_are_named_where_there_are_several() {
        let mut run = run();
        run.nodes.iter_mut().for_each(|node| node.worker = Some("a:1".to_owned()));
        assert!(!drawn(&run, false, &Terminal::plain()).contains("a:1"));
        assert!(drawn(&run, true, &Terminal::plain()).contains("a:1"));
        run.nodes[1].earlier_attempts[0].worker = Some("b:2".to_owned());
        let expected = "\
NODE    TYPE       STATUS       ATTEMPTS   TOOK  WORKER    ERROR
fetch   http       succeeded           1   40ms  a:1
flaky   http       failed              2  1.44s  b:2, a:1  connect: connection refused
titles  transform  not reached
";
        assert_eq!(drawn(&run, false, &Terminal::plain()), expected);
        let narrow = Terminal { columns: Some(60), ..Terminal::plain() };
        let text = drawn(&run, false, &narrow);
        assert!(!text.contains("WORKER") && text.contains("ERROR"), "{text}");
    }
}
