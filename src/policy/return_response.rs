//! Answers at once with a response made here.

use http::header::HeaderName;
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::set_header::is_framing;
use super::value::{BodyText, HeaderText, ReasonText, StatusValue};
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Answers at once with a response made here; see
/// [return-response](https://learn.microsoft.com/azure/api-management/return-response-policy) in Azure API Management.
///
/// In inbound and backend the backend is not called and outbound does not run. In outbound and on-error the response takes the place of
/// the one that is there, and the steps that follow do not run.
///
/// ```toml
/// [[inbound]]
/// policy  = "return-response"
/// status  = 403
/// reason  = "Closed"
/// headers = [{ name = "content-type", value = "application/json" }]
/// body    = '{"error":"closed for @{consumer()}"}'
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReturnResponse {
    /// The status, from 200 to 599. Default 200. Evaluated when the step runs; a failure goes to on-error.
    status: Option<Text>,
    /// The reason phrase of HTTP/1.1; HTTP/2 has none. Default: the standard one of the status. Evaluated when the step runs; a
    /// failure goes to on-error.
    reason: Option<Text>,
    /// The headers, in order; a name may come several times. Default: none.
    #[serde(default)]
    headers: Vec<Field>,
    /// The body. When the whole value is one expression that gives an object or an array, it is written as compact JSON. Default: none.
    /// Evaluated when the step runs; a failure goes to on-error.
    body: Option<Text>,
}

/// A header of the response.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Field {
    /// The header's name.
    name: At<String>,
    /// The value. Evaluated when the step runs; a failure goes to on-error.
    value: Text,
}

impl Policy for ReturnResponse {
    const NAME: &'static str = "return-response";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let status = match &self.status {
            Some(status) => StatusValue::compile(status, cx),
            None => Ok(StatusValue::Literal(StatusCode::OK)),
        };
        let status = cx.note(status);
        let mut body = self.body.as_ref().map(|body| BodyText::compile(body, cx)).transpose();
        if let (Ok(StatusValue::Literal(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)), Some(text)) =
            (&status, self.body.as_ref().filter(|body| !body.is_empty()))
        {
            body = Err(CompileError::at(text, "an answer with this status has no body")
                .hint("leave `body` out (RFC 9110 §6.4.1)"));
        }
        let body = cx.note(body);
        let reason = self.reason.map(|reason| ReasonText::compile(&reason, cx)).transpose();
        let reason = cx.note(reason);
        let mut headers = Vec::with_capacity(self.headers.len());
        for Field { name, value } in &self.headers {
            let name = field_name(name, cx);
            let name = cx.note(name);
            let value = HeaderText::compile(value, cx);
            let value = cx.note(value);
            headers.push(name.and_then(|name| Ok((name, value?))));
        }
        let headers = headers.into_iter().collect::<Result<_, _>>()?;
        Ok(Step::sync(Compiled { status: status?, reason: reason?, headers, body: body? }))
    }
}

fn field_name(name: &At<String>, cx: &CompileCx<'_, '_>) -> Result<HeaderName, CompileError> {
    let known = cx.header_name(name)?;
    if is_framing(&known) {
        return Err(CompileError::at(name, format!("`{known}` belongs to the connection and cannot be set"))
            .hint("the gateway sets it from the message it sends (RFC 9112 §6)"));
    }
    Ok(known)
}

// === impl Apply ===

struct Compiled {
    status: StatusValue,
    reason: Option<ReasonText>,
    headers: Vec<(HeaderName, HeaderText)>,
    body: Option<BodyText>,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = self.status.status(cx)?;
        if let Some(reason) = &self.reason {
            response.extensions_mut().insert(reason.phrase(cx)?);
        }
        for (name, value) in &self.headers {
            response.headers_mut().append(name.clone(), value.value(cx)?);
        }
        if let Some(body) = &self.body {
            *response.body_mut() = Body::from(body.bytes(cx)?);
        }
        Ok(Flow::Respond(Box::new(response)))
    }
}
