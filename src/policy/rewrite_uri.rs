//! Changes the path and query that are sent to the backend.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{TextValue, evaluation_failed};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::expression::EvaluationError;
use crate::pipeline::{Apply, Context, Fault, Flow, Message, Step};
use crate::routing::{self, Rewrite, Sent, query};

/// Changes the path and query that are sent to the backend, after the API's base path was taken off.
///
/// `{name}` stands for a variable of the operation's own template; it cannot name others. The template may hold a query. Query
/// parameters of the request that the operation's template does not name are kept, unless `copy-unmatched-params` is `false`; see
/// [rewrite-uri](https://learn.microsoft.com/azure/api-management/rewrite-uri-policy) in Azure API Management.
///
/// ```toml
/// [[inbound]]
/// policy   = "rewrite-uri"
/// template = "/v2/orders/{id}"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RewriteUri {
    /// The new path and query: either with `{name}` variables, whose values are percent-encoded, or an expression whose result is
    /// taken as it is. Evaluated when the step runs; a failure goes to on-error.
    template: Text,
    /// Whether query parameters that the operation's template does not name are kept. Default `true`.
    copy_unmatched_params: Option<bool>,
}

impl Policy for RewriteUri {
    const NAME: &'static str = "rewrite-uri";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let value = TextValue::compile(&self.template, cx)?;
        let target = if value.literal().is_some() {
            let rewrite = Rewrite::parse(&self.template).map_err(|error| cx.template_error(&self.template, error))?;
            cx.check_variables(&self.template, rewrite.variables());
            Target::Template(rewrite)
        } else {
            Target::Expression(value)
        };
        Ok(Step::sync(Compiled { target, copy: self.copy_unmatched_params.unwrap_or(true) }))
    }
}

// === impl Apply ===

struct Compiled {
    target: Target,
    copy: bool,
}

enum Target {
    Template(Rewrite),
    Expression(TextValue),
}

impl Apply for Compiled {
    fn sent(&self, _: Vec<Sent>) -> Vec<Sent> {
        vec![match &self.target {
            Target::Template(rewrite) => rewrite.sent(),
            Target::Expression(_) => Sent::Unknown,
        }]
    }

    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let (mut path, mut new_query) = (String::with_capacity(64), String::new());
        match &self.target {
            Target::Template(rewrite) => {
                let value = |name: &str| cx.exchange.parameter(name);
                rewrite.expand(value, &mut path, &mut new_query).map_err(|error| {
                    Fault::client(StatusCode::BAD_REQUEST, "PathParameterInvalid", "A path parameter is not allowed.")
                        .cause(error)
                })?;
            }
            Target::Expression(text) => {
                let text = text.text(cx)?;
                let (raw, query) = text.split_once('?').unwrap_or((&text, ""));
                let slash = if raw.starts_with('/') { "" } else { "/" };
                let raw = format!("{slash}{raw}");
                let normal = routing::normalise(&raw).map_err(|error| invalid(&error.to_string()))?;
                path.push_str(&normal);
                new_query.push_str(query);
            }
        }
        if self.copy
            && let Some(old) = cx.uri().and_then(Uri::query)
        {
            let template = cx.exchange.operation.as_ref().map(|operation| &operation.template);
            let named = new_query.clone();
            query::merge(&mut new_query, old, |pair| {
                let name = pair.name();
                !template.is_some_and(|template| template.has_query_parameter(&name))
                    && query::find(&named, &name).is_none()
            });
        }
        if !new_query.is_empty() {
            path.push('?');
            path.push_str(&new_query);
        }
        let target = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|error| invalid(&error.to_string()))?;
        if let Message::Request(request) = &mut cx.message {
            *request.uri_mut() = Uri::from(target);
        }
        Ok(Flow::Next)
    }
}

#[cold]
fn invalid(cause: &str) -> Fault {
    evaluation_failed(EvaluationError::new(format!("the rewritten target is not valid: {cause}")))
}
