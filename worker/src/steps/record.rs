//! What is recorded of a call to a model: enough to go on from it as if it had just been made.

use serde_json::{Value, json};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::limits::OUTPUT_BYTES_MAX;
use skein_shared::domain::step::{StepKind, StepStatus};
use skein_shared::store::steps::{RecordedStep, STEP_RESULT_BYTES_MAX};

use super::answer::Answer;
use super::failed::CallFailed;
use crate::models::{
    ARGUMENTS_BYTES_MAX, CallError, ChatReply, ErrorClass, NAME_BYTES_MAX, SCHEMA_TEXT_BYTES_MAX,
    TEXT_BYTES_MAX, TOOL_CALLS_MAX, ToolCall,
};

/// Bytes of a record beside text and arguments: names, of which a byte takes six at most, and what is between them.
const FRAME_BYTES_MAX: usize = (TOOL_CALLS_MAX + 2) * (6 * NAME_BYTES_MAX + 128);

// Whatever is taken of an answer, which is paid for, can be recorded; and yielded, which an answer by a schema is twice.
const _: () = {
    assert!(TEXT_BYTES_MAX + ARGUMENTS_BYTES_MAX + FRAME_BYTES_MAX <= STEP_RESULT_BYTES_MAX);
    assert!(2 * SCHEMA_TEXT_BYTES_MAX + FRAME_BYTES_MAX <= OUTPUT_BYTES_MAX);
};

const CLASSES: [ErrorClass; 6] = [
    ErrorClass::RateLimited,
    ErrorClass::Unavailable,
    ErrorClass::Refused,
    ErrorClass::Cut,
    ErrorClass::Timeout,
    ErrorClass::Cancelled,
];

/// What is recorded of an answer, if it is not larger than a record may be.
pub(super) fn of_reply(reply: &ChatReply, provider: &str) -> Option<String> {
    let calls = reply.tool_calls.iter().map(|call| {
        let mut shown = json!({ "id": call.id, "name": call.name, "arguments": call.arguments });
        if let Some(signature) = &call.signature {
            shown["signature"] = signature.as_str().into();
        }
        shown
    });
    let record = json!({
        "text": reply.text,
        "tool_calls": calls.collect::<Vec<_>>(),
        "finish_reason": reply.finish_reason,
        "model": reply.model,
        "provider": provider,
    });
    Some(record.to_string()).filter(|record| record.len() <= STEP_RESULT_BYTES_MAX)
}

/// What is recorded of an error beside the failure.
pub(super) fn of_error(error: &CallError) -> String {
    json!({ "class": error.class.as_str(), "status": error.status }).to_string()
}

/// What a step has yielded, as it is recorded; null if nothing is.
///
/// # Errors
/// When it cannot be read. It MUST NOT pass for nothing: whoever goes on from it would tell a model so.
pub(crate) fn observation(step: &RecordedStep) -> Result<Value, CallFailed> {
    let read = step.observation.as_deref().map(serde_json::from_str).transpose();
    read.map(Option::unwrap_or_default).map_err(|_| {
        let message = format!("what is stored of step {} cannot be read", step.seq);
        CallFailed::fail("unreadable", message)
    })
}

/// The answer or the error that an earlier attempt has recorded.
///
/// # Errors
/// What was recorded, or that it cannot be read.
pub(super) fn read(step: &RecordedStep) -> Result<Answer, CallFailed> {
    let observation = observation(step)?;
    match (step.kind, step.status) {
        (StepKind::Model, StepStatus::Succeeded) => answer(step, &observation).ok_or_else(|| {
            CallFailed::fail("internal", "what is recorded of a call to a model cannot be read")
        }),
        (StepKind::Model, _) => {
            let class = observation["class"].as_str();
            let class = CLASSES.into_iter().find(|it| Some(it.as_str()) == class);
            let failure = step
                .error
                .clone()
                .unwrap_or_else(|| Failure::new("internal", "a call to a model failed"));
            Err(match class {
                Some(class) => {
                    CallFailed { is_replayed: true, ..CallFailed::by_class(failure, class) }
                }
                None => CallFailed { failure, ..CallFailed::fail("internal", "") },
            })
        }
        (StepKind::Tool, _) => {
            let message = "the node would ask a model where an earlier attempt has called a tool";
            Err(CallFailed::fail("internal", message))
        }
    }
}

fn answer(step: &RecordedStep, observation: &Value) -> Option<Answer> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let call = |call: &Value| {
        Some(ToolCall {
            id: text(&call["id"])?,
            name: text(&call["name"])?,
            arguments: text(&call["arguments"])?,
            signature: text(&call["signature"]),
        })
    };
    Some(Answer {
        text: text(&observation["text"])?,
        tool_calls: observation["tool_calls"]
            .as_array()?
            .iter()
            .map(call)
            .collect::<Option<_>>()?,
        finish_reason: text(&observation["finish_reason"])?,
        model: text(&observation["model"]).unwrap_or_else(|| step.name.clone()),
        provider: text(&observation["provider"])?.into(),
        usage: step.usage,
        cost: step.cost,
    })
}

#[cfg(test)]
mod tests {
    use skein_shared::domain::usage::Usage;
    use skein_shared::telemetry::new_span_id;

    use super::*;

    #[test]
    fn what_is_recorded_and_cannot_be_read_is_an_error_and_not_nothing() {
        let recorded = |status, observation: Option<&str>| RecordedStep {
            seq: 3,
            attempt: 1,
            kind: StepKind::Model,
            name: "m".to_owned(),
            status,
            digest: Vec::new(),
            arguments: None,
            observation: observation.map(str::to_owned),
            thought: None,
            error: None,
            usage: None,
            charged: Usage::default(),
            cost: None,
            latency: None,
            span: new_span_id(),
            started_at: "2030-01-31T12:00:00Z".parse().unwrap(),
            expires_at: None,
        };
        let too_deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for broken in [&*too_deep, "{", ""] {
            for status in [StepStatus::Succeeded, StepStatus::Failed] {
                let step = recorded(status, Some(broken));
                for error in [observation(&step).unwrap_err(), read(&step).unwrap_err()] {
                    assert_eq!(&*error.failure.code, "unreadable", "{error:?}");
                    assert!(error.failure.message.contains("step 3") && !error.retryable);
                }
            }
        }
        assert_eq!(observation(&recorded(StepStatus::Failed, None)), Ok(Value::Null));
        let some = recorded(StepStatus::Succeeded, Some(r#"{"status":200}"#));
        assert_eq!(observation(&some), Ok(json!({ "status": 200 })));
    }
}
