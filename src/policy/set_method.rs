//! Changes the method of the request.

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{TextValue, evaluation_failed};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::expression::EvaluationError;
use crate::pipeline::{Apply, Context, Fault, Flow, Message, Step};

/// Changes the method of the request that is sent to the backend. The body stays: `set-body` with an empty value removes it. See
/// [set-method](https://learn.microsoft.com/azure/api-management/set-method-policy) in Azure API Management.
///
/// ```toml
/// [[inbound]]
/// policy = "set-method"
/// value  = "POST"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetMethod {
    /// The method; methods are case-sensitive. Evaluated when the step runs. A failure, and anything that is no method, goes to on-error.
    /// `CONNECT` opens tunnels and is refused.
    value: Text,
}

impl Policy for SetMethod {
    const NAME: &'static str = "set-method";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let value = TextValue::compile(&self.value, cx)?;
        let Some(literal) = value.literal() else { return Ok(Step::sync(Evaluated(value))) };
        let method = method(literal).ok_or_else(|| {
            CompileError::at(&self.value, format!("`{literal}` is not a method that can be sent"))
                .hint("for example `GET` or `POST` (RFC 9110 §9.1)")
        })?;
        if literal != literal.to_ascii_uppercase() {
            let upper = literal.to_ascii_uppercase();
            cx.warn(&self.value, "lowercase-method", "methods are case-sensitive", format!("did you mean `{upper}`?"));
        }
        Ok(Step::sync(Literal(method)))
    }
}

fn method(text: &str) -> Option<Method> {
    Method::from_bytes(text.as_bytes()).ok().filter(|method| *method != Method::CONNECT)
}

// === impl Apply ===

struct Literal(Method);

impl Apply for Literal {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        set(cx, self.0.clone());
        Ok(Flow::Next)
    }
}

struct Evaluated(TextValue);

impl Apply for Evaluated {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let method = method(&self.0.text(cx)?)
            .ok_or_else(|| evaluation_failed(EvaluationError::new("the result is not a method that can be sent")))?;
        set(cx, method);
        Ok(Flow::Next)
    }
}

fn set(cx: &mut Context<'_>, method: Method) {
    if let Message::Request(request) = &mut cx.message {
        *request.method_mut() = method;
    }
}
