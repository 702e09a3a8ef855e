//! What went wrong in a few words: backends show failures in groups by type and message, and a message with a number, an
//! address or a quotation in it would be a group of its own each time.

/// Characters at most.
const CHARS_MAX: usize = 120;
/// Digits in a row that are taken for a number of no interest; those of a status are fewer.
const DIGITS_MIN: usize = 4;

/// The first clause of a message, without what differs from one time to the next. What a server has said comes behind it.
pub(super) fn brief(message: &str) -> String {
    let mut clauses = message.lines().next().unwrap_or_default().split(": ");
    let mut clause = clauses.next().unwrap_or_default();
    if clause.starts_with('/') || clause.is_empty() {
        // Where in the document comes first.
        clause = clauses.next().unwrap_or(clause);
    }
    let mut brief = String::with_capacity(clause.len().min(CHARS_MAX));
    for word in clause.split_whitespace() {
        if !brief.is_empty() {
            brief.push(' ');
        }
        push_word(&mut brief, word);
        if brief.len() > CHARS_MAX {
            brief.truncate(brief.floor_char_boundary(CHARS_MAX));
            break;
        }
    }
    brief
}

/// Adds a word: an address without its port and path, numbers as `#`.
fn push_word(brief: &mut String, word: &str) {
    let (scheme, rest) = word.split_once("://").map_or(("", word), |(_, rest)| ("://", rest));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_address = !scheme.is_empty() || host.len() < rest.len();
    let word = match host.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => {
            host
        }
        _ if is_address => host,
        _ => word,
    };
    let mut digits = 0;
    for char in word.chars() {
        digits = if char.is_ascii_digit() { digits + 1 } else { 0 };
        brief.push(char);
        if digits == DIGITS_MIN {
            brief.truncate(brief.len() - DIGITS_MIN);
            brief.push('#');
        } else if digits > DIGITS_MIN {
            brief.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_each_time_is_left_out() {
        for (message, expected) in [
            ("no such field: items", "no such field"),
            ("/value: unknown method: x", "unknown method"),
            (
                "POST api.example:8443/v1/orders/77 answered 500 Internal Server Error: {\"id\":1}",
                "POST api.example answered 500 Internal Server Error",
            ),
            ("no connection to 127.0.0.1:40123: connection refused", "no connection to 127.0.0.1"),
            ("https://a.example/x has lost the session", "a.example has lost the session"),
            ("1048577 bytes; at most 1048576 are kept", "# bytes; at most # are kept"),
            ("took longer than 20s", "took longer than 20s"),
            ("two\nlines", "two"),
            ("", ""),
        ] {
            assert_eq!(brief(message), expected);
        }
    }

    #[test]
    fn it_is_short() {
        assert!(brief(&"é".repeat(1_000)).len() <= CHARS_MAX);
        assert!(brief(&"many words ".repeat(100)).len() <= CHARS_MAX);
    }
}
