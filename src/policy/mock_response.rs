//! Answers at once with an example, while there is no backend yet.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Answers at once with an example, as
/// [mock-response](https://learn.microsoft.com/azure/api-management/mock-response-policy) in Azure API Management does with those of the
/// API's description. The backend is not called, and outbound does not run.
///
/// The example is the first one with the wanted status and, when `content-type` is given, with that content type. When there is none
/// the answer has the status and no body. Nothing here is an expression: `@` is an ordinary character.
///
/// ```toml
/// [[inbound]]
/// policy = "mock-response"
///
/// [[inbound.examples]]
/// content-type = "application/json"
/// body         = '{"id":7,"state":"open"}'
///
/// [[inbound.examples]]
/// status-code  = 404
/// content-type = "application/json"
/// body         = '{"error":"no such order"}'
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MockResponse {
    /// The status of the answer, from 200 to 599. Default 200.
    status_code: Option<At<u16>>,
    /// The content type of the answer, compared without parameters such as `charset`. Default: that of the example.
    content_type: Option<At<String>>,
    /// The body of the answer, in place of `examples`.
    body: Option<At<String>>,
    /// The answers to choose from. Default: none.
    #[serde(default)]
    examples: Vec<Example>,
}

/// An example.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Example {
    /// The status that it is an example of. Default 200.
    status_code: Option<At<u16>>,
    /// Its content type. Default: none.
    content_type: Option<At<String>>,
    /// Its body.
    body: String,
}

impl Policy for MockResponse {
    const NAME: &'static str = "mock-response";
    const SECTIONS: Sections = Sections::INBOUND.or(Sections::RESPONSE);

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let code = |code: &Option<At<u16>>| code.as_ref().map_or(Ok(StatusCode::OK), |code| cx.status(code));
        let status = code(&self.status_code)?;
        if let (Some(body), false) = (&self.body, self.examples.is_empty()) {
            return Err(CompileError::at(body, "both `body` and `examples` are given").hint("give one of them"));
        }
        let mut chosen = None;
        for example in &self.examples {
            let same_status = code(&example.status_code)? == status;
            let content_type = example.content_type.as_ref().map(media_type).transpose()?;
            let same_type = match (&self.content_type, &example.content_type) {
                (None, _) => true,
                (Some(wanted), Some(own)) => essence(wanted) == essence(own),
                (Some(_), None) => false,
            };
            if same_status && same_type && chosen.is_none() {
                chosen = Some((content_type, example.body.clone()));
            }
        }
        let wanted = self.content_type.as_ref().map(media_type).transpose()?;
        let (content_type, body) = match (chosen, self.body) {
            (Some(example), _) => example,
            (None, Some(body)) => (wanted, body.value),
            (None, None) => (None, String::new()),
        };
        Ok(Step::sync(Compiled { status, content_type, body: body.into() }))
    }
}

/// A content type as written.
pub(super) fn media_type(text: &At<String>) -> Result<HeaderValue, CompileError> {
    HeaderValue::from_str(text).ok().filter(|_| text.contains('/')).ok_or_else(|| {
        CompileError::at(text, format!("`{}` is not a content type", text.value)).hint("for example `application/json`")
    })
}

/// A content type without its parameters (RFC 9110 §8.3.1).
fn essence(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

// === impl Apply ===

struct Compiled {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl Apply for Compiled {
    fn apply(&self, _: &mut Context<'_>) -> Result<Flow, Fault> {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        if let Some(content_type) = &self.content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        Ok(Flow::Respond(Box::new(response)))
    }
}
