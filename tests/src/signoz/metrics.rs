//! The metrics that the program says it exports, read off the sentences of `semconv/metrics.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::stack::workspace;

/// A metric as its sentence describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `Counter`, `UpDownCounter`, `Gauge` or `Histogram`.
    pub instrument: String,
    /// Its unit.
    pub unit: String,
    /// The keys of its labels.
    pub labels: BTreeSet<String>,
}

/// All metrics, in the order of the file.
///
/// # Panics
/// When the file is not there, or a sentence says not what it must.
#[must_use]
pub fn described() -> Vec<Described> {
    let all = constants();
    let keys: BTreeMap<&str, &str> =
        all.iter().map(|it| (it.constant.as_str(), it.value.as_str())).collect();
    let metrics = all.iter().filter(|it| it.constant.starts_with("METRIC_"));
    let described: Vec<_> = metrics.map(|it| describe(it, &keys)).collect();
    assert!(described.len() > 30, "only {} metrics were found", described.len());
    described
}

/// A constant of `semconv`.
struct Constant {
    constant: String,
    value: String,
    sentence: String,
}

fn constants() -> Vec<Constant> {
    let telemetry = workspace().join("shared/src/telemetry");
    let read = |path| fs::read_to_string(telemetry.join(path)).expect("it is there");
    let text = ["semconv.rs", "semconv/metrics.rs"].map(read).concat();
    let (mut constants, mut sentence) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(more) = line.strip_prefix("/// ") {
            sentence.push_str(more);
            sentence.push(' ');
        } else if let Some((constant, value)) =
            line.strip_prefix("pub const ").and_then(|rest| rest.split_once(": &str = \""))
        {
            let value = value.trim_end_matches("\";").to_owned();
            let sentence = std::mem::take(&mut sentence);
            constants.push(Constant { constant: constant.to_owned(), value, sentence });
        } else {
            sentence.clear();
        }
    }
    constants
}

fn describe(it: &Constant, keys: &BTreeMap<&str, &str>) -> Described {
    let Constant { constant, value, sentence } = it;
    let (head, rest) =
        sentence.split_once(": ").unwrap_or_else(|| panic!("{constant}: {sentence}"));
    let (instrument, unit) =
        head.split_once(", `").unwrap_or_else(|| panic!("{constant} has no unit: {sentence}"));
    let instruments = ["Counter", "UpDownCounter", "Gauge", "Histogram"];
    assert!(instruments.contains(&instrument), "{constant} is a {instrument:?}");
    // Whatever is linked is a label.
    let links = rest.split("[`").skip(1).filter_map(|link| link.split_once("`]"));
    let labels = links.map(|(link, _)| {
        let label = link.trim_start_matches("super::");
        let key = keys.get(label).unwrap_or_else(|| panic!("{constant}: there is no {label}"));
        (*key).to_owned()
    });
    Described {
        name: value.clone(),
        instrument: instrument.to_owned(),
        unit: unit.trim_end_matches('`').to_owned(),
        labels: labels.collect(),
    }
}
