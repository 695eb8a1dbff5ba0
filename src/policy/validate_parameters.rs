//! Checks the path, query and header parameters of a request against the API's definition.

use std::borrow::Cow;

use http::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::parameters::{Encoded, Words, judge};
use super::validation::{Action, Actions, Found, NamedAction, Reporter, contract};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::openapi::parameter::{Pairs as _, Style};
use crate::openapi::{Operation, Place};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};
use crate::routing::query;

/// Checks the path, query and header parameters of a request against the API's `definition`, as
/// [validate-parameters](https://learn.microsoft.com/azure/api-management/validate-parameters-policy) in Azure API Management does:
/// what is required, types, formats, ranges, patterns, lists of values, and how lists are written (`collectionFormat`, `style` and
/// `explode`). Policies before it may have changed query and headers; the path is the one that came.
///
/// A request that is refused gets 400, and on-error sees the reason `Bad request`. Whatever is found stands in the access log
/// (`validation`), in the metric `sluicegate_validation_failures_total` and in the variable of `errors-variable-name`; values are never told. Of headers, those
/// that clients and proxies add by themselves (`Host`, `User-Agent`, `Accept` and the like) and the subscription key are never
/// unspecified unless they have an action of their own, nor is the key in the query. Truth values are read in any case, because .NET
/// writes `True`.
///
/// Other than in API Management: actions are no expressions, the policy may stand more than once, and what the definition refers to
/// and does not have is told by `sluicegate check` and taken (`MissingDefinition`).
///
/// ```toml
/// [[inbound]]
/// policy = "validate-parameters"
/// specified-parameter-action   = "prevent"
/// unspecified-parameter-action = "detect"
///
/// [inbound.headers]
/// unspecified-parameter-action = "ignore"
///
/// [[inbound.query.parameter]]
/// name   = "debug"
/// action = "prevent"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidateParameters {
    /// What happens when a parameter that the definition names is not as it says. Default `prevent`.
    specified_parameter_action: Option<Action>,
    /// What happens when the request has a parameter that the definition does not name. Default `ignore`.
    unspecified_parameter_action: Option<Action>,
    /// The variable that gets a list of what was found: objects with `Name`, `Type`, `ValidationRule`, `Details` and `Action`, added to those
    /// that are there. Default: none.
    errors_variable_name: Option<At<String>>,
    /// Other actions for headers. Default: those above.
    headers: Option<PlaceActions>,
    /// Other actions for query parameters. Default: those above.
    query: Option<PlaceActions>,
    /// Other actions for variables of the path, which are always specified. Default: those above.
    path: Option<PathActions>,
}

/// Actions for one place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PlaceActions {
    /// For what the definition names. Default: that of the policy.
    specified_parameter_action: Option<Action>,
    /// For what it does not name. Default: that of the policy.
    unspecified_parameter_action: Option<Action>,
    /// For single parameters.
    parameter: Vec<NamedAction>,
}

/// Actions for variables of the path.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PathActions {
    /// For all of them. Default: that of the policy.
    specified_parameter_action: Option<Action>,
    /// For single ones.
    parameter: Vec<NamedAction>,
}

impl Policy for ValidateParameters {
    const NAME: &'static str = "validate-parameters";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let reporter = Reporter::compile(Self::NAME, self.errors_variable_name.as_ref(), cx)?;
        let specified = self.specified_parameter_action.unwrap_or(Action::Prevent);
        let unspecified = self.unspecified_parameter_action.unwrap_or(Action::Ignore);
        let actions = |own: Option<PlaceActions>| {
            let own = own.unwrap_or_default();
            Actions {
                specified: own.specified_parameter_action.unwrap_or(specified),
                unspecified: own.unspecified_parameter_action.unwrap_or(unspecified),
                named: own.parameter.into_iter().map(|one| (one.name.value.into(), one.action)).collect(),
            }
        };
        let path = self.path.map(|path| PlaceActions {
            specified_parameter_action: path.specified_parameter_action,
            unspecified_parameter_action: Some(Action::Ignore),
            parameter: path.parameter,
        });
        Ok(Step::sync(Compiled {
            reporter,
            headers: actions(self.headers),
            query: actions(self.query),
            path: actions(path),
            otherwise: if specified == Action::Ignore { unspecified } else { specified },
        }))
    }
}

// === impl Apply ===

struct Compiled {
    reporter: Reporter,
    headers: Actions,
    query: Actions,
    path: Actions,
    /// When there is nothing to check against.
    otherwise: Action,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let found = match contract(cx) {
            Some(operation) => self.judge(cx, operation),
            None => vec![Found::no_schema(self.otherwise)],
        };
        if found.is_empty() { Ok(Flow::Next) } else { self.reporter.report(cx, found) }
    }
}

impl Compiled {
    fn judge(&self, cx: &Context<'_>, operation: &Operation) -> Vec<Found> {
        let mut found = Vec::new();
        let query_text = cx.uri().and_then(|uri| uri.query()).unwrap_or_default();
        let headers = cx.message.headers();
        let in_query = Encoded(query_text);
        for parameter in &operation.parameters {
            let name = &*parameter.name;
            let (actions, values): (_, Vec<Cow<'_, str>>) = match (parameter.place, &parameter.header) {
                (Place::Path, _) => match cx.exchange.parameter(name) {
                    Some(value) => (&self.path, vec![value.decode()]),
                    // The template calls its variables by other names.
                    None => continue,
                },
                (Place::Query, _) => (&self.query, in_query.of(name)),
                (Place::Header, Some(header)) => {
                    let lines = headers.get_all(header).iter();
                    (&self.headers, lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect())
                }
                _ => continue,
            };
            let action = actions.of(name, true, parameter.place == Place::Header);
            // What is authenticated is not told of.
            if action != Action::Ignore {
                let words = Words::of(parameter.place, false);
                judge(parameter, operation, &values, &in_query, &words, action, &mut found);
            }
        }
        if !self.query.ignore_all() && !query_text.is_empty() {
            self.unspecified_query(cx, operation, query_text, &mut found);
        }
        if !self.headers.ignore_all() {
            self.unspecified_headers(cx, operation, &mut found);
        }
        found
    }

    fn unspecified_query(&self, cx: &Context<'_>, operation: &Operation, query_text: &str, found: &mut Vec<Found>) {
        let own = cx.exchange.operation.as_ref();
        let is_key = |name: &str| own.is_some_and(|own| *own.api.key_query == *name);
        let in_template = |name: &str| own.is_some_and(|own| own.template.has_query_parameter(name));
        let is_specified = |name: &str| {
            operation.parameters.iter().filter(|parameter| parameter.place == Place::Query).any(|parameter| {
                let deep = parameter.style == Style::Deep
                    && name.strip_prefix(&*parameter.name).is_some_and(|rest| rest.starts_with('['));
                *parameter.name == *name || deep || parameter.spread(&operation.schemas).any(|one| one == name)
            })
        };
        let words = Words::of(Place::Query, false);
        let mut told: Vec<Cow<'_, str>> = Vec::new();
        for pair in query::pairs(query_text) {
            let name = pair.name();
            if is_key(&name) || in_template(&name) || is_specified(&name) || told.contains(&name) {
                continue;
            }
            let action = self.query.of(&name, false, false);
            if action != Action::Ignore && found.len() < MAX_UNSPECIFIED {
                found.push(words.unspecified(&name, action));
                told.push(name);
            }
        }
    }

    fn unspecified_headers(&self, cx: &Context<'_>, operation: &Operation, found: &mut Vec<Found>) {
        let key = cx.exchange.operation.as_ref().map(|own| &own.api.key_header);
        let words = Words::of(Place::Header, false);
        for name in cx.message.headers().keys() {
            let specified = operation.parameters.iter().any(|one| one.header.as_ref() == Some(name));
            let is_usual =
                is_usual(name) || Some(name) == key || *name == cx.exchange.gateway.settings.request_id_header;
            if specified || is_usual && !self.headers.names(name.as_str()) {
                continue;
            }
            let action = self.headers.of(name.as_str(), false, true);
            if action != Action::Ignore && found.len() < MAX_UNSPECIFIED {
                found.push(words.unspecified(name.as_str(), action));
            }
        }
    }
}

/// How much is told of one request.
const MAX_UNSPECIFIED: usize = 64;

/// Headers that clients, browsers and proxies add by themselves. Definitions must not name some of them (OpenAPI 3.0, parameter object).
fn is_usual(name: &HeaderName) -> bool {
    const USUAL: [&str; 29] = [
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "dnt",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "pragma",
        "priority",
        "referer",
        "te",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade-insecure-requests",
        "user-agent",
        "via",
        "x-real-ip",
        "x-requested-with",
    ];
    let text = name.as_str();
    USUAL.binary_search(&text).is_ok() || text.starts_with("x-forwarded-") || text.starts_with("sec-")
}
