//! Answers by a schema. Compiling a schema and checking by it may take a second of a core, so both are done where nobody
//! waits for the thread.

use std::sync::Arc;

use serde_json::Value;
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::domain::limits::JSON_DEPTH_MAX;
use skein_shared::workflow::input::InputSchema;

use super::super::NodeError;
use crate::models::parse_within;

/// How deep an answer may nest: the output is around it.
const ANSWER_DEPTH_MAX: usize = JSON_DEPTH_MAX - 1;
/// Faults of an answer that its model is told of.
const FAULTS_MAX: usize = 10;

/// A schema that answers are to match.
pub(super) struct AnswerSchema(InputSchema);

/// Whether an answer matches.
#[derive(Debug, PartialEq)]
pub(super) enum Judged {
    /// It does; with what it is as JSON, where that was asked for.
    Fits(Option<Value>),
    /// What is wrong with it: a line each, without values.
    DoesNot(String),
}

impl AnswerSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When it is none, or could make too much work.
    pub(super) async fn compile(schema: Value) -> Result<Self, NodeError> {
        let compiled = elsewhere(move || InputSchema::compile(&schema, "/schema")).await?;
        let malformed = |diagnostic| NodeError::invalid_params(line(&diagnostic));
        compiled.map(Self).map_err(malformed)
    }

    /// Judges an answer.
    ///
    /// # Errors
    /// Only when the worker shuts down meanwhile.
    pub(super) async fn judge(schema: &Arc<Self>, text: &str) -> Result<Judged, NodeError> {
        let (schema, text) = (Arc::clone(schema), text.to_owned());
        elsewhere(move || schema.judged(&text)).await
    }

    fn judged(&self, text: &str) -> Judged {
        let json = match parse_within(without_fence(text), ANSWER_DEPTH_MAX) {
            Ok(json) => json,
            Err(error) => return Judged::DoesNot(format!("- it is no JSON: {error}")),
        };
        match self.0.validate(&json) {
            Ok(()) => Judged::Fits(Some(json)),
            Err(diagnostics) => {
                let lines: Vec<_> = diagnostics
                    .iter()
                    .take(FAULTS_MAX)
                    .map(|diagnostic| format!("- {}", line(diagnostic)))
                    .collect();
                Judged::DoesNot(lines.join("\n"))
            }
        }
    }
}

async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NodeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| NodeError::retry("cancelled", "the worker shuts down"))
}

fn line(diagnostic: &Diagnostic) -> String {
    let Diagnostic { pointer, message, hint, .. } = diagnostic;
    let place = if pointer.is_empty() { "the answer" } else { pointer };
    let hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
    format!("{place}: {message}{hint}")
}

/// The text within a fence of Markdown, if it is nothing but that: models without constrained decoding like to write one.
fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inside.and_then(|inside| inside.split_once('\n')) {
        Some((language, inside)) if language.trim().chars().all(char::is_alphanumeric) => inside,
        _ => text,
    }
}
