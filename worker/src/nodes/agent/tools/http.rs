//! A tool that is one request.
//!
//! Its templates are rendered when it is called. Whom it calls is never the model's choice: the part of the URL up to the
//! end of its port is rendered by itself, without the arguments, and the whole must lead to the same place. In the path, what
//! the model says is one part of it (see `path.rs`).

use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Value, json};
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::domain::kind::Effect;
use skein_shared::domain::limits::EXPRESSION_TIME_MAX;
use skein_shared::expression::{Roots, Template, find_outside};
use skein_shared::workflow::params::agent::{HttpToolParams, authority_end};
use skein_shared::workflow::params::http::{HttpParams, address};
use skein_shared::workflow::params::{Entries, Rendered};

use super::path::Path;
use super::{Observation, Tool};
use crate::egress::Egress;
use crate::evaluate::{Evaluator, For, Unevaluated};
use crate::models::ToolSpec;
use crate::nodes::{NodeContext, NodeError, http};

/// See the module.
pub(in crate::nodes::agent) struct HttpTool {
    spec: ToolSpec,
    params: HttpToolParams,
    path: Path,
    template: Template,
    egress: Egress,
    evaluator: Evaluator,
}

/// What a template of a tool reads as, before it is a request.
struct Parts {
    authority: String,
    url: String,
    headers: Value,
    body: Option<Value>,
}

impl HttpTool {
    /// The tool whose parameters stand at `pointer`.
    ///
    /// # Errors
    /// When its templates cannot be read, which was checked when the workflow was saved.
    pub(in crate::nodes::agent) fn new(
        params: HttpToolParams,
        pointer: &str,
        egress: Egress,
        evaluator: Evaluator,
    ) -> Result<Self, NodeError> {
        let (path, template) = template(&params, pointer).map_err(|diagnostics| {
            let message = diagnostics.first().map_or("", |diagnostic| &diagnostic.message);
            NodeError::invalid_params(format!("{pointer}: {message}"))
        })?;
        let spec = ToolSpec {
            name: params.name.clone(),
            description: params.description.clone(),
            parameters: params.parameters.clone(),
        };
        Ok(Self { spec, params, path, template, egress, evaluator })
    }

    async fn send(
        &self,
        context: &NodeContext,
        idempotency_key: &str,
        arguments: Value,
    ) -> Result<Value, NodeError> {
        let parts = self.render(context, arguments).await?;
        check_place(&parts.authority, &parts.url)?;
        let mut request = json!({
            "method": self.params.method.as_str(),
            "url": parts.url,
            "headers": parts.headers,
            "accept_status": ["4xx", "5xx"],
            "idempotency_key": self.params.idempotency_key,
        });
        if let Some(body) = parts.body {
            request["body"] = body;
        }
        let request = HttpParams::read(request)
            .map_err(|error| NodeError::invalid_params(error.to_string()))?;
        http::send(&self.egress, context, request, idempotency_key).await
    }

    async fn render(&self, context: &NodeContext, arguments: Value) -> Result<Parts, NodeError> {
        let mut scope = context.scope.clone();
        scope.args = Some(arguments.into());
        let whose =
            For { organization: &context.run.identity.organization, cancelled: &context.cancelled };
        let time = context.timeout.min(EXPRESSION_TIME_MAX);
        let rendered = self.evaluator.render(&self.template, &scope, time, whose).await;
        let mut parts = match rendered {
            Ok(rendered) => rendered.result,
            Err(Unevaluated::Failed(error)) => {
                let message = format!("{}: {}", error.pointer, error.message);
                return Err(NodeError::fail("expression", message));
            }
            Err(Unevaluated::Late) => {
                return Err(NodeError::fail("expression", "the request took too long to make"));
            }
            Err(Unevaluated::Cancelled) => {
                return Err(NodeError::retry("cancelled", "the attempt was cancelled"));
            }
        };
        let mut text = |name: &str| match parts[name].take() {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let (authority, query) = (text("authority"), text("query"));
        let path = self.path.of(&parts["path"])?;
        // Nothing behind a `#` is sent: what a model says must not take the rest of the query away.
        let url = format!("{authority}{path}{}", query.replace('#', "%23"));
        let body = parts.get_mut("body").map(Value::take);
        Ok(Parts { authority, url, headers: parts["headers"].take(), body })
    }
}

#[async_trait]
impl Tool for HttpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn kind(&self) -> &'static str {
        "function"
    }

    fn is_repeatable(&self) -> bool {
        self.params.effect() != Effect::Unsafe
    }

    async fn call(
        &self,
        context: &NodeContext,
        idempotency_key: &str,
        arguments: Value,
    ) -> Observation {
        let mut output = match self.send(context, idempotency_key, arguments).await {
            Ok(output) => output,
            Err(error) => return error.into(),
        };
        let status = output["status"].as_u64().unwrap_or_default();
        let value = json!({ "status": status, "body": output["body"].take() });
        let failure = || {
            let message = format!("answered with status {status}");
            skein_shared::domain::failure::Failure::new("http_status", message)
        };
        Observation { value, error: (status >= 400).then(failure) }.bounded()
    }
}

/// All templates of a tool as one.
fn template(params: &HttpToolParams, pointer: &str) -> Result<(Path, Template), Vec<Diagnostic>> {
    let (authority, rest) = params.url.split_at(authority_end(&params.url));
    let fragment = find_outside(rest, 0, &['#']).unwrap_or(rest.len());
    let (path, query) = rest.split_at(find_outside(rest, 0, &['?', '#']).unwrap_or(rest.len()));
    let query = &query[..fragment - path.len()];
    let url = format!("{pointer}/url");
    // Without the arguments: they do not exist here.
    let authority = Template::parse_text(authority, &url)?;
    let (path, pieces) = Path::parse(path, &url)?;
    let query = Template::parse_text_from(query, &url, Roots::Call)?;
    let Entries(headers) = &params.headers;
    let headers = headers.iter().map(|(name, text)| {
        let text = Template::parse_text_from(text, &format!("{pointer}/headers"), Roots::Call)?;
        Ok((name.clone(), text))
    });
    let headers = Template::object(headers.collect::<Result<_, Vec<Diagnostic>>>()?);
    let mut parts = vec![
        ("authority".to_owned(), authority),
        ("path".to_owned(), pieces),
        ("query".to_owned(), query),
        ("headers".to_owned(), headers),
    ];
    if let Some(body) = &params.body {
        let body = Template::parse_from(body, &format!("{pointer}/body"), Roots::Call)?;
        parts.push(("body".to_owned(), body));
    }
    Ok((path, Template::object(parts)))
}

/// Refuses a URL that leads to another place than the part of it that the workflow alone has written.
fn check_place(authority: &str, whole: &str) -> Result<(), NodeError> {
    let refused = |message: &str| Err(NodeError::fail("address_refused", message));
    let read = |text: &str| address::parse(text).map_err(NodeError::invalid_params);
    let (own, url) = (read(&format!("{authority}/"))?, read(whole)?);
    let place = |url: &Url| {
        let host = url.host_str().map(str::to_owned);
        let user = (url.username().to_owned(), url.password().map(str::to_owned));
        (url.scheme().to_owned(), host, url.port_or_known_default(), user)
    };
    if place(&own) != place(&url) {
        return refused("the arguments lead to another host");
    }
    Ok(())
}
