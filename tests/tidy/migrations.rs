//! Migrations run while the fleet works, and are never changed once they have landed.

use std::fs;

use sha2::{Digest, Sha256};

use crate::{assert_none, root};

/// The last one that was there before there were rules.
const WITHOUT_RULES: &str = "0009";
/// Tables that grow with the runs, or that every heartbeat or request needs.
const HOT: [&str; 13] = [
    "runs",
    "node_runs",
    "node_attempts",
    "event_logs",
    "run_segments",
    "agent_trace_history",
    "model_cost_logs",
    "budget_totals",
    "worker_leases",
    "workflows",
    "workflow_versions",
    "workflow_drafts",
    "api_keys",
];
/// What may be done to a column or a table that people use: the catalogue is written, and no row.
const OF_THE_CATALOGUE: [&str; 5] =
    ["SET (", "RESET (", "ALTER COLUMN .. SET DEFAULT", "ALTER COLUMN .. DROP", "DROP COLUMN"];

/// The first digits of the SHA-256 of what has landed; a release adds its own.
const LANDED: &[(&str, &str)] = &[
    ("postgres/0001_keys_and_workflows.sql", "a6b25e91d7bb331a"),
    ("postgres/0002_runs.sql", "4cb451bc438a1b8f"),
    ("postgres/0003_worker_leases.sql", "82f4385ce61cd710"),
    ("postgres/0004_event_logs.sql", "30a347ef5c8250e7"),
    ("postgres/0005_finish_id.sql", "45b5fae57479a31b"),
    ("postgres/0006_timers_and_listings.sql", "8f4dc4f75af5e973"),
    ("postgres/0007_trace_state.sql", "bbcdce1b6d055790"),
    ("postgres/0008_segments.sql", "6732e240da478310"),
    ("postgres/0009_open_runs.sql", "e4ae48912e6f767b"),
    ("sqlite/0001_keys_and_workflows.sql", "40acf88a748b791b"),
    ("sqlite/0002_runs.sql", "6bf9d261954db237"),
    ("sqlite/0003_worker_leases.sql", "ca9f280971c6f9be"),
    ("sqlite/0004_event_logs.sql", "abc3cfc1939d6c9e"),
    ("sqlite/0005_finish_id.sql", "8f696f2aa9b0a5b4"),
    ("sqlite/0006_timers_and_listings.sql", "74b7fd7f6123b7ef"),
    ("sqlite/0007_trace_state.sql", "c078c6b206282283"),
    ("sqlite/0008_segments.sql", "9bbbb9d7cd557ed6"),
    ("sqlite/0009_open_runs.sql", "e4ae48912e6f767b"),
];

/// A migration's file.
struct Migration {
    name: String,
    text: String,
}

fn migrations(store: &str) -> Vec<Migration> {
    let folder = root().join("migrations").join(store);
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        Migration { name, text: fs::read_to_string(path).expect("text") }
    };
    let mut found: Vec<_> = fs::read_dir(folder).expect("a folder").map(read).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// A database remembers the digest of each, and refuses a program that has others.
#[test]
fn what_has_landed_is_never_edited() {
    let mut diagnostics = Vec::new();
    for (path, landed) in LANDED {
        let (store, name) = path.split_once('/').unwrap();
        let digest = migrations(store).into_iter().find(|migration| migration.name == name).map(
            |migration| {
                let digest = Sha256::digest(migration.text);
                digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
            },
        );
        if digest.as_deref() != Some(*landed) {
            diagnostics.push(format!("{path}: {digest:?}, landed as {landed}"));
        }
    }
    assert_none("migrations that have landed were changed", &diagnostics);
}

#[test]
fn no_migration_locks_a_hot_table_for_long() {
    let mut diagnostics = Vec::new();
    for Migration { name, text } in migrations("postgres") {
        if name.as_str() > WITHOUT_RULES && !name.starts_with(WITHOUT_RULES) {
            diagnostics.extend(
                diagnostics_of(&text).into_iter().map(|diagnostic| format!("{name}: {diagnostic}")),
            );
        }
    }
    assert_none("migrations that lock a table for long", &diagnostics);
}

/// The statements of a file, each in one line and without comments.
fn statements(text: &str) -> Vec<String> {
    let code = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join(" ");
    let statements = code.split(';').map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    statements.filter(|statement| !statement.is_empty()).collect()
}

fn diagnostics_of(text: &str) -> Vec<String> {
    let statements = statements(text);
    let is_apart = text.starts_with("-- no-transaction\n");
    let made: Vec<_> = statements
        .iter()
        .filter_map(|statement| statement.strip_prefix("CREATE TABLE "))
        .filter_map(|rest| rest.split([' ', '(']).next())
        .collect();
    let mut diagnostics: Vec<_> = statements
        .iter()
        .filter_map(|statement| Some(format!("{}: {statement}", diagnostic_of(statement, &made)?)))
        .collect();
    let concurrent = statements.iter().filter(|it| it.contains("INDEX CONCURRENTLY")).count();
    // As the one that runs them reads them: it looks for what an aborted build has left under the index's name.
    let is_read = |statement: &String| {
        let words: Vec<_> = statement.split([' ', '(']).filter(|word| !word.is_empty()).collect();
        matches!(
            words.as_slice(),
            ["CREATE", "INDEX", "CONCURRENTLY", _, "ON", ..]
                | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", _, "ON", ..]
                | ["DROP", "INDEX", "CONCURRENTLY", "IF", "EXISTS", _]
        )
    };
    if is_apart && !(statements.len() == 1 && statements.iter().all(is_read)) {
        diagnostics.push(
            "a file without a transaction holds one CREATE INDEX CONCURRENTLY name ON, or one DROP"
                .to_owned(),
        );
    }
    if !is_apart && concurrent > 0 {
        diagnostics
            .push("CONCURRENTLY needs a file that begins with `-- no-transaction`".to_owned());
    }
    diagnostics
}

/// Why a statement is none for a table that the fleet uses meanwhile; `made` are new ones.
fn diagnostic_of(statement: &str, made: &[&str]) -> Option<&'static str> {
    let words: Vec<_> = statement.split([' ', '(']).filter(|word| !word.is_empty()).collect();
    let is_hot = |table: Option<&&str>| {
        table.is_some_and(|table| HOT.contains(table) && !made.contains(table))
    };
    let after = |word: &str| {
        let index = words.iter().position(|other| *other == word)?;
        words.get(index + 1)
    };
    match words.as_slice() {
        ["CREATE", "INDEX" | "UNIQUE", ..] if !statement.contains(" CONCURRENTLY ") => {
            is_hot(after("ON")).then_some("an index is built CONCURRENTLY")
        }
        ["DROP", "INDEX", rest @ ..] if !rest.starts_with(&["CONCURRENTLY", "IF", "EXISTS"]) => {
            Some("an index is dropped with DROP INDEX CONCURRENTLY IF EXISTS")
        }
        ["UPDATE", table, ..] if is_hot(Some(table)) => Some("the rows of a large table stay"),
        ["DELETE", "FROM", table, ..] if is_hot(Some(table)) => {
            Some("the rows of a large table stay")
        }
        ["INSERT", ..]
            if words
                .windows(2)
                .any(|part| part[0] == "FROM" && is_hot(Some(&part[1].trim_end_matches(')')))) =>
        {
            Some("a large table is read whole")
        }
        ["ALTER", "TABLE", table, ..] if is_hot(Some(table)) => {
            let actions = statement.split_once(table)?.1;
            top_level(actions).into_iter().find_map(|action| diagnostic_of_action(action.trim()))
        }
        ["ALTER", "INDEX" | "TABLE", ..]
        | ["CREATE", "TABLE" | "INDEX" | "UNIQUE" | "FUNCTION" | "OR" | "VIEW" | "SEQUENCE", ..]
        | ["DROP", "INDEX", ..]
        | ["COMMENT" | "INSERT" | "UPDATE" | "DELETE", ..] => None,
        _ => Some("not known to be harmless (add it here, with its lock in mind)"),
    }
}

/// The parts between the commas that no parentheses hold.
fn top_level(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (index, char) in text.char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn diagnostic_of_action(action: &str) -> Option<&'static str> {
    if let Some(column) = action.strip_prefix("ADD COLUMN ") {
        let default = column.split_once(" DEFAULT ").map(|(_, value)| value);
        let is_constant = default.is_none_or(|value| {
            let value = value.trim_end_matches(" NOT NULL");
            matches!(value, "true" | "false" | "now()")
                || value.parse::<i64>().is_ok()
                || (value.starts_with('\'') && value.matches('\'').count() == 2)
        });
        let reads = ["GENERATED", "REFERENCES", "UNIQUE", "PRIMARY KEY", "CHECK"];
        return if !is_constant || reads.iter().any(|word| column.contains(word)) {
            Some("a column that is added has a constant default, and nothing that reads the rows")
        } else if column.contains("NOT NULL") && default.is_none() {
            Some("a column that is not null has a default")
        } else {
            None
        };
    }
    if action.starts_with("ADD CONSTRAINT ") && action.ends_with(" NOT VALID") {
        return None;
    }
    let words: Vec<_> = action.split(' ').collect();
    let general = match words.as_slice() {
        ["ALTER", "COLUMN", _, rest @ ..] => format!("ALTER COLUMN .. {}", rest.join(" ")),
        _ => action.to_owned(),
    };
    let is_known = OF_THE_CATALOGUE.iter().any(|known| general.starts_with(known));
    (!is_known).then_some("the table is read or written whole")
}

#[test]
fn what_locks_a_table_for_long_is_reported() {
    for bad in [
        "CREATE INDEX i ON runs (id);",
        "CREATE UNIQUE INDEX i\n    ON node_runs (run_id);",
        "CREATE INDEX CONCURRENTLY i ON runs (id);",
        "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON runs (id); CREATE INDEX CONCURRENTLY j ON runs (id);",
        "-- no-transaction\nALTER TABLE runs ADD COLUMN a text;",
        "-- no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON runs (id);",
        "DROP INDEX i;",
        "UPDATE runs SET state = 'x';",
        "DELETE FROM event_logs WHERE ts < now();",
        "CREATE TABLE t (a text); INSERT INTO t SELECT id FROM runs;",
        "CREATE TABLE t (a text); INSERT INTO t SELECT id FROM (SELECT id FROM runs) r;",
        "ALTER TABLE runs ALTER COLUMN version TYPE bigint;",
        "ALTER TABLE runs ALTER COLUMN error SET NOT NULL;",
        "ALTER TABLE runs ADD COLUMN a text NOT NULL;",
        "ALTER TABLE runs ADD COLUMN a uuid DEFAULT gen_random_uuid();",
        "ALTER TABLE runs ADD COLUMN a integer NOT NULL DEFAULT 1, ADD COLUMN b bigint GENERATED ALWAYS AS IDENTITY;",
        "ALTER TABLE runs ADD CONSTRAINT c CHECK (version > 0);",
        "ALTER TABLE runs ADD PRIMARY KEY (id);",
        "VACUUM FULL runs;",
        "LOCK TABLE runs;",
    ] {
        assert!(!diagnostics_of(bad).is_empty(), "{bad}");
    }
    for good in [
        "-- no-transaction\n-- Why.\nCREATE INDEX CONCURRENTLY i ON runs (id);\n",
        "-- no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS i;",
        "-- Only SQLite needs it.",
        "CREATE TABLE t (a text NOT NULL, b text); CREATE INDEX i ON t (a);",
        "ALTER TABLE runs ADD COLUMN a text, ADD COLUMN b boolean NOT NULL DEFAULT false; -- with; a remark",
        "ALTER TABLE runs RESET (fillfactor);",
        "ALTER TABLE runs SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.1);",
        "ALTER TABLE runs ALTER COLUMN error DROP NOT NULL;",
        "ALTER TABLE runs ADD CONSTRAINT c CHECK (version > 0) NOT VALID;",
    ] {
        assert_eq!(diagnostics_of(good), Vec::<String>::new(), "{good}");
    }
}
