//! The path behind a variable, read off the tokens.

use minijinja::machinery::Token;

use super::lexer::{Placed, range};
use super::reads::Step;

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
