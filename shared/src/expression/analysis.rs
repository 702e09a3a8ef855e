//! What can be said about an expression without running it: what it refers to, and whether it keeps
//! to the part of the language that this product allows.
//!
//! minijinja can list the variables of an expression, but leaves some out (what a slice is taken of,
//! for one), so references are read off the tokens instead: whatever is a name and not an attribute,
//! a filter, a test, an argument's name or a keyword is a variable.
//!
//! The rules below keep an expression from building a value that is small in memory and huge to
//! compare or print (a list of a hundred times the same list of a hundred times ...): minijinja's
//! fuel counts what is created, not what is visited. So there is no repetition of strings and lists
//! with `*`, nothing is bound to names but the items of loops, and the number of variables and
//! filters in an expression is limited. Filters that could multiply are replaced in [`super::filters`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::builtins::{Cost, FILTERS, FUNCTIONS, TESTS};
use super::lexer::{Tag, Token, TokenKind};
use crate::domain::diagnostic::nearest;

/// Variables in one expression. With outputs of at most a megabyte each, this bounds what it can gather.
const VARIABLES_MAX: usize = 64;
/// Filters in one expression.
const PIPES_MAX: usize = 64;
/// Tokens in one expression. minijinja's parser and compiler recurse along chains of operators
/// without a limit of their own; so many levels fit a stack of 2 MiB in a debug build.
pub(super) const TOKENS_MAX: usize = 600;
/// Expressions and statements in one string, for the same reason: a chain of `elif` is a recursion.
pub(super) const TAGS_MAX: usize = 200;

/// Words with a meaning of their own.
pub(super) const KEYWORDS: [&str; 12] =
    ["and", "or", "not", "in", "is", "if", "else", "true", "True", "false", "False", "none"];
/// The statements that there are.
const STATEMENTS: [&str; 6] = ["for", "endfor", "if", "elif", "else", "endif"];
/// What an expression may start from.
const ROOTS: [&str; 3] = ["input", "run", "nodes"];

/// What an expression reads, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) root: Root,
    pub(super) offset: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    Input,
    Run,
    Node(Arc<str>),
}

/// Something that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) hint: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    pub(super) references: Vec<Reference>,
    pub(super) problems: Vec<Problem>,
}

/// Analyses all tags of a template.
pub(super) fn analyse_tags(source: &str, tags: &[Tag]) -> Analysis {
    let mut analyser = Analyser::new(source);
    if let Some(tag) = tags.get(TAGS_MAX) {
        let message = format!("more than {TAGS_MAX} expressions and statements in one string");
        let hint = "split it over several nodes".to_owned();
        analyser.out.problems.push(Problem { offset: tag.outer.start, message, hint });
        return analyser.out;
    }
    for tag in tags.iter().filter(|tag| !tag.is_expression) {
        analyser.declare(&tag.tokens);
    }
    for tag in tags {
        if tag.is_expression {
            analyser.expression(&tag.tokens);
        } else {
            analyser.statement(tag);
        }
    }
    analyser.out
}

/// Analyses a bare expression.
pub(super) fn analyse_expression(source: &str, tokens: &[Token]) -> Analysis {
    let mut analyser = Analyser::new(source);
    analyser.expression(tokens);
    analyser.out
}

struct Analyser<'a> {
    source: &'a str,
    /// The variables of the template's loops.
    locals: BTreeSet<&'a str>,
    out: Analysis,
}

impl<'a> Analyser<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, locals: BTreeSet::new(), out: Analysis::default() }
    }

    fn word(&self, token: Token) -> &'a str {
        &self.source[token.start..token.end]
    }

    fn is(&self, token: Option<&Token>, word: &str) -> bool {
        token.is_some_and(|token| token.kind != TokenKind::Text && self.word(*token) == word)
    }

    fn diagnostic(&mut self, token: Token, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (message.into(), hint.into());
        self.out.problems.push(Problem { offset: token.start, message, hint });
    }

    /// Where the loop that this statement opens says what it goes over.
    fn loop_source(&self, tokens: &[Token]) -> Option<usize> {
        self.is(tokens.first(), "for").then(|| {
            let after = tokens.iter().position(|token| self.is(Some(token), "in"));
            after.map_or(tokens.len(), |at| at + 1)
        })
    }

    /// Takes note of the variables of a loop.
    fn declare(&mut self, tokens: &[Token]) {
        let Some(end) = self.loop_source(tokens) else { return };
        self.locals.insert("loop");
        for token in tokens[1..end].iter().filter(|token| token.kind == TokenKind::Name) {
            let word = self.word(*token);
            if ROOTS.contains(&word) || word == "secrets" {
                self.diagnostic(
                    *token,
                    format!("`{word}` cannot be a loop's variable"),
                    "choose another name",
                );
            } else if word != "in" {
                self.locals.insert(word);
            }
        }
    }

    fn statement(&mut self, tag: &Tag) {
        let Some(first) = tag.tokens.first().copied() else { return };
        let word = self.word(first);
        if !STATEMENTS.contains(&word) {
            let hint = "there are `{% if %}` and `{% for %}`; compute values in a transform node";
            self.diagnostic(first, format!("`{{% {word} %}}` is not available"), hint);
            return;
        }
        let start = self.loop_source(&tag.tokens).unwrap_or(1);
        self.expression(&tag.tokens[start..]);
        if word == "for" {
            self.loop_builds_nothing(&tag.tokens[start..]);
        }
    }

    /// A loop over a list that is built from the variables of loops around it could double a value
    /// with each nesting.
    fn loop_builds_nothing(&mut self, tokens: &[Token]) {
        let builds = (0..tokens.len()).any(|at| match self.word(tokens[at]) {
            "{" => true,
            "[" | "(" => !self.ends_operand(tokens, at),
            _ => false,
        });
        let local = tokens.iter().enumerate().find(|(at, token)| {
            token.kind == TokenKind::Name
                && self.locals.contains(self.word(**token))
                && !(*at > 0 && self.is(tokens.get(at - 1), "."))
        });
        if let (true, Some((_, token))) = (builds, local) {
            let message = "a loop cannot go over a list built from another loop's variables";
            self.diagnostic(*token, message, "go over the variable itself");
        }
    }

    /// Whether the token before `at` ends an operand, so that a bracket at `at` belongs to it.
    fn ends_operand(&self, tokens: &[Token], at: usize) -> bool {
        let Some(before) = at.checked_sub(1).map(|at| tokens[at]) else { return false };
        match before.kind {
            TokenKind::Name if self.is_test(tokens, at - 1) => self.word(tokens[at]) == "(",
            TokenKind::Name => {
                !KEYWORDS.contains(&self.word(before)) || self.is_attribute(tokens, at - 1)
            }
            TokenKind::Number | TokenKind::Text => true,
            TokenKind::Operator => matches!(self.word(before), ")" | "]" | "}"),
        }
    }

    fn is_attribute(&self, tokens: &[Token], at: usize) -> bool {
        at > 0 && self.is(tokens.get(at - 1), ".")
    }

    fn is_test(&self, tokens: &[Token], at: usize) -> bool {
        let before = |back: usize, word| at >= back && self.is(tokens.get(at - back), word);
        before(1, "is") || (before(1, "not") && before(2, "is"))
    }

    fn expression(&mut self, tokens: &[Token]) {
        let (mut variables, mut pipes) = (0, 0);
        for (at, token) in tokens.iter().copied().enumerate() {
            let before = at.checked_sub(1).and_then(|at| tokens.get(at));
            match token.kind {
                TokenKind::Operator if matches!(self.word(token), "*" | "**") => {
                    self.multiplication(tokens, at);
                }
                TokenKind::Name if self.is(before, ".") => {}
                TokenKind::Name if self.is(before, "|") => {
                    pipes += 1;
                    self.known("filter", &FILTERS, token);
                }
                TokenKind::Name if self.is_test(tokens, at) && !self.is(Some(&token), "not") => {
                    self.known("test", &TESTS, token);
                }
                TokenKind::Name
                    if self.is(tokens.get(at + 1), "=")
                        && (self.is(before, "(") || self.is(before, ",")) => {}
                TokenKind::Name
                    if KEYWORDS.contains(&self.word(token)) || self.is(Some(&token), "None") => {}
                TokenKind::Name => {
                    variables += 1;
                    self.variable(tokens, at);
                }
                _ => {}
            }
        }
        if let Some(first) = tokens.first().copied() {
            if tokens.len() > TOKENS_MAX {
                let message = format!("more than {TOKENS_MAX} words and signs in one expression");
                self.diagnostic(first, message, "split it over several nodes");
            }
            if variables > VARIABLES_MAX {
                let message = format!("more than {VARIABLES_MAX} variables in one expression");
                self.diagnostic(first, message, "split it over several nodes");
            }
            if pipes > PIPES_MAX {
                let message = format!("more than {PIPES_MAX} filters in one expression");
                self.diagnostic(first, message, "split it over several nodes");
            }
        }
    }

    fn known(&mut self, what: &str, known: &[(&'static str, Cost)], token: Token) {
        let word = self.word(token);
        let names = || known.iter().map(|(name, _)| *name);
        if !names().any(|name| name == word) {
            let hint = nearest(word, names()).map_or_else(
                || format!("there are {}", names().collect::<Vec<_>>().join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            self.diagnostic(token, format!("unknown {what} `{word}`"), hint);
        }
    }

    fn variable(&mut self, tokens: &[Token], at: usize) {
        let (token, word) = (tokens[at], self.word(tokens[at]));
        let root = match word {
            "input" => Root::Input,
            "run" => Root::Run,
            "nodes" => match tokens.get(at + 2) {
                Some(name) if self.is(tokens.get(at + 1), ".") && name.kind == TokenKind::Name => {
                    Root::Node(self.word(*name).into())
                }
                _ => {
                    let hint = "write `nodes.<id>`, so that it can be checked which node is meant";
                    return self.diagnostic(token, "`nodes` without the id of a node", hint);
                }
            },
            word if self.locals.contains(word) => return,
            "item" | "index" => {
                let hint =
                    "`item` and `index` exist only inside a map, which this version does not have";
                return self.diagnostic(token, format!("`{word}` has no meaning here"), hint);
            }
            "secrets" => {
                let hint = "secrets are not available in this version";
                return self.diagnostic(token, "`secrets` cannot be used", hint);
            }
            word if FUNCTIONS.contains(&word) && self.is(tokens.get(at + 1), "(") => return,
            word => {
                let known = ROOTS.iter().copied().chain(self.locals.iter().copied());
                let hint = nearest(word, known).map_or_else(
                    || "an expression starts from `input`, `run` or `nodes.<id>`".to_owned(),
                    |name| format!("did you mean `{name}`?"),
                );
                return self.diagnostic(token, format!("unknown variable `{word}`"), hint);
            }
        };
        self.out.references.push(Reference { root, offset: token.start });
    }

    /// A `*` between operands; anywhere else it unpacks.
    fn multiplication(&mut self, tokens: &[Token], at: usize) {
        if !self.ends_operand(tokens, at) && !self.follows_constant(tokens, at) {
            let message = "unpacking with `*` is not available";
            self.diagnostic(tokens[at], message, "name each argument");
        }
    }

    /// Whether a constant that is spelled as a word (`true`) stands before `at`.
    fn follows_constant(&self, tokens: &[Token], at: usize) -> bool {
        at > 0
            && matches!(
                self.word(tokens[at - 1]),
                "true" | "True" | "false" | "False" | "none" | "None"
            )
    }
}
