//! A run while it happens.

use std::collections::HashMap;
use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::line::StyledLine;
use super::plan::Plan;
use super::status::{PENDING, glyph};
use super::terminal::{Style, Terminal, clean, cut, width_of};
use super::time::{duration, took};
use super::waits::{Wait, WaitNews};
use super::workers::no_worker;
use crate::client::{NodeRun, Run};

/// Shows how a run goes on: a picture that is drawn over on a terminal, a line for each change elsewhere.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    plan: Plan,
    /// How wide each line of the picture is that stands on the terminal now.
    drawn: Vec<usize>,
    /// What the lines have shown: status and attempts by node.
    shown: HashMap<String, (String, u32)>,
    waits: WaitNews,
    frame: usize,
}

/// The pictures of something that is under way.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Columns of the glyph before a node.
const MARK_WIDTH: usize = 4;
/// Columns of the longest status that nodes have often, and the gap behind it.
const STATUS_WIDTH: usize = 11;
/// Columns that are kept for how long a node took.
const NOTE_WIDTH: usize = 7;
/// Columns of a name at least.
const LABEL_WIDTH_MIN: usize = 8;
/// Waits of which a picture says what they are for; the status of the others says that they wait.
const WAITS_MAX: usize = 3;

impl Progress {
    /// Shows a run of a workflow with this plan, on the server with these flags.
    #[must_use]
    pub fn new(terminal: Terminal, plan: Plan, server: Vec<String>) -> Self {
        let (drawn, shown, waits) = (Vec::new(), HashMap::new(), WaitNews::new(server));
        Self { terminal, plan, drawn, shown, waits, frame: 0 }
    }

    /// What to write now that the run looks like this, and the terminal like that: somebody may have made it
    /// wider or narrower.
    #[must_use]
    pub fn update(&mut self, run: &Run, now: DateTime<Utc>, terminal: Terminal) -> String {
        self.terminal = terminal;
        // The last row is the one of the cursor.
        let rows = self.terminal.rows.unwrap_or_default().saturating_sub(1);
        if self.terminal.live && self.plan.nodes().len().max(run.nodes.len()) < rows {
            let lines = self.lines(run, now);
            if lines.len() <= rows {
                return self.picture(&lines);
            }
        }
        // Nothing to clear, unless there was room for a picture a moment ago.
        let news = self.waits.update(run, now, &self.terminal);
        self.clear() + &self.changes(run, now) + &news
    }

    /// What to write to take the picture away, for the result to stand in its place.
    #[must_use]
    pub fn clear(&mut self) -> String {
        let drawn = std::mem::take(&mut self.drawn);
        if drawn.is_empty() {
            return String::new();
        }
        // A terminal that was made narrower has wrapped what no longer fits.
        let columns = self.terminal.columns.unwrap_or(usize::MAX).max(1);
        let rows: usize = drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        // Who pressed Ctrl-C has moved the cursor: it goes back to the first column.
        format!("\r\x1b[{rows}A\x1b[J")
    }

    fn picture(&mut self, lines: &[StyledLine]) -> String {
        self.frame += 1;
        let mut text = self.clear();
        for line in lines {
            let (line, width) = line.render(&self.terminal);
            self.drawn.push(width);
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// The picture: a headline, a line for each node of the plan in its order, and below it what it waits for. None may wrap: it would take two
    /// rows, and the next picture would be drawn over the wrong ones.
    fn lines(&self, run: &Run, now: DateTime<Utc>) -> Vec<StyledLine> {
        let took = duration(run.finished_at.unwrap_or(now) - run.created_at);
        let doing = if run.cancelling { "cancelling" } else { run.status.as_str() };
        // What happens is what one looks at: the name gives way to it.
        let rest = format!(" v{}  {doing}  {took}", run.version);
        let room = self.columns().saturating_sub(width_of(&rest)).max(LABEL_WIDTH_MIN);
        let mut headline = StyledLine::default();
        headline.push(&format!("{} v{}", cut(&run.workflow, room), run.version), Style::Bold);
        headline.push("  ", Style::Plain);
        headline.push(doing, Style::of_status(&run.status));
        headline.push(&format!("  {took}"), Style::Plain);
        let mut lines = vec![headline];
        if let Some(reason) = no_worker(run) {
            let mut line = StyledLine::default();
            line.push(&format!("  {reason}"), Style::Yellow);
            lines.push(line);
        }
        let kinds = self.plan.nodes().iter().map(|node| width_of(&node.kind));
        let kind_width = kinds.chain(run.nodes.iter().map(|it| width_of(&it.r#type))).max();
        let ids = self.plan.nodes().iter().map(|node| width_of(&node.id));
        let id_width = ids.chain(run.nodes.iter().map(|it| width_of(&it.label()))).max();
        let widths = self.share(id_width.unwrap_or(0), kind_width.unwrap_or(0));
        let mut waits = 0;
        let mut node_lines = |node: &NodeRun| {
            let wait = Wait::of(run, node, self.waits.server());
            let mut lines = vec![self.node_line(node, wait.as_ref(), now, widths)];
            if let Some(wait) = wait.filter(|_| waits < WAITS_MAX) {
                waits += 1;
                lines.extend(wait.picture(self.columns()));
            }
            lines
        };
        for planned in self.plan.nodes() {
            let at = lines.len();
            let nodes = run.nodes.iter().filter(|it| it.node == planned.id);
            lines.extend(nodes.flat_map(&mut node_lines));
            if lines.len() == at {
                lines.push(self.line((&planned.id, &planned.kind), PENDING, "", widths));
            }
        }
        let is_planned =
            |node: &&NodeRun| self.plan.nodes().iter().any(|planned| planned.id == node.node);
        lines.extend(run.nodes.iter().filter(|node| !is_planned(node)).flat_map(node_lines));
        lines
    }

    fn node_line(
        &self,
        node: &NodeRun,
        wait: Option<&Wait>,
        now: DateTime<Utc>,
        widths: (usize, usize),
    ) -> StyledLine {
        let span = node.first_started_at().map(|start| node.finished_at.unwrap_or(now) - start);
        let mut note = span.map_or_else(String::new, took);
        let goes_on = match wait {
            Some(wait) => wait.note(now),
            None => node
                .wake_at
                .filter(|wake_at| *wake_at > now)
                .map(|wake_at| format!("goes on in {}", duration(wake_at - now))),
        };
        if let Some(goes_on) = goes_on {
            // Writing to a string cannot fail.
            let _ = write!(note, "  {goes_on}");
        }
        if node.attempts > 1 {
            // Writing to a string cannot fail.
            let _ = write!(note, "  attempt {}", node.attempts);
        }
        self.line((&node.label(), &node.r#type), &node.status, &note, widths)
    }

    fn columns(&self) -> usize {
        self.terminal.columns.unwrap_or(usize::MAX)
    }

    /// The widths of labels and types, gaps included. A narrow terminal does without types, and then labels are
    /// cut.
    fn share(&self, label: usize, kind: usize) -> (usize, usize) {
        let room = self.columns().saturating_sub(MARK_WIDTH + STATUS_WIDTH + NOTE_WIDTH);
        let (label, kind) = (label + 2, kind + 2);
        let kind = if label + kind <= room { kind } else { 0 };
        (label.min(room.max(LABEL_WIDTH_MIN)), kind)
    }

    fn line(
        &self,
        (label, kind): (&str, &str),
        status: &str,
        note: &str,
        (label_width, kind_width): (usize, usize),
    ) -> StyledLine {
        let style = Style::of_status(status);
        let mut line = StyledLine::default();
        line.push(&format!("  {} ", self.glyph(status)), style);
        line.push_padded(&cut(label, label_width.saturating_sub(2)), style, label_width);
        if kind_width > 0 {
            line.push_padded(kind, style, kind_width);
        }
        line.push_padded(status, style, STATUS_WIDTH);
        line.push(note, style);
        line
    }

    fn glyph(&self, status: &str) -> &'static str {
        if status == "running" { SPINNER[self.frame % SPINNER.len()] } else { glyph(status) }
    }

    fn changes(&mut self, run: &Run, now: DateTime<Utc>) -> String {
        let mut changed: Vec<(DateTime<Utc>, &NodeRun)> = Vec::new();
        for node in &run.nodes {
            let state = (node.status.clone(), node.attempts);
            // That a join misses tokens, or that a node could start, is nothing that happens.
            let happened = !matches!(node.status.as_str(), "blocked" | "queued");
            if happened && self.shown.get(&node.label()) != Some(&state) {
                self.shown.insert(node.label(), state);
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
    use serde_json::json;

    use super::*;
    use crate::render::samples::{at, plan, run, waiting_run};

    const LIVE: Terminal =
        Terminal { colour: false, live: true, columns: Some(80), rows: Some(24), unicode: true };

    #[test]
    fn a_terminal_gets_a_picture_that_is_drawn_over() {
        let mut progress = Progress::new(LIVE, plan(), Vec::new());
        let expected = "\
digest v3  failed  1.50s
  ✓ fetch   http       succeeded  40ms
  · titles  transform  pending
  ✗ flaky   http       failed     1.44s  attempt 2
";
        assert_eq!(progress.update(&run(), at(1500), LIVE), expected);
        let again = progress.update(&run(), at(1500), LIVE);
        assert_eq!(again, format!("\r\x1b[4A\x1b[J{expected}"));
        assert_eq!(progress.clear(), "\r\x1b[4A\x1b[J");
        assert_eq!(progress.clear(), "");
    }

    #[test]
    fn a_run_that_no_worker_is_there_for_says_so() {
        let mut open = run();
        (open.status, open.finished_at, open.no_worker) = ("queued".to_owned(), None, Some(true));
        open.nodes.clear();
        let text = Progress::new(LIVE, plan(), Vec::new()).update(&open, at(1500), LIVE);
        let lines: Vec<_> = text.lines().take(3).collect();
        let expected = [
            "digest v3  queued  1.50s",
            "  no worker lives: start one with skein-worker",
            "  · fetch   http       pending",
        ];
        assert_eq!(lines, expected, "{text}");
        // Elsewhere it is told of once.
        let mut progress = Progress::new(Terminal::plain(), plan(), Vec::new());
        let told = progress.update(&open, at(1500), Terminal::plain());
        assert_eq!(told, "no worker lives: start one with skein-worker\n");
        assert_eq!(progress.update(&open, at(1600), Terminal::plain()), "");
    }

    #[test]
    fn lines_of_a_picture_never_wrap() {
        for columns in [5, 20, 28, 40] {
            let narrow = Terminal { columns: Some(columns), ..LIVE };
            let text = Progress::new(narrow, plan(), Vec::new()).update(&run(), at(1500), narrow);
            assert!(text.lines().all(|line| width_of(line) <= columns), "{text}");
        }
    }

    #[test]
    fn a_narrow_terminal_shows_what_happens() {
        let narrow = Terminal { columns: Some(34), ..LIVE };
        let mut long = run();
        long.workflow = "a_digest_of_everything".to_owned();
        long.nodes[1].node = "a_flaky_server".to_owned();
        let expected = "\
a_digest_of_eve… v3  failed  1.50s
  ✓ fetch       succeeded  40ms
  · titles      pending
  · flaky       pending
  ✗ a_flaky_s…  failed     1.44s …
";
        assert_eq!(
            Progress::new(narrow, plan(), Vec::new()).update(&long, at(1500), narrow),
            expected
        );
    }

    #[test]
    fn what_waits_says_for_how_long() {
        let mut waiting = run();
        waiting.nodes[1].status = "waiting".to_owned();
        waiting.nodes[1].finished_at = None;
        waiting.nodes[1].wake_at = Some(at(4500));
        let text = Progress::new(LIVE, plan(), Vec::new()).update(&waiting, at(1500), LIVE);
        assert!(text.contains("goes on in 3.00s"), "{text}");
    }

    fn agent() -> Progress {
        let plan = Plan::of(&json!({"nodes": [{"id": "research", "type": "agent"}]}));
        Progress::new(LIVE, plan, Vec::new())
    }

    #[test]
    fn a_picture_says_what_is_waited_for_and_how_to_decide_it() {
        let expected = "\
research v1  suspended  2.00s
  ◷ research  agent  waiting    1.99s  expires in 59m58s
      for a decision about write_down({\"text\":\"it's \\u001b[31mred\"})
      skein decide 019c0000-0000-7000-8000-000000000001 research 4 --approve
";
        assert_eq!(agent().update(&waiting_run(), at(2000), LIVE), expected);
        for columns in [5, 20, 40, 50, 60, 80, 160] {
            let narrow = Terminal { columns: Some(columns), ..LIVE };
            let text = agent().update(&waiting_run(), at(2000), narrow);
            assert!(text.lines().all(|line| width_of(line) <= columns), "{text}");
            // All of the command, or nothing of it.
            assert_eq!(text.contains("skein decide"), columns >= 44, "{text}");
            assert_eq!(text.contains("research 4 --approve"), columns >= 44, "{text}");
        }
        // Where the picture has no room, the same stands in lines.
        let low = Terminal { rows: Some(4), ..LIVE };
        let text = agent().update(&waiting_run(), at(2000), low);
        assert!(text.contains("research waiting\n") && text.contains("--approve"), "{text}");
        let high = Terminal { rows: Some(5), ..LIVE };
        assert_eq!(agent().update(&waiting_run(), at(2000), high), expected);
    }

    #[test]
    fn a_picture_explains_a_few_of_many_waits() {
        let mut many = waiting_run();
        many.nodes = (0..10)
            .map(|item| NodeRun { scope: format!("{item}"), ..many.nodes[0].clone() })
            .collect();
        let text = agent().update(&many, at(2000), LIVE);
        assert_eq!(text.matches("skein decide").count(), WAITS_MAX, "{text}");
        assert_eq!(text.matches("waiting").count(), 10, "{text}");
    }

    #[test]
    fn elsewhere_a_wait_is_told_of_once() {
        let mut progress = agent();
        let text = progress.update(&waiting_run(), at(2000), Terminal::plain());
        assert!(text.contains("  +1.00s  research waiting\n◷ research waits for a "), "{text}");
        assert!(text.ends_with(" research 4 --approve\n"), "{text}");
        assert_eq!(progress.update(&waiting_run(), at(2100), Terminal::plain()), "");
    }

    #[test]
    fn a_picture_that_a_narrower_terminal_has_wrapped_is_taken_away_whole() {
        let mut progress = Progress::new(LIVE, plan(), Vec::new());
        let widths: Vec<_> = progress.update(&run(), at(0), LIVE).lines().map(width_of).collect();
        assert_eq!(widths, [24, 38, 30, 50]);
        let text = progress.update(&run(), at(0), Terminal { columns: Some(30), ..LIVE });
        assert!(text.starts_with("\r\x1b[6A\x1b[J"), "{text:?}");
    }

    #[test]
    fn elsewhere_every_change_is_shown_once() {
        let mut progress = Progress::new(Terminal::plain(), plan(), Vec::new());
        let expected = "  +45ms  fetch succeeded\n  +1.50s  flaky failed (attempt 2)\n";
        assert_eq!(
            progress.update(&run(), at(1500), Terminal::plain()),
            expected.replace("  +45", "   +45")
        );
        assert_eq!(progress.update(&run(), at(1600), Terminal::plain()), "");
        let mut more = run();
        more.nodes[1].attempts = 3;
        assert!(progress.update(&more, at(1700), Terminal::plain()).contains("(attempt 3)"));
    }

    #[test]
    fn a_workflow_that_is_taller_than_the_terminal_is_shown_in_lines() {
        let low = Terminal { rows: Some(4), ..LIVE };
        let mut progress = Progress::new(low, plan(), Vec::new());
        assert!(progress.update(&run(), at(1500), low).contains("fetch succeeded"));
    }
}
