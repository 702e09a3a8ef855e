//! Finds the `{{ expressions }}` and `{% statements %}` of a template and cuts them into tokens.
//!
//! minijinja parses the language; this is only as much of its lexical grammar as the static rules of
//! [`super::analysis`] need: what is a string, what is a name, what is an operator.

use std::ops::Range;

/// A piece of an expression or statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name or a keyword.
    Name,
    /// A number.
    Number,
    /// A string literal, quotes included.
    Text,
    /// Anything else, one or two characters.
    Operator,
}

/// A pair of delimiters with what is between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// Whether it is `{{ }}` and not `{% %}`.
    pub(super) is_expression: bool,
    /// Where it lies, delimiters included.
    pub(super) outer: Range<usize>,
    /// Where its content lies.
    pub(super) inner: Range<usize>,
    pub(super) tokens: Vec<Token>,
}

/// A tag that does not end, or a string in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclosed {
    pub(super) offset: usize,
    pub(super) message: &'static str,
}

/// Whether text is more than itself.
pub(super) fn is_dynamic(source: &str) -> bool {
    source.contains("{{") || source.contains("{%") || source.contains("{#")
}

/// The tags of a template, comments left out.
pub(super) fn tags(source: &str) -> Result<Vec<Tag>, Unclosed> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let start = at + found;
        let rest = &source[start..];
        if rest.starts_with("{#") {
            let end =
                rest.find("#}").ok_or(Unclosed { offset: start, message: "`{#` has no `#}`" })?;
            at = start + end + 2;
        } else if rest.starts_with("{{") || rest.starts_with("{%") {
            let tag = tag(source, start)?;
            at = tag.outer.end;
            tags.push(tag);
        } else {
            at = start + 1;
        }
    }
    Ok(tags)
}

/// The tag that starts at `start`.
fn tag(source: &str, start: usize) -> Result<Tag, Unclosed> {
    let bytes = source.as_bytes();
    let is_expression = bytes[start + 1] == b'{';
    let (closing, message) =
        if is_expression { ("}}", "`{{` has no `}}`") } else { ("%}", "`{%` has no `%}`") };
    // `-` and `+` beside a delimiter say what happens to the white space around the tag.
    let trims = |at: usize| matches!(bytes.get(at), Some(b'-' | b'+'));
    let inner_start = if trims(start + 2) { start + 3 } else { start + 2 };
    let mut tokens = Vec::new();
    let mut depth = 0_i32;
    let mut at = inner_start;
    loop {
        at = skip_space(bytes, at);
        if at >= bytes.len() {
            return Err(Unclosed { offset: start, message });
        }
        if depth == 0 {
            let end = if trims(at) { at + 1 } else { at };
            if source.as_bytes()[end..].starts_with(closing.as_bytes()) {
                let outer = start..end + closing.len();
                return Ok(Tag { is_expression, outer, inner: inner_start..at, tokens });
            }
        }
        let token = token(source, at)?;
        match bytes[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        at = token.end;
        tokens.push(token);
    }
}

/// The tokens of a bare expression.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, Unclosed> {
    let mut tokens = Vec::new();
    let mut at = skip_space(source.as_bytes(), 0);
    while at < source.len() {
        let token = token(source, at)?;
        at = skip_space(source.as_bytes(), token.end);
        tokens.push(token);
    }
    Ok(tokens)
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

fn token(source: &str, start: usize) -> Result<Token, Unclosed> {
    let rest = &source[start..];
    let bytes = rest.as_bytes();
    let word = |from: usize| {
        from + bytes[from..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
    };
    let (kind, length) = match bytes[0] {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => (TokenKind::Name, word(0)),
        b'0'..=b'9' => {
            let whole = word(0);
            let fraction = bytes.get(whole) == Some(&b'.')
                && bytes.get(whole + 1).is_some_and(u8::is_ascii_digit);
            (TokenKind::Number, if fraction { word(whole + 1) } else { whole })
        }
        quote @ (b'"' | b'\'') => (TokenKind::Text, text(bytes, quote, start)?),
        _ if ["//", "**", "==", "!=", ">=", "<="].iter().any(|op| rest.starts_with(op)) => {
            (TokenKind::Operator, 2)
        }
        _ => (TokenKind::Operator, rest.chars().next().map_or(1, char::len_utf8)),
    };
    Ok(Token { kind, start, end: start + length })
}

/// The length of the string literal at the start of `bytes`.
fn text(bytes: &[u8], quote: u8, offset: usize) -> Result<usize, Unclosed> {
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if *byte == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(Unclosed { offset, message: "a string has no closing quote" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<&str> {
        tokens(source).unwrap().iter().map(|token| &source[token.start..token.end]).collect()
    }

    #[test]
    fn an_expression_falls_into_names_numbers_strings_and_operators() {
        assert_eq!(
            words("a.b[1.5]|f('x\\'y', k=\"z\")//2 ** -3!=c"),
            [
                "a", ".", "b", "[", "1.5", "]", "|", "f", "(", "'x\\'y'", ",", "k", "=", "\"z\"",
                ")", "//", "2", "**", "-", "3", "!=", "c"
            ]
        );
    }

    #[test]
    fn delimiters_inside_strings_and_braces_do_not_end_a_tag() {
        let source = "a {{ {'x': {'y': '}}'}} }} b {%- if c -%} { {# {{ #} }";
        let tags = tags(source).unwrap();
        assert_eq!(tags.len(), 2);
        assert_eq!(&source[tags[0].inner.clone()], " {'x': {'y': '}}'}} ");
        assert_eq!(&source[tags[1].inner.clone()], " if c ");
        assert!(!tags[1].is_expression);
    }

    #[test]
    fn what_does_not_end_is_found_where_it_starts() {
        assert_eq!(tags("ab {{ c").unwrap_err().offset, 3);
        assert_eq!(tags("ab {{ 'c }}").unwrap_err().offset, 6);
        assert_eq!(tags("{# x").unwrap_err().offset, 0);
        assert_eq!(tags("{{ (a }}").unwrap_err().offset, 0);
    }
}
