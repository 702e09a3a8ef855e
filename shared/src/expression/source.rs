//! The source of an expression as it is given to minijinja, and the way back from places in it.

use std::collections::BTreeSet;
use std::ops::Range;

use super::engine::NUMBER_GUARD;

/// An expression's source with its multiplications guarded.
///
/// minijinja's `*` repeats strings and lists. What it repeats lists into is lazy and costs no fuel,
/// which is how a dozen characters make a value that takes hours to print. So both operands of each
/// `*` go through a filter that lets only numbers pass.
#[derive(Debug, Clone)]
pub(super) struct Source {
    original: String,
    /// Where in the original the guarded source starts.
    base: usize,
    guarded: String,
    factors: Vec<usize>,
}

impl Source {
    /// A part of `original`, with a guard after each of the places (offsets into the original).
    pub(super) fn new(original: &str, part: Range<usize>, factors: &BTreeSet<usize>) -> Self {
        let mut guarded = String::with_capacity(part.len());
        let mut from = part.start;
        for place in factors {
            guarded.push_str(&original[from..*place]);
            guarded.push('|');
            guarded.push_str(NUMBER_GUARD);
            from = *place;
        }
        guarded.push_str(&original[from..part.end]);
        let factors = factors.iter().copied().collect();
        Self { original: original.to_owned(), base: part.start, guarded, factors }
    }

    /// What minijinja gets.
    pub(super) fn guarded(&self) -> &str {
        &self.guarded
    }

    /// The same place in the original.
    pub(super) fn original_offset(&self, guarded: usize) -> usize {
        let guard = NUMBER_GUARD.len() + 1;
        let mut offset = guarded + self.base;
        for place in &self.factors {
            if offset <= *place {
                break;
            }
            offset -= guard.min(offset - place);
        }
        offset.min(self.original.len())
    }

    /// The original text between two places of the guarded one, cut to a line's length.
    pub(super) fn snippet(&self, guarded: Range<usize>) -> Option<&str> {
        const CHARS_MAX: usize = 80;
        let range = self.original_offset(guarded.start)..self.original_offset(guarded.end);
        let text = self.original.get(range)?.trim();
        let cut = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
        (!text.is_empty()).then(|| &text[..cut])
    }

    /// Line and column, from 1, of a place in the original.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        position(&self.original, offset)
    }
}

/// Line and column (in characters), both from 1, of a byte offset.
pub(super) fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(offset)];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_guarded_source_lead_back_to_the_original() {
        let source = Source::new("{{ A * BC + D }}", 2..14, &BTreeSet::from([4, 9]));
        assert_eq!(source.guarded(), format!(" A|{NUMBER_GUARD} * BC|{NUMBER_GUARD} + D "));
        for character in ["A", "*", "B", "C", "+", "D"] {
            let offset = source.guarded().find(character).unwrap();
            let back = source.original_offset(offset);
            assert_eq!(&source.original[back..=back], character);
        }
        assert_eq!(source.snippet(0..source.guarded().len()), Some("A * BC + D"));
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        assert_eq!(position("äb\ncd", 0), (1, 1));
        assert_eq!(position("äb\ncd", 3), (1, 3));
        assert_eq!(position("äb\ncd", 5), (2, 2));
        assert_eq!(position("ab", 99), (1, 3));
    }
}
