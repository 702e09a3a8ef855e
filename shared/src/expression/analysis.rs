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

use minijinja::machinery::{Span, Token};

use super::Roots;
use super::builtins::{Cost, FILTERS, FUNCTIONS, TESTS};
use super::foreign;
use super::lexer::{Placed, Tag, range};
use super::path::{path, usage};
use super::reads::{Reference, Root};
use super::source::Problem;
use crate::domain::diagnostic::{Severity, nearest, quoted};

/// Variables in one expression. With outputs of at most a megabyte each, this bounds what it can gather.
const VARIABLES_MAX: usize = 64;
/// Filters in one expression.
const PIPES_MAX: usize = 64;
/// Tokens in one expression. minijinja's parser and compiler recurse along chains of operators
/// without a limit of their own; so many levels fit a stack of 2 MiB in a debug build.
pub(super) const TOKENS_MAX: usize = 600;
/// Expressions and statements in one string, for the same reason: a chain of `elif` is a recursion.
pub(super) const TAGS_MAX: usize = 200;

/// Problems of one string that are told of.
const PROBLEMS_MAX: usize = 100;

/// Words with a meaning of their own.
pub(super) const KEYWORDS: [&str; 12] =
    ["and", "or", "not", "in", "is", "if", "else", "true", "True", "false", "False", "none"];
/// The statements that there are.
const STATEMENTS: [&str; 6] = ["for", "endfor", "if", "elif", "else", "endif"];
/// What an expression may start from.
const ROOTS: &[&str] = &["input", "run", "nodes"];
/// What that of a tool may start from.
const CALL_ROOTS: &[&str] = &[ARGS, "input", "run", "nodes"];
const ARGS: &str = "args";

fn roots(roots: Roots) -> &'static [&'static str] {
    match roots {
        Roots::Run => ROOTS,
        Roots::Call => CALL_ROOTS,
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    pub(super) references: Vec<Reference>,
    pub(super) problems: Vec<Problem>,
}

/// Analyses all tags of a template.
pub(super) fn analyse_tags(source: &str, tags: &[Tag<'_>], roots: Roots) -> Analysis {
    let mut analyser = Analyser { roots, ..Analyser::default() };
    if let Some(tag) = tags.get(TAGS_MAX) {
        let message = format!("more than {TAGS_MAX} expressions and statements in one string");
        let problem = Problem::new(tag.start.start, message, "split it over several nodes");
        analyser.out.problems.push(problem);
        return analyser.out;
    }
    for tag in tags.iter().filter(|tag| !tag.is_expression) {
        analyser.declare(&tag.tokens);
    }
    for tag in tags {
        if tag.is_expression {
            analyser.expression(&tag.tokens);
        } else {
            analyser.statement(source, &tag.tokens);
        }
    }
    analyser.out
}

/// Analyses a bare expression.
pub(super) fn analyse_expression(tokens: &[Placed<'_>]) -> Analysis {
    let mut analyser = Analyser::default();
    analyser.expression(tokens);
    analyser.out
}

/// The token so many places before the one at `at`.
fn before<'t, 'a>(tokens: &'t [Placed<'a>], at: usize, places: usize) -> Option<&'t Token<'a>> {
    at.checked_sub(places).and_then(|at| tokens.get(at)).map(|(token, _)| token)
}

fn is_word(token: Option<&Token<'_>>, word: &str) -> bool {
    matches!(token, Some(Token::Ident(it)) if *it == word)
}

fn is_attribute(tokens: &[Placed<'_>], at: usize) -> bool {
    matches!(before(tokens, at, 1), Some(Token::Dot))
}

fn is_test(tokens: &[Placed<'_>], at: usize) -> bool {
    let before = |places, word| is_word(before(tokens, at, places), word);
    before(1, "is") || (before(1, "not") && before(2, "is"))
}

/// Whether the token before `at` ends an operand, so that a bracket at `at` belongs to it.
fn follows_operand(tokens: &[Placed<'_>], at: usize) -> bool {
    use Token::{
        BraceClose, BracketClose, Float, Ident, Int, Int128, ParenClose, ParenOpen, Str, String,
    };
    match before(tokens, at, 1) {
        Some(Ident(_)) if is_test(tokens, at - 1) => matches!(tokens[at].0, ParenOpen),
        Some(Ident(word)) => !KEYWORDS.contains(word) || is_attribute(tokens, at - 1),
        Some(Int(_) | Int128(_) | Float(_) | Str(_) | String(_)) => true,
        Some(ParenClose | BracketClose | BraceClose) => true,
        _ => false,
    }
}

/// Whether the word at `at` is that of an argument: `attribute='name'`.
fn is_name_of_argument(tokens: &[Placed<'_>], at: usize) -> bool {
    matches!(tokens.get(at), Some((Token::Ident(_), _)))
        && matches!(before(tokens, at, 1), Some(Token::ParenOpen | Token::Comma))
        && matches!(tokens.get(at + 1), Some((Token::Assign, _)))
}

/// Whether what stands behind a value has a default for it, or asks whether there is any.
fn may_be_missing(after: &[Placed<'_>]) -> bool {
    matches!(
        after,
        [(Token::Pipe, _), (Token::Ident("default" | "d"), _), ..]
            | [(Token::Ident("is"), _), (Token::Ident("defined" | "undefined"), _), ..]
    )
}

/// Whether a constant that is spelled as a word (`true`) stands before `at`.
fn follows_constant(tokens: &[Placed<'_>], at: usize) -> bool {
    let constants = ["true", "True", "false", "False", "none", "None"];
    matches!(before(tokens, at, 1), Some(Token::Ident(word)) if constants.contains(word))
}

/// Where the loop that a statement opens says what it goes over.
pub(super) fn loop_source(statement: &[Placed<'_>]) -> Option<usize> {
    let is = |(token, _): &Placed<'_>, word| is_word(Some(token), word);
    statement.first().filter(|first| is(first, "for"))?;
    let after = statement.iter().position(|token| is(token, "in"));
    Some(after.map_or(statement.len(), |at| at + 1))
}

#[derive(Default)]
struct Analyser<'a> {
    roots: Roots,
    /// The variables of the template's loops.
    locals: BTreeSet<&'a str>,
    out: Analysis,
}

impl<'a> Analyser<'a> {
    fn problem(&mut self, at: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Problem::new(range(at).start, message, hint));
    }

    /// Adds a problem, unless there are many. The first error is always among them: what has none is compiled.
    fn add(&mut self, problem: Problem) {
        let problems = &mut self.out.problems;
        let is_first_error = problem.is_error() && !problems.iter().any(Problem::is_error);
        if problems.len() < PROBLEMS_MAX || is_first_error {
            problems.push(problem);
        }
    }

    /// Takes note of the variables of a loop.
    fn declare(&mut self, statement: &[Placed<'a>]) {
        let Some(end) = loop_source(statement) else { return };
        self.locals.insert("loop");
        for (token, at) in &statement[1..end] {
            let Token::Ident(word) = token else { continue };
            if roots(self.roots).contains(word) || *word == "secrets" {
                let message = format!("`{word}` cannot be a loop's variable");
                self.problem(*at, message, "choose another name");
            } else if *word != "in" {
                self.locals.insert(word);
            }
        }
    }

    fn statement(&mut self, source: &str, tokens: &[Placed<'a>]) {
        let Some((first, at)) = tokens.first() else { return };
        let word = match first {
            Token::Ident(word) => word,
            _ => &source[range(*at)],
        };
        if !STATEMENTS.contains(&word) {
            let hint = foreign::statement(word);
            return self.problem(*at, format!("`{{% {word} %}}` is not available"), hint);
        }
        if let (Token::Ident("else"), Some((Token::Ident("if"), at))) = (first, tokens.get(1)) {
            return self.problem(*at, "`{% else if %}` is not available", "write `{% elif … %}`");
        }
        let start = loop_source(tokens);
        // The names of a loop's variables are in as many brackets as they are written in.
        if start.is_some_and(|start| start > TOKENS_MAX) {
            let message = format!("more than {TOKENS_MAX} words and signs before `in`");
            self.problem(*at, message, "name one variable, or a few");
        }
        self.expression(&tokens[start.unwrap_or(1)..]);
        if let Some(start) = start {
            self.loop_builds_nothing(&tokens[start..]);
        }
    }

    /// A loop over a list that is built from the variables of loops around it could double a value
    /// with each nesting.
    fn loop_builds_nothing(&mut self, tokens: &[Placed<'a>]) {
        let builds = tokens.iter().enumerate().any(|(at, (token, _))| match token {
            Token::BraceOpen => true,
            Token::BracketOpen | Token::ParenOpen => !follows_operand(tokens, at),
            _ => false,
        });
        let local = tokens.iter().enumerate().find(|(at, (token, _))| {
            matches!(token, Token::Ident(word) if self.locals.contains(word))
                && !is_attribute(tokens, *at)
        });
        if let (true, Some((_, (_, at)))) = (builds, local) {
            let message = "a loop cannot go over a list built from another loop's variables";
            self.problem(*at, message, "go over the variable itself");
        }
    }

    fn expression(&mut self, tokens: &[Placed<'a>]) {
        let (mut variables, mut pipes) = (0, 0);
        // Where the path of the last variable ends.
        let mut path_end = 0;
        for (at, (token, span)) in tokens.iter().enumerate() {
            let word = match token {
                Token::Mul | Token::Pow => {
                    self.multiplication(tokens, at);
                    continue;
                }
                Token::Ident(word) => *word,
                _ => {
                    self.sign(tokens, at);
                    continue;
                }
            };
            match before(tokens, at, 1) {
                Some(Token::Dot) => self.member(tokens, at, at < path_end),
                // Behind `||` comes a variable.
                Some(Token::Pipe) if !matches!(before(tokens, at, 2), Some(Token::Pipe)) => {
                    pipes += 1;
                    self.known("filter", &FILTERS, word, *span);
                }
                _ if is_test(tokens, at) && word != "not" => {
                    self.known("test", &TESTS, word, *span);
                }
                _ if is_name_of_argument(tokens, at) => {}
                _ if KEYWORDS.contains(&word) || word == "None" => {}
                _ => {
                    variables += 1;
                    let (ahead, after) = (&tokens[..at], &tokens[at + 1..]);
                    path_end = at + 1 + self.variable(word, *span, ahead, after);
                }
            }
        }
        let Some((_, first)) = tokens.first() else { return };
        for (count, max, what) in [
            (tokens.len(), TOKENS_MAX, "words and signs"),
            (variables, VARIABLES_MAX, "variables"),
            (pipes, PIPES_MAX, "filters"),
        ] {
            if count > max {
                let message = format!("more than {max} {what} in one expression");
                self.problem(*first, message, "split it over several nodes");
            }
        }
    }

    fn known(&mut self, what: &str, known: &[(&'static str, Cost)], word: &str, at: Span) {
        let names = || known.iter().map(|(name, _)| *name);
        if !names().any(|name| name == word) {
            let hint = nearest(word, names()).map_or_else(
                || format!("there are {}", names().collect::<Vec<_>>().join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            self.problem(at, format!("unknown {what} {}", quoted(word)), hint);
        }
    }

    /// A name behind a dot. `is_known_by_path`: it is a step of what is read, and judged with that.
    fn member(&mut self, tokens: &[Placed<'_>], at: usize, is_known_by_path: bool) {
        let (Token::Ident(name), span) = &tokens[at] else { return };
        let is_call = matches!(tokens.get(at + 1), Some((Token::ParenOpen, _)));
        let is_of_loop = is_word(before(tokens, at, 2), "loop") && self.locals.contains("loop");
        if is_call && !is_of_loop {
            let called = quoted(&format!("{name}()"));
            let message = format!("values have no methods, and so no {called}");
            self.add(
                Problem::new(range(*span).start, message, foreign::method(name))
                    .with_severity(Severity::Mistake),
            );
        } else if *name == "length"
            && !is_of_loop
            && !is_known_by_path
            && !may_be_missing(&tokens[at + 1..])
        {
            let (message, hint) = foreign::LENGTH;
            self.add(
                Problem::new(range(*span).start, message, hint).with_severity(Severity::Warning),
            );
        }
    }

    /// Signs that have a meaning of their own and none together, or none here.
    fn sign(&mut self, tokens: &[Placed<'_>], at: usize) {
        let (token, span) = &tokens[at];
        let joins = |(_, next): &&Placed<'_>| next.start_offset == span.end_offset;
        let next = tokens.get(at + 1).filter(joins).map(|(token, _)| token);
        let sign = match (token, next) {
            (Token::Pipe, Some(Token::Pipe)) => "||",
            (Token::Eq, Some(Token::Assign)) => "===",
            (Token::Ne, Some(Token::Assign)) => "!==",
            (Token::Lt, Some(Token::Gt)) => "<>",
            (Token::Assign, Some(Token::Gt)) => "=>",
            (Token::Assign, _)
                if matches!(before(tokens, at, 1), Some(Token::Eq | Token::Ne))
                    || at.checked_sub(1).is_some_and(|at| is_name_of_argument(tokens, at)) =>
            {
                return;
            }
            (Token::Assign, _) => {
                let hint = "write `==` to compare; nothing can be set";
                return self.problem(*span, "`=` is no sign of an expression", hint);
            }
            _ => return,
        };
        let hint = foreign::sign(sign).map_or("", |(_, hint)| hint);
        self.problem(*span, format!("`{sign}` is no sign of an expression"), hint);
    }

    /// A variable, and how many of the tokens behind it belong to its path.
    fn variable(
        &mut self,
        word: &str,
        at: Span,
        ahead: &[Placed<'_>],
        after: &[Placed<'_>],
    ) -> usize {
        let (root, skipped) = match word {
            "input" => (Root::Input, 0),
            "run" => (Root::Run, 0),
            "nodes" => match after {
                [(Token::Dot, _), (Token::Ident(node), _), ..] => (Root::Node((*node).into()), 2),
                _ => {
                    let hint = "write `nodes.<id>`, so that it can be checked which node is meant";
                    self.problem(at, "`nodes` without the id of a node", hint);
                    return 0;
                }
            },
            ARGS if self.roots == Roots::Call => (Root::Args, 0),
            word => {
                self.other_variable(word, at, after);
                return 0;
            }
        };
        let (path, length) = path(&after[skipped..]);
        let usage = usage(ahead, &after[skipped + length..]);
        self.out.references.push(Reference { root, path, offset: range(at).start, usage });
        skipped + length
    }

    /// A variable that is none of the roots.
    fn other_variable(&mut self, word: &str, at: Span, after: &[Placed<'_>]) {
        let is_called = matches!(after, [(Token::ParenOpen, _), ..]);
        match word {
            word if self.locals.contains(word) => {}
            word if FUNCTIONS.contains(&word) && is_called => {}
            "item" | "index" => {
                let hint =
                    "`item` and `index` exist only inside a map, which this version does not have";
                self.problem(at, format!("`{word}` has no meaning here"), hint);
            }
            "secrets" => {
                let hint = "secrets are not available in this version";
                self.problem(at, "`secrets` cannot be used", hint);
            }
            word => {
                let known = roots(self.roots).iter().chain(&self.locals).copied();
                let start = match self.roots {
                    Roots::Run => "an expression starts from `input`, `run` or `nodes.<id>`",
                    Roots::Call => {
                        "an expression starts from `args`, `input`, `run` or `nodes.<id>`"
                    }
                };
                let hint = match (nearest(word, known), foreign::variable(word, is_called)) {
                    (Some(name), _) => format!("did you mean `{name}`?"),
                    (None, hint) => hint.unwrap_or(start).to_owned(),
                };
                self.problem(at, format!("unknown variable {}", quoted(word)), hint);
            }
        }
    }

    /// A `*` between operands; anywhere else it unpacks.
    fn multiplication(&mut self, tokens: &[Placed<'_>], at: usize) {
        if !follows_operand(tokens, at) && !follows_constant(tokens, at) {
            let message = "unpacking with `*` is not available";
            self.problem(tokens[at].1, message, "name each argument");
        }
    }
}
