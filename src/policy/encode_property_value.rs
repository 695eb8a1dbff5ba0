//! Percent-encodes a property of a JSON body.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::BodyProperty;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::json::Node;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Percent-encodes a text of a JSON body: the connector template
/// [encodepropertyvalue](https://learn.microsoft.com/connectors/custom-connectors/policy-templates).
///
/// Letters, digits and `-_.!~*'()` stay; everything else becomes `%XX`, as JavaScript's `encodeURIComponent` has it (ECMA-262
/// §19.2.6.4): the platform does not document its set.
///
/// Inbound and backend change the request, outbound the response. Numbers keep their digits and properties their order. A request whose
/// body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
/// A property that is not text is left alone.
///
/// ```toml
/// [[inbound]]
/// policy   = "encode-property-value"
/// parent   = "@body().assignments"
/// property = "userId"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EncodePropertyValue {
    /// The object that holds the property, or the array whose items hold it: `@body()`, `@body().value`. Nothing happens where it is
    /// not there. Default `@body()`, the whole body.
    parent: Option<At<String>>,
    /// The property, as a path from the parent: `references`, `people.age`, `['@odata.id']`. Nothing happens where it is not there.
    /// Default, and what `"null"` stands for: the parent itself.
    property: Option<At<String>>,
    /// Where the result goes: `@item().name` on the parent or its item, `@body().name` on the body, a bare name on the parent. What is
    /// there is replaced. Default: in place of what was read.
    target: Option<At<String>>,
}

impl Policy for EncodePropertyValue {
    const NAME: &'static str = "encode-property-value";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let place = BodyProperty::compile(self.parent.as_ref(), self.property.as_ref(), self.target.as_ref(), cx)?;
        Ok(Step::sync(Compiled(place)))
    }
}

// === impl Apply ===

/// What `encodeURIComponent` encodes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

struct Compiled(BodyProperty);

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        self.0.edit(cx, |node| {
            let text = node.as_text()?;
            Some(Node::text(&utf8_percent_encode(&text, COMPONENT).to_string()))
        })?;
        Ok(Flow::Next)
    }
}
