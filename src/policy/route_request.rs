//! Sends the request to another path of the backend, and by another method.

use http::{Method, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::route_template::RouteTemplate;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Apply, Context, Fault, Flow, Message, Step};
use crate::routing::Sent;

/// Sends the request to another path of the backend, and by another method: the connector template
/// [routerequesttoendpoint](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/routerequesttoendpoint/routerequesttoendpoint).
///
/// The path is relative to the base URL of the backend, or of `dynamic-host-url`. The request's query is kept, but for parameters that the
/// new path names. Body and headers stay. The last one that runs decides.
///
/// ```toml
/// [[inbound]]
/// policy = "route-request"
/// path   = "/@queryParameters('version', 'v1')/search?kind=@headers('x-kind')"
/// method = "POST"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouteRequest {
    /// The new path, and the query after a `?`. `{name}` stands for a variable of the operation's template. Values are percent-encoded, so that they
    /// stay in their segment or parameter; what is written here is not encoded again. A missing first `/` is added. Evaluated when the step runs; a failure
    /// goes to on-error, and a value that makes a dot segment is answered with 400. So is a header or a query parameter that is a whole segment and is
    /// not there, with its name (`RequestValueMissing`); a parameter of the connection with 500 (`ConnectionIncomplete`). A default, also
    /// an empty one (`@queryParameters('id', '')`), stands in its place.
    path: Text,
    /// The new method, in any case: `GET`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS` or `HEAD`; `@Request.OriginalHTTPMethod` for the
    /// caller's. Default: as it is.
    method: Option<At<String>>,
}

impl Policy for RouteRequest {
    const NAME: &'static str = "route-request";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let method = self.method.as_ref().map(method).transpose();
        let method = cx.note(method);
        let path = RouteTemplate::compile(&self.path, cx)?;
        Ok(Step::sync(Compiled { path, method: method? }))
    }
}

fn method(text: &At<String>) -> Result<NewMethod, CompileError> {
    const METHODS: [Method; 7] =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::HEAD];
    if text.eq_ignore_ascii_case("@Request.OriginalHTTPMethod") {
        return Ok(NewMethod::Original);
    }
    let found = METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
    found.map(NewMethod::Fixed).ok_or_else(|| {
        CompileError::at(text, format!("`{}` is not a method that a template may name", text.value))
            .hint("`GET`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`, `HEAD` or `@Request.OriginalHTTPMethod`")
    })
}

// === impl Apply ===

struct Compiled {
    path: RouteTemplate,
    method: Option<NewMethod>,
}

enum NewMethod {
    Fixed(Method),
    Original,
}

impl Apply for Compiled {
    fn sent(&self, _: Vec<Sent>) -> Vec<Sent> {
        vec![self.path.sent()]
    }

    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let target = self.path.target(cx, true)?;
        let method = match &self.method {
            None => None,
            Some(NewMethod::Fixed(method)) => Some(method.clone()),
            Some(NewMethod::Original) => Some(cx.exchange.method.clone()),
        };
        if let Message::Request(request) = &mut cx.message {
            *request.uri_mut() = Uri::from(target);
            if let Some(method) = method {
                *request.method_mut() = method;
            }
        }
        Ok(Flow::Next)
    }
}
