//! Text from outside, on its way to somebody's eyes.

/// Whether a character does something to a terminal, or to how the text around it is read, instead of being seen:
/// control characters, those that turn the direction of text, breaks of lines and paragraphs, and those that are
/// invisible. The two joiners stay, without which some scripts and many emoji fall apart.
#[must_use]
pub fn is_active(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_distinguished_from_what_is() {
        for char in
            "\0\x1b\u{9b}\u{61c}\u{200e}\u{200f}\u{202e}\u{2066}\u{2028}\u{feff}\u{e0041}".chars()
        {
            assert!(is_active(char), "{}", char.escape_unicode());
        }
        for char in "a ü本ع\u{301}\u{200c}\u{200d}\u{fe0f}😀".chars() {
            assert!(!is_active(char), "{}", char.escape_unicode());
        }
    }
}
