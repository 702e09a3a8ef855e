//! One string with expressions in it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;

use super::allowance::Effort;
use super::analysis::{Analysis, Root, analyse_expression, analyse_tags};
use super::context::Context;
use super::lexer::{Tag, tags, tokens};
use super::program::{NoProgram, Program};
use super::reason::{describe, describe_syntax, reason, refuse, undefined};
use super::source::{Problem, Source, position};
use super::value::{take_size, to_json};
use super::{Cause, ExpressionError, NodeReference, References, Roots};
use crate::domain::diagnostic::Diagnostic;
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

/// A compiled string.
pub(super) struct Leaf {
    pointer: String,
    source: Source,
    code: Code,
}

enum Code {
    /// One expression. What it yields keeps its type.
    Expression(Program),
    /// Text around expressions.
    Text(Program),
    /// An operator between constants is not possible, for this reason. No fault of the document: it was published when
    /// the operator was taken to be possible, perhaps, and its runs must end.
    Impossible(String),
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leaf").field(&self.source).finish()
    }
}

impl Leaf {
    /// Compiles `source` and adds what it reads to `references`.
    pub(super) fn parse(
        source: &str,
        pointer: &str,
        mode: Mode,
        roots: Roots,
        references: &mut References,
    ) -> Result<Self, Vec<Diagnostic>> {
        if source.len() > EXPRESSION_BYTES_MAX {
            let message = format!("an expression of more than {EXPRESSION_BYTES_MAX} bytes");
            return Err(vec![Diagnostic::new(pointer, message, "split it over several nodes")]);
        }
        let tags = tags(source).map_err(|it| diagnostics(source, pointer, &[it]))?;
        let lone = lone(source, &tags);
        let (part, analysis) = match (mode, lone) {
            (Mode::Typed | Mode::Expression, Some(tag)) => {
                (tag.start.end..tag.end.start, analyse_tags(source, &tags, roots))
            }
            (Mode::Expression, None) if tags.is_empty() => {
                let tokens = tokens(source).map_err(|it| diagnostics(source, pointer, &[it]))?;
                (0..source.len(), analyse_expression(&tokens))
            }
            (Mode::Expression, None) => {
                let hint = "write one expression, with or without `{{ }}` around all of it";
                return Err(vec![Diagnostic::new(
                    pointer,
                    "text where an expression is due",
                    hint,
                )]);
            }
            (Mode::Text | Mode::Typed, _) => (0..source.len(), analyse_tags(source, &tags, roots)),
        };
        let is_expression = mode == Mode::Expression || (mode == Mode::Typed && lone.is_some());
        let diagnostics = diagnostics(source, pointer, &analysis.problems);
        if !diagnostics.is_empty() {
            return Err(diagnostics);
        }
        let compiled = match is_expression {
            true => Program::expression(&source[part.clone()]).map(Code::Expression),
            false => Program::text(&source[part.clone()]).map(Code::Text),
        };
        let code = match compiled {
            Ok(code) => code,
            Err(NoProgram::Constants(offset, error)) => {
                Code::Impossible(at(source, part.start + offset, &reason(&error)))
            }
            Err(NoProgram::Syntax(error)) => {
                let offset = part.start + error.range().map_or(0, |range| range.start);
                return Err(vec![Diagnostic::new(
                    pointer,
                    at(source, offset, &describe_syntax(&error)),
                    "",
                )]);
            }
        };
        refer(source, pointer, analysis, references);
        let source = Source::new(source, part);
        Ok(Self { pointer: pointer.to_owned(), source, code })
    }

    /// Evaluates it to a result that nests at most `levels` deep, taking its size off what is left.
    pub(super) fn render(
        &self,
        context: &Context,
        left: &mut usize,
        levels: usize,
    ) -> Result<Json, ExpressionError> {
        if !context.budget.check_clock() {
            return self.finish(Err(Error::from(ErrorKind::OutOfFuel)), context);
        }
        let result = contained(|| match &self.code {
            Code::Expression(expression) => {
                let value = self.expression(expression, context)?;
                to_json(&value, left, levels)
            }
            Code::Text(text) => {
                let text = Json::String(text.written(context)?);
                take_size(&text, left)?;
                Ok(text)
            }
            Code::Impossible(why) => Err(refuse(why.clone())),
        });
        self.finish(result, context)
    }

    /// Evaluates it to true or false.
    pub(super) fn holds(&self, context: &Context) -> Result<bool, ExpressionError> {
        if !context.budget.check_clock() {
            return self.finish(Err(Error::from(ErrorKind::OutOfFuel)), context);
        }
        let result = contained(|| match &self.code {
            Code::Expression(expression) => self.expression(expression, context),
            Code::Text(_) => Err(refuse("a condition is an expression")),
            Code::Impossible(why) => Err(refuse(why.clone())),
        });
        let result = result.and_then(|value| match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            kind => Err(refuse(format!("the condition yields a {kind}, not true or false"))),
        });
        self.finish(result, context)
    }

    fn expression(&self, expression: &Program, context: &Context) -> Result<Value, Error> {
        let value = expression.value(context)?;
        // Strict evaluation does not fail an undefined value that nothing is done with.
        if value.is_undefined() {
            let text = self.source.part();
            return Err(refuse(undefined(&format!("`{text}` is undefined"))));
        }
        Ok(value)
    }

    fn finish<T>(&self, result: Result<T, Error>, context: &Context) -> Result<T, ExpressionError> {
        let error =
            |cause, message| ExpressionError { pointer: self.pointer.clone(), message, cause };
        if let Some((cause, message)) = context.budget.over() {
            return Err(error(cause, message.to_owned()));
        }
        result.map_err(|it| {
            let is_inline = context.budget.effort() == Effort::InPlace;
            let cause = match it.kind() {
                ErrorKind::OutOfFuel if is_inline => {
                    // It has used all that there is, and could not say so.
                    context.budget.take_fuel(u64::MAX);
                    Cause::NotInPlace
                }
                _ => Cause::Failed,
            };
            error(cause, describe(&it, &self.source))
        })
    }
}

/// Turns a panic of the template engine into an error of the expression: authors write what it is given, and
/// minijinja 3.1.0 overflows on a slice with the smallest step there is. Nothing of an evaluation outlives it.
fn contained<T>(evaluate: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(evaluate))
        .unwrap_or_else(|_| Err(refuse("the expression cannot be evaluated")))
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

fn at(source: &str, offset: usize, message: &str) -> String {
    let (line, column) = position(source, offset);
    format!("{message} (line {line}, column {column})")
}

fn diagnostics(source: &str, pointer: &str, problems: &[Problem]) -> Vec<Diagnostic> {
    let diagnostic = |problem: &Problem| {
        Diagnostic::new(pointer, at(source, problem.offset, &problem.message), problem.hint.clone())
    };
    problems.iter().map(diagnostic).collect()
}

fn refer(source: &str, pointer: &str, analysis: Analysis, references: &mut References) {
    for reference in analysis.references {
        match reference.root {
            Root::Input => references.input = true,
            Root::Run => references.run = true,
            Root::Args => references.args = true,
            Root::Node(node) => {
                let (line, column) = position(source, reference.offset);
                references.nodes.insert(Arc::clone(&node));
                references.locations.push(NodeReference {
                    node,
                    pointer: pointer.to_owned(),
                    line,
                    column,
                });
            }
        }
    }
}
