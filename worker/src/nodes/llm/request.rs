//! From the node's parameters to what a model is asked.

use skein_shared::workflow::params::llm::{ChatRole, LlmParams};

use super::super::NodeError;
use crate::models::{ChatRequest, Message, ToolSpec};

/// The request. What messages say in the name of the system goes where providers want it.
///
/// # Errors
/// When nobody says anything to the model.
pub(super) fn build(params: LlmParams) -> Result<ChatRequest, NodeError> {
    let mut system: Vec<String> = params.system.into_iter().collect();
    let mut messages: Vec<Message> = Vec::with_capacity(params.messages.len() + 1);
    for message in params.messages {
        let text = message.content.0;
        match message.role {
            ChatRole::System => system.push(text),
            ChatRole::User => messages.push(Message::User(text)),
            ChatRole::Assistant => {
                messages.push(Message::Assistant { text, tool_calls: Vec::new() });
            }
        }
    }
    messages.extend(params.prompt.map(Message::User));
    if !messages.iter().any(|message| matches!(message, Message::User(_))) {
        let message = "nothing is asked: `messages` needs one with the role `user`";
        return Err(NodeError::invalid_params(message));
    }
    let tools = params.tools.into_iter().map(|tool| ToolSpec {
        name: tool.name,
        description: tool.description,
        parameters: tool.parameters,
    });
    let system = Some(system.join("\n\n")).filter(|system| !system.trim().is_empty());
    Ok(ChatRequest {
        model: params.model,
        system,
        messages,
        tools: tools.collect(),
        schema: params.schema,
        max_tokens: params.max_tokens,
        temperature: params.temperature,
        top_p: params.top_p,
        seed: params.seed,
        stop: params.stop.0,
    })
}
