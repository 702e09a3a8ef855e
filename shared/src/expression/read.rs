//! From a string to what is evaluated, or to everything that is wrong with it.
//!
//! Each expression of a string is looked at by itself as well: what is wrong with one hides nothing of the others.

use std::ops::Range;
use std::sync::Arc;

use minijinja::machinery::Token;

use super::Roots;
use super::analysis::{
    Analysis, TAGS_MAX, TOKENS_MAX, analyse_expression, analyse_tags, loop_source,
};
use super::foreign;
use super::leaf::{Code, Leaf};
use super::lexer::{Lexed, Tag, lexed, range, tokens};
use super::program::{NoProgram, Program, misfit};
use super::reads::{Guard, Read, Reference, References};
use super::reason::{describe_syntax, reason};
use super::source::{Problem, Source, position};
use super::walk::Guards;
use crate::domain::diagnostic::{Diagnostics, Part, Severity};
use crate::domain::limits::EXPRESSION_BYTES_MAX;

/// How a string is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One lone `{{ expr }}` yields a typed value, anything else text.
    Typed,
    /// Always text.
    Text,
    /// An expression, with or without its `{{ }}`.
    Expression,
}

/// What is gathered while strings are read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) references: References,
    pub(super) diagnostics: Diagnostics,
}

impl Findings {
    /// Moves what was found in the rest of a string to where it stands in the string.
    pub(super) fn move_by(&mut self, bytes: usize) {
        for diagnostic in &mut self.diagnostics.0 {
            if let Part::Text(at) = &mut diagnostic.part {
                *at += bytes;
            }
        }
        self.references.reads.iter_mut().for_each(|read| read.move_by(bytes));
    }
}

/// A string, read as far as it makes sense.
struct Reading {
    /// The part of the string that is compiled, and whether it is one expression.
    part: Range<usize>,
    is_expression: bool,
    references: Vec<Reference>,
    problems: Vec<Problem>,
}

/// Compiles a string. What it reads is added also when something is wrong with it.
pub(super) fn read(
    source: &str,
    pointer: &str,
    mode: Mode,
    roots: Roots,
    findings: &mut Findings,
) -> Leaf {
    let malformed = || Code::Impossible("the expression is malformed".to_owned());
    if source.len() > EXPRESSION_BYTES_MAX {
        let message = format!("an expression of more than {EXPRESSION_BYTES_MAX} bytes");
        findings.diagnostics.add(pointer, message, "split it over several nodes");
        return leaf(source, pointer, 0..source.len(), malformed());
    }
    let mut reading = reading(source, mode, roots);
    let is_sound = !reading.problems.iter().any(Problem::is_error);
    let compiled = if is_sound { compile(source, &mut reading) } else { None };
    let (guards, code) = compiled.unwrap_or_else(|| (None, malformed()));
    reading.problems.sort_by_key(|problem| problem.offset);
    let found = reading.problems.into_iter().map(|problem| problem.diagnostic(pointer));
    findings.diagnostics.0.extend(found);
    let shared: Arc<str> = pointer.into();
    for Reference { root, path, offset, usage } in reading.references {
        let at = offset.checked_sub(reading.part.start);
        let guard = guards.as_ref().zip(at).and_then(|(guards, at)| guards.get(&at).copied());
        let (guard, pointer) = (guard.unwrap_or(Guard::Condition), Arc::clone(&shared));
        findings.references.add_read(Read { root, path, pointer, offset, guard, usage });
    }
    leaf(source, pointer, reading.part, code)
}

fn leaf(source: &str, pointer: &str, part: Range<usize>, code: Code) -> Leaf {
    Leaf { pointer: pointer.to_owned(), source: Source::new(source, part), code }
}

/// Takes a string apart, and says what is wrong with each of its expressions.
fn reading(source: &str, mode: Mode, roots: Roots) -> Reading {
    let Lexed { tags, problems } = lexed(source);
    if mode == Mode::Expression && tags.is_empty() && problems.is_empty() {
        return bare(source);
    }
    let Analysis { references, problems: unfit } = analyse_tags(source, &tags, roots);
    let lone = if problems.is_empty() { lone(source, &tags) } else { None };
    let mut problems: Vec<Problem> = problems.into_iter().chain(unfit).collect();
    problems.extend(foreign_text(source, mode, lone.is_some()));
    let (part, is_expression) = match (mode, lone) {
        (Mode::Typed | Mode::Expression, Some(tag)) => (tag.start.end..tag.end.start, true),
        _ => (0..source.len(), false),
    };
    if mode == Mode::Expression && !is_expression && problems.is_empty() {
        let hint = "write one expression, with or without `{{ }}` around all of it";
        problems.push(Problem::new(0, "text where an expression is due", hint));
    }
    if problems.iter().any(Problem::is_error) {
        let misfits = misfits(source, &tags, &problems);
        problems.extend(misfits);
    }
    Reading { part, is_expression, references, problems }
}

/// An expression without `{{ }}`.
fn bare(source: &str) -> Reading {
    let part = 0..source.len();
    match tokens(source) {
        Ok(tokens) => {
            let Analysis { references, problems } = analyse_expression(&tokens);
            Reading { part, is_expression: true, references, problems }
        }
        Err(problem) => {
            let problems = vec![problem];
            Reading { part, is_expression: true, references: Vec::new(), problems }
        }
    }
}

/// Compiles what a reading is about, or adds why that is not possible. What guards its variables is known of what can be
/// evaluated.
fn compile(source: &str, reading: &mut Reading) -> Option<(Option<Guards>, Code)> {
    let Reading { part, is_expression, .. } = reading;
    let compiled = match is_expression {
        true => Program::expression(&source[part.clone()])
            .map(|(program, guards)| (Some(guards), Code::Expression(program))),
        false => Program::text(&source[part.clone()])
            .map(|(program, guards)| (Some(guards), Code::Text(program))),
    };
    match compiled {
        Ok(compiled) => Some(compiled),
        Err(NoProgram::Constants(offset, error)) => {
            let (line, column) = position(source, part.start + offset);
            let why = format!("{} (line {line}, column {column})", reason(&error));
            Some((None, Code::Impossible(why)))
        }
        Err(NoProgram::Syntax(error)) => {
            let found = misfits(source, &lexed(source).tags, &reading.problems);
            if found.is_empty() {
                // Of the statements, or of an expression without `{{ }}`.
                let offset = part.start + error.range().map_or(0, |range| range.start);
                reading.problems.push(Problem::new(offset, describe_syntax(&error), ""));
            }
            reading.problems.extend(found);
            None
        }
    }
}

/// Why expressions do not parse, each by itself; those that have an error already are left alone. So is what is too long:
/// the parser would recurse too deep, and nothing else may have told of it, as not all problems of a string are told of.
fn misfits(source: &str, tags: &[Tag<'_>], known: &[Problem]) -> Vec<Problem> {
    if tags.len() > TAGS_MAX {
        return Vec::new();
    }
    let misfit = |tag: &Tag<'_>| {
        if tag.tokens.len() > TOKENS_MAX {
            return None;
        }
        let (start, end) = (expression_start(tag)?, tag.end.start);
        let is_known = |problem: &Problem| {
            problem.is_error() && (tag.start.start..tag.end.end).contains(&problem.offset)
        };
        if known.iter().any(is_known) {
            return None;
        }
        let (offset, message) = misfit(source.get(start..end)?)?;
        Some(Problem::new(start + offset, message, ""))
    };
    tags.iter().filter_map(misfit).collect()
}

/// Where the expression of a tag begins, if it has one.
fn expression_start(tag: &Tag<'_>) -> Option<usize> {
    if tag.is_expression {
        return Some(tag.start.end);
    }
    let first = match &tag.tokens[..] {
        [(Token::Ident("if" | "elif"), _), ..] => 1,
        tokens => loop_source(tokens)?,
    };
    Some(range(tag.tokens.get(first)?.1).start)
}

/// What is probably meant by a text that other products would take for an expression. Where text is possible, it may be a
/// price or a formula.
fn foreign_text(source: &str, mode: Mode, is_lone: bool) -> Option<Problem> {
    let (sign, hint) = foreign::prefix(source).filter(|_| !is_lone)?;
    let offset = source.len() - source.trim_start().len();
    let message = format!("a `{sign}` before an expression is text of its own");
    Some(Problem::new(offset, message, hint).with_severity(match mode {
        Mode::Expression => Severity::Error,
        Mode::Typed | Mode::Text => Severity::Warning,
    }))
}

/// The tag that is all of the string, but for a line break: block scalars of YAML end in one.
fn lone<'a, 's>(source: &str, tags: &'a [Tag<'s>]) -> Option<&'a Tag<'s>> {
    let text = source.strip_suffix('\n').unwrap_or(source);
    match tags {
        [tag] if tag.is_expression && tag.start.start == 0 && tag.end.end == text.len() => {
            Some(tag)
        }
        _ => None,
    }
}
