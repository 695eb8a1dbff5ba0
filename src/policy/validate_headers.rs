//! Checks the headers of an answer against the API's definition.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;

use super::parameters::{Encoded, Words, judge};
use super::validation::{Action, Actions, Found, NamedAction, Reporter, contract};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::openapi::{Operation, Place};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Checks the headers of an answer against what the API's `definition` says of its status, as
/// [validate-headers](https://learn.microsoft.com/azure/api-management/validate-headers-policy) in Azure API Management does.
///
/// The caller of an answer that is refused gets 502 and a text that says nothing; what was found stands in the access log
/// (`validation`), in the metric `sluicegate_validation_failures_total` and in the variable of `errors-variable-name`. Headers that belong to the connection or to every answer
/// (`Date`, `Server`, `Content-Type`, `Content-Length` and the like) are never unspecified unless they have an action of their own.
///
/// Other than in API Management: actions are no expressions, and the policy may stand more than once.
///
/// ```toml
/// [[outbound]]
/// policy = "validate-headers"
/// specified-header-action   = "prevent"
/// unspecified-header-action = "detect"
///
/// [[outbound.header]]
/// name   = "x-powered-by"
/// action = "prevent"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidateHeaders {
    /// What happens when a header that the definition names is not as it says. Default `prevent`.
    specified_header_action: Option<Action>,
    /// What happens when the answer has a header that the definition does not name. Default `ignore`.
    unspecified_header_action: Option<Action>,
    /// The variable that gets a list of what was found, as in validate-parameters. Default: none.
    errors_variable_name: Option<At<String>>,
    /// Other actions for single headers.
    #[serde(default)]
    header: Vec<NamedAction>,
}

impl Policy for ValidateHeaders {
    const NAME: &'static str = "validate-headers";
    const SECTIONS: Sections = Sections::RESPONSE;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let reporter = Reporter::compile(Self::NAME, self.errors_variable_name.as_ref(), cx)?;
        let actions = Actions {
            specified: self.specified_header_action.unwrap_or(Action::Prevent),
            unspecified: self.unspecified_header_action.unwrap_or(Action::Ignore),
            named: self.header.into_iter().map(|one| (one.name.value.into(), one.action)).collect(),
        };
        Ok(Step::sync(Compiled { reporter, actions }))
    }
}

// === impl Apply ===

struct Compiled {
    reporter: Reporter,
    actions: Actions,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let found = match contract(cx) {
            Some(operation) => self.judge(cx, operation),
            None => vec![Found::no_schema(self.actions.of("", true, false))],
        };
        if found.is_empty() { Ok(Flow::Next) } else { self.reporter.report(cx, found) }
    }
}

impl Compiled {
    fn judge(&self, cx: &Context<'_>, operation: &Operation) -> Vec<Found> {
        let mut found = Vec::new();
        let Some(response) = cx.response() else { return found };
        let words = Words::of(Place::Header, true);
        let specified = operation.answer(response.status()).map(|answer| &*answer.headers).unwrap_or_default();
        for header in specified {
            let Some(name) = &header.header else { continue };
            let lines = response.headers().get_all(name).iter();
            let values: Vec<Cow<'_, str>> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
            let action = self.actions.of(&header.name, true, true);
            if action != Action::Ignore {
                judge(header, operation, &values, &Encoded(""), &words, action, &mut found);
            }
        }
        if self.actions.ignore_all() {
            return found;
        }
        for name in response.headers().keys() {
            let known = specified.iter().any(|one| one.header.as_ref() == Some(name));
            let is_usual = USUAL.binary_search(&name.as_str()).is_ok();
            if known || is_usual && !self.actions.names(name.as_str()) {
                continue;
            }
            let action = self.actions.of(name.as_str(), false, true);
            if action != Action::Ignore {
                found.push(words.unspecified(name.as_str(), action));
            }
        }
        found
    }
}

/// Headers that belong to the connection or to every answer.
const USUAL: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "server",
    "trailer",
    "transfer-encoding",
    "vary",
];
