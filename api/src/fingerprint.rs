//! Which requests are the same: those that mean the same, however they are written.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// A digest of everything in the request that the run depends on.
pub(crate) fn fingerprint(
    workflow: &str,
    version: Option<u32>,
    input: &Value,
    step_mode: bool,
    record: Option<bool>,
    budget: Option<&Value>,
) -> [u8; 32] {
    let mut canonical = String::new();
    write(input, &mut canonical);
    if let Some(budget) = budget {
        // No JSON begins with it, nor with what is put before the version.
        canonical.push('$');
        write(budget, &mut canonical);
    }
    if let Some(version) = version {
        canonical.push('@');
        canonical.push_str(&version.to_string());
    }
    let digest = Sha256::new()
        .chain_update(workflow)
        // A name holds no NUL, so nothing can be moved from one part into the next.
        .chain_update([0, u8::from(step_mode), record.map_or(2, u8::from)])
        .chain_update(canonical);
    digest.finalize().into()
}

/// Compact JSON with the keys of every object in order, and each number in one form.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, value) in fields {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&number_text(float)),
            None => out.push_str(&number.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}

/// A float as the integer that it is, if it is one of 64 bits.
fn number_text(float: f64) -> String {
    const INTEGERS: std::ops::Range<f64> =
        -9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0;
    if float.fract() != 0.0 || !INTEGERS.contains(&float) {
        return Value::from(float).to_string();
    }
    // Adding nothing makes a plain zero of a negative one.
    format!("{:.0}", float + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let mut out = String::new();
        write(&serde_json::from_str(json).unwrap(), &mut out);
        out
    }

    #[test]
    fn the_order_of_keys_and_the_form_of_numbers_make_no_difference() {
        for (one, other) in [
            (r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"b":{"d":3,"c":2},"a":1}"#),
            ("[1, 100, 0, -3]", "[1.0, 1e2, -0.0, -3.0]"),
            ("18446744073709549568", "1.8446744073709549568e19"),
            (r#"["\u0061"]"#, r#"["a"]"#),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
    }

    /// Keys are in use that were sent before a version or a budget could be.
    #[test]
    fn what_is_left_out_makes_no_difference() {
        let (input, budget) = (serde_json::json!({ "n": 1 }), serde_json::json!({ "max_usd": 1 }));
        let digest = |version, budget| {
            let digest = fingerprint("w", version, &input, false, None, budget);
            digest[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let digests = [
            digest(None, None),
            digest(None, Some(&budget)),
            digest(Some(1), None),
            digest(Some(11), None),
            digest(Some(1), Some(&budget)),
        ];
        assert_eq!(digests[..2], ["cfa8df20", "20c70a2c"]);
        let mut different = digests.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), digests.len(), "{digests:?}");
    }

    #[test]
    fn values_make_a_difference() {
        for (one, other) in [
            ("[1, 2]", "[2, 1]"),
            ("1", "\"1\""),
            ("1", "true"),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000002"),
            ("18446744073709551615", "1.8446744073709552e19"),
            ("[]", "{}"),
            (r#"{"a":null}"#, "{}"),
            (r#"{"a":"1,\"b\":2"}"#, r#"{"a":"1","b":2}"#),
            ("[[1],[]]", "[[1,[]]]"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }
}
