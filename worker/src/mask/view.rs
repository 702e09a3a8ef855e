//! Text with its escapes taken away, and where each byte of it came from.

use std::ops::Range;

/// Bytes of an escape at most: `&#1114111;` and its like.
const ENTITY_BYTES_MAX: usize = 10;

/// What a text says once its escapes are read. Escapes of all kinds are read, whatever kind of text it is: a server may
/// quote a form in JSON in HTML.
#[derive(Debug)]
pub(super) struct View {
    bytes: Vec<u8>,
    /// Where in the text each byte begins, and at last where the text ends.
    starts: Vec<usize>,
}

/// Whether a plus sign stands for a blank, as in forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plus {
    Itself,
    Blank,
}

impl View {
    /// The views of a text that differ from it: its escapes read once, and twice, as those of JSON in JSON.
    pub(super) fn all_of(text: &[u8]) -> Vec<Self> {
        if !text.iter().any(|byte| b"%\\&+".contains(byte)) {
            return Vec::new();
        }
        let whole = Self { bytes: text.to_vec(), starts: (0..=text.len()).collect() };
        let once = whole.read(Plus::Itself);
        let form = whole.read(Plus::Blank);
        let twice = [once.read(Plus::Itself), once.read(Plus::Blank)];
        [once, form].into_iter().chain(twice).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The part of the text that a part of the view came from.
    pub(super) fn origin_of(&self, part: Range<usize>) -> Range<usize> {
        self.starts[part.start]..self.starts[part.end]
    }

    fn read(&self, plus: Plus) -> Self {
        let (mut bytes, mut starts) = (Vec::with_capacity(self.bytes.len()), Vec::new());
        let mut rest = &self.bytes[..];
        while let Some(first) = rest.first() {
            let at = self.starts[self.bytes.len() - rest.len()];
            let (taken, read) = match escape(rest) {
                Some((taken, read)) => (taken, read),
                None if *first == b'+' && plus == Plus::Blank => (1, Read::Byte(b' ')),
                None => (1, Read::Byte(*first)),
            };
            match read {
                Read::Byte(byte) => bytes.push(byte),
                Read::Char(char) => bytes.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            starts.resize(bytes.len(), at);
            rest = &rest[taken..];
        }
        starts.extend(self.starts.last());
        Self { bytes, starts }
    }
}

/// What an escape stands for.
enum Read {
    Byte(u8),
    Char(char),
}

/// The escape that a text begins with, and its length in bytes.
fn escape(text: &[u8]) -> Option<(usize, Read)> {
    match text {
        [b'%', digits @ ..] => Some((3, Read::Byte(u8::try_from(hex(digits, 2)?).ok()?))),
        [b'\\', b'x', digits @ ..] => Some((4, Read::Byte(u8::try_from(hex(digits, 2)?).ok()?))),
        [b'\\', b'u', digits @ ..] => {
            let unit = hex(digits, 4)?;
            if let Some(char) = char::from_u32(unit) {
                return Some((6, Read::Char(char)));
            }
            // The first half of a pair.
            let [b'\\', b'u', digits @ ..] = digits.get(4..)? else { return None };
            let low = hex(digits, 4).filter(|low| (0xdc00..0xe000).contains(low))?;
            let high = unit.checked_sub(0xd800).filter(|high| *high < 0x400)?;
            let char = char::from_u32(0x1_0000 + (high << 10) + (low - 0xdc00))?;
            Some((12, Read::Char(char)))
        }
        [b'\\', letter, ..] => {
            let byte = match letter {
                b'"' | b'\\' | b'/' | b'\'' => *letter,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                _ => return None,
            };
            Some((2, Read::Byte(byte)))
        }
        [b'&', rest @ ..] => {
            let end = rest.iter().take(ENTITY_BYTES_MAX).position(|byte| *byte == b';')?;
            Some((end + 2, Read::Char(entity(&rest[..end])?)))
        }
        _ => None,
    }
}

fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let text = text.get(..digits).filter(|text| text.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

fn entity(name: &[u8]) -> Option<char> {
    let number = |digits: &[u8], radix| {
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)
    };
    match name {
        b"amp" => Some('&'),
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn once(text: &str) -> String {
        let views = View::all_of(text.as_bytes());
        views.first().map_or_else(
            || text.to_owned(),
            |view| String::from_utf8_lossy(view.bytes()).into_owned(),
        )
    }

    #[test]
    fn escapes_are_read_and_what_is_none_stays() {
        for (text, read) in [
            ("%41%c3%bc %4 %zz %", "Aü %4 %zz %"),
            (r#"\"\\\/\n\u00fc\uD83D\ude00\x41"#, "\"\\/\nü😀A"),
            (r"\q \u12 \ud83d \ud83dx", r"\q \u12 \ud83d \ud83dx"),
            ("&lt;&amp;&#65;&#x42;&nosuch;&", "<&AB&nosuch;&"),
        ] {
            assert_eq!(once(text), read, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_part_of_a_view_has_an_origin(text in r#"[%\\&+;#xu0-9a-fü ]{0,40}"#, from in 0_usize..40, length in 0_usize..40) {
            for view in View::all_of(text.as_bytes()) {
                let from = from.min(view.bytes().len());
                let to = (from + length).min(view.bytes().len());
                let origin = view.origin_of(from..to);
                prop_assert!(origin.start <= origin.end && origin.end <= text.len());
            }
        }
    }
}
