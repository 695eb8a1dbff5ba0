//! Writes a message into the trace of the request.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::TextValue;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::{Apply, Context, Fault, Flow, Origin, Step};
use crate::trace::Note;

/// Writes a message into the trace of the request, which the admin listener shows at `/traces`; see
/// [trace](https://learn.microsoft.com/azure/api-management/trace-policy) in Azure API Management.
///
/// Where requests are not traced it does nothing at all: nothing is evaluated, and no body is held in memory for it.
/// Secrets in the message are masked as everywhere in a trace; nothing goes to a log.
///
/// ```toml
/// [[inbound]]
/// policy   = "trace"
/// source   = "paging"
/// severity = "information"
/// message  = "page @{queryParameters('page', '1')}"
/// metadata = { tenant = "@headers('x-tenant')" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trace {
    /// Who says it, in words of your own.
    source: At<String>,
    /// What is said. Evaluated when the step runs; a failure goes to on-error.
    message: Text,
    /// How grave it is. Default `verbose`.
    #[serde(default)]
    severity: Severity,
    /// Names and values besides the message. Evaluated as it is.
    #[serde(default)]
    metadata: BTreeMap<String, Text>,
}

/// How grave a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    /// Of interest to who looks closely.
    #[default]
    Verbose,
    /// Worth knowing.
    Information,
    /// Something is wrong.
    Error,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Verbose => "verbose",
            Self::Information => "information",
            Self::Error => "error",
        }
    }
}

impl Policy for Trace {
    const NAME: &'static str = crate::trace::POLICY;
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let needs = cx.needs;
        let message = TextValue::compile(&self.message, cx);
        let message = cx.note(message);
        let mut metadata = Vec::with_capacity(self.metadata.len());
        for (name, text) in self.metadata {
            let value = TextValue::compile(&text, cx);
            metadata.push((name, cx.note(value)?));
        }
        let message = message?;
        if self.source.is_empty() {
            return Err(CompileError::at(&self.source, "the source of a message needs a name"));
        }
        if !cx.world.traced {
            // What nobody evaluates needs nothing.
            cx.needs = needs;
        }
        let (source, severity, origin) = (self.source.value, self.severity.as_str(), cx.origin.clone());
        Ok(Step::sync(Compiled { source, severity, message, metadata, origin }))
    }
}

// === impl Apply ===

struct Compiled {
    source: String,
    severity: &'static str,
    message: TextValue,
    metadata: Vec<(String, TextValue)>,
    origin: Arc<Origin>,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(recorder) = &cx.exchange.recorder else { return Ok(Flow::Next) };
        let text = self.message.text(cx)?.into_owned();
        let value = |(name, value): &(String, TextValue)| Ok((name.clone(), value.text(cx)?.into_owned()));
        let metadata = self.metadata.iter().map(value).collect::<Result<_, Fault>>()?;
        let note = Note { severity: Some(self.severity), by: Some(self.source.clone()), text, metadata };
        recorder.note(cx.exchange, &self.origin, note);
        Ok(Flow::Next)
    }
}
