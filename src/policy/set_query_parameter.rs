//! Sets, appends, keeps or deletes a query parameter of the request.

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::Deserialize;

use super::set_header::ExistsAction;
use super::value::TextValue;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Apply, Context, Fault, Flow, Message, Step};
use crate::routing::query;

/// Sets, appends, keeps or deletes a query parameter of the request for the backend; see
/// [set-query-parameter](https://learn.microsoft.com/azure/api-management/set-query-parameter-policy) in Azure API Management.
///
/// Other parameters keep their place and their bytes.
///
/// ```toml
/// [[inbound]]
/// policy = "set-query-parameter"
/// name   = "$top"
/// value  = "50"
/// action = "skip"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetQueryParameter {
    /// The parameter's name as it reads, not percent-encoded; compared with its case, and with what the request's names
    /// decode to.
    name: At<String>,
    /// The value, not percent-encoded. Evaluated when the step runs; a failure goes to on-error. Required unless the action is
    /// `delete`, and not together with `values`.
    value: Option<Text>,
    /// Several values, each sent as a parameter of its own.
    #[serde(default)]
    values: Vec<Text>,
    /// What happens when the parameter is there already. Default `override`.
    #[serde(default)]
    action: ExistsAction,
}

impl Policy for SetQueryParameter {
    const NAME: &'static str = "set-query-parameter";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.name.is_empty() {
            return Err(CompileError::at(&self.name, "a query parameter needs a name"));
        }
        self.action.check_values(self.value.is_some(), self.values.len())?;
        let written = self.value.iter().chain(&self.values);
        let values = written.map(|value| TextValue::compile(value, cx)).collect::<Result<Vec<_>, _>>()?;
        Ok(Step::sync(Compiled { name: self.name.value, values, action: self.action }))
    }
}

// === impl Apply ===

struct Compiled {
    name: String,
    values: Vec<TextValue>,
    action: ExistsAction,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(uri) = cx.uri() else { return Ok(Flow::Next) };
        let old = uri.query().unwrap_or_default();
        if self.action == ExistsAction::Skip && query::find(old, &self.name).is_some() {
            return Ok(Flow::Next);
        }
        let mut new = old.to_owned();
        let values = self.values.iter().map(|value| value.text(cx)).collect::<Result<Vec<_>, _>>()?;
        match self.action {
            ExistsAction::Override | ExistsAction::Delete => query::set(&mut new, &self.name, &values),
            ExistsAction::Append | ExistsAction::Skip => {
                values.iter().for_each(|value| query::append(&mut new, &self.name, value));
            }
        }
        let separator = if new.is_empty() { "" } else { "?" };
        let target = Bytes::from(format!("{}{separator}{new}", uri.path()));
        let target = PathAndQuery::from_maybe_shared(target)
            .map_err(|error| Fault::internal("Internal", "the new query cannot stand in a URL").cause(error))?;
        if let Message::Request(request) = &mut cx.message {
            *request.uri_mut() = Uri::from(target);
        }
        Ok(Flow::Next)
    }
}
