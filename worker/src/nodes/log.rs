//! `log`: writes a line into the run's log, in the commit that ends the node.

use serde_json::{Value, json};
use skein_shared::domain::limits;
use skein_shared::workflow::params::log::LogParams;

use super::{Done, LogLine, NodeContext, NodeError, Outcome, PureNode};

/// Bytes of what goes with a line. Lines are read by the page, so each must stay small.
const DATA_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Log;

impl PureNode for Log {
    type Params = LogParams;

    fn evaluate(&self, _: &NodeContext, params: LogParams) -> Result<Outcome, NodeError> {
        let LogParams { level, message, data } = params;
        let line = LogLine { level, message: cut(message), data: data.map(bounded) };
        Ok(Outcome::Done(Done { output: Value::Null, branch: None, log: vec![line] }))
    }
}

/// A line that is too long is still worth more than a failed run.
fn cut(mut message: String) -> String {
    if message.len() > limits::LOG_MESSAGE_BYTES_MAX {
        let room = limits::LOG_MESSAGE_BYTES_MAX - '…'.len_utf8();
        message.truncate(message.floor_char_boundary(room));
        message.push('…');
    }
    message
}

fn bounded(data: Value) -> Value {
    let bytes = data.to_string().len();
    if bytes <= DATA_BYTES_MAX {
        return data;
    }
    json!({ "omitted": format!("{bytes} bytes, more than {DATA_BYTES_MAX}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_shared::workflow::params::log::Level;

    use crate::nodes::tests::evaluate;

    fn line(params: Value) -> LogLine {
        match evaluate(&Log, params) {
            Ok(Outcome::Done(mut done)) => {
                assert_eq!((done.output, done.log.len()), (Value::Null, 1));
                done.log.remove(0)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_has_a_level_a_message_and_maybe_data() {
        let plain = line(json!({ "message": "hello" }));
        assert_eq!((plain.level, plain.message.as_str(), plain.data), (Level::Info, "hello", None));
        let rich = line(json!({ "level": "warn", "message": "3", "data": { "a": 1 } }));
        assert_eq!((rich.level, rich.message.as_str()), (Level::Warn, "3"));
        assert_eq!(rich.data, Some(json!({ "a": 1 })));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        for pad in 0..3 {
            let text = "x".repeat(pad) + &"ü".repeat(limits::LOG_MESSAGE_BYTES_MAX);
            let message = line(json!({ "message": text })).message;
            assert!(message.len() <= limits::LOG_MESSAGE_BYTES_MAX && message.ends_with('…'));
            assert!(message.len() > limits::LOG_MESSAGE_BYTES_MAX - 5);
        }
        let fits = "x".repeat(limits::LOG_MESSAGE_BYTES_MAX);
        assert_eq!(line(json!({ "message": fits })).message, fits);
    }

    #[test]
    fn data_that_is_too_large_is_left_out() {
        let data = "x".repeat(DATA_BYTES_MAX);
        let data = line(json!({ "message": "m", "data": data })).data.unwrap();
        assert!(data["omitted"].as_str().unwrap().contains("65538 bytes"), "{data}");
    }

    #[test]
    fn unknown_levels_and_missing_messages_are_diagnostics() {
        for params in [json!({ "message": "m", "level": "loud" }), json!({ "level": "info" })] {
            let error = evaluate(&Log, params).unwrap_err();
            assert_eq!((&*error.failure.code, error.retryable), ("invalid_params", false));
        }
    }
}
