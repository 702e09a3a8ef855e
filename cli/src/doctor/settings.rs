//! What the environment says: which variables are set, what may be shown of them, and which ones nobody reads.

use std::collections::BTreeMap;

use skein_shared::config::SecretUrl;
use skein_shared::telemetry::redact;

use super::Finding;

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 120;

/// The variables of OpenTelemetry that Skein, its exporters and its SDK read. Whoever sets another one is mistaken.
pub const TELEMETRY_VARIABLES: &[&str] = &[
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_ENABLED",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_LOGS_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_SERVICE_VERSION",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// Others that are read and are no flags: of the log, of TLS and of proxies.
const OTHERS: &[&str] = &[
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_COLOR",
    "NO_PROXY",
    "RUST_LOG",
    "SKEIN_EXPORT_EVENT_LOGS",
    "SKEIN_LOG_FORMAT",
    "SKEIN_TRACE_LIBRARIES",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// What the names of variables begin with that are meant for Skein or its telemetry.
const OURS: [&str; 2] = ["SKEIN_", "OTEL_"];

/// A variable that is a flag of some command as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The variable.
    pub name: String,
    /// Whether its value may hold a secret.
    pub is_secret: bool,
}

/// The variables that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Names and what may be shown of the values.
    shown: BTreeMap<String, String>,
    /// Names that nobody reads.
    unread: Vec<String>,
}

impl Settings {
    /// Reads the environment of the process; `flags` are the variables that are flags as well.
    #[must_use]
    pub fn from_env(flags: &[Flag]) -> Self {
        let variables = std::env::vars_os();
        // What is no text is none of ours.
        Self::of(
            variables.filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            }),
            flags,
        )
    }

    /// Reads these variables.
    pub fn of(variables: impl Iterator<Item = (String, String)>, flags: &[Flag]) -> Self {
        let mut settings = Self::default();
        for (name, value) in variables.filter(|(_, value)| !value.trim().is_empty()) {
            let flag = flags.iter().find(|flag| flag.name == name);
            let upper = name.to_ascii_uppercase();
            let shown = if TELEMETRY_VARIABLES.contains(&name.as_str()) {
                of_telemetry(&name, &value)
            } else if let Some(flag) = flag {
                of_flag(flag, &value)
            } else if upper.ends_with("_PROXY") && OTHERS.contains(&upper.as_str()) {
                if upper == "NO_PROXY" { value } else { redact::url(&value) }
            } else if OTHERS.contains(&name.as_str()) {
                value
            } else {
                if OURS.iter().any(|prefix| name.starts_with(prefix)) {
                    settings.unread.push(name);
                }
                continue;
            };
            settings.shown.insert(name, cut(&shown));
        }
        settings.unread.sort();
        settings
    }

    /// Names and what may be shown of the values, in the order of the names.
    #[must_use]
    pub fn shown(&self) -> &BTreeMap<String, String> {
        &self.shown
    }

    /// What is shown of a variable, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.shown.get(name).map(String::as_str)
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let unread = self.unread.iter().map(|name| {
            Finding::warning(
                "variables",
                format!("{name} is set, and nothing reads it"),
                "correct its name, or take it away: README lists those that there are",
            )
        });
        unread.collect()
    }
}

fn of_flag(flag: &Flag, value: &str) -> String {
    if !flag.is_secret {
        return value.to_owned();
    }
    if flag.name.ends_with("_URL") {
        // Reading one never fails.
        return value.parse::<SecretUrl>().map_or_else(|_| hidden(), |url| url.to_string());
    }
    hidden()
}

fn of_telemetry(name: &str, value: &str) -> String {
    if name.ends_with("_ENDPOINT") {
        return redact::url(value);
    }
    if name.ends_with("_HEADERS") {
        let names = value.split(',').map(|pair| pair.split('=').next().unwrap_or_default().trim());
        let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        // Without `=` it is no list of headers, and may be the key itself.
        let is_list = value.split(',').all(|pair| pair.trim().is_empty() || pair.contains('='));
        return if is_list { format!("{}=(hidden)", names.join("=(hidden),")) } else { hidden() };
    }
    value.to_owned()
}

fn hidden() -> String {
    "(hidden)".to_owned()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        let flag = |name: &str, is_secret| Flag { name: name.to_owned(), is_secret };
        let flags =
            [flag("DATABASE_URL", true), flag("SKEIN_KEY", true), flag("SKEIN_NAMESPACE", false)];
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings::of(variables.iter().map(own), &flags)
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        for (name, value, shown) in [
            ("DATABASE_URL", "postgres://me:s3cret@db/skein", "postgres://db/skein"),
            ("DATABASE_URL", "s3cret", "(hidden)"),
            ("SKEIN_KEY", "s3cret", "(hidden)"),
            ("SKEIN_NAMESPACE", "skein", "skein"),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://me:s3cret@c:1/?key=s3cret",
                "http://REDACTED@c:1/?key=REDACTED",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret, b=s3cret=", "a=(hidden),b=(hidden)"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret", "(hidden)"),
            ("https_proxy", "http://me:s3cret@proxy:1", "http://REDACTED@proxy:1/"),
            ("RUST_LOG", "debug", "debug"),
        ] {
            let settings = read(&[(name, value)]);
            assert_eq!(settings.get(name), Some(shown), "{name}={value}");
            assert_eq!(settings.findings(), [], "{name}");
        }
    }

    #[test]
    fn what_nobody_reads_is_told_and_what_is_nobodys_business_is_not() {
        let settings = read(&[
            ("OTEL_EXPORTER_OLTP_ENDPOINT", "http://c"),
            ("SKEIN_CONCURENCY", "4"),
            ("SKEIN_EMPTY", ""),
            ("HOME", "/home"),
        ]);
        let told: Vec<_> = settings.findings().into_iter().map(|finding| finding.what).collect();
        assert_eq!(
            told,
            [
                "OTEL_EXPORTER_OLTP_ENDPOINT is set, and nothing reads it",
                "SKEIN_CONCURENCY is set, and nothing reads it",
            ]
        );
        assert_eq!(settings.shown().len(), 0);
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = "é".repeat(VALUE_CHARS_MAX + 1);
        let shown = read(&[("SKEIN_NAMESPACE", &long)]);
        assert_eq!(shown.get("SKEIN_NAMESPACE").unwrap().chars().count(), VALUE_CHARS_MAX + 1);
    }
}
