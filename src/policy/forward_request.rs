//! Says how the backend is called.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period};
use crate::expression::Needs;
use crate::pipeline::{Apply, Context, Fault, Flow, ForwardOptions, Step, forward};

/// Says how the backend is called, at the end of the backend section; see
/// [forward-request](https://learn.microsoft.com/azure/api-management/forward-request-policy) in Azure API Management.
///
/// The backend is called without this policy as well, with the defaults; an operation that is not to call one answers with
/// `return-response`. No policy may follow in the same list.
///
/// ```toml
/// [[backend]]
/// policy           = "forward-request"
/// timeout          = "20s"
/// follow-redirects = true
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ForwardRequest {
    /// From the end of the request to the first byte of the answer; then 504. More than zero. Default: the `timeout` of the
    /// backend, 300s where it gives none.
    timeout: Option<At<Period>>,
    /// Follows up to 10 redirections that stay below the backend's base URL: 301 and 302 of GET and HEAD, 303 with a GET, 307 and
    /// 308 when the body is in memory (`buffer-request-body`). Others, and the eleventh, are passed on to the client. Default
    /// `false`.
    #[serde(default)]
    follow_redirects: bool,
    /// Sends answers of 400 to 599 to on-error, with their status. Default `false`: they go through outbound.
    #[serde(default)]
    fail_on_error_status_code: bool,
    /// Reads the request's body into memory, up to `[server.limits] buffer-size`, so that it can be sent again. Default `false`.
    #[serde(default)]
    buffer_request_body: bool,
}

impl Policy for ForwardRequest {
    const NAME: &'static str = forward::POLICY;
    const SECTIONS: Sections = Sections::BACKEND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if let Some(timeout) = self.timeout.as_ref().filter(|timeout| timeout.value.0.is_zero()) {
            return Err(CompileError::at(timeout, "no backend answers in no time").hint("for example `20s`"));
        }
        if self.buffer_request_body {
            cx.needs |= Needs::BODY;
        }
        Ok(Step::sync(Compiled(ForwardOptions {
            timeout: self.timeout.map(|timeout| timeout.value.0),
            follow_redirects: self.follow_redirects,
            fail_on_error_status: self.fail_on_error_status_code,
            identity: None,
        })))
    }
}

// === impl Apply ===

struct Compiled(ForwardOptions);

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        cx.state.forward = self.0.clone();
        Ok(Flow::Next)
    }
}
