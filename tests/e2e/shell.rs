//! Command lines as people read them in documentation.

/// Splits a line into words as a shell does, as far as documentation makes use of that: quotes of both kinds, and
/// variables outside of single ones.
pub(crate) fn words(line: &str, variable: impl Fn(&str) -> String) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut is_within) = (None, false);
    let mut rest = line.chars().peekable();
    while let Some(char) = rest.next() {
        let starts_word = !is_within;
        match (char, quote) {
            (' ', None) => {
                is_within = false;
                continue;
            }
            _ if starts_word => {
                words.push(String::new());
                is_within = true;
            }
            _ => {}
        }
        let word = words.last_mut().expect("one has been started");
        match (char, quote) {
            ('\'' | '"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            ('$', None | Some('"')) => {
                let mut name = String::new();
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    name.push(next);
                }
                word.push_str(&variable(&name));
            }
            _ => word.push(char),
        }
    }
    assert_eq!(quote, None, "an open quote: {line}");
    words
}

/// A command and the remark behind it, which two blanks outside of quotes set apart.
pub(crate) fn remark(line: &str) -> (&str, &str) {
    let mut quote = None;
    for (offset, char) in line.char_indices() {
        match (char, quote) {
            ('\'' | '"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            (' ', None) if line[offset..].starts_with("  ") => {
                return (&line[..offset], line[offset..].trim());
            }
            _ => {}
        }
    }
    (line, "")
}

#[test]
fn a_line_is_split_as_a_shell_would() {
    let line = r#"curl "$URL/x?a=b" -H 'Type: $x' $URL/$ID/c  what it does"#;
    let (command, remark) = remark(line);
    assert_eq!(remark, "what it does");
    let words = words(command, |name| format!("<{name}>"));
    assert_eq!(words, ["curl", "<URL>/x?a=b", "-H", "Type: $x", "<URL>/<ID>/c"]);
}
