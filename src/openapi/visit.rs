//! The values of a body that a schema says something about: dates, numbers.

use super::format::Format;
use super::schema::{Rest, Schema, SchemaId, Schemas, Types};
use crate::json::{Kind, Node};

/// How deep a body is visited.
const MAX_DEPTH: usize = 64;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Texts with a format of dates.
    Dates,
    /// Numbers.
    Numbers,
}

impl Sought {
    fn is(self, schema: &Schema) -> bool {
        match self {
            Self::Dates => matches!(schema.format, Format::DateTime | Format::DateTimeWithoutOffset | Format::Date),
            Self::Numbers => schema.types.any(Types::NUMBER) && !schema.types.any(Types::STRING),
        }
    }
}

/// Visits the values that are sought, with the format that their schema gives them. Of schemas that are taken together those count that
/// all must take the value (`allOf`); which one of several it is is not asked.
pub fn visit(
    schemas: &Schemas,
    schema: SchemaId,
    sought: Sought,
    node: &mut Node,
    change: &mut dyn FnMut(Format, &mut Node),
) {
    let leads = schemas.leads[sought as usize].get_or_init(|| leads(schemas, sought));
    Visit { schemas, leads, sought, change }.level(schema, node, 0);
}

struct Visit<'a> {
    schemas: &'a Schemas,
    leads: &'a [bool],
    sought: Sought,
    change: &'a mut dyn FnMut(Format, &mut Node),
}

impl Visit<'_> {
    fn level(&mut self, id: SchemaId, node: &mut Node, depth: usize) {
        if depth > MAX_DEPTH || !self.leads[id.0 as usize] {
            return;
        }
        let schemas = self.schemas;
        let schema = schemas.get(id);
        match node.kind() {
            Kind::Object => {
                let Some(rules) = &schema.object else { return self.parts(schema, node, depth) };
                for member in node.members().into_iter().flatten() {
                    let known = rules.find(&member.name(), false).map(|place| rules.properties[place].schema);
                    let rest = if let Rest::Schema(rest) = rules.rest { Some(rest) } else { None };
                    if let Some(inner) = known.or(rest) {
                        self.level(inner, &mut member.value, depth + 1);
                    }
                }
            }
            Kind::Array => {
                if let Some(Rest::Schema(rest)) = schema.array.as_ref().map(|rules| rules.rest) {
                    for item in node.items().into_iter().flatten() {
                        self.level(rest, item, depth + 1);
                    }
                }
            }
            Kind::Null | Kind::Bool => {}
            Kind::Text | Kind::Number => {
                if self.sought.is(schema) {
                    (self.change)(schema.format, node);
                }
            }
        }
        self.parts(schema, node, depth);
    }

    fn parts(&mut self, schema: &Schema, node: &mut Node, depth: usize) {
        for part in schema.logic.iter().flat_map(|logic| &logic.all) {
            self.level(*part, node, depth + 1);
        }
    }
}

/// Which schemas are sought, or lead to one that is.
fn leads(schemas: &Schemas, sought: Sought) -> Box<[bool]> {
    let mut leads: Box<[bool]> = schemas.all.iter().map(|schema| sought.is(schema)).collect();
    loop {
        let mut found = false;
        for (place, schema) in schemas.all.iter().enumerate() {
            if leads[place] {
                continue;
            }
            let rest = |rest: Rest| if let Rest::Schema(id) = rest { Some(id) } else { None };
            let object = schema.object.iter();
            let mut below = object
                .clone()
                .flat_map(|rules| &rules.properties)
                .map(|property| property.schema)
                .chain(object.filter_map(|rules| rest(rules.rest)))
                .chain(schema.array.iter().filter_map(|rules| rest(rules.rest)))
                .chain(schema.logic.iter().flat_map(|logic| &logic.all).copied());
            if below.any(|id| leads[id.0 as usize]) {
                leads[place] = true;
                found = true;
            }
        }
        if !found {
            return leads;
        }
    }
}
