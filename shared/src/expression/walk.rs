//! What the tree of an expression says of the places where it reads.
//!
//! `default` stands for what is missing, so what is missing on the way to its value, and to what it would put in place of
//! that, is missing and no failure: `nodes.a.error.message | default('')` of a node that was skipped. The same holds for
//! what `is defined` asks about. Anywhere else, to look into what is undefined fails.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, CallType, Expr, Stmt};

use super::reads::Guard;

/// What was found out of an expression.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) guards: Guards,
    pub(super) lenient: Lenient,
}

/// What guards variables, by where those stand; the others are not guarded.
pub(super) type Guards = BTreeMap<usize, Guard>;

/// The steps of paths that lead on from what is undefined.
#[derive(Debug, Default)]
pub(super) struct Lenient {
    /// Where the names of members stand.
    names: BTreeSet<usize>,
    /// Which of all subscripts, in the order in which they are compiled.
    subscripts: BTreeSet<usize>,
}

impl Lenient {
    /// Whether the step to a member leads on. `name` is the part of `source` that names it.
    pub(super) fn has_name(&self, source: &str, name: &str) -> bool {
        offset(source, name).is_some_and(|at| self.names.contains(&at))
    }

    /// Whether the subscript of this number leads on.
    pub(super) fn has_subscript(&self, number: usize) -> bool {
        self.subscripts.contains(&number)
    }
}

/// Where a part of a text begins in it.
fn offset(source: &str, part: &str) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize)?;
    (at <= source.len()).then_some(at)
}

/// Whether a filter leaves out of a list what is missing.
fn takes_what_is_defined(filter: &str, arguments: &[CallArg<'_>]) -> bool {
    let test = match filter {
        "select" => "defined",
        "reject" => "undefined",
        _ => return false,
    };
    let [CallArg::Pos(argument)] = arguments else { return false };
    argument.as_const().is_some_and(|argument| argument.as_str() == Some(test))
}

/// Walks a text with expressions and statements.
pub(super) fn statement(source: &str, statement: &Stmt<'_>) -> Walked {
    let mut walker = Walker::of(source);
    walker.statement(statement);
    walker.out
}

/// Walks a bare expression.
pub(super) fn expression(source: &str, expression: &Expr<'_>) -> Walked {
    let mut walker = Walker::of(source);
    walker.expression(expression, false);
    walker.out
}

/// Walks in the order in which minijinja compiles, because subscripts are known by their number.
struct Walker<'s> {
    source: &'s str,
    guard: Guard,
    subscripts: usize,
    out: Walked,
}

impl<'s> Walker<'s> {
    fn of(source: &'s str) -> Self {
        Self { source, guard: Guard::Nothing, subscripts: 0, out: Walked::default() }
    }

    fn guarded(&mut self, by: Guard, walk: impl FnOnce(&mut Self)) {
        let before = self.guard;
        self.guard = before.max(by);
        walk(self);
        self.guard = before;
    }

    fn statements(&mut self, statements: &[Stmt<'_>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emitted) => self.expression(&emitted.expr, false),
            Stmt::ForLoop(it) => {
                self.expression(&it.iter, false);
                // There may be no items.
                self.guarded(Guard::Condition, |walker| {
                    walker.optional(it.filter_expr.as_ref());
                    walker.statements(&it.body);
                    walker.statements(&it.else_body);
                });
            }
            Stmt::IfCond(it) => {
                self.expression(&it.expr, false);
                self.guarded(Guard::Condition, |walker| {
                    walker.statements(&it.true_body);
                    walker.statements(&it.false_body);
                });
            }
            // Text; and what the language here does not have.
            _ => {}
        }
    }

    fn optional(&mut self, expression: Option<&Expr<'_>>) {
        if let Some(expression) = expression {
            self.expression(expression, false);
        }
    }

    fn all(&mut self, expressions: &[Expr<'_>]) {
        for expression in expressions {
            self.expression(expression, false);
        }
    }

    /// Arguments with names are compiled behind the others.
    fn arguments(&mut self, arguments: &[CallArg<'_>], is_lenient: bool) {
        for argument in arguments {
            if let CallArg::Pos(it) | CallArg::PosSplat(it) = argument {
                self.expression(it, is_lenient);
            }
        }
        for argument in arguments {
            if let CallArg::Kwarg(_, it) | CallArg::KwargSplat(it) = argument {
                self.expression(it, is_lenient);
            }
        }
    }

    fn call(&mut self, call: &Call<'_>) {
        match call.identify_call() {
            CallType::Function(_) => {}
            CallType::Method(it, _) | CallType::Object(it) => self.expression(it, false),
        }
        self.arguments(&call.args, false);
    }

    /// `is_lenient`: what is missing on the way to its value is missing, and no failure.
    fn expression(&mut self, expression: &Expr<'_>, is_lenient: bool) {
        // The compiler makes a constant of it, without any step.
        if expression.as_const().is_some() {
            return;
        }
        match expression {
            Expr::Const(_) => {}
            Expr::Var(it) => {
                self.out.guards.insert(it.span().start_offset as usize, self.guard);
            }
            Expr::GetAttr(it) => {
                self.expression(&it.expr, is_lenient);
                if let (true, Some(at)) = (is_lenient, offset(self.source, it.name)) {
                    self.out.lenient.names.insert(at);
                }
            }
            Expr::GetItem(it) => {
                self.expression(&it.expr, is_lenient);
                self.expression(&it.subscript_expr, false);
                if is_lenient {
                    self.out.lenient.subscripts.insert(self.subscripts);
                }
                self.subscripts += 1;
            }
            Expr::Filter(it) if matches!(it.name, "default" | "d") => {
                self.guarded(Guard::Default, |walker| {
                    if let Some(value) = &it.expr {
                        walker.expression(value, true);
                    }
                    walker.arguments(&it.args, true);
                });
            }
            Expr::Filter(it) if takes_what_is_defined(it.name, &it.args) => {
                self.guarded(Guard::Condition, |walker| walker.optional(it.expr.as_ref()));
                self.arguments(&it.args, false);
            }
            Expr::Filter(it) => {
                self.optional(it.expr.as_ref());
                self.arguments(&it.args, false);
            }
            Expr::Test(it) if matches!(it.name, "defined" | "undefined") => {
                self.guarded(Guard::Default, |walker| walker.expression(&it.expr, true));
                self.arguments(&it.args, false);
            }
            Expr::Test(it) => {
                self.guarded(Guard::Condition, |walker| walker.expression(&it.expr, false));
                self.arguments(&it.args, false);
            }
            Expr::IfExpr(it) => {
                self.expression(&it.test_expr, false);
                self.guarded(Guard::Condition, |walker| {
                    walker.expression(&it.true_expr, false);
                    walker.optional(it.false_expr.as_ref());
                });
            }
            Expr::BinOp(it) => {
                self.expression(&it.left, false);
                if matches!(it.op, BinOpKind::ScAnd | BinOpKind::ScOr) {
                    self.guarded(Guard::Condition, |walker| walker.expression(&it.right, false));
                } else {
                    self.expression(&it.right, false);
                }
            }
            Expr::Compare(it) => {
                self.expression(&it.expr, false);
                it.ops.iter().for_each(|op| self.expression(&op.expr, false));
            }
            Expr::UnaryOp(it) => self.expression(&it.expr, false),
            Expr::Slice(it) => {
                self.expression(&it.expr, false);
                self.optional(it.start.as_ref());
                self.optional(it.stop.as_ref());
                self.optional(it.step.as_ref());
            }
            Expr::Call(it) => self.call(it),
            Expr::List(it) => self.all(&it.items),
            Expr::Tuple(it) => self.all(&it.items),
            Expr::Map(it) => {
                for (key, value) in it.keys.iter().zip(&it.values) {
                    self.expression(key, false);
                    self.expression(value, false);
                }
            }
        }
    }
}
