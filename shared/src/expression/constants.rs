//! Operators between constants, which minijinja's compiler evaluates itself and by its own rules.

use minijinja::machinery::Span;
use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, Stmt};
use minijinja::value::Value;

use super::compare::Order;

/// What is wrong with operators between constants, and where each lies.
pub(super) fn of_statement(statement: &Stmt<'_>) -> Vec<(Span, minijinja::Error)> {
    let mut checker = Checker::default();
    checker.statement(statement);
    checker.found
}

/// The same for a bare expression.
pub(super) fn of_expression(expression: &Expr<'_>) -> Vec<(Span, minijinja::Error)> {
    let mut checker = Checker::default();
    checker.expression(expression);
    checker.found
}

#[derive(Default)]
struct Checker {
    found: Vec<(Span, minijinja::Error)>,
}

impl Checker {
    fn statements(&mut self, statements: &[Stmt<'_>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emitted) => self.expression(&emitted.expr),
            Stmt::ForLoop(it) => {
                self.expression(&it.iter);
                self.optional(it.filter_expr.as_ref());
                self.statements(&it.body);
                self.statements(&it.else_body);
            }
            Stmt::IfCond(it) => {
                self.expression(&it.expr);
                self.statements(&it.true_body);
                self.statements(&it.false_body);
            }
            // Text; and what the language here does not have.
            _ => {}
        }
    }

    fn optional(&mut self, expression: Option<&Expr<'_>>) {
        if let Some(expression) = expression {
            self.expression(expression);
        }
    }

    fn all(&mut self, expressions: &[Expr<'_>]) {
        for expression in expressions {
            self.expression(expression);
        }
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) {
        for argument in arguments {
            match argument {
                CallArg::Pos(it)
                | CallArg::Kwarg(_, it)
                | CallArg::PosSplat(it)
                | CallArg::KwargSplat(it) => self.expression(it),
            }
        }
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Var(_) | Expr::Const(_) => {}
            Expr::Slice(it) => {
                self.expression(&it.expr);
                self.optional(it.start.as_ref());
                self.optional(it.stop.as_ref());
                self.optional(it.step.as_ref());
            }
            Expr::UnaryOp(it) => self.expression(&it.expr),
            Expr::BinOp(it) => {
                self.expression(&it.left);
                self.expression(&it.right);
                let (span, left, right) = (it.span(), &it.left, &it.right);
                match it.op {
                    BinOpKind::Lt => self.ordered(Order::Less, left, right, span),
                    BinOpKind::Lte => self.ordered(Order::LessOrEqual, left, right, span),
                    BinOpKind::Gt => self.ordered(Order::Greater, left, right, span),
                    BinOpKind::Gte => self.ordered(Order::GreaterOrEqual, left, right, span),
                    BinOpKind::Mul => self.multiplied(left, right, span),
                    _ => {}
                }
            }
            Expr::Compare(it) => {
                self.expression(&it.expr);
                let mut left = &it.expr;
                for op in &it.ops {
                    self.expression(&op.expr);
                    let (span, right) = (it.span(), &op.expr);
                    match op.op {
                        CompareOpKind::Lt => self.ordered(Order::Less, left, right, span),
                        CompareOpKind::Lte => self.ordered(Order::LessOrEqual, left, right, span),
                        CompareOpKind::Gt => self.ordered(Order::Greater, left, right, span),
                        CompareOpKind::Gte => {
                            self.ordered(Order::GreaterOrEqual, left, right, span);
                        }
                        CompareOpKind::Eq
                        | CompareOpKind::Ne
                        | CompareOpKind::In
                        | CompareOpKind::NotIn => {}
                    }
                    left = right;
                }
            }
            Expr::IfExpr(it) => {
                self.expression(&it.test_expr);
                self.expression(&it.true_expr);
                self.optional(it.false_expr.as_ref());
            }
            Expr::Filter(it) => {
                self.optional(it.expr.as_ref());
                self.arguments(&it.args);
            }
            Expr::Test(it) => {
                self.expression(&it.expr);
                self.arguments(&it.args);
            }
            Expr::GetAttr(it) => self.expression(&it.expr),
            Expr::GetItem(it) => {
                self.expression(&it.expr);
                self.expression(&it.subscript_expr);
            }
            Expr::Call(it) => {
                self.expression(&it.expr);
                self.arguments(&it.args);
            }
            Expr::List(it) => self.all(&it.items),
            Expr::Tuple(it) => self.all(&it.items),
            Expr::Map(it) => {
                self.all(&it.keys);
                self.all(&it.values);
            }
        }
    }

    fn ordered(&mut self, order: Order, left: &Expr<'_>, right: &Expr<'_>, span: Span) {
        if let (Some(left), Some(right)) = (left.as_const(), right.as_const())
            // Constants are as small as the expression that holds them.
            && let Err(error) = order.holds(&left, &right, &mut |_| Ok(()))
        {
            self.found.push((span, error));
        }
    }

    fn multiplied(&mut self, left: &Expr<'_>, right: &Expr<'_>, span: Span) {
        let is_number = |value: Value| value.is_number();
        if let (Some(left), Some(right)) = (left.as_const(), right.as_const())
            && !(is_number(left) && is_number(right))
        {
            let error = super::reason::refuse("only numbers can be multiplied");
            self.found.push((span, error));
        }
    }
}
