//! Tools of an MCP server, which is spoken to by streamable HTTP.
//!
//! Not by `rmcp`, the official crate: its transport posts a message once more by itself when a session or a stream has
//! broken off, which would repeat a call that must not be repeated, and it leaves tasks behind that nobody waits for.
//! What is needed of the protocol is little: the handshake of the revisions up to 2025-11-25, the envelope of 2026-07-28,
//! `tools/list` and `tools/call`, each one request through the guarded client, whose answer is read up to its end.
//!
//! What the server offers is written down once: an agent that is taken up again sees the same tools. Before each call the
//! server is asked whether the tool is still what was written down; one that has changed is not called.

mod answer;
mod client;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use skein_shared::domain::failure::Failure;
use skein_shared::telemetry::redact;
use skein_shared::workflow::params::agent::McpParams;

use super::{Observation, Tool};
use crate::egress::Egress;
use crate::models::ToolSpec;
use crate::nodes::{NodeContext, NodeError};
use client::{Client, Unanswered};

/// Pages of the list of tools that are read. Servers have some tens of tools and send them at once.
const PAGES_MAX: usize = 20;
/// Bytes of the description and the schema of one tool. Both stand in every request to the model.
const DEFINITION_BYTES_MAX: usize = 16 * 1024;
/// Bytes of all definitions of a server together: half of what a step may hold.
const DEFINITIONS_BYTES_MAX: usize = 128 * 1024;

/// A server. Cheap to clone; clones share its session.
#[derive(Clone)]
pub(in crate::nodes::agent) struct McpServer {
    client: Arc<Client>,
    allow: Arc<[String]>,
    /// As it is shown.
    url: Arc<str>,
}

/// A tool as the server offers it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::nodes::agent) struct Pinned(ToolSpec);

impl McpServer {
    pub(in crate::nodes::agent) fn new(params: McpParams, egress: Egress) -> Self {
        Self {
            allow: params.allow.into(),
            url: redact::url(&params.url).into(),
            client: Arc::new(Client::new(params.url, params.headers, egress)),
        }
    }

    /// Where it is, without secrets.
    pub(in crate::nodes::agent) fn url(&self) -> &str {
        &self.url
    }

    /// The tools that it offers and that may be called.
    ///
    /// # Errors
    /// When it does not answer, does not have one of them, or they are larger than a model can be shown.
    pub(in crate::nodes::agent) async fn list(
        &self,
        context: &NodeContext,
    ) -> Result<Vec<Pinned>, NodeError> {
        let all = self.all(context).await.map_err(|error| error.into_node_error(&self.url))?;
        let mut pinned = Vec::new();
        let mut bytes = 0;
        for name in self.allow.iter() {
            let Some(tool) = all.iter().find(|tool| tool.0.name == *name) else {
                let names: Vec<_> = all.iter().take(20).map(|tool| &*tool.0.name).collect();
                let message = format!("the MCP server {} has no tool `{name}`", self.url);
                let details = format!("it has {}", names.join(", "));
                return Err(NodeError::fail("mcp_tools", message).with_details(details));
            };
            let size = tool.to_json().to_string().len();
            bytes += size;
            if size > DEFINITION_BYTES_MAX || bytes > DEFINITIONS_BYTES_MAX {
                let message = format!(
                    "the MCP server {} describes `{name}` in {size} bytes: at most {DEFINITION_BYTES_MAX}, and \
                     {DEFINITIONS_BYTES_MAX} for all of its tools",
                    self.url
                );
                return Err(NodeError::fail("mcp_tools", message));
            }
            pinned.push(tool.clone());
        }
        Ok(pinned)
    }

    /// Its tools. Those that may be called are written down; the model never sees the others.
    async fn all(&self, context: &NodeContext) -> Result<Vec<Pinned>, Unanswered> {
        let mut tools = Vec::new();
        let mut params = json!({});
        for _ in 0..PAGES_MAX {
            let page = self.client.request(context, "tools/list", params).await?;
            let Some(listed) = page["tools"].as_array() else {
                return Err(Unanswered::malformed("`tools/list` was answered without tools"));
            };
            tools.extend(listed.iter().filter_map(Pinned::of_listed));
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(tools),
            }
        }
        Err(Unanswered::malformed("`tools/list` does not come to an end"))
    }

    /// Calls a tool, if it is still what was written down.
    async fn call(
        &self,
        context: &NodeContext,
        pinned: &Pinned,
        arguments: Value,
    ) -> Result<Observation, Unanswered> {
        let name = &pinned.0.name;
        let all = self.all(context).await?;
        match all.iter().find(|tool| tool.0.name == *name) {
            Some(tool) if tool == pinned => {}
            Some(_) => return Ok(changed(name, "has changed")),
            None => return Ok(changed(name, "is gone")),
        }
        let params = json!({ "name": name, "arguments": arguments });
        let result = self.client.request(context, "tools/call", params).await?;
        Ok(answer::observation(&result))
    }

    /// Tells the server that nobody needs its session any more. Nothing depends on it.
    pub(in crate::nodes::agent) async fn close(&self, context: &NodeContext) {
        self.client.close(context).await;
    }
}

fn changed(name: &str, how: &str) -> Observation {
    let message = format!(
        "the tool `{name}` of the MCP server {how} since the agent began: it was not called"
    );
    Observation::failed(Failure::new("tool_changed", message))
}

impl Pinned {
    fn of_listed(tool: &Value) -> Option<Self> {
        Some(Self(ToolSpec {
            name: tool["name"].as_str()?.to_owned(),
            description: tool["description"].as_str().unwrap_or_default().to_owned(),
            parameters: tool["inputSchema"].is_object().then(|| tool["inputSchema"].clone())?,
        }))
    }

    /// As it is written down.
    pub(in crate::nodes::agent) fn to_json(&self) -> Value {
        let ToolSpec { name, description, parameters } = &self.0;
        json!({ "name": name, "description": description, "parameters": parameters })
    }

    /// As it was written down.
    pub(in crate::nodes::agent) fn of_json(value: &Value) -> Option<Self> {
        Some(Self(ToolSpec {
            name: value["name"].as_str()?.to_owned(),
            description: value["description"].as_str()?.to_owned(),
            parameters: value["parameters"].clone(),
        }))
    }

    /// The tool of that server.
    pub(in crate::nodes::agent) fn tool(self, server: &McpServer) -> Box<dyn Tool> {
        Box::new(McpTool { pinned: self, server: server.clone() })
    }
}

/// A tool of a server.
struct McpTool {
    pinned: Pinned,
    server: McpServer,
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.pinned.0
    }

    fn kind(&self) -> &'static str {
        "extension"
    }

    /// The protocol has no key that a server could deduplicate by.
    fn is_repeatable(&self) -> bool {
        false
    }

    async fn call(&self, context: &NodeContext, _: &str, arguments: Value) -> Observation {
        match self.server.call(context, &self.pinned, arguments).await {
            Ok(observation) => observation.bounded(),
            Err(error) => error.into_node_error(self.server.url()).into(),
        }
    }
}
