//! The wire format of protobuf, as much of it as OTLP needs: fields are written one behind the other, each once.

/// How the value of a field is laid out.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// The fields of a message, at the end of a buffer. In ascending order they make the very bytes that generated code makes.
#[derive(Debug)]
pub(super) struct Message<'a> {
    to: &'a mut Vec<u8>,
}

impl<'a> Message<'a> {
    pub(super) fn new(to: &'a mut Vec<u8>) -> Self {
        Self { to }
    }

    /// A number. As with the others, the default is what a field says that is not there.
    pub(super) fn uint(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.some_uint(field, value);
        }
    }

    pub(super) fn fixed32(&mut self, field: u64, value: u32) {
        if value != 0 {
            self.key(field, FIXED32);
            self.to.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn fixed64(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.some_fixed64(field, value);
        }
    }

    pub(super) fn text(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(super) fn bytes(&mut self, field: u64, value: &[u8]) {
        if !value.is_empty() {
            self.some_bytes(field, value);
        }
    }

    /// A number that is written even if it is the default: one of several alternatives, which says which one it is.
    pub(super) fn some_uint(&mut self, field: u64, value: u64) {
        self.key(field, VARINT);
        varint(self.to, value);
    }

    pub(super) fn some_fixed64(&mut self, field: u64, value: u64) {
        self.key(field, FIXED64);
        self.to.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn some_bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, DELIMITED);
        varint(self.to, value.len() as u64);
        self.to.extend_from_slice(value);
    }

    /// A message in this one, also if it is empty.
    pub(super) fn message(&mut self, field: u64, write: impl FnOnce(&mut Message<'_>)) {
        self.key(field, DELIMITED);
        let start = self.to.len();
        // Most are short: of those whose length takes more than a byte the content is moved.
        self.to.push(0);
        write(&mut Message { to: self.to });
        let length = self.to.len() - start - 1;
        match u8::try_from(length) {
            Ok(length) if length < 0x80 => self.to[start] = length,
            _ => insert_length(self.to, start, length),
        }
    }

    fn key(&mut self, field: u64, layout: u64) {
        varint(self.to, field << 3 | layout);
    }
}

/// Makes room for a length of several bytes at `start`, where there is one byte for it.
fn insert_length(to: &mut Vec<u8>, start: usize, length: usize) {
    let end = to.len();
    let more = varint_length(length as u64) - 1;
    to.resize(end + more, 0);
    to.copy_within(start + 1..end, start + 1 + more);
    let mut length = length as u64;
    for byte in &mut to[start..start + more] {
        *byte = low_bits(length) | 0x80;
        length >>= 7;
    }
    to[start + more] = low_bits(length);
}

/// The key and the length of a message whose content is written next.
pub(super) fn delimiter(to: &mut Vec<u8>, field: u64, length: usize) {
    varint(to, field << 3 | DELIMITED);
    varint(to, length as u64);
}

/// Bytes that a message takes with its key and its length, in a field below 16.
pub(super) fn delimited_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    to.push(low_bits(value));
}

fn varint_length(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding;

    use super::*;

    fn written(write: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
        let mut to = b"before".to_vec();
        write(&mut Message::new(&mut to));
        to.split_off(b"before".len())
    }

    #[test]
    fn a_length_takes_as_few_bytes_as_it_can() {
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_151, 2_097_152] {
            let content = vec![7; length];
            let nested = written(|message| {
                message.message(2, |inner| inner.to.extend_from_slice(&content));
            });
            let mut expected = Vec::new();
            encoding::bytes::encode(2, &content, &mut expected);
            assert!(nested == expected, "{length}");
            assert!(written(|message| message.some_bytes(2, &content)) == expected, "{length}");
            assert_eq!(delimited_length(length), expected.len());
            let mut apart = Vec::new();
            delimiter(&mut apart, 2, length);
            assert_eq!(apart[..], expected[..expected.len() - length]);
        }
    }

    #[test]
    fn messages_nest_over_the_bounds_of_their_lengths() {
        // A text that just fits makes the messages around it the first that do not.
        for length in 100..140 {
            let text = "x".repeat(length);
            let inner = |message: &mut Message<'_>| message.text(1, &text);
            let all = written(|message| message.message(3, |it| it.message(4, inner)));
            let around = |field: u32, content: &[u8]| {
                let mut to = Vec::new();
                encoding::bytes::encode(field, &content.to_vec(), &mut to);
                to
            };
            assert_eq!(all, around(3, &around(4, &around(1, text.as_bytes()))), "{length}");
        }
    }

    #[test]
    fn defaults_are_left_out_unless_they_say_something() {
        let nothing = written(|message| {
            message.uint(1, 0);
            message.fixed32(2, 0);
            message.fixed64(3, 0);
            message.text(4, "");
            message.bytes(5, &[]);
        });
        assert_eq!(nothing, b"");
        let something = written(|message| {
            message.some_uint(1, 0);
            message.some_bytes(2, &[]);
            message.message(3, |_| ());
        });
        assert_eq!(something, [8, 0, 18, 0, 26, 0]);
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_generated_code(value: u64, short: u32, field in 1_u32..40) {
            for value in [value, u64::from(short), value >> 40, 1 << (value % 64)] {
                let mut expected = Vec::new();
                encoding::uint64::encode(field, &value, &mut expected);
                encoding::fixed64::encode(field, &value, &mut expected);
                encoding::fixed32::encode(field, &(short | 1), &mut expected);
                let all = written(|message| {
                    message.some_uint(field.into(), value);
                    message.some_fixed64(field.into(), value);
                    message.fixed32(field.into(), short | 1);
                });
                prop_assert_eq!(all, expected);
                prop_assert_eq!(varint_length(value), encoding::encoded_len_varint(value));
            }
        }
    }
}
