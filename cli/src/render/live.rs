//! What happens in a run, as it comes: rows of the log, and between them the text of models.

use super::log::LogView;
use super::terminal::{Style, Terminal, clean, clean_lines};
use crate::client::{Followed, LiveText, LogRow};

/// Makes text of what comes. On a terminal the text of models is written on where it was left; elsewhere it is left
/// out, and stands in the output of its node.
#[derive(Debug)]
pub struct LiveView {
    terminal: Terminal,
    log: LogView,
    /// The call whose text is being written, and whether its line is open.
    writing: Option<(String, u32)>,
    /// The number of the next event of that call.
    next: u64,
}

impl LiveView {
    /// A view for a terminal.
    #[must_use]
    pub fn new(terminal: Terminal) -> Self {
        Self { terminal, log: LogView::new(terminal), writing: None, next: 0 }
    }

    /// What to write now.
    ///
    /// # Errors
    /// When a row is none of a log.
    pub fn show(&mut self, followed: &Followed) -> serde_json::Result<String> {
        Ok(match followed {
            Followed::Row(row) => {
                let row: LogRow = serde_json::from_value(row.clone())?;
                self.end_line() + &self.log.rows(&[row])
            }
            Followed::Text(live) if self.terminal.live => self.text(live),
            Followed::Text(_) | Followed::Change | Followed::Notice(_) => String::new(),
            Followed::End(_) => self.end_line(),
        })
    }

    /// What to write before anything else is.
    #[must_use]
    pub fn end_line(&mut self) -> String {
        if self.writing.take().is_some() { "\n".to_owned() } else { String::new() }
    }

    fn text(&mut self, live: &LiveText) -> String {
        let call = (live.label(), live.step);
        let mut text = String::new();
        // A number that is not the next one: something was lost, or the call is made anew.
        let is_anew = live.seq < self.next;
        if self.writing.as_ref() != Some(&call) || is_anew {
            text.push_str(&self.end_line());
            text.push_str(&self.terminal.paint(&clean(&call.0), Style::Cyan));
            text.push_str(if live.seq == 0 { ": " } else { ": …" });
            self.writing = Some(call);
        } else if live.seq > self.next {
            text.push('…');
        }
        self.next = live.seq + 1;
        text.push_str(&clean_lines(&live.text));
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIVE: Terminal =
        Terminal { colour: false, live: true, columns: Some(80), rows: Some(24), unicode: true };

    fn delta(node: &str, seq: u64, text: &str) -> Followed {
        let (node, scope, text) = (node.to_owned(), String::new(), text.to_owned());
        Followed::Text(LiveText { node, scope, step: 1, seq, text })
    }

    fn row() -> Followed {
        Followed::Row(json!({
            "ts": "2030-01-31T12:00:00Z", "level": "info", "event": "node.succeeded", "message": "done",
            "node": "write", "data": null, "trace_id": "aa", "span_id": "bb",
        }))
    }

    fn shown(view: &mut LiveView, events: &[Followed]) -> String {
        events.iter().map(|event| view.show(event).unwrap()).collect()
    }

    #[test]
    fn text_goes_on_where_it_was_left_and_says_what_is_missing() {
        let mut view = LiveView::new(LIVE);
        let events = [
            delta("write", 0, "Once"),
            delta("write", 1, " upon\n"),
            delta("write", 3, "time\u{1b}[2J"),
            delta("other", 0, "x"),
            delta("write", 4, "."),
            delta("write", 0, "Once"),
        ];
        let text = shown(&mut view, &events);
        assert_eq!(text, "write: Once upon\n…time [2J\nother: x\nwrite: ….\nwrite: Once");
        assert!(view.show(&row()).unwrap().starts_with('\n'));
        assert!(!view.show(&row()).unwrap().starts_with('\n'));
    }

    #[test]
    fn elsewhere_only_the_log_is_shown() {
        let mut view = LiveView::new(Terminal::plain());
        let text = shown(&mut view, &[delta("write", 0, "Once"), row(), delta("write", 1, "x")]);
        assert!(text.contains("done") && !text.contains("Once"), "{text}");
        assert!(!text.starts_with('\n'));
    }
}
