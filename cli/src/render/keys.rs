//! API keys.

use chrono::{DateTime, TimeDelta, Utc};

use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal, clean};
use super::time::{duration, moment};
use crate::client::KeySummary;

/// A table of keys.
#[must_use]
pub fn key_table(keys: &[KeySummary], now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("SCOPES", Align::Left),
        ("WORKSPACE", Align::Left),
        ("USER", Align::Left),
        ("STATUS", Align::Left),
        ("USED", Align::Right),
        ("CREATED", Align::Right),
    ])
    .sparing(&["CREATED", "USER", "WORKSPACE", "USED", "SCOPES", "ID"])
    .cutting("NAME")
    .abbreviating("ID");
    for key in keys {
        let (status, style) = status(key, now);
        table.row(vec![
            Cell::plain(&key.id),
            Cell::plain(key.name.as_deref().unwrap_or("–")),
            Cell::plain(key.scopes.join(" ")),
            Cell::plain(&key.workspace),
            Cell::plain(&key.user),
            Cell::new(status, style),
            Cell::plain(key.last_used_at.map_or_else(|| "never".to_owned(), |at| ago(at, now))),
            Cell::plain(ago(key.created_at, now)),
        ]);
    }
    table.render(terminal)
}

/// What is said about a key that was just made.
#[must_use]
pub fn key_headline(key: &KeySummary) -> String {
    let name = key.name.as_deref().unwrap_or_default();
    let ends = key
        .expires_at
        .map_or_else(|| "without an end".to_owned(), |at| format!("until {}", moment(at)));
    clean(&format!(
        "{} `{name}` of {}/{}, {}: {}, {ends}. It is not shown again.",
        key.id,
        key.organization,
        key.workspace,
        key.user,
        key.scopes.join(" "),
    ))
}

fn status(key: &KeySummary, now: DateTime<Utc>) -> (String, Style) {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => ("revoked".to_owned(), Style::Red),
        (None, Some(at)) if at <= now => ("expired".to_owned(), Style::Red),
        (None, Some(at)) => (format!("ends in {}", duration(at - now)), Style::Plain),
        (None, None) => ("good".to_owned(), Style::Green),
    }
}

fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ago", duration((now - at).max(TimeDelta::zero())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn key(id: &str, name: Option<&str>) -> KeySummary {
        KeySummary {
            id: id.to_owned(),
            name: name.map(str::to_owned),
            scopes: vec!["read".to_owned(), "run".to_owned()],
            organization: "acme".to_owned(),
            workspace: "main".to_owned(),
            user: "ann".to_owned(),
            created_at: at("2030-01-31T12:00:00Z"),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    #[test]
    fn a_table_says_which_keys_are_good() {
        let now = at("2030-01-31T14:00:00Z");
        let keys = [
            key("key_1", Some("ci")),
            KeySummary {
                expires_at: Some(at("2030-02-02T14:00:00Z")),
                last_used_at: Some(at("2030-01-31T13:58:00Z")),
                ..key("key_2", None)
            },
            KeySummary { expires_at: Some(now), ..key("key_3", Some("old")) },
            KeySummary { revoked_at: Some(now), ..key("key_4", Some("lost\x1b[2J")) },
        ];
        let expected = "\
ID     NAME      SCOPES    WORKSPACE  USER  STATUS           USED    CREATED
key_1  ci        read run  main       ann   good            never  2h00m ago
key_2  –         read run  main       ann   ends in 2d00h  2m00s ago  2h00m ago
";
        let table = key_table(&keys, now, &Terminal::plain());
        let lines: Vec<Vec<_>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: Vec<Vec<_>> =
            expected.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[..3], expected[..]);
        assert!(lines[3].contains(&"expired") && lines[4].contains(&"revoked"), "{table}");
        assert!(!table.contains('\x1b'), "{table}");
    }

    #[test]
    fn a_narrow_terminal_shows_which_keys_are_good() {
        let now = at("2030-01-31T14:00:00Z");
        let keys = [KeySummary {
            expires_at: Some(at("2030-02-02T14:00:00Z")),
            ..key("key_5d41402abc4b2a76", Some("ci"))
        }];
        let at_width = |columns| {
            key_table(&keys, now, &Terminal { columns: Some(columns), ..Terminal::plain() })
        };
        let expected = "\
ID                    NAME  SCOPES    STATUS
key_5d41402abc4b2a76  ci    read run  ends in 2d0…
";
        assert_eq!(at_width(50), expected);
        assert!(at_width(34).ends_with("\n…bc4b2a76  ci    ends in 2d00h\n"), "{}", at_width(34));
    }

    #[test]
    fn a_key_that_was_made_is_described_without_itself() {
        let made =
            KeySummary { expires_at: Some(at("2030-02-02T14:00:00Z")), ..key("key_1", Some("ci")) };
        assert_eq!(
            key_headline(&made),
            "key_1 `ci` of acme/main, ann: read run, until 2030-02-02T14:00:00Z. It is not shown again."
        );
    }
}
