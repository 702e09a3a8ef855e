//! What a suite has to offer, read off its source.

/// The public functions whose only parameter is this, however the signature is wrapped.
pub(crate) fn functions_of<'a>(source: &'a str, parameter: &str) -> Vec<&'a str> {
    let functions = source.split("\npub async fn ").skip(1);
    let taking = functions.filter_map(|function| {
        let (name, rest) = function.split_once('(')?;
        let (parameters, _) = rest.split_once(')')?;
        (parameters.trim().trim_end_matches(',') == parameter).then_some(name)
    });
    taking.collect()
}

#[test]
fn wrapped_signatures_are_seen() {
    let source = "
pub async fn one(store: S) {}
pub async fn two(
    store: S,
) {
}
pub async fn helper(store: &S) {}
";
    assert_eq!(functions_of(source, "store: S"), ["one", "two"]);
}
