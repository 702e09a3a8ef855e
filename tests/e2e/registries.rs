//! Programs of others that the tests run, from the registries that they are published in.

/// What the variable names, unless the tests are to do without PyPI.
pub(crate) fn from_pypi(variable: &str) -> Option<String> {
    from("SKEIN_TEST_WITHOUT_PYPI", variable)
}

/// What the variable names, unless the tests are to do without npm.
pub(crate) fn from_npm(variable: &str) -> Option<String> {
    from("SKEIN_TEST_WITHOUT_NPM", variable)
}

fn from(without: &str, variable: &str) -> Option<String> {
    if std::env::var(without).is_ok_and(|value| !value.is_empty()) {
        eprintln!("without {variable}, as {without} says");
        return None;
    }
    let found = std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run it by tests/run, or set {without}=1 to go without")
    });
    Some(found)
}
