//! Requires a header, or certain values of it.

use std::borrow::Cow;

use http::{HeaderName, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{StatusValue, TextValue};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};
use crate::telemetry::redact::{MASK, Redactor};

/// Requires a header of the request, and one of certain values when they are given. A header that came more than once has no
/// one value and fails then. A request that fails goes to on-error; see
/// [check-header](https://learn.microsoft.com/azure/api-management/check-header-policy) in Azure API Management.
///
/// ```toml
/// [[inbound]]
/// policy = "check-header"
/// name   = "x-azure-fdid"
/// values = ["0b5e1d0c-2f3a-4f43-9f37-9d5f4a1a2b11"]
/// failed-check-status  = 403
/// failed-check-message = "Come through the front door."
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CheckHeader {
    /// The header's name; compared without regard to case.
    name: At<String>,
    /// The values that pass, each text or an expression. Default: none, so that the header need only be there.
    #[serde(default)]
    values: Vec<Text>,
    /// Whether values are compared without regard to case (ASCII). Default `false`.
    ignore_case: Option<bool>,
    /// The status of the answer when the check fails: a number from 200 to 599, or an expression. Default `401`.
    failed_check_status: Option<Text>,
    /// The message of the answer when the check fails: text or an expression. Default: Azure API Management's text for
    /// on-error, without the value.
    failed_check_message: Option<Text>,
}

impl Policy for CheckHeader {
    const NAME: &'static str = "check-header";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let name = cx.header_name(&self.name)?;
        let values = self.values.iter().map(|value| TextValue::compile(value, cx)).collect::<Result<_, _>>()?;
        let status = match &self.failed_check_status {
            Some(status) => StatusValue::compile(status, cx)?,
            None => StatusValue::Literal(StatusCode::UNAUTHORIZED),
        };
        let message = self.failed_check_message.as_ref().map(|text| TextValue::compile(text, cx)).transpose()?;
        let secret = Redactor::default().is_secret_header(&name);
        let ignore_case = self.ignore_case.unwrap_or(false);
        Ok(Step::sync(Compiled { shown: self.name.value, name, secret, values, ignore_case, status, message }))
    }
}

// === impl Apply ===

struct Compiled {
    name: HeaderName,
    /// The name as it was written.
    shown: String,
    /// Whether the header's values must not be shown.
    secret: bool,
    values: Box<[TextValue]>,
    ignore_case: bool,
    status: StatusValue,
    message: Option<TextValue>,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let mut found = cx.message.headers().get_all(&self.name).iter();
        let Some(first) = found.next() else { return Err(self.absent(cx)) };
        if self.values.is_empty() {
            return Ok(Flow::Next);
        }
        if found.next().is_none() {
            for value in &self.values {
                let (want, found) = (value.text(cx)?, first.as_bytes());
                let same = if self.ignore_case {
                    found.eq_ignore_ascii_case(want.as_bytes())
                } else {
                    found == want.as_bytes()
                };
                if same {
                    return Ok(Flow::Next);
                }
            }
        }
        Err(self.not_allowed(cx))
    }
}

impl Compiled {
    #[cold]
    fn absent(&self, cx: &Context<'_>) -> Fault {
        let text = format!("Header {} was not found in the request. Access denied.", self.shown);
        self.refuse(cx, "HeaderNotFound", text.clone(), text)
    }

    #[cold]
    fn not_allowed(&self, cx: &Context<'_>) -> Fault {
        let lines = cx.message.headers().get_all(&self.name).iter().map(|value| match self.secret {
            true => Cow::Borrowed(MASK),
            false => String::from_utf8_lossy(value.as_bytes()),
        });
        // More lines than two say nothing new.
        let found = lines.take(2).collect::<Vec<_>>().join(",");
        let found: String = found.chars().take(200).flat_map(char::escape_debug).collect();
        let text = format!("Header {} value of {found} is not allowed. Access denied.", self.shown);
        self.refuse(
            cx,
            "HeaderValueNotAllowed",
            text,
            format!("Header {} value is not allowed. Access denied.", self.shown),
        )
    }

    fn refuse(&self, cx: &Context<'_>, reason: &'static str, message: String, public: String) -> Fault {
        let fault = || {
            let public = match &self.message {
                Some(text) => text.text(cx)?.into_owned(),
                None => public,
            };
            Ok(Fault::client(self.status.status(cx)?, reason, message).public(public))
        };
        fault().unwrap_or_else(|failed: Fault| failed)
    }
}
