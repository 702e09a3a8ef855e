//! How a log line looks: an object for machines, or words for people.

use std::fmt::{self, Write as _};
use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::noise::SdkNoise;
use crate::domain::text::is_active;
use crate::telemetry::{identity, redact, semconv, span};

/// Formats events. The spans that `tracing` knows of are left out; the ids say more.
#[derive(Debug)]
pub(super) struct Lines {
    json: bool,
    noise: SdkNoise,
}

impl Lines {
    pub(super) fn new(json: bool) -> Self {
        Self { json, noise: SdkNoise::default() }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if !self.noise.admit(metadata.target(), metadata.name(), Instant::now()) {
            return Ok(());
        }
        let line = Line::of(event);
        if self.json { line.write_json(writer) } else { line.write_text(writer) }
    }
}

struct Line {
    level: Level,
    target: String,
    message: String,
    fields: Map<String, Value>,
    work: Vec<(&'static str, String)>,
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let mut line = Self {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: String::new(),
            fields: Map::new(),
            work: work(),
        };
        event.record(&mut line);
        if line.message.is_empty() {
            // Events of the OpenTelemetry SDK have a name instead.
            event.metadata().name().clone_into(&mut line.message);
        }
        line
    }

    fn set(&mut self, field: &Field, value: Value) {
        let value = match value {
            // Libraries show the addresses that they use as they were given them.
            Value::String(text) => redact::credentials(text).into(),
            other => other,
        };
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // Events that came through the `log` crate name their origin in fields.
            ("log.target", Value::String(text)) => self.target = text,
            (name, _) if name.starts_with("log.") => {}
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }

    fn write_json(self, mut writer: Writer<'_>) -> fmt::Result {
        let mut object = Map::new();
        let mut set = |key: &str, value: String| object.insert(key.to_owned(), value.into());
        set("ts", timestamp());
        set("level", self.level.as_str().to_lowercase());
        set("target", self.target);
        set("message", self.message);
        for (key, value) in self.work {
            set(key, value);
        }
        for (key, value) in self.fields {
            // A field named like a built-in one must not replace it: it could forge a trace id.
            let key = if object.contains_key(&key) { format!("field.{key}") } else { key };
            object.insert(key, value);
        }
        for char in Value::Object(object).to_string().chars() {
            if is_active(char) {
                // The rest of what steers a terminal is escaped already.
                char.encode_utf16(&mut [0; 2])
                    .iter()
                    .try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
            } else {
                writer.write_char(char)?;
            }
        }
        writeln!(writer)
    }

    fn write_text(self, mut writer: Writer<'_>) -> fmt::Result {
        let (on, off) = match (writer.has_ansi_escapes(), self.level) {
            (false, _) => ("", ""),
            (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
            (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
            (true, Level::INFO) => ("\x1b[32m", "\x1b[0m"),
            (true, _) => ("\x1b[2m", "\x1b[0m"),
        };
        let Self { level, target, .. } = &self;
        write!(writer, "{} {on}{level:>5}{off} {target}: ", timestamp())?;
        write_escaped(&mut writer, &self.message)?;
        for (key, value) in &self.fields {
            write!(writer, " {key}=")?;
            match value {
                Value::String(text) => write_escaped(&mut writer, text)?,
                other => write!(writer, "{other}")?,
            }
        }
        for (key, value) in &self.work {
            write!(writer, " {key}=")?;
            write_escaped(&mut writer, value)?;
        }
        writeln!(writer)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.set(field, text.into());
    }
}

/// What the current task works for.
fn work() -> Vec<(&'static str, String)> {
    let mut work = Vec::new();
    if let Some(context) = span::current() {
        work.push(("trace_id", context.trace.to_string()));
        work.push(("span_id", context.span.to_string()));
    }
    if let Some(identity) = identity::current() {
        work.push((semconv::ORGANIZATION_ID, identity.organization.to_string()));
        work.push((semconv::WORKSPACE_ID, identity.workspace.to_string()));
        work.push((semconv::USER_ID, identity.user.to_string()));
    }
    work
}

fn timestamp() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Text from outside must neither begin a new line nor steer the terminal.
fn write_escaped(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    for char in text.chars() {
        if is_active(char) {
            write!(writer, "{}", char.escape_default())?;
        } else {
            writer.write_char(char)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::domain::tenant::Identity;
    use crate::domain::trace::TraceContext;
    use crate::telemetry::in_context;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(Lines::new(json));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn working(log: impl Fn()) {
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ada = Identity::new("acme", "research", "ada");
        runtime.block_on(in_context(context, ada, async { log() }));
    }

    #[test]
    fn a_json_line_carries_the_ids_and_the_identity_of_the_work() {
        let line = written(true, || {
            working(|| tracing::info!(node.attempts = 2_u64, node.id = "fetch", "node ended"));
        });
        let mut line: Value = serde_json::from_str(&line).unwrap();
        let ts = line.as_object_mut().unwrap().remove("ts").unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(ts.as_str().unwrap()).is_ok());
        line.as_object_mut().unwrap().remove("target").unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "level": "info",
                "message": "node ended",
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "span_id": "00f067aa0ba902b7",
                "organization.id": "acme",
                "workspace.id": "research",
                "user.id": "ada",
                "node.attempts": 2,
                "node.id": "fetch",
            })
        );
    }

    #[test]
    fn a_line_outside_of_any_work_has_no_ids() {
        let line = written(true, || tracing::warn!("hello"));
        assert!(!line.contains("trace_id") && line.contains("hello"), "{line}");
    }

    #[test]
    fn a_field_cannot_forge_an_id() {
        let line = written(true, || working(|| tracing::info!(trace_id = "forged", "x")));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(line["field.trace_id"], "forged");
    }

    #[test]
    fn text_stays_on_its_line() {
        let line = written(false, || {
            working(|| tracing::error!(value = "a\nINFO fake", "two\r\nlines\x1b[2J"));
        });
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(!line.contains('\x1b'), "{line:?}");
        assert!(line.contains("ERROR") && line.contains("trace_id=4bf92f"), "{line:?}");
    }

    #[test]
    fn text_keeps_its_direction() {
        let log = || tracing::error!("a\u{200f}b\u{202e}c\u{e0041}");
        assert!(written(false, log).contains(r"a\u{200f}b\u{202e}c\u{e0041}"));
        let line = written(true, log);
        assert!(line.contains(r"a\u200fb\u202ec\udb40\udc41"), "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "a\u{200f}b\u{202e}c\u{e0041}");
    }

    #[test]
    fn addresses_of_libraries_are_shown_without_their_credentials() {
        let url = "http://ada:s3cret@127.0.0.1:4318/v1/logs";
        let error = io::Error::other(format!("error sending request for url ({url})"));
        let log = || {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(url, error, debug = ?("http", "ada:s3cret@127.0.0.1:4318"), "to {url}");
        };
        for line in [written(true, log), written(false, log)] {
            assert!(
                !line.contains("s3cret") && line.contains("REDACTED@127.0.0.1:4318/v1/logs"),
                "{line}"
            );
        }
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        let error = io::Error::other("disk full");
        let line = written(true, || {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot write");
        });
        assert!(line.contains("disk full"), "{line}");
    }
}
