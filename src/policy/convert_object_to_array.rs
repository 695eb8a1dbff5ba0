//! Turns an object of a JSON body into an array.

use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::BodyProperty;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::json::{Member, Node};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Turns an object of a JSON body into an array with one item for each of its properties: the connector template
/// [convertobjecttoarray](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/convertobjecttoarray/convertobjecttoarray).
///
/// `{"ada":{"age":36}}` becomes `[{"key":"ada","value":{"age":36}}]`, in the order of the properties.
///
/// Inbound and backend change the request, outbound the response. Numbers keep their digits and properties their order. A request whose
/// body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
/// A property that is not an object is left alone.
///
/// ```toml
/// [[outbound]]
/// policy     = "convert-object-to-array"
/// parent     = "@body().value"
/// property   = "assignments"
/// key-name   = "userId"
/// value-name = "assignment"
/// target     = "@item()._assignments"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConvertObjectToArray {
    /// The object that holds the property, or the array whose items hold it: `@body()`, `@body().value`. Nothing happens where it is
    /// not there. Default `@body()`, the whole body.
    parent: Option<At<String>>,
    /// The object, as a path from the parent: `references`, `people.age`, `['@odata.id']`. Nothing happens where it is not there.
    /// Default, and what `"null"` stands for: the parent itself.
    property: Option<At<String>>,
    /// The property of each item that holds the name. Default `key`.
    key_name: Option<String>,
    /// The property of each item that holds the value. Default `value`.
    value_name: Option<String>,
    /// Where the result goes: `@item().name` on the parent or its item, `@body().name` on the body, a bare name on the parent. What is
    /// there is replaced. Default: in place of what was read.
    target: Option<At<String>>,
}

impl Policy for ConvertObjectToArray {
    const NAME: &'static str = "convert-object-to-array";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let place = BodyProperty::compile(self.parent.as_ref(), self.property.as_ref(), self.target.as_ref(), cx)?;
        let key_name = self.key_name.unwrap_or_else(|| "key".to_owned());
        let value_name = self.value_name.unwrap_or_else(|| "value".to_owned());
        Ok(Step::sync(Compiled { place, key_name, value_name }))
    }
}

// === impl Apply ===

struct Compiled {
    place: BodyProperty,
    key_name: String,
    value_name: String,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        self.place.edit(cx, |node| {
            let item = |member: &Member| {
                Node::Object(vec![
                    Member::new(&self.key_name, member.name_node()),
                    Member::new(&self.value_name, member.value.clone()),
                ])
            };
            Some(Node::Array(node.members()?.iter().map(item).collect()))
        })?;
        Ok(Flow::Next)
    }
}
