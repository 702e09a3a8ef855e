//! The `{{ expressions }}` and `{% statements %}` of a template in minijinja's own tokens, so that what
//! [`super::analysis`] rules on is what the parser reads.

use std::ops::Range;

use minijinja::Error;
use minijinja::machinery::{Span, Token, tokenize};

use super::engine::syntax;
use super::foreign;
use super::reason::describe_syntax;
use super::source::Problem;

/// Tags of one string that cannot be read and are told of. After each, the rest is read again.
const UNREADABLE_TAGS_MAX: usize = 16;

/// A token and where it lies.
pub(super) type Placed<'source> = (Token<'source>, Span);

/// A pair of delimiters with what is between them.
#[derive(Debug)]
pub(super) struct Tag<'source> {
    /// Whether it is `{{ }}` and not `{% %}`.
    pub(super) is_expression: bool,
    /// Where its first delimiter lies.
    pub(super) start: Range<usize>,
    /// Where its last delimiter lies: nowhere before it is read.
    pub(super) end: Range<usize>,
    pub(super) tokens: Vec<Placed<'source>>,
}

impl Tag<'_> {
    fn new(is_expression: bool, start: Span) -> Self {
        Self { is_expression, start: range(start), end: 0..0, tokens: Vec::new() }
    }

    fn is_open(&self) -> bool {
        self.end.is_empty()
    }

    fn unclosed(&self) -> Problem {
        let message = if self.is_expression { "`{{` has no `}}`" } else { "`{%` has no `%}`" };
        Problem::new(self.start.start, message, "")
    }
}

/// Whether text is more than itself.
pub(super) fn is_dynamic(source: &str) -> bool {
    source.contains("{{") || source.contains("{%") || source.contains("{#")
}

/// Where the first of these characters stands that is the author's own and not written by an expression, from a place
/// on. In what is no proper template, any of them is.
#[must_use]
pub fn find_outside(source: &str, from: usize, wanted: &[char]) -> Option<usize> {
    let tags = tags(source).unwrap_or_default();
    // Tags lie one behind the other; there may be thousands of them and of what is looked at.
    let is_inside = |at: usize| {
        let before = tags.partition_point(|tag| tag.start.start <= at);
        before.checked_sub(1).is_some_and(|last| at < tags[last].end.end)
    };
    let rest = source.get(from..)?;
    rest.match_indices(wanted).map(|(at, _)| from + at).find(|at| !is_inside(*at))
}

/// Where the `{{ expressions }}` of a template lie, in bytes; the rest is text. `None` if it holds more than that:
/// statements, comments, or delimiters that take blanks away around them.
#[must_use]
pub fn expressions_in(source: &str) -> Option<Vec<Range<usize>>> {
    if source.contains("{#") {
        return None;
    }
    let is_plain = |tag: &Tag<'_>| {
        tag.is_expression && source[tag.start.clone()] == *"{{" && source[tag.end.clone()] == *"}}"
    };
    let tags = tags(source).ok()?;
    tags.iter().map(|tag| is_plain(tag).then_some(tag.start.start..tag.end.end)).collect()
}

/// Where a token lies, in bytes.
pub(super) fn range(span: Span) -> Range<usize> {
    span.start_offset as usize..span.end_offset as usize
}

/// A template, as far as it is made of tokens.
#[derive(Debug, Default)]
pub(super) struct Lexed<'source> {
    /// Its tags, without comments and without those that cannot be read.
    pub(super) tags: Vec<Tag<'source>>,
    /// Why those cannot be read.
    pub(super) problems: Vec<Problem>,
}

/// The tags of a template. After one that cannot be read, it goes on behind its end.
pub(super) fn lexed(source: &str) -> Lexed<'_> {
    let mut lexed = Lexed::default();
    let mut from = Some(0);
    while let Some(start) = from.filter(|_| lexed.problems.len() < UNREADABLE_TAGS_MAX) {
        from = lexed.read_from(source, start);
    }
    lexed
}

/// The tags of a template that can be read, all of it.
pub(super) fn tags(source: &str) -> Result<Vec<Tag<'_>>, Problem> {
    let Lexed { tags, problems } = lexed(source);
    problems.into_iter().next().map_or(Ok(tags), Err)
}

impl<'source> Lexed<'source> {
    /// Reads up to the end, or up to a tag that cannot be read; then it says where to go on.
    fn read_from(&mut self, source: &'source str, start: usize) -> Option<usize> {
        for token in placed(source, start, false) {
            let end = self.tags.last().map_or(start, |tag| tag.end.end.max(start));
            let open = self.tags.last_mut().filter(|tag| tag.is_open());
            match (token, open) {
                (Ok((Token::VariableStart, at)), _) => self.tags.push(Tag::new(true, at)),
                (Ok((Token::BlockStart, at)), _) => self.tags.push(Tag::new(false, at)),
                (Ok((Token::VariableEnd | Token::BlockEnd, at)), Some(tag)) => tag.end = range(at),
                (Ok(token), Some(tag)) => tag.tokens.push(token),
                (Ok((_, at)), None) => self.tags.extend(raw(source, end..range(at).start)),
                (Err(error), Some(_)) => return self.give_up_tag(source, Some(error)),
                (Err(error), None) => {
                    self.problems.push(error);
                    return None;
                }
            }
        }
        match self.tags.last() {
            Some(tag) if tag.is_open() => self.give_up_tag(source, None),
            _ => None,
        }
    }

    /// Takes the last tag away, and says where to go on behind it.
    fn give_up_tag(&mut self, source: &str, error: Option<Problem>) -> Option<usize> {
        let tag = self.tags.pop()?;
        let closing = if tag.is_expression { "}}" } else { "%}" };
        let closed = |from: usize| source.get(from..)?.find(closing).map(|at| from + at + 2);
        let first = closed(tag.start.end);
        match error {
            // A tag that lacks a bracket goes on in the text after it, which is rarely tokens.
            Some(error) if first.is_none_or(|first| error.offset < first) => {
                let end = closed(error.offset);
                self.problems.push(error);
                end
            }
            _ => {
                self.problems.push(tag.unclosed());
                first
            }
        }
    }
}

/// The tokens of a bare expression.
pub(super) fn tokens(source: &str) -> Result<Vec<Placed<'_>>, Problem> {
    placed(source, 0, true).collect()
}

/// The tokens from an offset on.
fn placed(
    source: &str,
    start: usize,
    is_expression: bool,
) -> impl Iterator<Item = Result<Placed<'_>, Problem>> {
    let rest = source.get(start..).unwrap_or_default();
    let mut end = 0;
    tokenize(rest, is_expression, syntax()).map(move |token| {
        let (token, span) = token.map_err(|error| {
            let problem = no_token(rest, end, &error);
            Problem { offset: start + problem.offset, ..problem }
        })?;
        end = range(span).end;
        Ok((token, moved(span, start)))
    })
}

/// A place in a part of a source as a place in the source. The lines stay those of the part: nobody asks for them.
fn moved(span: Span, by: usize) -> Span {
    let by = u32::try_from(by).unwrap_or_default();
    let (start_offset, end_offset) = (span.start_offset + by, span.end_offset + by);
    Span { start_offset, end_offset, ..span }
}

/// Why nothing is a token after the one that ends at `end`.
fn no_token(source: &str, end: usize, error: &Error) -> Problem {
    let start = source.len() - source[end..].trim_ascii_start().len();
    match error.detail() {
        Some("unexpected end of string") => {
            Problem::new(start, "a string has no closing quote", "")
        }
        Some("unexpected end of comment") => {
            let closed = source.rfind("#}").map_or(start, |at| start.max(at + 2));
            let opened = source[closed..].find("{#").unwrap_or(0);
            Problem::new(closed + opened, "`{#` has no `#}`", "")
        }
        _ => {
            let offset = error.range().map_or(start, |range| range.start);
            match foreign::sign(source.get(offset..).unwrap_or_default()) {
                Some((sign, hint)) => {
                    Problem::new(offset, format!("`{sign}` is no sign of an expression"), hint)
                }
                None => Problem::new(offset, describe_syntax(error), ""),
            }
        }
    }
}

/// The `{% raw %}` or `{% endraw %}` between a tag and a text, which minijinja has no token for.
fn raw(source: &str, between: Range<usize>) -> Option<Tag<'_>> {
    let tag = source[between.clone()].trim_end().strip_suffix("%}")?;
    let tag = tag.trim_end_matches(['-', '+']).trim_ascii_end();
    let name = tag.rsplit(|c: char| !c.is_ascii_alphabetic()).next()?;
    let start_offset = u32::try_from(between.start + tag.len() - name.len()).ok()?;
    let tokens = vec![(Token::Ident(name), Span { start_offset, ..Span::default() })];
    Some(Tag { is_expression: false, start: between.clone(), end: between, tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(source: &str) -> (usize, String) {
        let error = tags(source).unwrap_err();
        (error.offset, error.message)
    }

    #[test]
    fn delimiters_inside_strings_and_braces_do_not_end_a_tag() {
        let source = "a {{ {'x': {'y': '}}'}} }} b {%- if c -%} { {# {{ #} }";
        let tags = tags(source).unwrap();
        assert_eq!(tags.len(), 2);
        assert_eq!(&source[tags[0].start.end..tags[0].end.start], " {'x': {'y': '}}'}} ");
        assert_eq!(&source[tags[1].start.start..tags[1].end.end], "{%- if c -%}");
        assert_eq!(&source[tags[1].start.end..tags[1].end.start], " if c ");
        assert!(!tags[1].is_expression);
    }

    #[test]
    fn expressions_are_told_from_text_where_there_is_nothing_else() {
        assert_eq!(expressions_in("/a/{{ b }}/{{ '}}' }}c"), Some(vec![3..10, 11..21]));
        assert_eq!(expressions_in("/a"), Some(vec![]));
        for source in
            ["{{- a }}", "{{ a -}}", "{% if a %}b{% endif %}", "a{# b #}", "{% raw %}a{% endraw %}"]
        {
            assert_eq!(expressions_in(source), None, "{source}");
        }
    }

    #[test]
    fn what_is_outside_is_found_behind_any_number_of_tags() {
        assert_eq!(find_outside("{{ a/b }}c/d{{ e }}/", 0, &['/']), Some(10));
        assert_eq!(find_outside("{{ a/b }}c/d{{ e }}/", 11, &['/']), Some(19));
        assert_eq!(find_outside("{{ a/b }}", 0, &['/']), None);
        let started = std::time::Instant::now();
        let many = "{{a/b}}".repeat(60_000);
        assert_eq!(find_outside(&format!("{many}/"), 0, &['/']), Some(many.len()));
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn what_does_not_end_is_found_where_it_starts() {
        for (source, offset, message) in [
            ("ab {{ c", 3, "`{{` has no `}}`"),
            ("{{ (a }}", 0, "`{{` has no `}}`"),
            ("ä {{ (a }} b? {{ c }}", 3, "`{{` has no `}}`"),
            ("{% if (a %} b; {% endif %}", 0, "`{%` has no `%}`"),
            ("ab {{ 'c }}", 6, "a string has no closing quote"),
            ("ab {{\n'c\\'", 6, "a string has no closing quote"),
            ("{# x", 0, "`{#` has no `#}`"),
            ("{{ a }} {# b #} {# c {# d", 16, "`{#` has no `#}`"),
        ] {
            assert_eq!(broken(source), (offset, message.to_owned()), "{source}");
        }
    }

    #[test]
    fn what_is_no_token_is_found_where_it_lies() {
        assert_eq!(broken("{{ a @ b }}"), (5, "syntax error: unexpected character".to_owned()));
        assert_eq!(broken("{{ a ? b }}"), (5, "`?` is no sign of an expression".to_owned()));
        assert_eq!(broken("{{ a ~  '\\u12' }}"), (8, "bad string escape".to_owned()));
        assert_eq!(tokens("a ?").unwrap_err().offset, 2);
    }

    #[test]
    fn after_a_tag_that_cannot_be_read_come_the_others() {
        let source = "{{ a ? b }} {{ c }} {{ 'd }} {{ e }} {% if f & g %} {{ (h }} i? {{ j }} {{ k";
        let Lexed { tags, problems } = lexed(source);
        let read = |tag: &Tag<'_>| source[tag.start.start..tag.end.end].to_owned();
        assert_eq!(tags.iter().map(read).collect::<Vec<_>>(), ["{{ c }}", "{{ e }}", "{{ j }}"]);
        let found: Vec<_> = problems.iter().map(|it| &source[it.offset..][..2]).collect();
        assert_eq!(found, ["? ", "'d", "& ", "{{", "{{"]);
        assert_eq!(lexed(&"{{ (a }} ".repeat(1_000)).problems.len(), UNREADABLE_TAGS_MAX);
    }

    #[test]
    fn raw_text_comes_after_a_statement() {
        for (source, names) in [
            ("{% raw %}{{ a }}{% endraw %}", &["raw"][..]),
            ("{{ a }}{# {% #}{%- raw +%} {{ b }} {%endraw-%} c", &["raw", "endraw"]),
            ("a {#- {% raw %} -#} {{ b -}} c", &[]),
        ] {
            let tags = tags(source).unwrap();
            let statements = tags.iter().filter(|tag| !tag.is_expression);
            let found = statements.map(|tag| match tag.tokens[..] {
                [(Token::Ident(name), at)] => (name, &source[range(at).start..][..name.len()]),
                _ => panic!("{source}: {tag:?}"),
            });
            let expected: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
            assert_eq!(found.collect::<Vec<_>>(), expected, "{source}");
        }
    }
}
