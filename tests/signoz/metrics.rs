//! `METRICS.md` says what is exported: all of it, and nothing else.

use std::fs;

use skein_tests::signoz::directory;
use skein_tests::signoz::metrics::{Described, described};

/// The cells of a row of a table, without what Markdown needs around them.
fn cells(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("| `")?.strip_suffix(" |")?;
    let cells = line.split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned());
    Some(cells.collect())
}

#[test]
fn every_metric_has_its_line_with_instrument_unit_and_labels() {
    let text = fs::read_to_string(directory().join("METRICS.md")).expect("it is there");
    let mut documented = Vec::new();
    for line in text.lines() {
        let Some(cells) = cells(line).filter(|cells| cells.len() == 5) else { continue };
        let labels = cells[3].split("`, `").filter(|label| !label.is_empty());
        assert!(cells[4].ends_with('.'), "no sentence says what it is: {line}");
        documented.push(Described {
            name: cells[0].clone(),
            instrument: cells[1].clone(),
            unit: cells[2].clone(),
            labels: labels.map(str::to_owned).collect(),
        });
    }
    let mut exported = described();
    for list in [&mut documented, &mut exported] {
        list.sort_by(|one, other| one.name.cmp(&other.name));
    }
    let missing: Vec<_> = exported.iter().filter(|it| !documented.contains(it)).collect();
    let unknown: Vec<_> = documented.iter().filter(|it| !exported.contains(it)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}\nwrong: {unknown:#?}");
    assert_eq!(documented, exported, "a metric has two lines");
}

#[test]
fn every_label_that_only_metrics_have_has_its_line() {
    let text = fs::read_to_string(directory().join("METRICS.md")).expect("it is there");
    for label in described().into_iter().flat_map(|metric| metric.labels) {
        let row = format!("| `{label}` | ");
        assert!(text.contains(&row), "no line says what {label} may be");
    }
}
