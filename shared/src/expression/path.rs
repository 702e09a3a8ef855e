//! The path behind a variable, and what is done with what it leads to, read off the tokens.

use minijinja::machinery::Token;

use super::lexer::{Placed, range};
use super::reads::{Step, Usage};

/// The steps that are written out behind a value, and how many tokens they take. A method is none.
pub(super) fn path(tokens: &[Placed<'_>]) -> (Vec<Step>, usize) {
    let (mut steps, mut at) = (Vec::new(), 0);
    loop {
        let (step, length) = match &tokens[at..] {
            [(Token::Dot, _), (Token::Ident(_), _), (Token::ParenOpen, _), ..] => break,
            [(Token::Dot, _), (Token::Ident(name), span), ..] => {
                (Step::Member((*name).into(), range(*span).start), 2)
            }
            [(Token::Dot, _), (Token::Int(_), _), ..] => (Step::Item, 2),
            [(Token::BracketOpen, _), (Token::Str(name), span), (Token::BracketClose, _), ..] => {
                (Step::Key((*name).into(), range(*span).start), 3)
            }
            [(Token::BracketOpen, _), (Token::Int(_), _), (Token::BracketClose, _), ..] => {
                (Step::Item, 3)
            }
            [
                (Token::BracketOpen, _),
                (Token::Minus, _),
                (Token::Int(_), _),
                (Token::BracketClose, _),
                ..,
            ] => (Step::Item, 4),
            _ => break,
        };
        steps.push(step);
        at += length;
    }
    (steps, at)
}

/// What is done with a value, by what stands ahead of its variable and behind its path.
pub(super) fn usage(ahead: &[Placed<'_>], after: &[Placed<'_>]) -> Usage {
    let constant = match (ahead, after) {
        ([], []) => return Usage::Alone,
        (_, [(Token::Eq | Token::Ne, _), (other, _), rest @ ..]) if begins(ahead) && ends(rest) => {
            constant(other)
        }
        ([rest @ .., (other, _), (Token::Eq | Token::Ne, _)], _) if begins(rest) && ends(after) => {
            constant(other)
        }
        _ => None,
    };
    constant.map_or(Usage::Any, Usage::Equated)
}

/// Whether what comes behind these tokens is the first operand of a comparison, and no part of one.
fn begins(ahead: &[Placed<'_>]) -> bool {
    matches!(
        ahead,
        [] | [.., (Token::ParenOpen | Token::Ident("and" | "or" | "not" | "if" | "else"), _)]
    )
}

/// Whether a comparison ends before these tokens.
fn ends(after: &[Placed<'_>]) -> bool {
    matches!(after, [] | [(Token::ParenClose | Token::Ident("and" | "or" | "if" | "else"), _), ..])
}

/// The type of a constant, in words. Not that of `none`, with which anything may be compared to see whether it is there.
fn constant(token: &Token<'_>) -> Option<&'static str> {
    match token {
        Token::Str(_) | Token::String(_) => Some("text"),
        Token::Int(_) | Token::Int128(_) | Token::Float(_) => Some("a number"),
        Token::Ident("true" | "True" | "false" | "False") => Some("a boolean"),
        _ => None,
    }
}
