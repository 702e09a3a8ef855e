//! Metrics in the text format of Prometheus, version 0.0.4, with the names that OpenTelemetry prescribes for it: `a.b`
//! in seconds is `a_b_seconds`, a counter ends in `_total`, and what identifies the process stands in `target_info`.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, HistogramDataPoint, Metric, MetricData, ResourceMetrics,
};

/// The text. What the format has no place for (exponential histograms, which nothing here makes) is left out.
pub(super) fn encode(metrics: &ResourceMetrics) -> String {
    let mut text = String::with_capacity(32 * 1024);
    let resource = metrics.resource().iter();
    let resource: Vec<_> =
        resource.map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let mut family = Family { name: "target_info".to_owned(), text: &mut text };
    family.head("gauge", "The process that these metrics are of.", "");
    family.sample("", &resource, None, 1);
    for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
        match metric.data() {
            AggregatedMetrics::F64(data) => encode_data(&mut text, metric, data),
            AggregatedMetrics::U64(data) => encode_data(&mut text, metric, data),
            AggregatedMetrics::I64(data) => encode_data(&mut text, metric, data),
        }
    }
    text
}

fn encode_data<T: Copy + Number>(text: &mut String, metric: &Metric, data: &MetricData<T>) {
    let is_counter = matches!(data, MetricData::Sum(sum) if sum.is_monotonic());
    let name = family_name(metric.name(), metric.unit(), is_counter);
    let mut family = Family { name, text };
    let mut head = |kind| family.head(kind, metric.description(), metric.unit());
    match data {
        MetricData::Gauge(gauge) => {
            head("gauge");
            for point in gauge.data_points() {
                family.sample("", point.attributes(), None, point.value().shown());
            }
        }
        MetricData::Sum(sum) => {
            head(if is_counter { "counter" } else { "gauge" });
            for point in sum.data_points() {
                family.sample("", point.attributes(), None, point.value().shown());
            }
        }
        MetricData::Histogram(histogram) => {
            head("histogram");
            histogram.data_points().for_each(|point| family.histogram(point));
        }
        MetricData::ExponentialHistogram(_) => {}
    }
}

/// The samples that share a name.
struct Family<'a> {
    name: String,
    text: &'a mut String,
}

impl Family<'_> {
    fn head(&mut self, kind: &str, description: &str, unit: &str) {
        let Self { name, text } = self;
        let description = description.replace('\\', r"\\").replace('\n', r"\n");
        // Writing to a text does not fail, here and below.
        let _ = writeln!(text, "# HELP {name} {description}");
        let _ = writeln!(text, "# TYPE {name} {kind}");
        if let Some(unit) = unit_word(unit) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
    }

    fn histogram<T: Copy + Number>(&mut self, point: &HistogramDataPoint<T>) {
        let mut below = 0;
        let bounds = point.bounds().map(Some).chain([None]);
        for (bound, count) in bounds.zip(point.bucket_counts()) {
            below += count;
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| Shown(bound).to_string());
            self.sample("_bucket", point.attributes(), Some(("le", &bound)), below);
        }
        self.sample("_sum", point.attributes(), None, point.sum().shown());
        self.sample("_count", point.attributes(), None, point.count());
    }

    fn sample<'l>(
        &mut self,
        suffix: &str,
        labels: impl IntoIterator<Item = &'l KeyValue>,
        last: Option<(&str, &str)>,
        value: impl Display,
    ) {
        let Self { name, text } = self;
        let _ = write!(text, "{name}{suffix}");
        // Two keys may be one here, and a label that came twice would spoil the whole answer: OpenTelemetry has them joined.
        let mut merged = BTreeMap::<String, String>::new();
        for label in labels {
            let value = escaped(&label.value.as_str());
            merged
                .entry(sanitised(label.key.as_str()))
                .and_modify(|all| all.push_str(&format!(";{value}")))
                .or_insert(value);
        }
        let mut before = '{';
        for (key, value) in &merged {
            let _ = write!(text, "{before}{key}=\"{value}\"");
            before = ',';
        }
        if let Some((key, value)) = last {
            let _ = write!(text, "{before}{key}=\"{value}\"");
            before = ',';
        }
        let close = if before == ',' { "}" } else { "" };
        let _ = writeln!(text, "{close} {value}");
    }
}

/// A number as the format shows it.
trait Number {
    fn shown(self) -> impl Display;
}

impl Number for u64 {
    fn shown(self) -> impl Display {
        self
    }
}

impl Number for i64 {
    fn shown(self) -> impl Display {
        self
    }
}

impl Number for f64 {
    fn shown(self) -> impl Display {
        Shown(self)
    }
}

struct Shown(f64);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number}"),
        }
    }
}

fn family_name(name: &str, unit: &str, is_counter: bool) -> String {
    let mut name = sanitised(name);
    if let Some(unit) = unit_word(unit)
        && !name.ends_with(unit)
    {
        name = format!("{name}_{unit}");
    }
    if is_counter && !name.ends_with("_total") {
        name.push_str("_total");
    }
    name
}

/// How Prometheus spells a unit. What is in braces only says what is counted.
fn unit_word(unit: &str) -> Option<&'static str> {
    match unit {
        "s" => Some("seconds"),
        "ms" => Some("milliseconds"),
        "By" => Some("bytes"),
        "%" => Some("percent"),
        _ => None,
    }
}

/// A name with what Prometheus does not take replaced.
fn sanitised(name: &str) -> String {
    let mut sanitised = String::with_capacity(name.len() + 1);
    if name.starts_with(|char: char| char.is_ascii_digit()) {
        sanitised.push('_');
    }
    for char in name.chars() {
        let char = if char.is_ascii_alphanumeric() || char == '_' { char } else { '_' };
        if !(char == '_' && sanitised.ends_with('_')) {
            sanitised.push(char);
        }
    }
    sanitised
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_spelled_as_the_format_wants_them() {
        assert_eq!(family_name("a..b-c", "s", false), "a_b_c_seconds");
        assert_eq!(family_name("a.seconds", "s", true), "a_seconds_total");
        assert_eq!(sanitised("3d"), "_3d");
        let shown = |number: f64| Shown(number).to_string();
        assert_eq!(shown(f64::INFINITY), "+Inf");
        assert_eq!(shown(f64::NEG_INFINITY), "-Inf");
        assert_eq!(shown(f64::NAN), "NaN");
        assert_eq!(shown(0.1), "0.1");
        assert_eq!(shown(5.0), "5");
    }
}
