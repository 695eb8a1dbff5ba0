//! Where a policy that works on one property of a JSON body reads it and puts what it makes of it.

use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::json::{Document, Key, Kind, Node, Path, Root};
use crate::pipeline::{Context, Fault};

/// A property of a JSON body, and where its new value goes.
#[derive(Debug)]
pub(super) struct BodyProperty {
    /// The object or the array of objects that holds the property.
    parent: Box<[Key]>,
    /// The property in it; none when the policy works on the parent itself.
    property: Box<[Key]>,
    target: Path,
}

/// Reads a path of a connector template.
pub(super) fn path(text: &At<String>, cx: &CompileCx<'_, '_>) -> Result<Path, CompileError> {
    Path::parse(text).map_err(|error| CompileError {
        span: Some(cx.inside(text, &error.range)),
        code: "bad-path",
        message: format!("`{}` is not a path: {}", text.value, error.message),
        hint: Some("for example `@body().value`, `@item()['@odata.id']` or `people.age`".to_owned()),
    })
}

/// Reads the path of what holds something: an object or an array of the body.
pub(super) fn parent(text: Option<&At<String>>, cx: &CompileCx<'_, '_>) -> Result<Box<[Key]>, CompileError> {
    let Some(text) = text else { return Ok(Box::default()) };
    let path = path(text, cx)?;
    if path.root == Root::Item {
        return Err(CompileError::at(text, "there is no item yet: this path chooses the items")
            .hint("begin with `@body()`, for example `@body().value`"));
    }
    Ok(path.keys)
}

/// Reads the path of a property within its parent. The templates write `null` for none.
pub(super) fn property(text: Option<&At<String>>, cx: &CompileCx<'_, '_>) -> Result<Box<[Key]>, CompileError> {
    let Some(text) = text.filter(|text| !text.eq_ignore_ascii_case("null")) else { return Ok(Box::default()) };
    let path = path(text, cx)?;
    if path.root == Root::Body {
        return Err(CompileError::at(text, "this path begins at the parent, not at the body")
            .hint("a name such as `assignments`, or `people.age`"));
    }
    Ok(path.keys)
}

impl BodyProperty {
    /// Compiles the three paths. Without a target the new value takes the place of the old one.
    pub(super) fn compile(
        parent: Option<&At<String>>,
        property: Option<&At<String>>,
        target: Option<&At<String>>,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Self, CompileError> {
        cx.needs |= Needs::BODY;
        let parent = self::parent(parent, cx)?;
        let property = self::property(property, cx)?;
        let target = match target {
            Some(target) => path(target, cx)?,
            None => Path { root: Root::Here, keys: property.clone() },
        };
        Ok(Self { parent, property, target })
    }

    /// Works on the property, of each item where the parent is an array. Nothing happens where it is not there, and where
    /// `change` makes nothing of it.
    pub(super) fn edit(
        &self,
        cx: &mut Context<'_>,
        mut change: impl FnMut(&mut Node) -> Option<Node>,
    ) -> Result<(), Fault> {
        cx.edit_json(|document| self.run(document, &mut change))
    }

    fn run(&self, document: &mut Document, change: &mut dyn FnMut(&mut Node) -> Option<Node>) {
        let Some(parent) = document.root.at(&self.parent) else { return };
        // What goes into the body itself is put there when nothing else is borrowed from it.
        let mut into_body = None;
        if self.property.is_empty() {
            let Some(value) = change(parent) else { return };
            match self.target.root {
                Root::Here if self.target.keys.is_empty() || parent.kind() == Kind::Object => {
                    parent.put(&self.target.keys, value);
                }
                Root::Item => {
                    parent.put(&self.target.keys, value);
                }
                Root::Here | Root::Body => into_body = Some(value),
            }
        } else {
            for_each(parent, |holder| {
                let Some(value) = holder.at(&self.property).and_then(&mut *change) else { return };
                match self.target.root {
                    Root::Here | Root::Item => {
                        holder.put(&self.target.keys, value);
                    }
                    Root::Body => into_body = Some(value),
                }
            });
        }
        if let Some(value) = into_body {
            document.root.put(&self.target.keys, value);
        }
    }
}

/// An object, or each item of an array.
pub(super) fn for_each(node: &mut Node, mut visit: impl FnMut(&mut Node)) {
    match node.kind() {
        Kind::Array => node.items().into_iter().flatten().for_each(visit),
        Kind::Object => visit(node),
        _ => {}
    }
}
