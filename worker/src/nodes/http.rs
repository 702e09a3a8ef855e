//! `http`: calls a URL.

use std::sync::Arc;

use serde_json::Value;
use skein_shared::workflow::params::http::HttpParams;
use tokio::time::Instant;

use super::{Done, EffectNode, NodeContext, NodeError, Outcome};
use crate::egress::{Egress, EgressError, Origin};
use secrets::Secrets;

mod charset;
mod request;
mod response;
mod secrets;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod secret_tests;
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

impl EffectNode for Http {
    type Params = HttpParams;

    fn shown(&self, params: &Value) -> Option<Value> {
        Some(secrets::conceal(params))
    }

    async fn execute(
        &self,
        context: &NodeContext,
        params: HttpParams,
    ) -> Result<Outcome, NodeError> {
        let secrets = Secrets::of(&params);
        let call = request::build(params, context)?;
        let method = call.request.method.clone();
        let origin = Origin {
            span: context.span,
            run: Arc::clone(&context.run),
            key: context.key.clone(),
            masker: secrets.sure().clone(),
        };
        let begun = Instant::now();
        let answer = tokio::select! {
            biased;
            () = context.cancelled.cancelled() => {
                return Err(NodeError::retry("cancelled", "the attempt was cancelled"));
            }
            answer = self.egress.send(call.request, &origin) => answer.map_err(|error| failed(&error, &secrets))?,
        };
        let status = answer.status.as_u16();
        if !call.accept_status.accepts(status) {
            let received_at = context.now + (answer.received_at - begun);
            return Err(response::refused(&method, &answer, received_at, &secrets));
        }
        Ok(Outcome::Done(Done::with_output(response::output(&answer, &secrets)?)))
    }
}

fn failed(error: &EgressError, secrets: &Secrets) -> NodeError {
    // A redirect may have led to a host that is named after what the server was sent.
    let message = secrets.sure().text(&error.to_string()).into_owned();
    match error.retryable() {
        true => NodeError::retry(error.code(), message),
        false => NodeError::fail(error.code(), message),
    }
}
