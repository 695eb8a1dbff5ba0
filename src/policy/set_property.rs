//! Sets a property of a JSON body.

use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::{for_each, parent, property};
use super::body_template::BodyTemplate;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::expression::Needs;
use crate::json::{Key, Kind};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Sets a property of an object of a JSON body, or of each object of an array: the connector template
/// [setproperty](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/setproperty/setproperty).
///
/// The value is text with holes: `{@body().first} {@item()['last']}` reads from the body and, where the parent is an array, from the item.
/// `@{…}` and calls such as `@connectionParameters('region')` are evaluated too; the platform sends them as they are written.
/// A hole takes text as it is, nothing for null and for what is missing, all else as JSON. When the whole result is an array or an
/// object in JSON it becomes one; anything else is text, also `30` and `true`. Between the quotes of a value that is written as JSON the text
/// of a hole is escaped, so that it cannot add properties. Single quotes are sent as they are written, around a hole too: the platform
/// does not say whether it takes them off. A value that is one hole alone is not set when there is nothing in it.
///
/// Inbound and backend change the request, outbound the response. Numbers keep their digits and properties their order. A request whose
/// body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
///
/// ```toml
/// [[inbound]]
/// policy = "set-property"
/// name   = "fullName"
/// value  = "{@body().firstName} {@body().lastName}"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetProperty {
    /// The object whose property is set, or the array whose items' is: `@body()`, `@body().people`. Nothing happens where it is
    /// not there. Default `@body()`, the whole body.
    parent: Option<At<String>>,
    /// The property, as a path from the parent: `location`, `address.city`, `['@odata.type']`.
    name: At<String>,
    /// The value. Evaluated when the step runs; a failure goes to on-error.
    value: Text,
}

impl Policy for SetProperty {
    const NAME: &'static str = "set-property";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::BODY;
        let parent = parent(self.parent.as_ref(), cx)?;
        let name = property(Some(&self.name), cx)?;
        if name.is_empty() {
            return Err(CompileError::at(&self.name, "a property needs a name"));
        }
        let value = BodyTemplate::compile(&self.value, cx)?;
        Ok(Step::sync(Compiled { parent, name, value }))
    }
}

// === impl Apply ===

struct Compiled {
    parent: Box<[Key]>,
    name: Box<[Key]>,
    value: BodyTemplate,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let called = self.value.call(cx)?;
        let limit = usize::try_from(cx.exchange.gateway.settings.buffer_size).unwrap_or(usize::MAX);
        let mut made = 0_usize;
        cx.edit_json(|document| {
            let value = self.value.read_body(&called, &mut document.root);
            let Some(parent) = document.root.at(&self.parent) else { return };
            let is_array = parent.kind() == Kind::Array;
            for_each(parent, |holder| {
                // Known before all of it is made, so that a short request cannot ask for gigabytes.
                if made > limit {
                    return;
                }
                let Some(value) = value.read_item(is_array.then_some(&mut *holder)) else { return };
                made = made.saturating_add(value.length());
                holder.put(&self.name, value);
            });
        })?;
        if made > limit { Err(cx.body_too_large()) } else { Ok(Flow::Next) }
    }
}
