//! A line of pieces in different styles.

use super::terminal::{Style, Terminal, clean, cut, width_of};

/// A line of pieces in different styles. It is cut before it is painted, because codes for colours take no
/// columns.
#[derive(Debug, Clone, Default)]
pub(super) struct StyledLine {
    pieces: Vec<(String, Style)>,
}

impl StyledLine {
    /// Adds text, made harmless for terminals.
    pub(super) fn push(&mut self, text: &str, style: Style) {
        self.pieces.push((clean(text), style));
    }

    /// Adds text, and blanks up to a width.
    pub(super) fn push_padded(&mut self, text: &str, style: Style, width: usize) {
        self.push(text, style);
        self.push(&" ".repeat(width.saturating_sub(width_of(text))), Style::Plain);
    }

    /// Columns that it takes where there is room for all of it.
    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|(text, _)| width_of(text)).sum()
    }

    /// The line for a terminal, as wide as that at most and without blanks at its end, and how many columns it
    /// takes.
    pub(super) fn render(&self, terminal: &Terminal) -> (String, usize) {
        let text: String = self.pieces.iter().map(|(text, _)| text.as_str()).collect();
        let text = text.trim_end();
        let text = terminal.columns.map_or_else(|| text.to_owned(), |columns| cut(text, columns));
        let text = text.trim_end();
        let mut painted = String::new();
        let mut rest = text;
        for (piece, style) in &self.pieces {
            // The last piece that is shown may end in `…`, which is none of its own characters.
            let is_whole = rest.starts_with(piece.as_str());
            let shown = if is_whole { piece.as_str() } else { rest };
            painted.push_str(&terminal.paint(shown, *style));
            rest = &rest[shown.len()..];
            if rest.is_empty() {
                break;
            }
        }
        (painted, width_of(text))
    }

    /// The line for a terminal, broken between words where it is wider than that. What follows a break is
    /// indented.
    pub(super) fn wrap(&self, terminal: &Terminal, indent: usize) -> String {
        let columns = terminal.columns.unwrap_or(usize::MAX);
        let (mut text, mut at, mut gap) = (String::new(), 0, 0);
        for (piece, style) in &self.pieces {
            for part in piece.split_inclusive(' ') {
                let word = part.trim_end_matches(' ');
                let width = width_of(word);
                if width > 0 {
                    if at > indent && at + gap + width > columns {
                        text.push('\n');
                        (at, gap) = (0, indent);
                    }
                    text.push_str(&" ".repeat(gap));
                    text.push_str(&terminal.paint(word, *style));
                    at += gap + width;
                    gap = 0;
                }
                gap += part.len() - word.len();
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> StyledLine {
        let mut line = StyledLine::default();
        line.push_padded("run", Style::Bold, 5);
        line.push("fail\ned", Style::Red);
        line.push("  ", Style::Plain);
        line
    }

    #[test]
    fn a_line_is_cut_before_it_is_painted() {
        let narrow =
            |columns| Terminal { colour: true, columns: Some(columns), ..Terminal::plain() };
        assert_eq!(line().render(&Terminal::plain()).0, "run  fail ed");
        assert_eq!(line().render(&narrow(9)).0, "\x1b[1mrun\x1b[0m  \x1b[31mfai…\x1b[0m");
        assert_eq!(line().render(&narrow(9)).1, 9);
        assert_eq!(line().render(&narrow(12)).1, 12, "blanks at the end are nothing to be cut");
        assert_eq!(line().render(&narrow(4)).0, "\x1b[1mrun\x1b[0m…");
        assert_eq!(line().render(&narrow(2)).0, "\x1b[1mr…\x1b[0m");
    }

    #[test]
    fn a_line_is_broken_between_words() {
        let mut line = StyledLine::default();
        line.push("  12:00  ", Style::Plain);
        line.push("one two-and-three four", Style::Plain);
        let narrow = |columns| Terminal { columns: Some(columns), ..Terminal::plain() };
        assert_eq!(line.wrap(&Terminal::plain(), 9), "  12:00  one two-and-three four");
        let expected = "  12:00  one\n         two-and-three\n         four";
        assert_eq!(line.wrap(&narrow(22), 9), expected);
        let tight = line.wrap(&narrow(10), 2);
        assert_eq!(tight, "  12:00\n  one\n  two-and-three\n  four", "a word stays whole");
    }
}
