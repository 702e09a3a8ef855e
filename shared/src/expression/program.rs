//! A compiled string.

use std::collections::BTreeMap;

use minijinja::machinery::{
    CodeGenerator, Instructions, eval, make_string_output, parse, parse_expr,
};
use minijinja::value::Value;
use minijinja::{AutoEscape, Error};
use self_cell::self_cell;

use super::allowance::Effort;
use super::context::Context;
use super::engine::{environment, syntax};
use super::reason::{describe_syntax, refuse};
use super::walk::{self, Guards};
use super::{constants, operators};

/// The name of all that is compiled, for minijinja's own errors; nobody sees those.
const NAME: &str = "<string>";

self_cell!(
    struct Compiled {
        owner: Box<str>,
        #[covariant]
        dependent: Instructions,
    }
);

/// Instructions with the source that they point into.
pub(super) struct Program(Compiled);

/// Why a source does not compile.
pub(super) enum NoProgram {
    /// It does not parse.
    Syntax(Error),
    /// An operator between constants is not possible: where in the source, and why.
    Constants(usize, Error),
}

impl From<Error> for NoProgram {
    fn from(error: Error) -> Self {
        Self::Syntax(error)
    }
}

impl Program {
    /// Compiles an expression, and says what guards its variables. What it yields keeps its type.
    pub(super) fn expression(source: &str) -> Result<(Self, Guards), NoProgram> {
        let mut guards = Guards::default();
        let compiled = Compiled::try_new(source.into(), |source| {
            let expression = parse_expr(source)?;
            possible(constants::of_expression(&expression))?;
            let walked = walk::expression(source, &expression);
            let mut generator = CodeGenerator::new(NAME, source);
            generator.compile_expr(&expression);
            guards = walked.guards;
            Ok::<_, NoProgram>(operators::metered(&generator.finish().0, &walked.lenient)?)
        })?;
        Ok((Self(compiled), guards))
    }

    /// Compiles text around expressions and statements, and says the same.
    pub(super) fn text(source: &str) -> Result<(Self, Guards), NoProgram> {
        let mut guards = Guards::default();
        let compiled = Compiled::try_new(source.into(), |source| {
            let statement = parse(source, NAME, syntax())?;
            possible(constants::of_statement(&statement))?;
            let walked = walk::statement(source, &statement);
            let mut generator = CodeGenerator::new(NAME, source);
            generator.compile_stmt(&statement);
            guards = walked.guards;
            Ok::<_, NoProgram>(operators::metered(&generator.finish().0, &walked.lenient)?)
        })?;
        Ok((Self(compiled), guards))
    }

    /// What an expression yields.
    pub(super) fn value(&self, context: &Context) -> Result<Value, Error> {
        let (_, value) = self.run(context)?;
        value.ok_or_else(|| refuse("the expression yields nothing"))
    }

    /// What a text with expressions comes to.
    pub(super) fn written(&self, context: &Context) -> Result<String, Error> {
        Ok(self.run(context)?.0)
    }

    fn run(&self, context: &Context) -> Result<(String, Option<Value>), Error> {
        let budget = &context.budget;
        let mut text = String::new();
        let value = self.0.with_dependent(|_, instructions| {
            let (environment, root) = (environment(budget.effort()), context.root.clone());
            let (mut out, blocks) = (make_string_output(&mut text), BTreeMap::new());
            let (value, state) =
                eval(environment, instructions, root, &blocks, &mut out, AutoEscape::None)?;
            if budget.effort() == Effort::InPlace {
                budget.take_fuel(state.fuel_levels().map_or(0, |(used, _)| used));
            }
            Ok::<_, Error>(value)
        })?;
        Ok((text, value))
    }
}

/// Why a bare expression does not parse, and where, if it does not. The parser recurses along its tokens: there must not be
/// more of them than an expression may have.
pub(super) fn misfit(source: &str) -> Option<(usize, String)> {
    let error = parse_expr(source).err()?;
    Some((error.range().map_or(0, |range| range.start), describe_syntax(&error)))
}

fn possible(found: Vec<(minijinja::machinery::Span, Error)>) -> Result<(), NoProgram> {
    match found.into_iter().next() {
        None => Ok(()),
        Some((span, error)) => Err(NoProgram::Constants(span.start_offset as usize, error)),
    }
}
