//! Changes the status of the response.

use hyper::ext::ReasonPhrase;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{ReasonText, StatusValue};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::pipeline::{Apply, Context, Fault, Flow, Message, Step};

/// Changes the status of the response. Headers and body stay; see
/// [set-status](https://learn.microsoft.com/azure/api-management/set-status-policy) in Azure API Management.
///
/// Azure API Management also accepts it in inbound and backend, where there is no response yet and it does nothing; here that is a
/// mistake. To answer without the backend, use `return-response`.
///
/// ```toml
/// [[outbound]]
/// policy = "set-status"
/// code   = 202
/// reason = "Taken"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetStatus {
    /// The status, from 200 to 599. Evaluated when the step runs; a failure goes to on-error.
    code: Text,
    /// The reason phrase of HTTP/1.1; HTTP/2 has none. Default: the standard one of the status. Evaluated when the step runs; a
    /// failure, or text with line breaks, goes to on-error.
    reason: Option<Text>,
}

impl Policy for SetStatus {
    const NAME: &'static str = "set-status";
    const SECTIONS: Sections = Sections::RESPONSE;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let code = StatusValue::compile(&self.code, cx)?;
        let reason = self.reason.map(|reason| ReasonText::compile(&reason, cx)).transpose()?;
        Ok(Step::sync(Compiled { code, reason }))
    }
}

// === impl Apply ===

struct Compiled {
    code: StatusValue,
    reason: Option<ReasonText>,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let status = self.code.status(cx)?;
        let reason = self.reason.as_ref().map(|reason| reason.phrase(cx)).transpose()?;
        if let Message::Response(response) = &mut cx.message {
            *response.status_mut() = status;
            // The phrase of the old status would contradict the new one.
            response.extensions_mut().remove::<ReasonPhrase>();
            if let Some(reason) = reason {
                response.extensions_mut().insert(reason);
            }
        }
        Ok(Flow::Next)
    }
}
