//! What the bars of a waterfall mean.

use crate::render::line::StyledLine;
use crate::render::terminal::{Style, Terminal};

/// Columns between two entries.
const GAP: usize = 2;

/// What the glyphs of work stand for.
const WORK: [(char, &str); 2] = [('█', "at work"), ('▒', "not over, or lost")];
/// What the other glyphs stand for.
const REST: [(char, &str); 3] = [('░', "queued"), ('·', "waiting"), ('▏', "accepted")];
/// What the colours of work stand for; they are explained behind it.
const COLOURS: [(Style, &str); 4] = [
    (Style::Green, "succeeded"),
    (Style::Red, "failed"),
    (Style::Yellow, "put off or cancelled"),
    (Style::Cyan, "under way"),
];

/// The legend of a picture in which these were drawn: what is not there is not explained, and colours only where there
/// are any. On one line where the terminal has room.
pub(super) fn legend(drawn: &[(char, Style)], terminal: &Terminal) -> String {
    let is_work = |glyph: char| WORK.iter().any(|(it, _)| *it == glyph);
    let colours = COLOURS.iter().filter(|(style, _)| {
        terminal.colour && drawn.iter().any(|(glyph, it)| is_work(*glyph) && it == style)
    });
    let colours = colours.map(|(style, meaning)| ((*meaning).to_owned(), *style));
    let columns = terminal.columns.unwrap_or(usize::MAX);
    let mut lines = vec![StyledLine::default()];
    for (text, style) in explained(&WORK, drawn).chain(colours).chain(explained(&REST, drawn)) {
        let mut entry = StyledLine::default();
        entry.push(&text, style);
        if let Some(line) = lines.last_mut().filter(|line| {
            let width = line.width();
            width == 0 || width + GAP + entry.width() <= columns
        }) {
            let gap = if line.width() == 0 { 0 } else { GAP };
            line.push(&" ".repeat(gap), Style::Plain);
            line.push(&text, style);
        } else {
            lines.push(entry);
        }
    }
    lines.iter().map(|line| format!("{}\n", line.render(terminal).0)).collect()
}

/// The entries of those glyphs that were drawn.
fn explained(
    glyphs: &[(char, &str)],
    drawn: &[(char, Style)],
) -> impl Iterator<Item = (String, Style)> {
    let glyphs = glyphs.iter();
    let glyphs = glyphs.filter(move |(glyph, _)| drawn.iter().any(|(it, _)| it == glyph));
    glyphs.map(|(glyph, meaning)| (format!("{glyph} {meaning}"), Style::Dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWN: [(char, Style); 5] = [
        (' ', Style::Plain),
        ('█', Style::Green),
        ('█', Style::Red),
        ('░', Style::Dim),
        ('▏', Style::Cyan),
    ];

    #[test]
    fn what_was_drawn_is_explained_and_nothing_else() {
        let plain = Terminal::plain();
        assert_eq!(legend(&DRAWN, &plain), "█ at work  ░ queued  ▏ accepted\n");
        assert_eq!(legend(&DRAWN[4..], &plain), "▏ accepted\n");
        let colourful = Terminal { colour: true, ..plain };
        let text = legend(&DRAWN, &colourful);
        let colours = "at work\x1b[0m  \x1b[32msucceeded\x1b[0m  \x1b[31mfailed\x1b[0m  ";
        assert!(text.contains(colours), "{text:?}");
        assert!(!text.contains("under way"), "what was accepted is cyan as well: {text:?}");
    }

    #[test]
    fn a_narrow_terminal_breaks_it_between_entries() {
        let at =
            |columns| legend(&DRAWN, &Terminal { columns: Some(columns), ..Terminal::plain() });
        assert_eq!(at(31), "█ at work  ░ queued  ▏ accepted\n");
        assert_eq!(at(30), "█ at work  ░ queued\n▏ accepted\n");
        assert_eq!(at(8), "█ at wo…\n░ queued\n▏ accep…\n");
    }
}
