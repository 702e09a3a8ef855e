//! Which process telemetry comes from.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

use super::config::TelemetryConfig;
use super::semconv;
use crate::host;

/// The product, for backends that group services.
pub(super) const NAMESPACE: &str = "skein";

/// The resource of this process. What `OTEL_RESOURCE_ATTRIBUTES` says wins over what the process knows of itself, and
/// `OTEL_SERVICE_NAME` and `OTEL_SERVICE_VERSION` over that.
pub(super) fn resource(service: &'static str, config: &TelemetryConfig) -> Resource {
    let given = |key: &str| {
        let found = config.resource_attributes.iter().rfind(|(given, _)| given == key);
        found.map(|(_, value)| value.clone())
    };
    let mut attributes = vec![
        KeyValue::new(semconv::SERVICE_NAME, service),
        KeyValue::new(semconv::SERVICE_NAMESPACE, NAMESPACE),
        KeyValue::new(semconv::SERVICE_INSTANCE_ID, uuid::Uuid::new_v4().to_string()),
        KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(semconv::PROCESS_PID, i64::from(std::process::id())),
    ];
    let mut set = |key: &'static str, value: Option<String>| {
        attributes.extend(value.map(|value| KeyValue::new(key, value)));
    };
    set(semconv::HOST_NAME, host::name());
    set(semconv::PROCESS_EXECUTABLE_NAME, executable_name());
    // Backends filter by either name, operators know only one of them.
    let environment = given(semconv::DEPLOYMENT_ENVIRONMENT_NAME)
        .or_else(|| given(semconv::DEPLOYMENT_ENVIRONMENT));
    set(semconv::DEPLOYMENT_ENVIRONMENT_NAME, environment.clone());
    set(semconv::DEPLOYMENT_ENVIRONMENT, environment);
    let given = config.resource_attributes.iter();
    attributes.extend(given.map(|(key, value)| KeyValue::new(key.clone(), value.clone())));
    let named = [
        (semconv::SERVICE_NAME, &config.service_name),
        (semconv::SERVICE_VERSION, &config.service_version),
    ];
    for (key, value) in named {
        attributes.extend(value.clone().map(|value| KeyValue::new(key, value)));
    }
    // Of two with the same key the later one counts.
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes)
        .build()
}

fn executable_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    fn of(given: &[(&str, &str)], named: Option<&str>, version: Option<&str>, key: &str) -> String {
        let mut config = TelemetryConfig::from_lookup(|_| None).unwrap();
        config.service_name = named.map(str::to_owned);
        config.service_version = version.map(str::to_owned);
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        config.resource_attributes = given.collect();
        resource("skein-api", &config)
            .get(&Key::new(key.to_owned()))
            .map_or_else(String::new, |value| value.to_string())
    }

    #[test]
    fn a_process_says_what_it_is() {
        assert_eq!(of(&[], None, None, semconv::SERVICE_NAME), "skein-api");
        assert_eq!(of(&[], None, None, semconv::SERVICE_VERSION), env!("CARGO_PKG_VERSION"));
        assert_eq!(of(&[], None, Some("9.9"), semconv::SERVICE_VERSION), "9.9");
        assert_eq!(of(&[], None, None, semconv::DEPLOYMENT_ENVIRONMENT), "");
        assert_ne!(
            of(&[], None, None, semconv::SERVICE_INSTANCE_ID),
            of(&[], None, None, semconv::SERVICE_INSTANCE_ID)
        );
        assert_eq!(of(&[], None, None, "telemetry.sdk.language"), "rust");
    }

    #[test]
    fn a_process_says_where_it_is() {
        assert_eq!(of(&[], None, None, semconv::PROCESS_PID), std::process::id().to_string());
        assert!(!of(&[], None, None, semconv::PROCESS_EXECUTABLE_NAME).is_empty());
        assert_eq!(of(&[], None, None, semconv::HOST_NAME), host::name().unwrap_or_default());
        let given = [(semconv::HOST_NAME, "node-7")];
        assert_eq!(of(&given, None, None, semconv::HOST_NAME), "node-7");
    }

    #[test]
    fn a_name_wins_over_attributes_and_those_over_what_the_process_knows() {
        let given = [(semconv::SERVICE_NAME, "attribute"), (semconv::SERVICE_VERSION, "1")];
        assert_eq!(of(&given, None, None, semconv::SERVICE_NAME), "attribute");
        assert_eq!(of(&given, Some("name"), None, semconv::SERVICE_NAME), "name");
        assert_eq!(of(&given, None, None, semconv::SERVICE_VERSION), "1");
        assert_eq!(of(&given, None, Some("2"), semconv::SERVICE_VERSION), "2");
    }

    #[test]
    fn the_environment_is_exported_under_both_names() {
        for given in [semconv::DEPLOYMENT_ENVIRONMENT, semconv::DEPLOYMENT_ENVIRONMENT_NAME] {
            for key in [semconv::DEPLOYMENT_ENVIRONMENT, semconv::DEPLOYMENT_ENVIRONMENT_NAME] {
                assert_eq!(of(&[(given, "staging")], None, None, key), "staging");
            }
        }
    }
}
