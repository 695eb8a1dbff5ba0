//! Splits a text of a JSON body into an array of objects.

use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::BodyProperty;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::json::{Member, Node};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Splits a text of a JSON body into an array of objects with one property each: the connector template
/// [stringtoarray](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/stringtoarray/stringtoarray).
///
/// `"3;0"` becomes `[{"age":"3"},{"age":"0"}]`. Empty pieces are left out, so that `"3;"` has one item and `""` none; spaces stay.
///
/// Inbound and backend change the request, outbound the response. Numbers keep their digits and properties their order. A request whose
/// body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
/// A property that is not text is left alone.
///
/// ```toml
/// [[inbound]]
/// policy     = "string-to-array"
/// property   = "assignments"
/// delimiters = ";"
/// child      = "userId"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StringToArray {
    /// The object that holds the property, or the array whose items hold it: `@body()`, `@body().value`. Nothing happens where it is
    /// not there. Default `@body()`, the whole body.
    parent: Option<At<String>>,
    /// The property, as a path from the parent: `references`, `people.age`, `['@odata.id']`. Nothing happens where it is not there.
    /// Default, and what `"null"` stands for: the parent itself.
    property: Option<At<String>>,
    /// The characters that separate the pieces; each of them does.
    delimiters: At<String>,
    /// The name of the property that each piece becomes.
    child: String,
    /// Where the result goes: `@item().name` on the parent or its item, `@body().name` on the body, a bare name on the parent. What is
    /// there is replaced. Default: in place of what was read.
    target: Option<At<String>>,
}

impl Policy for StringToArray {
    const NAME: &'static str = "string-to-array";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.delimiters.is_empty() {
            return Err(CompileError::at(&self.delimiters, "there is nothing that separates the pieces"));
        }
        let place = BodyProperty::compile(self.parent.as_ref(), self.property.as_ref(), self.target.as_ref(), cx)?;
        let delimiters = self.delimiters.chars().collect();
        Ok(Step::sync(Compiled { place, delimiters, child: self.child }))
    }
}

// === impl Apply ===

struct Compiled {
    place: BodyProperty,
    delimiters: Vec<char>,
    child: String,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        self.place.edit(cx, |node| {
            let text = node.as_text()?;
            let pieces = text.split(&self.delimiters[..]).filter(|piece| !piece.is_empty());
            let object = |piece| Node::Object(vec![Member::new(&self.child, Node::text(piece))]);
            Some(Node::Array(pieces.map(object).collect()))
        })?;
        Ok(Flow::Next)
    }
}
