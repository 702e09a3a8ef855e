//! JSON whose strings may hold expressions.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::condition::Condition;
use super::context::Context;
use super::leaf::Leaf;
use super::lexer::is_dynamic;
use super::read::{Findings, Mode, read};
use super::value::{TooLarge, take, take_size, too_deep};
use super::{Allowance, Cause, ExpressionError, References, Roots, Scope};
use crate::document::nests_within;
use crate::domain::diagnostic::{Diagnostic, Diagnostics, point_into};
use crate::domain::limits::{JSON_DEPTH_MAX, RENDERED_BYTES_MAX};

/// Strings with expressions that one tree may hold. Each of them may use all its fuel.
pub const DYNAMIC_STRINGS_MAX: usize = 256;

/// A JSON value whose strings may hold `{{ expressions }}`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Template {
    part: Arc<Part>,
    references: Arc<References>,
    is_deferred: bool,
    /// How deep what it renders to may nest.
    levels: usize,
}

/// A tree in which everything that is constant is one value.
#[derive(Debug)]
enum Part {
    Constant(Value),
    Leaf(Leaf),
    List(Vec<Arc<Part>>),
    Fields(Vec<(String, Arc<Part>)>),
    Choice(Choice),
}

/// Renders to the name of the first branch whose condition holds, or to `default`, or to null.
/// Conditions after the first that holds are not evaluated.
#[derive(Debug)]
pub struct Choice {
    /// The branches in order.
    pub branches: Vec<(Arc<str>, Condition)>,
    /// The branch for when none of them holds.
    pub default: Option<Arc<str>>,
}

impl Template {
    /// A value with no expressions in it, whatever it looks like.
    #[must_use]
    pub fn constant(value: Value) -> Self {
        Self {
            part: Arc::new(Part::Constant(value)),
            references: Arc::default(),
            is_deferred: false,
            levels: JSON_DEPTH_MAX,
        }
    }

    /// Compiles all strings of a value. Pointers in diagnostics and in errors start with `pointer`.
    ///
    /// # Errors
    /// Every string that is no proper template, each with its location.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::parse_from(value, pointer, Roots::Run)
    }

    /// The same with expressions that start from `roots`.
    ///
    /// # Errors
    /// Every string that is no proper template, each with its location.
    pub fn parse_from(value: &Value, pointer: &str, roots: Roots) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = Diagnostics::default();
        let template = Self::read(value, pointer, roots, &mut diagnostics);
        diagnostics.into_result(template)
    }

    /// Compiles a string that renders to text, even when it is one lone expression.
    ///
    /// # Errors
    /// When it is no proper template.
    pub fn parse_text(source: &str, pointer: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::parse_text_from(source, pointer, Roots::Run)
    }

    /// The same with expressions that start from `roots`.
    ///
    /// # Errors
    /// When it is no proper template.
    pub fn parse_text_from(
        source: &str,
        pointer: &str,
        roots: Roots,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = Diagnostics::default();
        let template = Self::read_text(source, pointer, roots, &mut diagnostics);
        diagnostics.into_result(template)
    }

    /// As [`Template::parse_from`] for whoever gathers diagnostics: what comes of a value that has errors can say what it
    /// reads, and never renders.
    pub(crate) fn read(
        value: &Value,
        pointer: &str,
        roots: Roots,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        Self::build(pointer, roots, diagnostics, |builder| builder.part(value, pointer))
    }

    /// As [`Template::parse_text_from`], the same.
    pub(crate) fn read_text(
        source: &str,
        pointer: &str,
        roots: Roots,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        Self::build(pointer, roots, diagnostics, |builder| {
            builder.leaf(source, pointer, Mode::Text)
        })
    }

    /// The same of a string's rest from a byte on; places are those in the whole string.
    pub(crate) fn read_rest(
        source: &str,
        from: usize,
        pointer: &str,
        roots: Roots,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        Self::build(pointer, roots, diagnostics, |builder| {
            let part = builder.leaf(source.get(from..).unwrap_or_default(), pointer, Mode::Text);
            builder.findings.move_by(from);
            part
        })
    }

    /// A value that stays as it is written, with all its expressions, and counts as reading what `parts` of it read: it
    /// is rendered later, by whoever gets it.
    #[must_use]
    pub fn unrendered(value: Value, parts: &[Self]) -> Self {
        let mut references = References::default();
        parts.iter().for_each(|part| references.add(&part.references));
        Self {
            part: Arc::new(Part::Constant(value)),
            references: Arc::new(references),
            is_deferred: true,
            levels: JSON_DEPTH_MAX,
        }
    }

    /// A list of templates. Pointers stay as they are in each of them.
    #[must_use]
    pub fn list(items: Vec<Self>) -> Self {
        let mut references = References::default();
        items.iter().for_each(|item| references.add(&item.references));
        let is_deferred = items.iter().any(|item| item.is_deferred);
        let part = Part::of_items(items.into_iter().map(|item| item.part).collect());
        let (part, references) = (Arc::new(part), Arc::new(references));
        Self { part, references, is_deferred, levels: JSON_DEPTH_MAX }
    }

    /// An object of templates. Pointers stay as they are in each of them. The object itself is none of the levels that
    /// each of them may nest.
    #[must_use]
    pub fn object(fields: Vec<(String, Self)>) -> Self {
        let mut references = References::default();
        let is_deferred = fields.iter().any(|(_, template)| template.is_deferred);
        let parts = fields.into_iter().map(|(key, template)| {
            references.add(&template.references);
            (key, template.part)
        });
        let part = Part::of_fields(parts.collect());
        let (part, references) = (Arc::new(part), Arc::new(references));
        Self { part, references, is_deferred, levels: JSON_DEPTH_MAX + 1 }
    }

    /// Renders to the name of a branch: see [`Choice`].
    #[must_use]
    pub fn choice(choice: Choice) -> Self {
        let mut references = References::default();
        for (_, condition) in &choice.branches {
            references.add(condition.references());
        }
        Self {
            part: Arc::new(Part::Choice(choice)),
            references: Arc::new(references),
            is_deferred: false,
            levels: JSON_DEPTH_MAX,
        }
    }

    fn build(
        pointer: &str,
        roots: Roots,
        diagnostics: &mut Diagnostics,
        make: impl FnOnce(&mut Builder) -> Part,
    ) -> Self {
        let mut builder = Builder { roots, ..Builder::default() };
        let part = make(&mut builder);
        if builder.dynamic > DYNAMIC_STRINGS_MAX {
            let message = format!("more than {DYNAMIC_STRINGS_MAX} strings with expressions");
            let hint = "split it over several nodes";
            builder.findings.diagnostics.add(pointer, message, hint);
        }
        let Findings { references, diagnostics: found } = builder.findings;
        diagnostics.0.extend(found.0);
        let (part, references) = (Arc::new(part), Arc::new(references));
        Self { part, references, is_deferred: false, levels: JSON_DEPTH_MAX }
    }

    /// What it reads.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }

    /// Whether it renders to the same value always.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        matches!(*self.part, Part::Constant(_))
    }

    /// Whether a part of it is left for somebody else to render ([`Template::unrendered`]), who needs a scope for it.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        self.is_deferred
    }

    /// Renders it: a string that is one lone `{{ expr }}` yields the expression's typed value, any
    /// other string yields text. A constant is only copied.
    ///
    /// # Errors
    /// When an expression fails, names something undefined, takes more than it is allowed, or yields too much
    /// ([`RENDERED_BYTES_MAX`] over the whole tree) or what nests too deep ([`JSON_DEPTH_MAX`], the tree around it
    /// included).
    pub fn render(&self, scope: &Scope, allowance: &Allowance) -> Result<Value, ExpressionError> {
        if let Part::Constant(value) = &*self.part {
            return Ok(value.clone());
        }
        let context = Context::new(scope, &self.references.nodes, allowance);
        let mut left = RENDERED_BYTES_MAX;
        self.part.render(&context, &mut left, self.levels)
    }
}

impl Part {
    fn of_items(parts: Vec<Arc<Self>>) -> Self {
        let constant: Option<Vec<Value>> = parts.iter().map(|part| part.as_constant()).collect();
        constant.map_or(Self::List(parts), |items| Self::Constant(Value::Array(items)))
    }

    fn of_fields(parts: Vec<(String, Arc<Self>)>) -> Self {
        let constant: Option<Map<String, Value>> =
            parts.iter().map(|(key, part)| Some((key.clone(), part.as_constant()?))).collect();
        constant.map_or(Self::Fields(parts), |fields| Self::Constant(Value::Object(fields)))
    }

    fn as_constant(&self) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// Renders it to a value that nests at most `levels` deep. Deeper ones never come to be: dropping one recurses.
    fn render(
        &self,
        context: &Context,
        left: &mut usize,
        levels: usize,
    ) -> Result<Value, ExpressionError> {
        let failed =
            |message| ExpressionError { pointer: String::new(), message, cause: Cause::Failed };
        let too_large =
            |_: TooLarge| failed(format!("the result is larger than {RENDERED_BYTES_MAX} bytes"));
        let below = || levels.checked_sub(1).ok_or_else(|| failed(too_deep()));
        match self {
            Self::Constant(value) => {
                if !nests_within(value, levels) {
                    return Err(failed(too_deep()));
                }
                take_size(value, left).map_err(too_large)?;
                Ok(value.clone())
            }
            Self::Leaf(leaf) => leaf.render(context, left, levels),
            Self::List(parts) => {
                take(left, 2 + parts.len()).map_err(too_large)?;
                let below = below()?;
                parts.iter().map(|part| part.render(context, left, below)).collect()
            }
            Self::Fields(parts) => {
                let below = below()?;
                let mut fields = Map::new();
                for (key, part) in parts {
                    take(left, key.len() + 4).map_err(too_large)?;
                    fields.insert(key.clone(), part.render(context, left, below)?);
                }
                Ok(Value::Object(fields))
            }
            Self::Choice(choice) => choice.render(context),
        }
    }
}

impl Choice {
    fn render(&self, context: &Context) -> Result<Value, ExpressionError> {
        for (name, condition) in &self.branches {
            if condition.holds_in(context)? {
                return Ok(Value::from(&**name));
            }
        }
        Ok(self.default.as_deref().map_or(Value::Null, Value::from))
    }
}

/// What is gathered while a tree is compiled.
#[derive(Debug, Default)]
struct Builder {
    roots: Roots,
    findings: Findings,
    dynamic: usize,
}

impl Builder {
    fn part(&mut self, value: &Value, pointer: &str) -> Part {
        match value {
            Value::String(source) => self.leaf(source, pointer, Mode::Typed),
            Value::Array(items) => {
                let part =
                    |(at, item)| Arc::new(self.part(item, &point_into(pointer, &format!("{at}"))));
                Part::of_items(items.iter().enumerate().map(part).collect())
            }
            Value::Object(fields) => {
                let part = |(key, value): (&String, &Value)| {
                    let pointer = point_into(pointer, key);
                    if is_dynamic(key) {
                        let hint = "use an expression for the whole object instead";
                        let message = "keys cannot hold expressions";
                        self.findings.diagnostics.add_of_key(pointer.clone(), message, hint);
                    }
                    (key.clone(), Arc::new(self.part(value, &pointer)))
                };
                Part::of_fields(fields.iter().map(part).collect())
            }
            value => Part::Constant(value.clone()),
        }
    }

    fn leaf(&mut self, source: &str, pointer: &str, mode: Mode) -> Part {
        if !is_dynamic(source) {
            return Part::Constant(Value::from(source));
        }
        self.dynamic += 1;
        // What is too many is not looked at.
        if self.dynamic > DYNAMIC_STRINGS_MAX {
            return Part::Constant(Value::Null);
        }
        Part::Leaf(read(source, pointer, mode, self.roots, &mut self.findings))
    }
}
