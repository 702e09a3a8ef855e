//! Whoever is woken by a rule finds out what to do.

use std::collections::BTreeSet;
use std::fs;

use skein_tests::signoz::{directory, documents};

/// What every section says, in this order.
const PARTS: [&str; 4] = ["**Known.**", "**Look.**", "**Do.**", "**Threshold.**"];

#[test]
fn every_rule_has_its_section_and_every_section_its_rule() {
    let text = fs::read_to_string(directory().join("runbooks.md")).unwrap();
    let sections: Vec<_> = text.split("\n## ").skip(1).collect();
    let title = |section: &str| section.lines().next().unwrap_or_default().trim().to_owned();
    let titles: BTreeSet<_> = sections.iter().map(|section| title(section)).collect();
    let rules = documents("rules");
    let stem = |file: &str| file.trim_start_matches("rules/").trim_end_matches(".json").to_owned();
    assert_eq!(titles, rules.iter().map(|rule| stem(&rule.file)).collect::<BTreeSet<_>>());
    for section in &sections {
        let places: Vec<_> = PARTS.iter().map(|part| section.find(part)).collect();
        let is_whole = places.iter().all(Option::is_some) && places.is_sorted();
        assert!(is_whole, "{} does not say {PARTS:?}", title(section));
    }
    for rule in &rules {
        let url = rule.body["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let (page, anchor) = url.split_once('#').unwrap_or_default();
        assert!(page.ends_with("/deploy/signoz/runbooks.md"), "{}: {url}", rule.file);
        assert_eq!(anchor, stem(&rule.file), "{}", rule.file);
    }
}
