//! What the policies that check messages against an API's definition share: actions, and what becomes of what they find.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::openapi::Operation;
use crate::pipeline::{Context, Fault, Flow, Message};
use crate::telemetry::Finding;

/// What happens to a message that is not as the definition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing: it is not looked at.
    Ignore,
    /// It ends: 400 for a request, 502 for an answer. on-error runs.
    Prevent,
    /// It is passed on, and what was found is told: in the access log, in the metric and in the variable.
    Detect,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Prevent => "prevent",
            Self::Detect => "detect",
        }
    }
}

/// What a caller reads of everything that is not its own fault.
pub(super) const INTERNAL: &str = "The request could not be processed due to an internal error. Contact the API owner.";

/// Something that is not as the definition says, in the words of
/// [Azure API Management](https://learn.microsoft.com/azure/api-management/validate-content-policy#validation-errors).
pub(super) struct Found {
    /// The parameter, the header, the content type or the status.
    pub name: String,
    /// What kind of thing that is: `QueryParameter`.
    pub kind: &'static str,
    /// Which rule it breaks: `IncorrectMessage`.
    pub rule: &'static str,
    /// What is wrong, for the API's owner.
    pub details: String,
    /// What the caller of a refused request reads.
    pub public: Cow<'static, str>,
    /// What happens.
    pub action: Action,
}

impl Found {
    /// What is found when there is nothing to check against.
    pub(super) fn no_schema(action: Action) -> Self {
        Self {
            name: String::new(),
            kind: "ApiSchema",
            rule: "",
            details: "API's schema does not exist or it could not be resolved.".to_owned(),
            public: INTERNAL.into(),
            action,
        }
    }
}

/// Where findings go.
pub(super) struct Reporter {
    policy: &'static str,
    variable: Option<Arc<str>>,
}

/// How many findings a variable holds.
const MAX_FOUND: usize = 64;

impl Reporter {
    /// Reads `errors-variable-name`, and asks for the definition of the API that the policy stands in.
    pub(super) fn compile(
        policy: &'static str,
        variable: Option<&At<String>>,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Self, CompileError> {
        cx.asks_definition()?;
        if let Some(empty) = variable.filter(|name| name.is_empty()) {
            return Err(CompileError::at(empty, "a variable needs a name"));
        }
        Ok(Self { policy, variable: variable.map(|name| name.as_str().into()) })
    }

    /// Tells what was found, and refuses the message where that is the action.
    pub(super) fn report(&self, cx: &mut Context<'_>, found: Vec<Found>) -> Result<Flow, Fault> {
        let mut first = None;
        let mut list = Vec::new();
        for one in found {
            if one.action == Action::Ignore {
                continue;
            }
            if let Some(operation) = &cx.exchange.operation {
                operation.metrics.validation(self.policy, one.action.as_str());
            }
            if list.len() < MAX_FOUND {
                list.push(json!({
                    "Name": one.name,
                    "Type": one.kind,
                    "ValidationRule": one.rule,
                    "Details": one.details,
                    "Action": one.action.as_str(),
                }));
            }
            Finding {
                policy: self.policy,
                name: one.name.into(),
                kind: one.kind,
                rule: one.rule,
                details: one.details.as_str().into(),
                action: one.action.as_str(),
            }
            .join(&mut cx.state.findings);
            if one.action == Action::Prevent && first.is_none() {
                first = Some((one.details, one.public));
            }
        }
        if let (Some(name), false) = (&self.variable, list.is_empty()) {
            let mut all = match cx.variable(name) {
                Some(Json::Array(before)) => before.clone(),
                _ => Vec::new(),
            };
            all.extend(list);
            all.truncate(MAX_FOUND);
            cx.state.set_variable(name, Json::Array(all));
        }
        let Some((details, public)) = first else { return Ok(Flow::Next) };
        Err(match cx.message {
            Message::Request(_) => Fault::client(StatusCode::BAD_REQUEST, "Bad request", details),
            Message::Response(_) => {
                let mut fault = Fault::upstream(StatusCode::BAD_GATEWAY, "Response not allowed", details);
                fault.source = self.policy;
                fault
            }
        }
        .public(public))
    }
}

/// What the definition says of the operation.
pub(super) fn contract<'e>(cx: &Context<'e>) -> Option<&'e Arc<Operation>> {
    cx.exchange.operation.as_ref()?.contract.as_ref()
}

/// An action for things by name, in place of the usual one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamedAction {
    /// The name of the parameter or the header. Those of headers compare without regard to case.
    pub(super) name: At<String>,
    /// What happens for it.
    pub(super) action: Action,
}

/// Actions for what the definition names and for what it does not, and those by name.
#[derive(Debug)]
pub(super) struct Actions {
    pub(super) specified: Action,
    pub(super) unspecified: Action,
    pub(super) named: Box<[(Box<str>, Action)]>,
}

impl Actions {
    pub(super) fn of(&self, name: &str, is_specified: bool, ignore_case: bool) -> Action {
        let same = |known: &str| known == name || ignore_case && known.eq_ignore_ascii_case(name);
        let usual = if is_specified { self.specified } else { self.unspecified };
        self.named.iter().find(|(known, _)| same(known)).map_or(usual, |(_, action)| *action)
    }

    /// Whether there is an action for this name alone.
    pub(super) fn names(&self, name: &str) -> bool {
        self.named.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Whether nothing is looked at.
    pub(super) fn ignore_all(&self) -> bool {
        let ignored = [self.specified, self.unspecified].iter().all(|action| *action == Action::Ignore);
        ignored && self.named.iter().all(|(_, action)| *action == Action::Ignore)
    }
}
