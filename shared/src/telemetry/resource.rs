//! Which process telemetry comes from.

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::resource::ResourceDetector as _;

use super::config::TelemetryConfig;
use super::semconv;

/// The product, for backends that group services.
pub(super) const NAMESPACE: &str = "skein";

/// The resource of this process. What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say wins over
/// everything but `OTEL_SERVICE_VERSION`.
pub(super) fn resource(service: &'static str, config: &TelemetryConfig) -> Resource {
    let given = EnvResourceDetector::new().detect();
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    build(service, config, &given, named)
}

fn build(
    service: &'static str,
    config: &TelemetryConfig,
    given: &Resource,
    named: bool,
) -> Resource {
    let of = |key: &'static str| given.get(&Key::from_static_str(key));
    let mut own = Vec::new();
    let mut default = |key: &'static str, value: String| {
        if of(key).is_none() {
            own.push(KeyValue::new(key, value));
        }
    };
    if !named {
        default(semconv::SERVICE_NAME, service.to_owned());
    }
    default(semconv::SERVICE_NAMESPACE, NAMESPACE.to_owned());
    default(semconv::SERVICE_INSTANCE_ID, uuid::Uuid::new_v4().to_string());
    match &config.service_version {
        Some(version) => own.push(KeyValue::new(semconv::SERVICE_VERSION, version.clone())),
        None => default(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
    }
    // Backends filter by either name, operators know only one of them.
    let environment =
        of(semconv::DEPLOYMENT_ENVIRONMENT_NAME).or_else(|| of(semconv::DEPLOYMENT_ENVIRONMENT));
    if let Some(environment) = environment {
        own.push(KeyValue::new(semconv::DEPLOYMENT_ENVIRONMENT_NAME, environment.clone()));
        own.push(KeyValue::new(semconv::DEPLOYMENT_ENVIRONMENT, environment));
    }
    Resource::builder().with_attributes(own).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[(&'static str, &'static str)], version: Option<&str>, key: &str) -> String {
        let mut config = TelemetryConfig::from_lookup(|_| None).unwrap();
        config.service_version = version.map(str::to_owned);
        let given = given.iter().map(|(key, value)| KeyValue::new(*key, *value));
        let given = Resource::builder_empty().with_attributes(given).build();
        build("skein-api", &config, &given, false)
            .get(&Key::new(key.to_owned()))
            .map_or_else(String::new, |value| value.to_string())
    }

    #[test]
    fn a_process_says_what_it_is() {
        assert_eq!(of(&[], None, semconv::SERVICE_NAME), "skein-api");
        assert_eq!(of(&[], None, semconv::SERVICE_VERSION), env!("CARGO_PKG_VERSION"));
        assert_eq!(of(&[], Some("9.9"), semconv::SERVICE_VERSION), "9.9");
        assert_eq!(of(&[], None, semconv::DEPLOYMENT_ENVIRONMENT), "");
        assert_ne!(
            of(&[], None, semconv::SERVICE_INSTANCE_ID),
            of(&[], None, semconv::SERVICE_INSTANCE_ID)
        );
    }

    #[test]
    fn the_environment_is_exported_under_both_names() {
        for given in [semconv::DEPLOYMENT_ENVIRONMENT, semconv::DEPLOYMENT_ENVIRONMENT_NAME] {
            for key in [semconv::DEPLOYMENT_ENVIRONMENT, semconv::DEPLOYMENT_ENVIRONMENT_NAME] {
                assert_eq!(of(&[(given, "staging")], None, key), "staging");
            }
        }
    }
}
