//! Replaces text in a property of a JSON body.

use memchr::memmem;
use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::BodyProperty;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::json::Node;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Replaces every occurrence of a text in a property of a JSON body: the connector template
/// [stringreplace](https://learn.microsoft.com/connectors/custom-connectors/policy-templates).
///
/// Inbound and backend change the request, outbound the response. Numbers keep their digits and properties their order. A request whose
/// body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
/// A property that is not text is left alone.
///
/// ```toml
/// [[outbound]]
/// policy   = "string-replace"
/// parent   = "@body().invoices"
/// property = "url"
/// from     = "https://api.contoso.com/v2/invoices/"
/// to       = ""
/// target   = "@item().id"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StringReplace {
    /// The object that holds the property, or the array whose items hold it: `@body()`, `@body().value`. Nothing happens where it is
    /// not there. Default `@body()`, the whole body.
    parent: Option<At<String>>,
    /// The property, as a path from the parent: `references`, `people.age`, `['@odata.id']`. Nothing happens where it is not there.
    /// Default, and what `"null"` stands for: the parent itself.
    property: Option<At<String>>,
    /// The text to look for: as it is, not a pattern and not an expression.
    from: At<String>,
    /// The text in its place; `""` removes it. As it is, not an expression.
    to: String,
    /// Where the result goes: `@item().name` on the parent or its item, `@body().name` on the body, a bare name on the parent. What is
    /// there is replaced. Default: in place of what was read.
    target: Option<At<String>>,
}

impl Policy for StringReplace {
    const NAME: &'static str = "string-replace";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.from.is_empty() {
            return Err(CompileError::at(&self.from, "there is nothing to look for"));
        }
        let place = BodyProperty::compile(self.parent.as_ref(), self.property.as_ref(), self.target.as_ref(), cx)?;
        Ok(Step::sync(Compiled { place, from: self.from.value, to: self.to }))
    }
}

// === impl Apply ===

struct Compiled {
    place: BodyProperty,
    from: String,
    to: String,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let limit = usize::try_from(cx.exchange.gateway.settings.buffer_size).unwrap_or(usize::MAX);
        let (mut grown, grows) = (0_usize, self.to.len().saturating_sub(self.from.len()));
        let finder = memmem::Finder::new(&self.from);
        self.place.edit(cx, |node| {
            let text = node.as_text()?;
            let found = finder.find_iter(text.as_bytes()).count();
            // Known before anything is made, so that a short request cannot ask for gigabytes.
            grown = grown.saturating_add(grows.saturating_mul(found));
            if grown > limit {
                return None;
            }
            Some(if found == 0 { node.clone() } else { Node::text(&text.replace(&self.from, &self.to)) })
        })?;
        if grown > limit { Err(cx.body_too_large()) } else { Ok(Flow::Next) }
    }
}
