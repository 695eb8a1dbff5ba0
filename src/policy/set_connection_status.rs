//! Notes that the credentials of a connection no longer work.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Notes that the credentials of the caller's connection no longer work when the backend answers with a status, and that they do when it
/// answers with success: the connector template
/// [setconnectionstatustounauthenticated](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/setconnectionstatustounauthenticated/setconnectionstatustounauthenticated).
///
/// The metric `sluicegate_connection_unauthenticated` shows it for each connection, and the process log tells when it changes. The answer is
/// passed on as it is. On the platform the template belongs to the operation that tests a connection; `operations` names it here.
///
/// ```toml
/// [[outbound]]
/// policy = "set-connection-status"
/// status = 401
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetConnectionStatus {
    /// The status that says that the credentials do not work.
    status: At<u16>,
}

impl Policy for SetConnectionStatus {
    const NAME: &'static str = "set-connection-status";
    const SECTIONS: Sections = Sections::OUTBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::CONNECTION;
        Ok(Step::sync(Compiled(cx.status(&self.status)?)))
    }
}

// === impl Apply ===

struct Compiled(StatusCode);

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let (Some(connection), Some(response)) = (cx.connection(), cx.response()) else { return Ok(Flow::Next) };
        let status = response.status();
        if status == self.0 {
            if connection.unauthenticated.get() == 0 {
                tracing::warn!(
                    connection = &*connection.name,
                    "the backend answered {status}: the connection is unauthenticated"
                );
            }
            connection.unauthenticated.set(1);
        } else if status.is_success() {
            if connection.unauthenticated.get() != 0 {
                tracing::info!(connection = &*connection.name, "the connection is authenticated again");
            }
            connection.unauthenticated.set(0);
        }
        Ok(Flow::Next)
    }
}
