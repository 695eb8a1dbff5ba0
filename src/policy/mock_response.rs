//! Answers at once with an example, while there is no backend yet.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::validation::contract;
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::openapi::media::{essence, is_json};
use crate::openapi::{Operation, Status, content_for};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Answers at once with an example, as
/// [mock-response](https://learn.microsoft.com/azure/api-management/mock-response-policy) in Azure API Management does with those of the
/// API's description. The backend is not called, and outbound does not run.
///
/// The example is the first one with the wanted status and, when `content-type` is given, with that content type. When there is none
/// the answer has the status and no body. Nothing here is an expression: `@` is an ordinary character.
///
/// Without `examples` and `body`, what the API's `definition` says of the status is the answer: its example, else, for JSON, one made
/// up from the schema. That is always the same one, and keeps to types, formats, ranges, lists of values and most patterns; an
/// example of a part that its schema refuses is not taken. What only callers write (`writeOnly`) is not in it, and what refers to itself ends where it would begin again.
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
    /// The status of the answer, from 200 to 599. Default 200; when the definition has an answer for success and none for 200, the status
    /// of the first one.
    status_code: Option<At<u16>>,
    /// The content type of the answer, compared without parameters such as `charset`. Default: that of the example.
    content_type: Option<At<String>>,
    /// Which of several examples of the definition is the answer, from 1. Default 1.
    index: Option<At<usize>>,
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
        if let Some(index) = self.index.as_ref().filter(|index| index.value == 0) {
            return Err(CompileError::at(index, "there is no example 0").hint("the first one is 1"));
        }
        let from_definition = self.examples.is_empty() && self.body.is_none();
        let defined = from_definition.then(|| Defined {
            wanted: self.content_type.as_ref().map(|text| essence(text)).zip(wanted.clone()),
            index: self.index.as_ref().map_or(0, |index| index.value - 1),
            says_status: self.status_code.is_some(),
        });
        let (content_type, body) = match (chosen, self.body) {
            (Some(example), _) => example,
            (None, Some(body)) => (wanted, body.value),
            (None, None) => (None, String::new()),
        };
        Ok(Step::sync(Compiled { status, content_type, body: body.into(), defined }))
    }
}

/// A content type as written.
pub(super) fn media_type(text: &At<String>) -> Result<HeaderValue, CompileError> {
    HeaderValue::from_str(text).ok().filter(|_| text.contains('/')).ok_or_else(|| {
        CompileError::at(text, format!("`{}` is not a content type", text.value)).hint("for example `application/json`")
    })
}

// === impl Apply ===

struct Compiled {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
    /// When the answer is the definition's.
    defined: Option<Defined>,
}

/// Which answer of the definition.
struct Defined {
    /// The content type, to compare and to send.
    wanted: Option<(String, HeaderValue)>,
    index: usize,
    /// Whether the status is the one that was asked for.
    says_status: bool,
}

impl Defined {
    /// The status of success, where it is not 200 and no other was asked for.
    fn status(&self, operation: &Operation) -> Option<StatusCode> {
        let has_ok = operation.answers.iter().any(|one| matches!(one.status, Status::Exact(200) | Status::Class(2)));
        operation.success().filter(|_| !self.says_status && !has_ok)
    }

    /// The content type and the body. A sample is made up once, for the first request.
    fn answer(&self, operation: &Operation, status: StatusCode) -> Option<(HeaderValue, Bytes)> {
        let contents = &operation.answer(status)?.contents;
        let content = match &self.wanted {
            Some((wanted, _)) => content_for(contents, wanted)?,
            None => contents.first()?,
        };
        let mock = content.mock(&operation.schemas);
        let example = content.examples.get(self.index).or(content.examples.first());
        let (media, body) = match &self.wanted {
            // A range may have JSON in it, and something else as well.
            Some((wanted, media)) => (Some(media), mock.sample.as_ref().filter(|_| is_json(wanted))),
            None => (mock.media.as_ref(), mock.sample.as_ref()),
        };
        Some((media?.clone(), example.or(body)?.clone()))
    }
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let defined = self.defined.as_ref().zip(contract(cx));
        let status = defined.and_then(|(defined, operation)| defined.status(operation)).unwrap_or(self.status);
        let made = defined.and_then(|(defined, operation)| defined.answer(operation, status));
        let (content_type, body) = match made {
            Some((content_type, body)) => (Some(content_type), body),
            None => (self.content_type.clone(), self.body.clone()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        if let Some(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        Ok(Flow::Respond(Box::new(response)))
    }
}
