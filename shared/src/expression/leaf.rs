//! One string with expressions in it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;

use super::allowance::Effort;
use super::context::Context;
use super::failure::describe;
use super::missing::undefined;
use super::program::Program;
use super::reason::refuse;
use super::source::Source;
use super::value::{take_size, to_json};
use super::{Cause, ExpressionError};

/// A compiled string.
pub(super) struct Leaf {
    pub(super) pointer: String,
    pub(super) source: Source,
    pub(super) code: Code,
}

pub(super) enum Code {
    /// One expression. What it yields keeps its type.
    Expression(Program),
    /// Text around expressions.
    Text(Program),
    /// It cannot be evaluated, for this reason. An operator between constants is not possible, which is no fault of the
    /// document: it was published when the operator was taken to be possible, perhaps, and its runs must end. Or there
    /// is a diagnostic of the string, and nobody evaluates it.
    Impossible(String),
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leaf").field(&self.source).finish()
    }
}

impl Leaf {
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
            return Err(refuse(undefined(text, &context.root)));
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
            error(cause, describe(&it, &self.source, &context.root))
        })
    }
}

/// Turns a panic of the template engine into an error of the expression: authors write what it is given, and
/// minijinja 3.1.0 overflows on a slice with the smallest step there is. Nothing of an evaluation outlives it.
fn contained<T>(evaluate: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(evaluate))
        .unwrap_or_else(|_| Err(refuse("the expression cannot be evaluated")))
}
