//! `http`: calls a URL.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::Value;
use skein_shared::workflow::params::http::HttpParams;
use tokio::time::Instant;

use super::{Done, EffectNode, NodeContext, NodeError, Outcome};
use crate::egress::{Egress, EgressError, IsEnough, Origin, Response};
use secrets::Secrets;

mod charset;
mod request;
mod response;
mod secrets;

pub(super) use secrets::conceal;

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
        Some(conceal(params))
    }

    async fn execute(
        &self,
        context: &NodeContext,
        params: HttpParams,
    ) -> Result<Outcome, NodeError> {
        let key = context.key.idempotency_key();
        let output = send(&self.egress, context, params, &key).await?;
        Ok(Outcome::Done(Done::with_output(output)))
    }
}

/// Sends one request in the name of a node, with this `Idempotency-Key` if it carries one, and returns what the node
/// would yield.
///
/// # Errors
/// As the node would fail.
pub(super) async fn send(
    egress: &Egress,
    context: &NodeContext,
    params: HttpParams,
    idempotency_key: &str,
) -> Result<Value, NodeError> {
    let accept_status = params.accept_status.clone();
    let answered = exchange(egress, context, params, idempotency_key, &mut |_, _| false).await?;
    let Answered { answer, secrets, method, received_at } = answered;
    if !accept_status.accepts(answer.status.as_u16()) {
        return Err(response::refused(&method, &answer, received_at, &secrets));
    }
    response::output(&answer, &secrets)
}

/// What came back, whatever its status.
pub(super) struct Answered {
    pub(super) answer: Response,
    /// What of the request nobody else may read.
    secrets: Secrets,
    method: Method,
    /// When it came, by the database's clock.
    received_at: DateTime<Utc>,
}

impl Answered {
    /// The body as text, without the secrets of the request.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.secrets.sure().bytes(&self.answer.body)).into_owned()
    }
}

/// Sends one request in the name of a node, and reads no more of its answer than is enough.
///
/// # Errors
/// When less than that comes and no whole answer, or the parameters make no request.
pub(super) async fn exchange(
    egress: &Egress,
    context: &NodeContext,
    params: HttpParams,
    idempotency_key: &str,
    is_enough: &mut IsEnough<'_>,
) -> Result<Answered, NodeError> {
    let secrets = Secrets::of(&params);
    let request = request::build(params, context.timeout, idempotency_key)?;
    let method = request.method.clone();
    let origin = Origin {
        span: context.span,
        run: Arc::clone(&context.run),
        key: context.key.clone(),
        resends: context.attempt.saturating_sub(1),
        masker: secrets.sure().clone(),
    };
    let begun = Instant::now();
    let answer = tokio::select! {
        biased;
        () = context.cancelled.cancelled() => {
            return Err(NodeError::retry("cancelled", "the attempt was cancelled"));
        }
        answer = egress.send_until(request, &origin, is_enough) => answer.map_err(|error| failed(&error, &secrets))?,
    };
    let received_at = context.now + (answer.received_at - begun);
    Ok(Answered { answer, secrets, method, received_at })
}

fn failed(error: &EgressError, secrets: &Secrets) -> NodeError {
    // A redirect may have led to a host that is named after what the server was sent.
    let message = secrets.sure().text(&error.to_string()).into_owned();
    match error.retryable() {
        true => NodeError::retry(error.code(), message),
        false => NodeError::fail(error.code(), message),
    }
}
