//! The path of a tool's URL, which the workflow's author has written: what a model says is one part of it between two
//! slashes, or a piece of one, and no more.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::expression::{Roots, Template, expressions_in};

use crate::nodes::NodeError;

/// What cannot stand in a part of a path as it is, and `;`, behind which some servers look for parameters. `%` is taken
/// care of by itself.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// How often a part is decoded to see what it may lead to: once by each of so many servers in a row.
const DECODINGS_MAX: usize = 4;

/// How what a piece of a path renders to is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// As it is: the model has no say in it.
    Own,
    /// As a part of the path, or a piece of one.
    Argument,
    /// Statements that read arguments: what they yield has at most so many slashes, which are the author's.
    Statements(usize),
}

/// How a path is rendered: its pieces, in order.
pub(super) struct Path(Vec<Piece>);

impl Path {
    /// Reads a path as it is written, up to its `?` or `#`, and returns the template of its pieces with it.
    ///
    /// # Errors
    /// When it is no proper template.
    pub(super) fn parse(source: &str, pointer: &str) -> Result<(Self, Template), Vec<Diagnostic>> {
        let parse = |text: &str| Template::parse_text_from(text, pointer, Roots::Call);
        let Some(expressions) = expressions_in(source) else {
            let whole = parse(source)?;
            let piece = match whole.references().args {
                true => Piece::Statements(source.matches('/').count()),
                false => Piece::Own,
            };
            return Ok((Self(vec![piece]), Template::list(vec![whole])));
        };
        let (mut pieces, mut templates, mut end) = (Vec::new(), Vec::new(), 0);
        for expression in expressions {
            for text in [&source[end..expression.start], &source[expression.clone()]] {
                let template = parse(text)?;
                let reads = template.references().args;
                pieces.push(if reads { Piece::Argument } else { Piece::Own });
                templates.push(template);
            }
            end = expression.end;
        }
        pieces.push(Piece::Own);
        templates.push(parse(&source[end..])?);
        Ok((Self(pieces), Template::list(templates)))
    }

    /// The path that its pieces have rendered to.
    ///
    /// # Errors
    /// `address_refused`, when it would lead out of what the author has written.
    pub(super) fn of(&self, rendered: &Value) -> Result<String, NodeError> {
        let texts = rendered.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut path = String::new();
        for (piece, text) in self.0.iter().zip(texts) {
            let text = text.as_str().unwrap_or_default();
            match piece {
                Piece::Own => path.push_str(text),
                Piece::Argument => path.push_str(&part(text)?),
                Piece::Statements(slashes) => {
                    if text.matches('/').count() > *slashes || text.contains(['?', '#']) {
                        return Err(refused("`/`, `?` and `#` cannot be parts of it"));
                    }
                    path.push_str(text);
                }
            }
        }
        // Dots may come together out of several pieces.
        if path.split(['/', '\\']).any(is_dots) {
            return Err(refused("`.` and `..` cannot be parts of it"));
        }
        Ok(path)
    }
}

/// What a model says, as a part of a path. What is percent-encoded stays so.
fn part(text: &str) -> Result<String, NodeError> {
    if decodings(text).any(|text| text.contains("..") || text.contains(char::is_control)) {
        return Err(refused("`..` and control characters cannot be parts of it"));
    }
    let mut part = String::with_capacity(text.len());
    for (at, between) in text.split('%').enumerate() {
        if at > 0 {
            let is_code =
                between.len() >= 2 && between.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
            part.push_str(if is_code { "%" } else { "%25" });
        }
        part.extend(utf8_percent_encode(between, RESERVED));
    }
    Ok(part)
}

/// Whether a part of a path stands for the same or the one above it, behind which there may be parameters.
fn is_dots(part: &str) -> bool {
    decodings(part).any(|part| {
        let name = part.split([';', '/', '\\']).next().unwrap_or_default();
        name == "." || name == ".."
    })
}

/// A text, and what it is decoded to again and again.
fn decodings(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let decode = |text: &Cow<'_, str>| {
        let decoded = percent_decode_str(text).decode_utf8_lossy().into_owned();
        (decoded != **text).then_some(Cow::Owned(decoded))
    };
    std::iter::successors(Some(Cow::Borrowed(text)), decode).take(DECODINGS_MAX)
}

fn refused(why: &str) -> NodeError {
    NodeError::fail("address_refused", format!("the arguments lead out of the path: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skein_shared::expression::{Allowance, Scope};

    use super::*;

    fn path(source: &str, x: &str) -> Option<String> {
        let (path, template) = Path::parse(source, "/url").unwrap();
        let scope = Scope {
            input: json!({ "base": "v1/a;b" }).into(),
            args: Some(json!({ "x": x }).into()),
            ..Scope::default()
        };
        let rendered = template.render(&scope, &Allowance::in_place()).unwrap();
        path.of(&rendered).ok()
    }

    #[test]
    fn what_a_model_says_is_one_part_of_the_path() {
        let written = "/api/{{ args.x }}/public";
        for (x, sent) in [
            ("a", Some("a")),
            ("a b", Some("a%20b")),
            ("é", Some("%C3%A9")),
            ("x#y", Some("x%23y")),
            ("x?y=1", Some("x%3Fy=1")),
            ("x/y", Some("x%2Fy")),
            ("x\\y", Some("x%5Cy")),
            ("x;y", Some("x%3By")),
            ("100%", Some("100%25")),
            ("a%20b", Some("a%20b")),
            ("a%2fb", Some("a%2fb")),
            ("@h:80", Some("@h:80")),
            ("v1.2", Some("v1.2")),
            ("", Some("")),
            (".", None),
            ("%2e", None),
            ("..", None),
            ("../admin", None),
            ("..%2f", None),
            ("..;/", None),
            ("%2E%2e", None),
            (".%2e/", None),
            ("%252e%252e%252f", None),
            ("a/../b", None),
            ("a\nb", None),
            ("a%0ab", None),
        ] {
            let sent = sent.map(|sent| format!("/api/{sent}/public"));
            assert_eq!(path(written, x), sent, "{x}");
        }
    }

    #[test]
    fn what_the_author_has_written_stays_as_it_is() {
        assert_eq!(path("/{{ input.base }}/x", "a"), Some("/v1/a;b/x".to_owned()));
        assert_eq!(path("/a%20b;c/{{ args.x }}.json", "q"), Some("/a%20b;c/q.json".to_owned()));
        // Dots that come together.
        assert_eq!(path("/.{{ args.x }}/x", "."), None);
        assert_eq!(path("/{{ args.x }}{{ args.x }}/x", "."), None);
        assert_eq!(path("/.{{ args.x }}/x", "well-known"), Some("/.well-known/x".to_owned()));
    }

    #[test]
    fn statements_add_no_parts_and_drop_none() {
        let written = "/a{% if args.x %}/{{ args.x }}{% endif %}/b";
        for (x, sent) in [
            ("", Some("/a/b")),
            ("q", Some("/a/q/b")),
            ("q/r", None),
            ("q?r", None),
            ("q#r", None),
            ("..", None),
            ("..;", None),
            ("..%2fq", None),
        ] {
            assert_eq!(path(written, x), sent.map(str::to_owned), "{x}");
        }
    }
}
