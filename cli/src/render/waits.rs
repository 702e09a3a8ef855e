//! What nodes wait for, and what somebody can do about it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Number, Value};
use skein_shared::domain::money::NanoDollars;

use super::amounts::{exact_dollars, plural, thousands};
use super::line::StyledLine;
use super::status::glyph;
use super::terminal::{Style, Terminal, clean, cut};
use super::time::{duration, moment};
use super::workers::no_worker;
use crate::client::{NodeRun, PendingDecision, Run, ShortOf, WaitingFor};
use crate::shell::ShellCommand;

/// Nodes whose waits are shown at a time: in a map, a thousand may wait for the same.
const SHOWN_MAX: usize = 8;
/// Columns of what a tool would be called with.
const ARGUMENTS_WIDTH_MAX: usize = 80;
/// Characters of it that are looked at: some take no column.
const ARGUMENTS_CHARS_MAX: usize = 4 * ARGUMENTS_WIDTH_MAX;
/// Columns before a command.
const COMMAND_INDENT: usize = 4;
/// Columns before what is shown of a wait below its node in a picture.
const PICTURE_INDENT: usize = 6;

/// The wait of a node.
#[derive(Debug)]
pub(super) struct Wait {
    /// What it is for; `waits` comes before it.
    what: String,
    /// When it is over by itself.
    until: Option<DateTime<Utc>>,
    /// What becomes of it then.
    then: &'static str,
    remedy: Option<Remedy>,
}

/// What ends a wait.
#[derive(Debug)]
struct Remedy {
    /// What the command is for.
    how: String,
    command: ShellCommand,
}

impl Wait {
    /// The wait of a node of a run that goes on, if it is for something that is known here. `server` are the flags of
    /// the server.
    pub(super) fn of(run: &Run, node: &NodeRun, server: &[String]) -> Option<Self> {
        if node.status != "waiting" || run.cancelling || run.has_ended() {
            return None;
        }
        let wait = match node.waiting_for.as_ref()? {
            WaitingFor::Decision(pending) => Self {
                what: format!(
                    "for a decision about {}({})",
                    pending.tool,
                    shortened(&pending.arguments)
                ),
                until: pending.expires_at.or(node.wake_at),
                then: "expires",
                remedy: decision(run, node, pending, server),
            },
            WaitingFor::Budget(Some(short)) => Self {
                what: shortage(short),
                until: node.wake_at,
                then: "tries again",
                remedy: raise(run, short, server),
            },
            WaitingFor::Budget(None) => Self {
                what: "for calls to be settled that have reserved the rest of a budget".to_owned(),
                until: node.wake_at,
                then: "tries again",
                remedy: None,
            },
            WaitingFor::Rate { provider } => Self {
                what: format!("for its turn at {provider}"),
                until: node.wake_at,
                then: "goes on",
                remedy: None,
            },
        };
        Some(wait)
    }

    /// When it is over by itself, in a few words.
    pub(super) fn note(&self, now: DateTime<Utc>) -> Option<String> {
        let until = self.until.filter(|until| *until > now)?;
        Some(format!("{} in {}", self.then, duration(until - now)))
    }

    /// It as lines below its node in a picture, which never wrap. A command that does not fit is left out: a part of
    /// one is no use.
    pub(super) fn picture(&self, columns: usize) -> Vec<StyledLine> {
        let line = |text: &str, style| {
            let mut line = StyledLine::default();
            line.push(&" ".repeat(PICTURE_INDENT), Style::Plain);
            line.push(text, style);
            line
        };
        let mut lines = vec![line(&self.what, Style::Yellow)];
        if let Some(Remedy { command, .. }) = &self.remedy {
            let parts = command.lines(Some(columns.saturating_sub(PICTURE_INDENT)));
            let parts = parts.iter().map(|part| line(part, Style::Plain));
            let parts: Vec<_> = parts.collect();
            if parts.iter().all(|part| part.width() <= columns) {
                lines.extend(parts);
            }
        }
        lines
    }

    /// It in a sentence, and the command that ends it.
    fn block(&self, label: &str, now: DateTime<Utc>, terminal: &Terminal) -> String {
        let mut line = StyledLine::default();
        line.push(&format!("{} {label} waits {}", glyph("waiting"), self.what), Style::Yellow);
        if let Some(until) = self.until.filter(|until| *until > now) {
            let left = duration(until - now);
            line.push(&format!("; it {} at {}, in {left}", self.then, moment(until)), Style::Plain);
        }
        let mut text = format!("{}\n", line.wrap(terminal, 2));
        if let Some(Remedy { how, command }) = &self.remedy {
            text.push_str(&format!("  {how}:\n"));
            let width = terminal.columns.map(|columns| columns.saturating_sub(COMMAND_INDENT));
            let indent = " ".repeat(COMMAND_INDENT);
            for part in command.lines(width) {
                text.push_str(&format!("{indent}{}\n", terminal.paint(&part, Style::Bold)));
            }
        }
        text
    }
}

/// What the nodes of a run wait for, and what ends it; empty where nothing waits. `server` are the flags of the server.
#[must_use]
pub fn waits(run: &Run, server: &[String], now: DateTime<Utc>, terminal: &Terminal) -> String {
    let nodes = run.nodes.iter();
    let waiting = nodes.filter_map(|node| Some((node.label(), Wait::of(run, node, server)?)));
    blocks(waiting, now, terminal)
}

fn blocks(
    mut waiting: impl Iterator<Item = (String, Wait)>,
    now: DateTime<Utc>,
    terminal: &Terminal,
) -> String {
    let shown = waiting.by_ref().take(SHOWN_MAX);
    let mut text: String = shown.map(|(label, wait)| wait.block(&label, now, terminal)).collect();
    let left = waiting.count();
    if left > 0 {
        let more = plural(left as u64, "more node waits", "more nodes wait");
        text.push_str(&format!("… {more}: the next ones are shown once these go on\n"));
    }
    text
}

/// Tells of each wait that somebody can end when it begins, and not again.
#[derive(Debug)]
pub struct WaitNews {
    server: Vec<String>,
    /// The waits that were told of, by node.
    told: HashMap<String, String>,
    /// What was told of workers.
    told_of_workers: Option<&'static str>,
}

impl WaitNews {
    /// Of runs on the server with these flags.
    #[must_use]
    pub fn new(server: Vec<String>) -> Self {
        Self { server, told: HashMap::new(), told_of_workers: None }
    }

    /// The flags of the server.
    pub(super) fn server(&self) -> &[String] {
        &self.server
    }

    /// What is new of how the run is now.
    #[must_use]
    pub fn update(&mut self, run: &Run, now: DateTime<Utc>, terminal: &Terminal) -> String {
        let Self { server, told, told_of_workers } = self;
        let mut text = String::new();
        let reason = no_worker(run);
        if std::mem::replace(told_of_workers, reason) != reason {
            let reason = reason.map(|it| format!("{}\n", terminal.paint(it, Style::Yellow)));
            text.push_str(&reason.unwrap_or_default());
        }
        let mut fresh = Vec::new();
        let mut waiting = HashMap::new();
        for node in &run.nodes {
            let Some(wait) = Wait::of(run, node, server).filter(|wait| wait.remedy.is_some())
            else {
                continue;
            };
            let (label, key) =
                (node.label(), node.waiting_for.as_ref().map(key).unwrap_or_default());
            if told.get(&label) != Some(&key) {
                fresh.push((label.clone(), wait));
            }
            waiting.insert(label, key);
        }
        *told = waiting;
        text + &blocks(fresh.into_iter(), now, terminal)
    }
}

/// What distinguishes one wait of a node from its next one. Times do not: they are reckoned anew.
fn key(waiting_for: &WaitingFor) -> String {
    match waiting_for {
        WaitingFor::Decision(pending) => format!("decision {}", pending.step),
        WaitingFor::Budget(Some(short)) => {
            format!("{} {} {}", short.period, short.resource, short.limit)
        }
        WaitingFor::Budget(None) | WaitingFor::Rate { .. } => String::new(),
    }
}

/// What a tool would be called with, in as much as there is room for.
fn shortened(arguments: &Value) -> String {
    if arguments.is_null() {
        return String::new();
    }
    let text = arguments.to_string();
    let mut chars = text.chars();
    let kept: String = chars.by_ref().take(ARGUMENTS_CHARS_MAX).collect();
    let mut kept = cut(&clean(&kept), ARGUMENTS_WIDTH_MAX);
    if chars.next().is_some() && !kept.ends_with('…') {
        kept.push('…');
    }
    kept
}

fn decision(
    run: &Run,
    node: &NodeRun,
    pending: &PendingDecision,
    server: &[String],
) -> Option<Remedy> {
    let step = pending.step.to_string();
    let mut words = vec!["decide", &run.id, &node.node, &step, "--approve"];
    if !node.scope.is_empty() {
        words.extend(["--scope", &node.scope]);
    }
    let names = [&run.id, &node.node, &node.scope];
    let command = skein(&words, &names.map(String::as_str), server)?;
    Some(Remedy { how: "to allow it, or with --deny to forbid it".to_owned(), command })
}

/// A command that names what a server has called so. What looks like a flag there would be one.
fn skein(words: &[&str], names: &[&str], server: &[String]) -> Option<ShellCommand> {
    if names.iter().any(|name| name.starts_with('-')) {
        return None;
    }
    let server = server.iter().map(String::as_str);
    ShellCommand::new(["skein"].into_iter().chain(words.iter().copied()).chain(server))
}

/// What there is too little of.
fn shortage(short: &ShortOf) -> String {
    let amount = |number: &Number| match &*short.resource {
        "usd" => exact_dollars(number),
        resource => match number.as_u64() {
            Some(number) => format!("{} {resource}", thousands(number)),
            None => format!("{number} {resource}"),
        },
    };
    let whose = match &*short.period {
        "run" => "the run's budget".to_owned(),
        period => format!("the organization's budget of the {period}"),
    };
    let (spent, limit, needed) =
        (amount(&short.spent), amount(&short.limit), amount(&short.needed));
    format!("for {whose}: {spent} of {limit} are spent, and its next call may take {needed}")
}

/// What makes room for the next call.
fn raise(run: &Run, short: &ShortOf, server: &[String]) -> Option<Remedy> {
    let (flag, limit, shown) = match &*short.resource {
        "usd" => {
            let [spent, needed] = [&short.spent, &short.needed].map(NanoDollars::from_dollars);
            let shown = spent.ok()?.plus(needed.ok()?).to_string();
            ("--max-usd", shown.trim_start_matches('$').to_owned(), shown)
        }
        resource => {
            let limit = short.spent.as_u64()?.checked_add(short.needed.as_u64()?)?;
            let flag = match resource {
                "tokens" => "--max-tokens",
                "steps" => "--max-steps",
                _ => return None,
            };
            (flag, limit.to_string(), format!("{} {resource}", thousands(limit)))
        }
    };
    let whose = match &*short.period {
        "run" => [&*run.id, ""],
        period => ["--period", period],
    };
    let [first, second] = whose;
    let words = ["budget", first, second, flag, &limit];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let command = skein(&words, &[&run.id, &short.period], server)?;
    Some(Remedy { how: format!("to raise it to {shown}, or to more"), command })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::samples::{at, waiting_run};
    use crate::render::width_of;

    const RUN: &str = "019c0000-0000-7000-8000-000000000001";

    fn at_width(columns: usize) -> Terminal {
        Terminal { columns: Some(columns), ..Terminal::plain() }
    }

    fn short_of(period: &str, resource: &str, [limit, spent, needed]: [&str; 3]) -> Run {
        let number = |text: &str| serde_json::from_str(text).unwrap();
        let short = ShortOf {
            period: period.to_owned(),
            resource: resource.to_owned(),
            limit: number(limit),
            spent: number(spent),
            needed: number(needed),
        };
        let mut run = waiting_run();
        run.nodes[0].waiting_for = Some(WaitingFor::Budget(Some(short)));
        run.nodes[0].wake_at = None;
        run
    }

    #[test]
    fn a_decision_is_shown_with_the_command_that_takes_it() {
        let expected = format!(
            "\
◷ research waits for a decision about write_down({{\"text\":\"it's \\u001b[31mred\"}}); it expires at \
2030-01-31T13:00:00Z, in 59m58s
  to allow it, or with --deny to forbid it:
    skein decide {RUN} research 4 --approve
"
        );
        assert_eq!(waits(&waiting_run(), &[], at(2000), &Terminal::plain()), expected);
        let mut of_map = waiting_run();
        of_map.nodes[0].scope = "3/0".to_owned();
        let server = ["--url", "http://x:1/it's"].map(str::to_owned);
        let text = waits(&of_map, &server, at(2000), &Terminal::plain());
        let command =
            format!("{RUN} research 4 --approve --scope 3/0 --url 'http://x:1/it'\\''s'\n");
        assert!(text.ends_with(&command), "{text}");
    }

    #[test]
    fn a_narrow_terminal_breaks_the_command_where_a_shell_puts_it_together() {
        let text = waits(&waiting_run(), &[], at(2000), &at_width(50));
        let lines: Vec<_> = text.lines().collect();
        let command = &lines[lines.len() - 3..];
        let run = format!("      {RUN} \\");
        assert_eq!(command, ["    skein decide \\", &run, "      research 4 --approve"], "{text}");
        assert!(lines.iter().all(|line| width_of(line) <= 50), "{text}");
    }

    #[test]
    fn a_budget_is_shown_with_the_command_that_raises_it_far_enough() {
        let text = |run: &Run| waits(run, &[], at(2000), &Terminal::plain());
        let run = short_of("run", "usd", ["0.002", "0.0018", "0.0004005"]);
        let expected = format!(
            "\
◷ research waits for the run's budget: $0.0018 of $0.002 are spent, and its next call may take $0.0004005
  to raise it to $0.0022005, or to more:
    skein budget {RUN} --max-usd 0.0022005
"
        );
        assert_eq!(text(&run), expected);
        let shown = text(&short_of("day", "tokens", ["20000", "19000", "1500"]));
        assert!(shown.contains("the organization's budget of the day: 19,000 tokens"), "{shown}");
        assert!(shown.ends_with("    skein budget --period day --max-tokens 20500\n"), "{shown}");
        let shown = text(&short_of("month", "steps", ["3", "3", "1"]));
        assert!(shown.ends_with("    skein budget --period month --max-steps 4\n"), "{shown}");
        // Nothing is proposed that is not understood.
        let shown = text(&short_of("month", "apples", ["3", "3", "1"]));
        assert!(shown.contains("3 apples") && !shown.contains("skein budget"), "{shown}");
        let shown = text(&short_of("--key", "steps", ["3", "3", "1"]));
        assert!(!shown.contains("skein budget"), "{shown}");
    }

    #[test]
    fn what_nobody_can_end_has_no_command() {
        let text = |waiting_for| {
            let mut run = waiting_run();
            run.nodes[0].waiting_for = waiting_for;
            waits(&run, &[], at(2000), &Terminal::plain())
        };
        let provider = "openai".to_owned();
        let rate = text(Some(WaitingFor::Rate { provider }));
        assert!(rate.contains("for its turn at openai; it goes on at 2030"), "{rate}");
        let settled = text(Some(WaitingFor::Budget(None)));
        assert!(settled.contains("for calls to be settled"), "{settled}");
        assert!(!rate.contains("skein") && !settled.contains("skein"), "{rate}{settled}");
        assert_eq!(text(None), "");
        let ended = Run { status: "cancelled".to_owned(), ..waiting_run() };
        assert_eq!(waits(&ended, &[], at(2000), &Terminal::plain()), "");
        let cancelling = Run { cancelling: true, ..waiting_run() };
        assert_eq!(waits(&cancelling, &[], at(2000), &Terminal::plain()), "");
    }

    #[test]
    fn what_a_model_wants_a_tool_to_do_is_short_and_harmless() {
        let text = |arguments: Value| {
            let mut run = waiting_run();
            let Some(WaitingFor::Decision(pending)) = &mut run.nodes[0].waiting_for else {
                panic!("it waits for a decision");
            };
            pending.arguments = arguments;
            pending.tool = "a\x1b]0;b\x07".to_owned();
            waits(&run, &[], at(2000), &Terminal::plain())
        };
        let long = text(json!({ "text": format!("\u{202e}\u{9b}2J{}", "long ".repeat(50_000)) }));
        let first = long.lines().next().unwrap();
        assert!(
            first.contains("a ]0;b ({\"text\":\"  2Jlong long") && first.contains("…);"),
            "{first}"
        );
        assert!(width_of(first) < 200, "{first}");
        let is_harmless = |char: char| char == '\n' || !skein_shared::domain::text::is_active(char);
        assert!(long.chars().all(is_harmless), "{long:?}");
        // Characters that take no column are not looked at for ever.
        let marks = text(json!("e\u{301}".repeat(100_000)));
        assert!(marks.chars().count() < 1_000, "{}", marks.chars().count());
        assert!(text(Value::Null).contains("b ();"));
    }

    #[test]
    fn a_node_that_is_called_like_a_flag_is_decided_about_by_nobody() {
        let mut run = waiting_run();
        run.nodes[0].node = "--url=http://x".to_owned();
        assert!(!waits(&run, &[], at(2000), &Terminal::plain()).contains("skein decide"));
        run.nodes[0].node = "a\nb".to_owned();
        assert!(!waits(&run, &[], at(2000), &Terminal::plain()).contains("skein decide"));
    }

    #[test]
    fn of_very_many_waits_the_first_are_shown() {
        let mut run = waiting_run();
        run.nodes = (0..30)
            .map(|item| NodeRun { scope: format!("{item}"), ..run.nodes[0].clone() })
            .collect();
        let text = waits(&run, &[], at(2000), &Terminal::plain());
        assert_eq!(text.matches("--approve").count(), SHOWN_MAX, "{text}");
        assert!(text.contains("… 22 more nodes wait"), "{text}");
    }

    #[test]
    fn a_wait_is_news_once() {
        let mut news = WaitNews::new(Vec::new());
        let mut run = waiting_run();
        assert!(news.update(&run, at(2000), &Terminal::plain()).contains("--approve"));
        run.nodes[0].wake_at = Some(at(3_600_001));
        assert_eq!(news.update(&run, at(2100), &Terminal::plain()), "");
        run.nodes[0].status = "running".to_owned();
        assert_eq!(news.update(&run, at(2200), &Terminal::plain()), "");
        run.nodes[0].status = "waiting".to_owned();
        assert!(news.update(&run, at(2300), &Terminal::plain()).contains("--approve"));
        if let Some(WaitingFor::Decision(pending)) = &mut run.nodes[0].waiting_for {
            pending.step = 6;
        }
        assert!(news.update(&run, at(2400), &Terminal::plain()).contains("research 6 --approve"));
        // Nobody is told of what goes on by itself.
        run.nodes[0].waiting_for = Some(WaitingFor::Budget(None));
        assert_eq!(news.update(&run, at(2500), &Terminal::plain()), "");
        // Each time that the last worker goes.
        for (no_worker, told) in [(true, true), (true, false), (false, false), (true, true)] {
            run.no_worker = Some(no_worker);
            let text = news.update(&run, at(2600), &Terminal::plain());
            assert_eq!(text.contains("start one with skein-worker"), told, "{text}");
        }
    }
}
