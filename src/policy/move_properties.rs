//! Moves properties of a JSON body to another object of it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::{parent, property};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::json::{Key, Kind, Node};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Moves a property of a JSON body, or all that is in it, to another place of the body: the connector template
/// [moveproperties](https://learn.microsoft.com/connectors/custom-connectors/policy-templates).
///
/// With `children-only` `{"custom":{"a":1}}` becomes `{"a":1}`: the properties are moved, and what held them is removed. Nothing happens
/// where the source, or the object that the target is in, is not there.
///
/// Inbound and backend change the request, outbound the response. Numbers keep their digits and properties their order. A request whose
/// body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
///
/// ```toml
/// [[inbound]]
/// policy          = "move-properties"
/// source-property = "customProperties"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MoveProperties {
    /// The object that holds what is moved. Default `@body()`.
    source_parent: Option<At<String>>,
    /// What is moved, as a path from there.
    source_property: At<String>,
    /// The object that it is moved to. Default `@body()`.
    target_parent: Option<At<String>>,
    /// A property of it that takes what is moved, as a path from there; made when it is not there. Default, and what `"null"` stands
    /// for: the object itself.
    target_property: Option<At<String>>,
    /// Whether what is in the source is moved, property by property, and not the source with its name. Default `true`.
    children_only: Option<bool>,
}

impl Policy for MoveProperties {
    const NAME: &'static str = "move-properties";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::BODY;
        let mut source = parent(self.source_parent.as_ref(), cx)?.into_vec();
        let own = property(Some(&self.source_property), cx)?;
        if !matches!(own.last(), Some(Key::Name(_))) {
            return Err(CompileError::at(&self.source_property, "there is no property to move"));
        }
        source.extend(own);
        let holder = parent(self.target_parent.as_ref(), cx)?;
        let property = property(self.target_property.as_ref(), cx)?;
        Ok(Step::sync(Compiled {
            source: source.into(),
            holder,
            property,
            children_only: self.children_only.unwrap_or(true),
        }))
    }
}

// === impl Apply ===

struct Compiled {
    source: Box<[Key]>,
    holder: Box<[Key]>,
    property: Box<[Key]>,
    children_only: bool,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        cx.edit_json(|document| self.run(&mut document.root))?;
        Ok(Flow::Next)
    }
}

impl Compiled {
    fn run(&self, root: &mut Node) {
        // Nothing is taken before it is clear that it can be put down: not inside itself, and into an object.
        let into_itself = self.holder.starts_with(&self.source);
        if into_itself || root.at(&self.holder).is_none_or(|holder| holder.kind() != Kind::Object) {
            return;
        }
        if self.children_only && root.at(&self.source).is_none_or(|source| source.kind() != Kind::Object) {
            return;
        }
        let Some(mut source) = root.take(&self.source) else { return };
        let Some(holder) = root.at(&self.holder) else { return };
        if !self.children_only && !self.property.is_empty() {
            holder.put(&self.property, source);
            return;
        }
        let target = match self.property.is_empty() {
            true => Some(holder),
            false => {
                if holder.at(&self.property).is_none_or(|target| target.kind() != Kind::Object) {
                    holder.put(&self.property, Node::Object(Vec::new()));
                }
                holder.at(&self.property)
            }
        };
        let (Some(target), Some(name)) = (target, self.source.last()) else { return };
        if !self.children_only {
            target.put(std::slice::from_ref(name), source);
            return;
        }
        for member in source.members().into_iter().flat_map(std::mem::take) {
            let name = Key::Name(member.name().into());
            target.put(&[name], member.value);
        }
    }
}
