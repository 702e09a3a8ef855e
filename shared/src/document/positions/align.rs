//! Where a part of a text stands in how the text is written: behind quotes and escapes, on lines that were folded,
//! without their indentation.
//!
//! What is written and what it means are gone through side by side. Where the two do not agree, nothing is said.

use super::tree::Style;

/// Where the part of a text that begins `at` so many bytes begins in how the text is written. `None` if that cannot be
/// followed.
pub(super) fn offset_within(written: &str, value: &str, style: Style, at: usize) -> Option<usize> {
    if !value.is_char_boundary(at) {
        return None;
    }
    let mut walk = Walk { written, value, style, until: at, from: 0, to: 0 };
    match style {
        Style::Plain => {}
        Style::Single | Style::Double => walk.from = 1,
        Style::Block => walk.header()?,
    }
    while walk.to < at {
        walk.step()?;
    }
    // An end of a line may be all that stands before it.
    walk.settle();
    (walk.to == at).then_some(walk.from)
}

/// How far both have been gone through, in bytes.
struct Walk<'t> {
    written: &'t str,
    value: &'t str,
    style: Style,
    /// How far to go in the value.
    until: usize,
    from: usize,
    to: usize,
}

impl Walk<'_> {
    fn written(&self) -> &str {
        self.written.get(self.from..).unwrap_or_default()
    }

    fn value(&self) -> &str {
        self.value.get(self.to..).unwrap_or_default()
    }

    /// Goes behind the line of `|` or `>`, and behind the indentation of the first line of the text.
    fn header(&mut self) -> Option<()> {
        let has_header = self.written().starts_with(['|', '>']);
        if has_header {
            self.from += self.written().find('\n')? + 1;
        }
        let blank = self.breaks();
        let breaks = self.value().bytes().take_while(|byte| *byte == b'\n').count();
        self.to += breaks;
        // Without the header, the parser has taken the text to begin behind its blank lines.
        (breaks == blank || !has_header && blank == 0).then(|| self.indentation())
    }

    /// Goes on: by a character of the value, by blanks, or by the end of a line.
    fn step(&mut self) -> Option<()> {
        let (written, next) = (self.written(), self.value().chars().next()?);
        // All at once: they would be counted for each of them.
        let blanks = if self.style == Style::Block { 0 } else { blanks(written) };
        if written[blanks..].starts_with('\n') || written[blanks..].starts_with("\r\n") {
            return self.fold();
        }
        if blanks > 0 {
            let length = blanks.min(self.until - self.to);
            let same = self.value().starts_with(&written[..length]);
            self.from += length;
            self.to += length;
            return same.then_some(());
        }
        let first = written.chars().next()?;
        match self.style {
            Style::Double if first == '\\' => self.escape(next),
            Style::Single if written.starts_with("''") => (next == '\'').then(|| self.go(2, next)),
            _ => (first == next).then(|| self.go(first.len_utf8(), next)),
        }
    }

    fn go(&mut self, written: usize, value: char) {
        self.from += written;
        self.to += value.len_utf8();
    }

    /// Goes behind an escape.
    fn escape(&mut self, next: char) -> Option<()> {
        let length = match self.written().as_bytes().get(1)? {
            b'x' => 4,
            // Beyond the first 65,536 characters, JSON writes two of them.
            b'u' if next > '\u{ffff}' => 12,
            b'u' => 6,
            b'U' => 10,
            b'\n' | b'\r' => {
                // The line goes on behind the next one's indentation.
                self.from += 1;
                self.breaks();
                self.from += blanks(self.written());
                return Some(());
            }
            _ => 1 + self.written()[1..].chars().next()?.len_utf8(),
        };
        self.go(length, next);
        Some(())
    }

    /// Goes behind line breaks: one is a blank or a line break, several are as many line breaks, or one less.
    fn fold(&mut self) -> Option<()> {
        let breaks = self.breaks();
        let value = self.value();
        let line_breaks = value.bytes().take_while(|byte| *byte == b'\n').count();
        self.to += match line_breaks {
            0 if breaks == 1 && value.starts_with(' ') => 1,
            0 => return None,
            count if count == breaks || count + 1 == breaks => count,
            _ => return None,
        };
        self.indentation();
        Some(())
    }

    /// Goes behind ends of lines, and lines that are blank, and says how many there were.
    fn breaks(&mut self) -> usize {
        let mut breaks = 0;
        loop {
            let rest = self.written();
            let skipped = blanks(rest);
            let line = &rest[skipped..];
            let length = match line {
                _ if line.starts_with('\n') => 1,
                _ if line.starts_with("\r\n") => 2,
                _ => return breaks,
            };
            self.from += skipped + length;
            breaks += 1;
        }
    }

    /// Goes behind the blanks at the beginning of a line that the value does not have.
    fn indentation(&mut self) {
        let own = blanks(self.value());
        self.from += blanks(self.written()).saturating_sub(own);
    }

    /// Goes to where the next character is written, when a line ends before it.
    fn settle(&mut self) {
        while self.style == Style::Double
            && (self.written().starts_with("\\\n") || self.written().starts_with("\\\r"))
        {
            self.from += 1;
            self.breaks();
            self.from += blanks(self.written());
        }
    }
}

/// The blanks that a text begins with.
fn blanks(text: &str) -> usize {
    text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}
