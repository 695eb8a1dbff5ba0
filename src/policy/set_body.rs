//! Replaces the body of the request or the response.

use http::header;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{BodyText, HeaderText};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Replaces the body. Inbound and backend change the request, outbound and on-error the response; see
/// [set-body](https://learn.microsoft.com/azure/api-management/set-body-policy) in Azure API Management.
///
/// The length headers follow the new body, and `Content-Encoding` is removed. `Content-Type` stays unless `content-type` is given. A
/// request without a body gets one; Azure API Management fails there.
///
/// ```toml
/// [[inbound]]
/// policy       = "set-body"
/// value        = """{"tenant":"@{headers('x-tenant')}"}"""
/// content-type = "application/json"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetBody {
    /// The new body. When the whole value is one expression that gives an object or an array, it is written as compact JSON. `""`, and an
    /// expression that gives null, remove the body. An expression with `body()` or `bodyText()` reads the old body, which is then
    /// held in memory up to `[server.limits] buffer-size`; without its compression (`gzip`, `deflate`, `br`); in outbound the backend is asked for one that is not compressed. Evaluated when the step runs; a failure goes to on-error.
    value: Text,
    /// The new `Content-Type`. Default: as it was. Evaluated when the step runs; a failure goes to on-error.
    content_type: Option<Text>,
}

impl Policy for SetBody {
    const NAME: &'static str = "set-body";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let value = BodyText::compile(&self.value, cx)?;
        let content_type = self.content_type.map(|value| HeaderText::compile(&value, cx)).transpose()?;
        Ok(Step::sync(Compiled { value, content_type }))
    }
}

// === impl Apply ===

struct Compiled {
    value: BodyText,
    content_type: Option<HeaderText>,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let content_type = self.content_type.as_ref().map(|value| value.value(cx)).transpose()?;
        let bytes = self.value.bytes(cx)?;
        cx.set_body(bytes);
        if let Some(content_type) = content_type {
            cx.message.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        Ok(Flow::Next)
    }
}
