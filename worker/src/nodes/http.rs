//! `http`: calls a URL.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use skein_shared::domain::params::http::accepts_status;

use super::{Done, EffectNode, NodeContext, NodeError, Outcome};
use crate::egress::{Egress, EgressError, Origin};
use secrets::Sent;

mod request;
mod response;
mod secrets;
#[cfg(test)]
mod tests;

pub(super) struct Http {
    egress: Egress,
}

impl Http {
    pub(super) fn new(egress: Egress) -> Self {
        Self { egress }
    }
}

#[async_trait]
impl EffectNode for Http {
    fn shown(&self, params: &Value) -> Option<Value> {
        Some(secrets::conceal(params.clone()))
    }

    async fn execute(&self, context: &NodeContext, params: Value) -> Result<Outcome, NodeError> {
        let call = request::read(params, context)?;
        let method = call.request.method.clone();
        let sent = Sent::of(&call.request.headers);
        let origin =
            Origin { span: context.span, run: Arc::clone(&context.run), key: context.key.clone() };
        let answer = tokio::select! {
            biased;
            () = context.cancelled.cancelled() => {
                return Err(NodeError::retry("cancelled", "the attempt was cancelled"));
            }
            answer = self.egress.send(call.request, &origin) => answer.map_err(|error| failed(&error))?,
        };
        let status = answer.status.as_u16();
        if !accepts_status(&call.accept_status, status) {
            return Err(response::refused(&method, &answer, &sent));
        }
        Ok(Outcome::Done(Done::with_output(response::output(&answer)?)))
    }
}

fn failed(error: &EgressError) -> NodeError {
    let message = error.to_string();
    match error.retryable() {
        true => NodeError::retry(error.code(), message),
        false => NodeError::fail(error.code(), message),
    }
}
