//! Attributes and their values, of spans and of log records.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::logs::AnyValue;
use opentelemetry::{Array, Key, KeyValue, Value};

use super::protobuf::Message;

/// Writes one field for each attribute.
pub(super) fn attributes<'a>(
    to: &mut Message<'_>,
    field: u64,
    attributes: impl IntoIterator<Item = &'a KeyValue>,
) {
    for KeyValue { key, value, .. } in attributes {
        pair(to, field, key.as_str(), |to| write(to, value));
    }
}

/// Writes an attribute of a log record, whose values may be more than those of a span.
pub(super) fn any_attribute(to: &mut Message<'_>, field: u64, key: &Key, value: &AnyValue) {
    pair(to, field, key.as_str(), |to| any(to, value));
}

/// Writes an attribute that is a text.
pub(super) fn text_attribute(to: &mut Message<'_>, field: u64, key: &str, value: &str) {
    pair(to, field, key, |to| string(to, value));
}

/// Nanoseconds since 1970; 0 for what was before.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

fn pair(to: &mut Message<'_>, field: u64, key: &str, value: impl FnOnce(&mut Message<'_>)) {
    to.message(field, |pair| {
        pair.text(1, key);
        pair.message(2, value);
    });
}

fn write(to: &mut Message<'_>, value: &Value) {
    match value {
        Value::String(text) => string(to, text.as_str()),
        Value::Bool(bool) => boolean(to, *bool),
        Value::I64(number) => integer(to, *number),
        Value::F64(number) => double(to, *number),
        Value::Array(values) => to.message(5, |to| match values {
            Array::Bool(values) => each(to, values, |to, it| boolean(to, *it)),
            Array::I64(values) => each(to, values, |to, it| integer(to, *it)),
            Array::F64(values) => each(to, values, |to, it| double(to, *it)),
            Array::String(values) => each(to, values, |to, it| string(to, it.as_str())),
            _ => {}
        }),
        // There is no other one; one that comes would be a value that says nothing.
        _ => {}
    }
}

/// The fields of an `AnyValue`.
pub(super) fn any(to: &mut Message<'_>, value: &AnyValue) {
    match value {
        AnyValue::String(text) => string(to, text.as_str()),
        AnyValue::Boolean(bool) => boolean(to, *bool),
        AnyValue::Int(number) => integer(to, *number),
        AnyValue::Double(number) => double(to, *number),
        AnyValue::ListAny(values) => to.message(5, |to| each(to, values, any)),
        AnyValue::Map(pairs) => to.message(6, |to| {
            for (key, value) in pairs.iter() {
                pair(to, 1, key.as_str(), |to| any(to, value));
            }
        }),
        AnyValue::Bytes(bytes) => to.some_bytes(7, bytes),
        _ => {}
    }
}

fn each<T>(to: &mut Message<'_>, values: &[T], write: impl Fn(&mut Message<'_>, &T)) {
    for value in values {
        to.message(1, |to| write(to, value));
    }
}

/// The field of an `AnyValue` that is a text.
pub(super) fn string(to: &mut Message<'_>, text: &str) {
    to.some_bytes(1, text.as_bytes());
}

fn boolean(to: &mut Message<'_>, bool: bool) {
    to.some_uint(2, bool.into());
}

fn integer(to: &mut Message<'_>, number: i64) {
    to.some_uint(3, number.cast_unsigned());
}

fn double(to: &mut Message<'_>, number: f64) {
    to.some_fixed64(4, number.to_bits());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::common::v1 as proto;
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::{Strategy, any as arbitrary, prop_assert_eq, prop_oneof, proptest};
    use prost::Message as _;

    use super::*;

    fn encoded(value: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
        let mut to = Vec::new();
        value(&mut Message::new(&mut to));
        to
    }

    fn assert_as_generated(value: &Value) {
        let expected = proto::AnyValue::from(value.clone()).encode_to_vec();
        assert_eq!(encoded(|to| write(to, value)), expected, "{value:?}");
    }

    #[test]
    fn values_are_those_of_generated_code() {
        for length in [0, 1, 120, 124, 125, 126, 127, 128, 16_380, 16_383, 16_384, 70_000] {
            assert_as_generated(&"x".repeat(length).into());
        }
        let others = [
            Value::from("größer als 日本 🦀"),
            true.into(),
            false.into(),
            0.into(),
            1.into(),
            (-1).into(),
            i64::MIN.into(),
            i64::MAX.into(),
            0.0.into(),
            (-0.0).into(),
            0.1.into(),
            f64::NAN.into(),
            f64::INFINITY.into(),
            Value::Array(Array::Bool(vec![true, false])),
            Value::Array(Array::I64(vec![0, -7, 300])),
            Value::Array(Array::F64(vec![0.0, 2.5])),
            Value::Array(Array::String(vec!["".into(), "b".into(), "c".repeat(200).into()])),
            Value::Array(Array::String(Vec::new())),
        ];
        others.iter().for_each(assert_as_generated);
    }

    #[test]
    fn a_time_is_nanoseconds_and_none_before_1970() {
        assert_eq!(nanos(UNIX_EPOCH + Duration::from_nanos(1_234_567_891)), 1_234_567_891);
        assert_eq!(nanos(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }

    fn any_value() -> impl Strategy<Value = AnyValue> {
        let leaf = prop_oneof![
            arbitrary::<i64>().prop_map(AnyValue::Int),
            arbitrary::<f64>().prop_map(AnyValue::Double),
            arbitrary::<bool>().prop_map(AnyValue::Boolean),
            ".{0,200}".prop_map(|text| AnyValue::String(text.into())),
            vec(arbitrary::<u8>(), 0..200).prop_map(|bytes| AnyValue::Bytes(Box::new(bytes))),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let pair = (".{0,8}".prop_map(Key::from), inner.clone());
            prop_oneof![
                vec(inner, 0..4).prop_map(|values| AnyValue::ListAny(Box::new(values))),
                hash_map(pair.0, pair.1, 0..4).prop_map(|map| AnyValue::Map(Box::new(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_of_log_records_are_those_of_generated_code(value in any_value()) {
            let expected = proto::AnyValue::from(value.clone());
            let found = proto::AnyValue::decode(&encoded(|to| super::any(to, &value))[..]).unwrap();
            // Of a map, whose order is nobody's, both have the one of the same map; NaN is not itself.
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }
}
