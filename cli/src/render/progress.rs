//! A run while it happens.

use std::collections::HashMap;
use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::table::cut;
use super::terminal::{Style, Terminal, clean, width_of};
use super::time::duration;
use crate::client::{NodeRun, Run};

/// A node of the document, which may not have a row in the store yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
}

/// Shows how a run goes on: a picture that is drawn over on a terminal, a line for each change elsewhere.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    plan: Vec<PlannedNode>,
    /// Lines of the picture that stands on the terminal now.
    drawn: usize,
    /// What the lines have told: status and attempts by node.
    told: HashMap<String, (String, u32)>,
    frame: usize,
}

/// The pictures of something that is under way.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// Rows of the terminal besides those of the nodes: the headline, and the line of the cursor.
const ROWS_BESIDES: usize = 2;

impl Progress {
    /// Shows a run of a workflow with these nodes.
    #[must_use]
    pub fn new(terminal: Terminal, plan: Vec<PlannedNode>) -> Self {
        Self { terminal, plan, drawn: 0, told: HashMap::new(), frame: 0 }
    }

    /// What to write to the terminal now that the run looks like this.
    #[must_use]
    pub fn update(&mut self, run: &Run, now: DateTime<Utc>) -> String {
        let nodes = self.plan.len().max(run.nodes.len());
        let fits = self.terminal.rows.is_some_and(|rows| nodes + ROWS_BESIDES <= rows);
        if self.terminal.live && fits { self.picture(run, now) } else { self.changes(run, now) }
    }

    /// What to write to take the picture away, for the result to stand in its place.
    #[must_use]
    pub fn clear(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn picture(&mut self, run: &Run, now: DateTime<Utc>) -> String {
        let lines = self.lines(run, now);
        self.frame += 1;
        let mut text = self.clear();
        self.drawn = lines.len();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn lines(&self, run: &Run, now: DateTime<Utc>) -> Vec<String> {
        let took = duration(run.finished_at.unwrap_or(now) - run.created_at);
        let doing = if run.cancelling { "cancelling" } else { run.status.as_str() };
        let name = format!("{} v{}", clean(&run.workflow), run.version);
        let mut lines = vec![format!(
            "{}  {}  {took}",
            self.terminal.paint(&name, Style::Bold),
            self.terminal.paint(doing, Style::of_status(&run.status)),
        )];
        let kinds = self.plan.iter().map(|node| width_of(&node.kind));
        let kind_width = kinds.chain(run.nodes.iter().map(|it| width_of(&it.r#type))).max();
        let ids = self.plan.iter().map(|node| width_of(&node.id));
        let id_width = ids.chain(run.nodes.iter().map(|it| width_of(&it.label()))).max();
        let widths = (id_width.unwrap_or(0), kind_width.unwrap_or(0));
        let node_line = |node: &NodeRun| {
            let took = node.first_started_at().map(|start| node.finished_at.unwrap_or(now) - start);
            let mut note = took.map_or_else(String::new, duration);
            if node.attempts > 1 {
                // Writing to a string cannot fail.
                let _ = write!(note, "  attempt {}", node.attempts);
            }
            self.line((&node.label(), &node.r#type), &node.status, &note, widths)
        };
        for planned in &self.plan {
            let at = lines.len();
            lines.extend(run.nodes.iter().filter(|it| it.node == planned.id).map(node_line));
            if lines.len() == at {
                lines.push(self.line((&planned.id, &planned.kind), "pending", "", widths));
            }
        }
        let is_planned = |node: &&NodeRun| self.plan.iter().any(|planned| planned.id == node.node);
        lines.extend(run.nodes.iter().filter(|node| !is_planned(node)).map(node_line));
        lines
    }

    fn line(
        &self,
        (label, kind): (&str, &str),
        status: &str,
        note: &str,
        (label_width, kind_width): (usize, usize),
    ) -> String {
        let padding = |text: &str, width: usize| " ".repeat(width.saturating_sub(width_of(text)));
        let line = format!(
            "  {} {}{}  {}{}  {status:<10} {note}",
            self.glyph(status),
            clean(label),
            padding(label, label_width),
            clean(kind),
            padding(kind, kind_width),
        );
        // A line that wraps would take two rows, and the next picture would be drawn over the wrong ones.
        let line =
            self.terminal.columns.map_or_else(|| line.clone(), |columns| cut(&line, columns));
        self.terminal.paint(line.trim_end(), Style::of_status(status))
    }

    fn glyph(&self, status: &str) -> char {
        match status {
            "succeeded" => '✓',
            "failed" | "uncertain" => '✗',
            "running" => SPINNER[self.frame % SPINNER.len()],
            "retry" => '↻',
            "waiting" | "suspended" | "held" => '◷',
            "skipped" | "skipping" | "cancelled" => '-',
            _ => '·',
        }
    }

    fn changes(&mut self, run: &Run, now: DateTime<Utc>) -> String {
        let mut changed: Vec<(DateTime<Utc>, &NodeRun)> = Vec::new();
        for node in &run.nodes {
            let state = (node.status.clone(), node.attempts);
            // That a join misses tokens, or that a node could start, is nothing that happens.
            let happened = !matches!(node.status.as_str(), "blocked" | "queued");
            if happened && self.told.get(&node.label()) != Some(&state) {
                self.told.insert(node.label(), state);
                let last = node.earlier_attempts.last().map(|attempt| attempt.finished_at);
                let running = node.started_at.filter(|_| node.status == "running");
                changed.push((node.finished_at.or(running).or(last).unwrap_or(now), node));
            }
        }
        changed.sort_by_key(|(at, _)| *at);
        let mut text = String::new();
        for (at, node) in changed {
            let attempt = match node.attempts {
                0 | 1 => String::new(),
                attempts => format!(" (attempt {attempts})"),
            };
            let status = self.terminal.paint(&node.status, Style::of_status(&node.status));
            let label = clean(&node.label());
            let at = format!("+{}", duration(at - run.created_at));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{at:>8}  {label} {status}{attempt}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{at, run};

    fn plan() -> Vec<PlannedNode> {
        let node = |id: &str, kind: &str| PlannedNode { id: id.to_owned(), kind: kind.to_owned() };
        vec![node("fetch", "http"), node("titles", "transform"), node("flaky", "http")]
    }

    const LIVE: Terminal =
        Terminal { colour: false, live: true, columns: Some(80), rows: Some(24) };

    #[test]
    fn a_terminal_gets_a_picture_that_is_drawn_over() {
        let mut progress = Progress::new(LIVE, plan());
        let expected = "\
digest v3  failed  1.50s
  ✓ fetch   http       succeeded  40ms
  · titles  transform  pending
  ✗ flaky   http       failed     1.44s  attempt 2
";
        assert_eq!(progress.update(&run(), at(1500)), expected);
        assert_eq!(progress.update(&run(), at(1500)), format!("\x1b[4A\x1b[J{expected}"));
        assert_eq!(progress.clear(), "\x1b[4A\x1b[J");
        assert_eq!(progress.clear(), "");
    }

    #[test]
    fn lines_of_a_picture_never_wrap() {
        let mut progress = Progress::new(Terminal { columns: Some(20), ..LIVE }, plan());
        let text = progress.update(&run(), at(1500));
        assert!(text.lines().skip(1).all(|line| width_of(line) <= 20), "{text}");
    }

    #[test]
    fn elsewhere_every_change_is_told_once() {
        let mut progress = Progress::new(Terminal::plain(), plan());
        let expected = "  +45ms  fetch succeeded\n  +1.50s  flaky failed (attempt 2)\n";
        assert_eq!(progress.update(&run(), at(1500)), expected.replace("  +45", "   +45"));
        assert_eq!(progress.update(&run(), at(1600)), "");
        let mut more = run();
        more.nodes[1].attempts = 3;
        assert!(progress.update(&more, at(1700)).contains("(attempt 3)"));
    }

    #[test]
    fn a_workflow_that_is_taller_than_the_terminal_is_told_in_lines() {
        let mut progress = Progress::new(Terminal { rows: Some(4), ..LIVE }, plan());
        assert!(progress.update(&run(), at(1500)).contains("fetch succeeded"));
    }
}
