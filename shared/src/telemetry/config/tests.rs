//! What is read, and what is refused.

use super::*;

const ALL: Signals = Signals { traces: true, metrics: true, logs: true };
const COLLECTOR: (&str, &str) = (ENDPOINT, "http://127.0.0.1:4318");

fn read(vars: &[(&str, &str)]) -> Result<TelemetryConfig, TelemetryError> {
    TelemetryConfig::from_lookup(|name| {
        vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn the_switches_decide_what_is_exported() {
    let traces = Signals { traces: true, ..Signals::default() };
    let cases: &[(&[(&str, &str)], Signals)] = &[
        (&[], Signals::default()),
        (&[COLLECTOR], ALL),
        (&[("OTEL_ENABLED", "true")], ALL),
        (&[("OTEL_ENABLED", "false"), COLLECTOR], Signals::default()),
        (&[("OTEL_ENABLED", ""), COLLECTOR], ALL),
        (&[("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_ENABLED", "true")], Signals::default()),
        (&[("OTEL_SDK_DISABLED", "yes"), COLLECTOR], ALL),
        (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/v1/traces")], traces),
        (&[COLLECTOR, ("OTEL_LOGS_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")], traces),
    ];
    for (vars, expected) in cases {
        assert_eq!(read(vars).unwrap().export, *expected, "{vars:?}");
    }
}

#[test]
fn what_is_not_supported_is_refused_at_the_start() {
    let grpc = read(&[COLLECTOR, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
    assert!(grpc.to_string().contains("not supported yet"), "{grpc}");
    for vars in [
        [COLLECTOR, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")],
        [COLLECTOR, ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")],
        [COLLECTOR, ("OTEL_TRACES_SAMPLER", "xray")],
        [COLLECTOR, ("OTEL_ENABLED", "maybe")],
        [COLLECTOR, ("OTEL_BSP_MAX_QUEUE_SIZE", "many")],
        [COLLECTOR, ("OTEL_BSP_MAX_QUEUE_SIZE", "18446744073709551615")],
        [COLLECTOR, ("OTEL_BLRP_MAX_QUEUE_SIZE", "0")],
        [COLLECTOR, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0")],
        [COLLECTOR, ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "1e3")],
        [COLLECTOR, ("OTEL_BLRP_SCHEDULE_DELAY", "1s")],
        [COLLECTOR, ("OTEL_METRIC_EXPORT_INTERVAL", "60s")],
        [COLLECTOR, ("OTEL_METRIC_EXPORT_INTERVAL", "0")],
        [COLLECTOR, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem")],
        [COLLECTOR, ("OTEL_TRACES_EXPORTER", "console")],
        [COLLECTOR, ("OTEL_PROPAGATORS", "b3")],
        [COLLECTOR, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
        [COLLECTOR, ("SKEIN_EXPORT_EVENT_LOGS", "perhaps")],
        [COLLECTOR, ("SKEIN_LOG_FORMAT", "xml")],
    ] {
        assert!(matches!(read(&vars), Err(TelemetryError::Invalid { .. })), "{vars:?}");
    }
}

#[test]
fn lists_that_cannot_be_read_are_refused_without_being_shown() {
    for name in [
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        "OTEL_RESOURCE_ATTRIBUTES",
    ] {
        let error = read(&[COLLECTOR, (name, "signoz-ingestion-key: s3cret")]).unwrap_err();
        assert!(matches!(error, TelemetryError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(name) && !error.to_string().contains("s3cret"));
    }
}

#[test]
fn what_exporters_read_does_not_matter_while_nothing_is_exported() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_PROPAGATORS", "b3"),
    ] {
        assert!(read(&[(name, value)]).is_ok(), "{name}");
    }
}

#[test]
fn a_signal_that_is_exported_has_a_destination() {
    let config = read(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:4318")]).unwrap();
    let [traces] = &config.destinations[..] else { panic!("{:?}", config.destinations) };
    assert_eq!((traces.signal, traces.url.as_str()), (Signal::Traces, "http://a:4318/"));
    assert!(config.doubts[0].contains("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
    let common = read(&[COLLECTOR]).unwrap();
    assert_eq!((common.destinations.len(), common.doubts.len()), (3, 0));
    assert!(read(&[]).unwrap().destinations.is_empty());
}

#[test]
fn rows_of_the_log_are_exported_unless_that_is_switched_off() {
    assert!(read(&[]).unwrap().event_logs);
    assert!(!read(&[("SKEIN_EXPORT_EVENT_LOGS", "false")]).unwrap().event_logs);
}

#[test]
fn samplers_are_read_with_and_without_their_prefix_which_says_whether_a_caller_decides() {
    assert!(read(&[]).unwrap().follows_caller);
    for (prefix, follows_caller) in [("", false), ("parentbased_", true)] {
        let sampler = |word: &str, argument: &str| {
            let name = format!("{prefix}{word}");
            read(&[("OTEL_TRACES_SAMPLER", &name), ("OTEL_TRACES_SAMPLER_ARG", argument)]).map(
                |config| {
                    assert_eq!(config.follows_caller, follows_caller, "{name}");
                    config.sampling
                },
            )
        };
        assert_eq!(sampler("always_on", "").unwrap(), Sampling::Always);
        assert_eq!(sampler("always_off", "").unwrap(), Sampling::Never);
        assert_eq!(sampler("traceidratio", "0.25").unwrap(), Sampling::Ratio(0.25));
        assert!(sampler("traceidratio", "1.5").is_err());
    }
}

#[test]
fn the_queue_can_be_resized() {
    let config = read(&[("OTEL_BSP_MAX_QUEUE_SIZE", "64")]).unwrap();
    assert_eq!((config.span_queue, config.span_delay_ms), (64, DELAY_MS));
    for (delay, read_as) in [("0", DELAY_MS_MIN), ("7000", 7000), ("1000000000000", DELAY_MS_MAX)] {
        assert_eq!(read(&[("OTEL_BSP_SCHEDULE_DELAY", delay)]).unwrap().span_delay_ms, read_as);
        assert_eq!(read(&[("OTEL_BLRP_SCHEDULE_DELAY", delay)]).unwrap().log_delay_ms, read_as);
    }
}

#[test]
fn requests_can_be_made_smaller() {
    let config = read(&[("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "100")]).unwrap();
    assert_eq!((config.span_batch, config.log_batch), (BATCH, 100));
}

#[test]
fn a_signal_whose_own_headers_are_empty_has_none() {
    let common = ("OTEL_EXPORTER_OTLP_HEADERS", "key=s3cret");
    let config = read(&[COLLECTOR, common, ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", " ")]).unwrap();
    let headers = |signal| config.destination(signal).unwrap().headers().len();
    assert_eq!((headers(Signal::Traces), headers(Signal::Logs)), (1, 0));
    assert!(!format!("{config:?}").contains("s3cret"));
}
