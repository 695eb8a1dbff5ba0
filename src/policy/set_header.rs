//! Sets, appends, keeps or deletes a header of the request or the response.

use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::HeaderText;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Sets, appends, keeps or deletes a header. Inbound and backend change the request, outbound and on-error the response.
///
/// `Connection`, `Content-Length`, `Keep-Alive` and `Transfer-Encoding` belong to the connection and cannot be set, as in
/// [Azure API Management](https://learn.microsoft.com/azure/api-management/set-header-policy).
///
/// ```toml
/// [[inbound]]
/// policy = "set-header"
/// name   = "x-tenant"
/// value  = "@claims('tid')"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetHeader {
    /// The header's name; compared without regard to case.
    name: At<String>,
    /// The value. Evaluated when the step runs; a failure goes to on-error. Required unless the action is `delete`, and not
    /// together with `values`.
    value: Option<Text>,
    /// Several values, sent as `a,b`, or as lines of their own where joining would change their meaning (`Set-Cookie`).
    #[serde(default)]
    values: Vec<Text>,
    /// What happens when the header is there already. Default `override`.
    #[serde(default)]
    action: ExistsAction,
}

/// What happens when the name is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExistsAction {
    /// Replaces what is there.
    #[default]
    Override,
    /// Leaves what is there.
    Skip,
    /// Adds to what is there.
    Append,
    /// Removes what is there.
    Delete,
}

impl ExistsAction {
    /// Checks that there are values where the action takes some, written in one of the two ways.
    pub(super) fn check_values(self, single: bool, several: usize) -> Result<(), CompileError> {
        match (self, single, several) {
            (_, true, 1..) => Err(CompileError::whole("both `value` and `values` are given").hint("give one of them")),
            (Self::Delete, false, 0) => Ok(()),
            (Self::Delete, ..) => Err(CompileError::whole("`delete` takes no value").hint("leave `value` out")),
            (_, false, 0) => Err(CompileError::whole("missing key `value`").code("missing-key")),
            _ => Ok(()),
        }
    }
}

impl Policy for SetHeader {
    const NAME: &'static str = "set-header";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let name = cx.header_name(&self.name)?;
        if is_framing(&name) {
            return Err(CompileError::at(
                &self.name,
                format!("`{name}` belongs to the connection and cannot be changed"),
            )
            .hint("the gateway sets it from the message it sends (RFC 9112 §6)"));
        }
        self.action.check_values(self.value.is_some(), self.values.len())?;
        let written = self.value.iter().chain(&self.values);
        let values = written.map(|value| HeaderText::compile(value, cx)).collect::<Result<Vec<_>, _>>()?;
        Ok(match self.action {
            ExistsAction::Delete => Step::sync(Delete(name)),
            action => Step::sync(Set { name, values, action }),
        })
    }
}

// === impl Apply ===

struct Delete(HeaderName);

impl Apply for Delete {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        cx.message.headers_mut().remove(&self.0);
        Ok(Flow::Next)
    }
}

struct Set {
    name: HeaderName,
    values: Vec<HeaderText>,
    action: ExistsAction,
}

impl Apply for Set {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        if self.action == ExistsAction::Skip && cx.message.headers().contains_key(&self.name) {
            return Ok(Flow::Next);
        }
        let append = self.action == ExistsAction::Append;
        if let ([value], false) = (&self.values[..], append) {
            let value = value.value(cx)?;
            cx.message.headers_mut().insert(self.name.clone(), value);
            return Ok(Flow::Next);
        }
        let values = self.values.iter().map(|value| value.value(cx)).collect::<Result<Vec<_>, _>>()?;
        let headers = cx.message.headers_mut();
        if stands_alone(&self.name) {
            if !append {
                headers.remove(&self.name);
            }
            for value in values {
                headers.append(self.name.clone(), value);
            }
            return Ok(Flow::Next);
        }
        let before: Vec<HeaderValue> =
            if append { headers.get_all(&self.name).iter().cloned().collect() } else { Vec::new() };
        let joined = before.iter().chain(&values).map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..]);
        let joined = HeaderValue::from_bytes(&joined).map_err(|error| {
            Fault::internal("Internal", "the joined header values cannot stand in a header").cause(error)
        })?;
        headers.insert(self.name.clone(), joined);
        Ok(Flow::Next)
    }
}

/// Fields that frame the message or the connection.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "content-length" | "keep-alive" | "transfer-encoding")
}

/// Fields whose values are never joined by a comma: their grammar is no list, or they hold dates.
fn stands_alone(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "user-agent"
            | "www-authenticate"
            | "proxy-authenticate"
            | "cookie"
            | "set-cookie"
            | "warning"
            | "date"
            | "expires"
            | "if-modified-since"
            | "if-unmodified-since"
            | "last-modified"
            | "retry-after"
    )
}
