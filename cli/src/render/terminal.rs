//! Where text goes, and what may be done to it there.

use std::io::{self, IsTerminal};

use skein_shared::domain::text::is_active;
use unicode_width::UnicodeWidthStr;

use super::colour::ColourChoice;

/// Something that text is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Whether colours mean anything to it.
    pub colour: bool,
    /// Whether lines that were written can be written over.
    pub live: bool,
    /// Columns; `None` where it is unknown, as in a file.
    pub columns: Option<usize>,
    /// Rows.
    pub rows: Option<usize>,
    /// Whether it shows signs beyond ASCII.
    pub unicode: bool,
}

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Stands out.
    Bold,
    /// Steps back.
    Dim,
    /// Went well.
    Green,
    /// Went wrong.
    Red,
    /// Not as it should be.
    Yellow,
    /// Under way.
    Cyan,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Green => Some("32"),
            Self::Red => Some("31"),
            Self::Yellow => Some("33"),
            Self::Cyan => Some("36"),
        }
    }

    /// The style of a run's or a node's status.
    #[must_use]
    pub fn of_status(status: &str) -> Self {
        match status {
            "succeeded" => Self::Green,
            "failed" | "timed_out" | "crashed" | "uncertain" => Self::Red,
            "retry" | "cancelled" | "waiting" | "suspended" | "held" | "released" => Self::Yellow,
            "running" => Self::Cyan,
            "skipped" | "skipping" | "blocked" | "pending" | "not reached" => Self::Dim,
            _ => Self::Plain,
        }
    }

    /// The style of the status of a call to a model or a tool.
    #[must_use]
    pub fn of_step(status: &str) -> Self {
        match status {
            "succeeded" | "approved" => Self::Green,
            "failed" | "denied" | "lost" => Self::Red,
            "refused" | "pending" => Self::Yellow,
            "started" => Self::Cyan,
            _ => Self::Plain,
        }
    }
}

impl Terminal {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::of(io::stdout().is_terminal(), terminal_size::terminal_size_of(io::stdout()))
    }

    /// Standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::of(io::stderr().is_terminal(), terminal_size::terminal_size_of(io::stderr()))
    }

    /// No terminal at all: a file or a pipe.
    #[must_use]
    pub fn plain() -> Self {
        Self { colour: false, live: false, columns: None, rows: None, unicode: false }
    }

    fn of(is_terminal: bool, size: Option<(terminal_size::Width, terminal_size::Height)>) -> Self {
        let choice = ColourChoice::chosen();
        if !is_terminal {
            return Self { colour: choice.applies(false), ..Self::plain() };
        }
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Self {
            colour: choice.applies(!is_dumb && !is_set("NO_COLOR")),
            live: !is_dumb,
            columns: size.map(|(width, _)| usize::from(width.0)),
            rows: size.map(|(_, height)| usize::from(height.0)),
            unicode: is_utf8(|name| std::env::var(name).ok()),
        }
    }

    /// The text in a style, if there are any here.
    #[must_use]
    pub fn paint(&self, text: &str, style: Style) -> String {
        match style.code() {
            Some(code) if self.colour && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// Whether the environment asks for UTF-8: by the first of its variables that says anything, as in POSIX.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let mut said = names.filter_map(variable).filter(|value| !value.is_empty());
    said.next().is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

/// Text from somewhere else on one line: what would move the cursor or change colours becomes harmless.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|char| if is_active(char) { ' ' } else { char }).collect()
}

/// As [`clean`], with its lines left as they are.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    text.chars().map(|char| if is_active(char) && char != '\n' { ' ' } else { char }).collect()
}

/// Columns that a text takes.
#[must_use]
pub fn width_of(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The text in at most `columns`, with `…` in place of what is left out.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width_of(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for char in text.chars() {
        kept.push(char);
        if width_of(&kept) >= columns {
            kept.pop();
            break;
        }
    }
    // A wide character that went may leave room for one more column; `…` still fits.
    while width_of(&kept) + 1 > columns && kept.pop().is_some() {}
    kept.push('…');
    kept
}

/// The end of the text in at most `columns`, with `…` in place of what is left out before it.
pub(super) fn cut_front(text: &str, columns: usize) -> String {
    if width_of(text) <= columns {
        return text.to_owned();
    }
    let mut kept = text;
    while width_of(kept) + 1 > columns {
        let mut chars = kept.chars();
        if chars.next().is_none() {
            break;
        }
        kept = chars.as_str();
    }
    format!("…{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_for_terminals_only() {
        let colourful = Terminal { colour: true, ..Terminal::plain() };
        assert_eq!(colourful.paint("ok", Style::Green), "\x1b[32mok\x1b[0m");
        assert_eq!(colourful.paint("ok", Style::Plain), "ok");
        assert_eq!(Terminal::plain().paint("ok", Style::Green), "ok");
    }

    #[test]
    fn signs_beyond_ascii_are_for_those_who_ask_for_them() {
        let of = |all: &'static str, lang: &'static str| {
            is_utf8(|name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert!(of("", "en_US.UTF-8") && of("C.utf8", "C"));
        assert!(!of("C", "en_US.UTF-8") && !of("", "") && !is_utf8(|_| None));
    }

    #[test]
    fn text_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\u{202e}d"), "a [2Jb  c d");
        assert_eq!(clean("a\u{61c}b\u{200e}c\u{200f}d\u{2028}e"), "a b c d e");
        assert_eq!(clean_lines("a\x07\nb"), "a \nb");
    }

    #[test]
    fn text_is_cut_between_characters_of_any_width() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("日本語日本", 6), "日本…");
        assert_eq!(cut("日本語日本", 5), "日本…");
        assert_eq!(cut_front("abcdef", 6), "abcdef");
        assert_eq!(cut_front("abcdefg", 6), "…cdefg");
        assert_eq!(cut_front("日本語日本", 6), "…日本");
        assert_eq!(cut_front("ab", 0), "…");
    }
}
