//! Checks the status of an answer against the API's definition.

use schemars::JsonSchema;
use serde::Deserialize;

use super::validation::{Action, Found, INTERNAL, Reporter, contract};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Checks that the API's `definition` names the status of an answer, as
/// [validate-status-code](https://learn.microsoft.com/azure/api-management/validate-status-code-policy) in Azure API Management does. A
/// `default` answer names all of them, `4XX` those of its class. Actions are no expressions here.
///
/// The caller of an answer that is refused gets 502 and a text that says nothing; what was found stands in the access log
/// (`validation`), in the metric `sluicegate_validation_failures_total` and in the variable of `errors-variable-name`.
///
/// ```toml
/// [[outbound]]
/// policy = "validate-status-code"
/// unspecified-status-code-action = "prevent"
///
/// [[outbound.status-code]]
/// code   = 404
/// action = "ignore"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidateStatusCode {
    /// What happens when the definition does not name the status. Default `prevent`.
    unspecified_status_code_action: Option<Action>,
    /// The variable that gets a list of what was found, as in validate-parameters. Default: none.
    errors_variable_name: Option<At<String>>,
    /// Other actions for single statuses that the definition does not name.
    #[serde(default)]
    status_code: Vec<CodeAction>,
}

/// An action for one status.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CodeAction {
    /// The status.
    code: At<u16>,
    /// What happens for it.
    action: Action,
}

impl Policy for ValidateStatusCode {
    const NAME: &'static str = "validate-status-code";
    const SECTIONS: Sections = Sections::RESPONSE;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let reporter = Reporter::compile(Self::NAME, self.errors_variable_name.as_ref(), cx)?;
        let mut codes = Vec::new();
        for one in &self.status_code {
            codes.push((cx.status(&one.code)?.as_u16(), one.action));
        }
        let unspecified = self.unspecified_status_code_action.unwrap_or(Action::Prevent);
        Ok(Step::sync(Compiled { reporter, unspecified, codes: codes.into() }))
    }
}

// === impl Apply ===

struct Compiled {
    reporter: Reporter,
    unspecified: Action,
    codes: Box<[(u16, Action)]>,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(status) = cx.response().map(|response| response.status()) else { return Ok(Flow::Next) };
        let found = match contract(cx) {
            Some(operation) if operation.answer(status).is_some() => return Ok(Flow::Next),
            Some(_) => {
                let code = status.as_u16();
                let named = self.codes.iter().find(|(known, _)| *known == code);
                Found {
                    name: code.to_string(),
                    kind: "StatusCode",
                    rule: "Unspecified",
                    details: format!("Response status code {code} is not allowed."),
                    public: INTERNAL.into(),
                    action: named.map_or(self.unspecified, |(_, action)| *action),
                }
            }
            None => Found::no_schema(self.unspecified),
        };
        self.reporter.report(cx, vec![found])
    }
}
