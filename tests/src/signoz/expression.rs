//! The filter expressions of SigNoz's query builder, as far as ours use them: comparisons joined by `AND` and `OR`.

use std::iter::Peekable;

use super::types::Type;

/// A key of a filter, and the type that it must have for the comparison to mean anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) key: String,
    /// `None` where any will do: `EXISTS`.
    pub(super) compared_as: Option<Type>,
    /// The text that it is compared with by `=`, for what is known by name.
    pub(super) equals: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Operator(String),
}

/// The comparisons of a filter.
///
/// # Panics
/// When it is not one that is understood here, because then nothing could be said about its keys.
pub(super) fn comparisons(filter: &str) -> Vec<Comparison> {
    let mut tokens = tokens(filter).into_iter().peekable();
    let mut found = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Operator(bracket) if bracket == "(" || bracket == ")" => {}
            Token::Word(word) if is_any(&word, &["AND", "OR", "NOT"]) => {}
            Token::Word(key) => found.push(comparison(key, &mut tokens, filter)),
            other => panic!("{other:?} in `{filter}`"),
        }
    }
    found
}

fn comparison(
    key: String,
    tokens: &mut Peekable<impl Iterator<Item = Token>>,
    filter: &str,
) -> Comparison {
    let mut next = || tokens.next().unwrap_or_else(|| panic!("`{filter}` ends too early"));
    let mut operator = next();
    if matches!(&operator, Token::Word(word) if is_any(word, &["NOT"])) {
        operator = next();
    }
    let is_equal = operator == Token::Operator("=".to_owned());
    match operator {
        Token::Word(word) if is_any(&word, &["EXISTS"]) => {
            Comparison { key, compared_as: None, equals: None }
        }
        Token::Word(word) if is_any(&word, &["IN", "LIKE", "ILIKE", "CONTAINS", "REGEXP"]) => {
            match next() {
                Token::Text(_) => {}
                Token::Word(variable) if variable.starts_with('$') => {}
                Token::Operator(bracket) if bracket == "(" => {
                    while next() != Token::Operator(")".to_owned()) {}
                }
                other => panic!("{other:?} in `{filter}`"),
            }
            Comparison { key, compared_as: Some(Type::Text), equals: None }
        }
        Token::Operator(_) => {
            let (compared_as, equals) = match next() {
                Token::Text(text) => (Type::Text, is_equal.then_some(text)),
                Token::Word(word) if word == "true" || word == "false" => (Type::Bool, None),
                Token::Word(word) if word.parse::<f64>().is_ok() => (Type::Number, None),
                Token::Word(word) if word.starts_with('$') => (Type::Text, None),
                other => panic!("{other:?} in `{filter}`"),
            };
            Comparison { key, compared_as: Some(compared_as), equals }
        }
        other => panic!("{other:?} in `{filter}`"),
    }
}

fn is_any(word: &str, words: &[&str]) -> bool {
    words.iter().any(|it| word.eq_ignore_ascii_case(it))
}

fn tokens(filter: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = filter.chars().peekable();
    while let Some(char) = chars.next() {
        let mut take = |start: Option<char>, wanted: &dyn Fn(char) -> bool| {
            let mut text: String = start.into_iter().collect();
            while let Some(char) = chars.next_if(|char| wanted(*char)) {
                text.push(char);
            }
            text
        };
        match char {
            char if char.is_whitespace() || char == ',' => {}
            '(' | ')' => tokens.push(Token::Operator(char.to_string())),
            '\'' => {
                let text = take(None, &|char| char != '\'');
                assert_eq!(chars.next(), Some('\''), "a text without an end in `{filter}`");
                tokens.push(Token::Text(text));
            }
            '=' | '!' | '<' | '>' => {
                tokens.push(Token::Operator(take(Some(char), &|char| "=<>".contains(char))));
            }
            _ => {
                let is_end = |char: char| char.is_whitespace() || "()=!<>',".contains(char);
                tokens.push(Token::Word(take(Some(char), &|char| !is_end(char))));
            }
        }
    }
    tokens
}
