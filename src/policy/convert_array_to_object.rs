//! Turns an array of a JSON body into an object.

use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::{BodyProperty, path};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::json::{Key, Kind, Member, Node};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Turns an array of objects of a JSON body into one object, whose properties are named by a property of each item: the connector
/// template [convertarraytoobject](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/convertarraytoobject/convertarraytoobject).
///
/// `[{"name":"ada","age":36}]` becomes `{"ada":{"name":"ada","age":36}}`. Of several items with one key the last counts. An item without
/// the key, or with one that is null, an array or an object, is left out. An item that had nothing but its key becomes null when
/// `retain-key` is `false`. The platform documents none of these three.
///
/// Inbound and backend change the request, outbound the response. Numbers keep their digits and properties their order. A request whose
/// body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
/// A property that is not an array is left alone.
///
/// ```toml
/// [[inbound]]
/// policy     = "convert-array-to-object"
/// property   = "references"
/// key        = "resourceLink"
/// retain-key = false
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConvertArrayToObject {
    /// The object that holds the property, or the array whose items hold it: `@body()`, `@body().value`. Nothing happens where it is
    /// not there. Default `@body()`, the whole body.
    parent: Option<At<String>>,
    /// The array, as a path from the parent: `references`, `people.age`, `['@odata.id']`. Nothing happens where it is not there.
    /// Default, and what `"null"` stands for: the parent itself.
    property: Option<At<String>>,
    /// The property of each item that names it in the object, as a path from the item.
    key: At<String>,
    /// Whether the items keep that property. Default `true`.
    retain_key: Option<bool>,
    /// Where the result goes: `@item().name` on the parent or its item, `@body().name` on the body, a bare name on the parent. What is
    /// there is replaced. Default: in place of what was read.
    target: Option<At<String>>,
}

impl Policy for ConvertArrayToObject {
    const NAME: &'static str = "convert-array-to-object";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let key = path(&self.key, cx)?.keys;
        if key.is_empty() {
            return Err(CompileError::at(&self.key, "there is no property to name the items by"));
        }
        let property = BodyProperty::compile(self.parent.as_ref(), self.property.as_ref(), self.target.as_ref(), cx)?;
        Ok(Step::sync(Compiled { place: property, key, retain: self.retain_key.unwrap_or(true) }))
    }
}

// === impl Apply ===

struct Compiled {
    place: BodyProperty,
    key: Box<[Key]>,
    retain: bool,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        self.place.edit(cx, |node| {
            let items = node.items()?;
            let mut members = Vec::with_capacity(items.len());
            let mut places: HashMap<String, usize> = HashMap::with_capacity(items.len());
            for item in items {
                let Some(name) = item.at(&self.key).and_then(|key| name(key)) else { continue };
                let mut value = item.clone();
                if !self.retain {
                    value.take(&self.key);
                    if value.members().is_some_and(|members| members.is_empty()) {
                        value = Node::null();
                    }
                }
                let member = Member::new(&name, value);
                match places.get(&name) {
                    Some(place) => members[*place] = member,
                    None => {
                        places.insert(name, members.len());
                        members.push(member);
                    }
                }
            }
            Some(Node::Object(members))
        })?;
        Ok(Flow::Next)
    }
}

/// A key as the name of a property.
fn name(key: &Node) -> Option<String> {
    match key.kind() {
        Kind::Text | Kind::Number | Kind::Bool => Some(key.to_text().into_owned()),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}
