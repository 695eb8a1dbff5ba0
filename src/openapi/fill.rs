//! What callers do not see and the API needs: properties of a body with `x-ms-visibility: internal` and a default.

use bytes::Bytes;

use super::schema::{Property, Rest, SchemaId, Schemas};
use crate::json::{Key, Kind, Node};

/// How deep a body is filled in.
const MAX_DEPTH: usize = 64;
/// How many places of one body are looked at.
const MAX_LOOKS: usize = 1 << 20;

/// Fills in what is not there. An object that is not there comes into being when it must be there, or is hidden itself.
pub fn fill(schemas: &Schemas, schema: SchemaId, node: &mut Node) {
    Filler { schemas, left: MAX_LOOKS }.level(schema, node, 0);
}

/// The object that is sent when there is no body: none when nothing would be in it.
pub fn made(schemas: &Schemas, schema: SchemaId) -> Option<Node> {
    let mut object = Node::Object(Vec::new());
    fill(schemas, schema, &mut object);
    let has = object.members().is_some_and(|members| !members.is_empty());
    has.then_some(object)
}

struct Filler<'s> {
    schemas: &'s Schemas,
    left: usize,
}

impl Filler<'_> {
    fn level(&mut self, id: SchemaId, node: &mut Node, depth: usize) {
        let schema = self.schemas.get(id);
        if !schema.fills || depth > MAX_DEPTH || self.left == 0 {
            return;
        }
        self.left -= 1;
        match node.kind() {
            Kind::Object => {
                for property in schema.object.iter().flat_map(|rules| rules.in_order()) {
                    self.property(property, node, depth);
                }
            }
            Kind::Array => {
                if let Some(Rest::Schema(rest)) = schema.array.as_ref().map(|rules| rules.rest) {
                    for item in node.items().into_iter().flatten() {
                        self.level(rest, item, depth + 1);
                    }
                }
            }
            _ => {}
        }
        for part in schema.logic.iter().flat_map(|logic| &logic.all) {
            self.level(*part, node, depth + 1);
        }
    }

    fn property(&mut self, property: &Property, node: &mut Node, depth: usize) {
        let inner = self.schemas.get(property.schema);
        let hidden = inner.internal && inner.default.is_some();
        if !inner.fills && !hidden {
            return;
        }
        let key = Key::Name(property.name.clone());
        if let Some(there) = node.get(&key) {
            self.level(property.schema, there, depth + 1);
            return;
        }
        if let Some(default) = inner.default.as_ref().filter(|_| hidden) {
            // It was JSON when the definition was read.
            if let Ok(value) = Node::parse(&Bytes::copy_from_slice(default.as_bytes())) {
                node.put(&[key], value);
            }
        } else if property.required || inner.internal {
            let mut object = Node::Object(Vec::new());
            self.level(property.schema, &mut object, depth + 1);
            if object.members().is_some_and(|members| !members.is_empty()) {
                node.put(&[key], object);
            }
        }
    }
}
