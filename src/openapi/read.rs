//! Schemas of OpenAPI 2.0, 3.0 and 3.1 as written into those that run. What is wrong with one is told, and not checked.

use std::collections::HashMap;
use std::ops::Range;

use super::format::Format;
use super::number::Number;
use super::pattern::Pattern;
use super::schema::{
    ArrayRules, Constant, Discriminator, Logic, NumberRules, ObjectRules, Property, Rest, Schema, SchemaId, Schemas,
    TextRules, Types,
};
use crate::connector::tree::{Node, Value};

/// How many faults of one definition are told.
const MAX_FAULTS: usize = 20;
/// How many references may follow one another.
const MAX_REFERENCES: usize = 32;

/// Something of a definition that cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub span: Range<usize>,
    /// What it is: lower case, no period.
    pub message: String,
}

/// The flavour of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAPI 2.0: JSON Schema draft 4, in part.
    Two,
    /// OpenAPI 3.0: the same with `nullable`.
    Three,
    /// OpenAPI 3.1: JSON Schema 2020-12.
    ThreeOne,
}

/// Keywords that say something which is not checked here.
const UNCHECKED: [&str; 8] = [
    "unevaluatedProperties",
    "unevaluatedItems",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
    "$dynamicRef",
    "$recursiveRef",
    "contentSchema",
];

/// Reads schemas, each once however often it is referred to.
pub struct Reader<'n> {
    root: &'n Node,
    dialect: Dialect,
    schemas: Schemas,
    /// Schemas by the place of their nodes in memory.
    known: HashMap<*const Node, SchemaId>,
    /// Schemas that have a number and were not read yet: references nest deeper than a stack does.
    waiting: Vec<(SchemaId, &'n Node)>,
    /// What was found wrong.
    pub faults: Vec<Fault>,
}

impl<'n> Reader<'n> {
    /// A reader of a definition's schemas.
    pub fn new(root: &'n Node, dialect: Dialect) -> Self {
        let schemas = Schemas { whole_by_value: dialect == Dialect::ThreeOne, ..Schemas::default() };
        Self { root, dialect, schemas, known: HashMap::new(), waiting: Vec::new(), faults: Vec::new() }
    }

    /// Notes a fault, as long as there are few.
    pub fn fault(&mut self, node: &Node, message: impl Into<String>) {
        let fault = Fault { span: node.span.clone(), message: message.into() };
        match self.faults.len().cmp(&MAX_FAULTS) {
            std::cmp::Ordering::Less if !self.faults.contains(&fault) => self.faults.push(fault),
            std::cmp::Ordering::Equal => {
                self.faults.push(Fault { message: "there are more faults, which are not told".to_owned(), ..fault });
            }
            _ => {}
        }
    }

    /// Follows references. One that leads nowhere is told.
    pub fn follow(&mut self, node: &'n Node) -> Option<&'n Node> {
        let mut at = node;
        for _ in 0..MAX_REFERENCES {
            let Some(reference) = at.get("$ref") else { return Some(at) };
            // A property may be called so.
            let Some(text) = reference.text() else { return Some(at) };
            let next = if text == "#" { Some(self.root) } else { self.root.resolve(text) };
            let Some(next) = next else {
                let message = if text.starts_with('#') {
                    format!("`{text}` leads nowhere")
                } else {
                    format!("`{text}` is outside of this file, where nothing is read")
                };
                self.fault(reference, message);
                return None;
            };
            at = next;
        }
        self.fault(node, "references lead in a circle");
        None
    }

    /// The number of a schema.
    pub fn schema(&mut self, node: &'n Node) -> SchemaId {
        let target = if self.dialect == Dialect::ThreeOne && node.members().len() > 1 {
            // From 3.1 on, what stands beside a reference counts.
            Some(node)
        } else {
            self.follow(node)
        };
        let key: *const Node = target.unwrap_or(node);
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        let id = SchemaId(u32::try_from(self.schemas.all.len()).unwrap_or(u32::MAX));
        self.schemas.all.push(Schema::default());
        self.known.insert(key, id);
        self.waiting.extend(target.map(|node| (id, node)));
        id
    }

    /// Reads what is waiting; the schemas are complete then.
    pub fn finish(mut self) -> (Schemas, Vec<Fault>) {
        self.settle();
        self.schemas.all.shrink_to_fit();
        self.faults.sort_by_key(|fault| fault.span.start);
        (self.schemas, self.faults)
    }

    /// Reads what is waiting.
    pub fn settle(&mut self) -> &Schemas {
        while let Some((id, node)) = self.waiting.pop() {
            let schema = self.read(node);
            self.schemas.all[id.0 as usize] = schema;
        }
        &self.schemas
    }

    fn read(&mut self, node: &'n Node) -> Schema {
        match &node.value {
            Value::Object(_) => {}
            Value::Bool(takes) => return Schema { never: !takes, ..Schema::default() },
            _ => {
                self.fault(node, "a schema is an object");
                return Schema::default();
            }
        }
        for keyword in UNCHECKED {
            if let Some(unchecked) = node.get(keyword) {
                self.fault(unchecked, format!("`{keyword}` is not checked"));
            }
        }
        let flag = |name: &str| node.get(name).is_some_and(Node::is_true);
        let mut schema = Schema {
            types: self.types(node),
            nullable: flag("nullable") || flag("x-nullable"),
            read_only: flag("readOnly"),
            write_only: flag("writeOnly"),
            internal: node.text_of("x-ms-visibility") == Some("internal"),
            fills: false,
            never: false,
            format: node.text_of("format").map_or(Format::Any, Format::find),
            text: self.text_rules(node).map(Box::new),
            number: self.number_rules(node).map(Box::new),
            array: self.array_rules(node).map(Box::new),
            object: self.object_rules(node).map(Box::new),
            logic: self.logic(node).map(Box::new),
            values: None,
            default: node.get("default").map(json),
            example: node.get("example").or_else(|| node.get("examples")?.items().first()).map(json),
        };
        schema.values = self.values(node, schema.types);
        schema
    }

    fn types(&mut self, node: &'n Node) -> Types {
        let Some(written) = node.get("type") else { return Types::ALL };
        let mut types = Types::NONE;
        let single = std::slice::from_ref(written);
        for one in if written.text().is_some() { single } else { written.items() } {
            match one.text().map(str::trim) {
                // A file is whatever bytes come.
                Some("file") => return Types::ALL,
                Some(name) => match Types::find(name) {
                    Some(found) => types = types.with(found),
                    None => {
                        self.fault(one, format!("there is no type `{name}`"));
                        return Types::ALL;
                    }
                },
                None => {}
            }
        }
        if types == Types::NONE {
            self.fault(written, "`type` is no name of a type");
            return Types::ALL;
        }
        types
    }

    fn count(&mut self, node: &'n Node, name: &str) -> Option<u64> {
        let written = node.get(name)?;
        let number = written.scalar().and_then(Number::parse).filter(|number| number.is_whole());
        let count = number.map(Number::value).filter(|value| *value >= 0.0);
        if count.is_none() {
            self.fault(written, format!("`{name}` is no number of things"));
        }
        // Beyond this no body has that many.
        count.map(|value| value.min(9e15) as u64)
    }

    fn number(&mut self, node: &'n Node, name: &str) -> Option<Number> {
        let written = node.get(name)?;
        let number = written.scalar().and_then(Number::parse);
        if number.is_none() {
            self.fault(written, format!("`{name}` is no number"));
        }
        number
    }

    fn text_rules(&mut self, node: &'n Node) -> Option<TextRules> {
        let (min, max) = (self.count(node, "minLength"), self.count(node, "maxLength"));
        let pattern = node.get("pattern").and_then(|written| self.pattern(written, written.text()?));
        (min.is_some() || max.is_some() || pattern.is_some()).then_some(TextRules { min, max, pattern })
    }

    fn pattern(&mut self, node: &Node, text: &str) -> Option<Pattern> {
        match Pattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                self.fault(node, format!("the pattern `{text}` cannot be checked: {why}"));
                None
            }
        }
    }

    fn number_rules(&mut self, node: &'n Node) -> Option<NumberRules> {
        let mut bound = |name: &str, exclusive: &str, tighter: std::cmp::Ordering| {
            // A truth value before 3.1, a number of its own since.
            match node.get(exclusive).map(|node| &node.value) {
                Some(Value::Number(_)) => {
                    let bound = self.number(node, exclusive).map(|number| (number, true));
                    match (bound, self.number(node, name).map(|number| (number, false))) {
                        (Some(a), Some(b)) if b.0.partial_cmp(&a.0) == Some(tighter) => Some(b),
                        (a, b) => a.or(b),
                    }
                }
                _ => {
                    let excluded = node.get(exclusive).is_some_and(Node::is_true);
                    self.number(node, name).map(|number| (number, excluded))
                }
            }
        };
        let min = bound("minimum", "exclusiveMinimum", std::cmp::Ordering::Greater);
        let max = bound("maximum", "exclusiveMaximum", std::cmp::Ordering::Less);
        let multiple_of = self.number(node, "multipleOf").filter(|number| number.value() > 0.0);
        (min.is_some() || max.is_some() || multiple_of.is_some()).then_some(NumberRules { min, max, multiple_of })
    }

    fn rest(&mut self, node: Option<&'n Node>) -> Rest {
        match node.map(|node| (&node.value, node)) {
            None | Some((Value::Bool(true), _)) => Rest::Any,
            Some((Value::Bool(false), _)) => Rest::None,
            Some((Value::Object(members), _)) if members.is_empty() => Rest::Any,
            Some((_, node)) => Rest::Schema(self.schema(node)),
        }
    }

    fn array_rules(&mut self, node: &'n Node) -> Option<ArrayRules> {
        let items = node.get("items");
        let listed = items.filter(|items| matches!(items.value, Value::Array(_)));
        let first = node.get("prefixItems").or(listed).map(Node::items).unwrap_or_default();
        let rest = if listed.is_some() { node.get("additionalItems") } else { items };
        let contains = node.get("contains").map(|one| self.schema(one));
        let contains =
            contains.map(|id| (id, self.count(node, "minContains").unwrap_or(1), self.count(node, "maxContains")));
        let rules = ArrayRules {
            min: self.count(node, "minItems"),
            max: self.count(node, "maxItems"),
            unique: node.get("uniqueItems").is_some_and(Node::is_true),
            first: first.iter().map(|one| self.schema(one)).collect(),
            rest: self.rest(rest),
            contains,
        };
        let says = rules.min.is_some() || rules.max.is_some() || rules.unique || rules.contains.is_some();
        (says || !rules.first.is_empty() || rules.rest != Rest::Any).then_some(rules)
    }

    fn object_rules(&mut self, node: &'n Node) -> Option<ObjectRules> {
        let written = node.get("properties").map(Node::members).unwrap_or_default();
        let mut required: Vec<&str> = Vec::new();
        if let Some(list) = node.get("required") {
            // `required: true` on a property itself is how the third draft of JSON Schema had it. In 2.0 a parameter is its own schema.
            if !matches!(list.value, Value::Array(_)) && node.get("in").is_none() {
                self.fault(list, "`required` is a list of names of properties");
            }
            required.extend(list.items().iter().filter_map(Node::text));
        }
        let mut properties: Vec<(usize, Property)> = Vec::with_capacity(written.len());
        for (place, member) in written.iter().enumerate() {
            let schema = self.schema(&member.value);
            let name: &str = &member.name;
            properties.push((place, Property { name: name.into(), schema, required: required.contains(&name) }));
        }
        required.retain(|name| !written.iter().any(|member| *member.name == **name));
        required.sort_unstable();
        required.dedup();
        properties.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        let mut order = vec![0; properties.len()];
        for (sorted, (place, _)) in properties.iter().enumerate() {
            order[*place] = u32::try_from(sorted).unwrap_or(u32::MAX);
        }
        let mut patterns = Vec::new();
        for member in node.get("patternProperties").map(Node::members).unwrap_or_default() {
            if let Some(pattern) = self.pattern(&member.value, &member.name) {
                patterns.push((pattern, self.schema(&member.value)));
            }
        }
        let rules = ObjectRules {
            properties: properties.into_iter().map(|(_, property)| property).collect(),
            order: order.into(),
            required: required.into_iter().map(Into::into).collect(),
            patterns: patterns.into(),
            rest: self.rest(node.get("additionalProperties")),
            names: node.get("propertyNames").map(|names| self.schema(names)),
            min: self.count(node, "minProperties"),
            max: self.count(node, "maxProperties"),
        };
        let says = rules.rest != Rest::Any || rules.names.is_some() || rules.min.is_some() || rules.max.is_some();
        let lists = !rules.properties.is_empty() || !rules.required.is_empty() || !rules.patterns.is_empty();
        (says || lists).then_some(rules)
    }

    fn logic(&mut self, node: &'n Node) -> Option<Logic> {
        let mut list = |name: &str| -> Box<[SchemaId]> {
            node.get(name).map(Node::items).unwrap_or_default().iter().map(|one| self.schema(one)).collect()
        };
        let (mut all, any, one) = (list("allOf"), list("anyOf"), list("oneOf"));
        if self.dialect == Dialect::ThreeOne
            && let Some(target) = node.get("$ref").and_then(|_| self.follow(node))
        {
            all = all.iter().copied().chain([self.schema(target)]).collect();
        }
        let not = node.get("not").map(|one| self.schema(one));
        let choice = node.get("if").map(|condition| {
            let mut branch = |name| node.get(name).map(|branch| self.schema(branch));
            let (then, otherwise) = (branch("then"), branch("else"));
            (self.schema(condition), then, otherwise)
        });
        let discriminator = self.discriminator(node, if one.is_empty() { &any } else { &one });
        let is_plain = all.is_empty() && any.is_empty() && one.is_empty() && not.is_none() && choice.is_none();
        (!is_plain || discriminator.is_some()).then_some(Logic { all, any, one, discriminator, not, choice })
    }

    /// What tells the alternatives apart. Each has its own name, and those that `mapping` gives it.
    fn discriminator(&mut self, node: &'n Node, alternatives: &[SchemaId]) -> Option<Box<Discriminator>> {
        let written = node.get("discriminator")?;
        if alternatives.is_empty() {
            return self.discriminator_of_parent(node, written);
        }
        if alternatives.len() == 1 {
            return None;
        }
        let property = written.text_of("propertyName")?.into();
        let mut mapping: Vec<(Box<str>, SchemaId)> = Vec::new();
        for member in written.get("mapping").map(Node::members).unwrap_or_default() {
            let text = member.value.text().unwrap_or_default();
            let named = || self.root.get("components")?.get("schemas")?.get(text);
            let Some(target) = named().or_else(|| self.root.resolve(text)) else {
                self.fault(&member.value, format!("`{text}` leads nowhere"));
                continue;
            };
            let id = self.schema(target);
            mapping.extend(alternatives.contains(&id).then(|| (member.name.clone(), id)));
        }
        let lists = ["oneOf", "anyOf"].map(|name| node.get(name).map(Node::items).unwrap_or_default());
        for reference in lists.iter().flat_map(|list| list.iter()).filter_map(|one| one.text_of("$ref")) {
            let (Some(name), Some(target)) = (reference.rsplit('/').next(), self.root.resolve(reference)) else {
                continue;
            };
            let id = self.schema(target);
            if alternatives.contains(&id) && !mapping.iter().any(|(known, _)| **known == *name) {
                mapping.push((name.into(), id));
            }
        }
        (!mapping.is_empty()).then(|| Box::new(Discriminator { property, mapping: mapping.into(), of_parent: false }))
    }

    /// What tells the schemas apart that are made of this one. Each has its own name, and since OpenAPI 3 those that `mapping` gives it.
    fn discriminator_of_parent(&mut self, node: &'n Node, written: &'n Node) -> Option<Box<Discriminator>> {
        let property = written.text().or_else(|| written.text_of("propertyName"))?.into();
        let named = match self.dialect {
            Dialect::Two => self.root.get("definitions"),
            _ => self.root.get("components").and_then(|all| all.get("schemas")),
        };
        let named = named.map(Node::members).unwrap_or_default();
        let root = self.root;
        let mut family: Vec<*const Node> = vec![node];
        let mut children: Vec<(&Box<str>, &'n Node)> = Vec::new();
        loop {
            let is_made_of = |schema: &Node| {
                let parts = schema.get("allOf").map(Node::items).unwrap_or_default().iter();
                let mut parts = parts.filter_map(|part| root.resolve(part.text_of("$ref")?));
                parts.any(|part| family.contains(&std::ptr::from_ref(part)))
            };
            let new =
                named.iter().filter(|one| !family.contains(&std::ptr::from_ref(&one.value)) && is_made_of(&one.value));
            let new: Vec<_> = new.map(|one| (&one.name, &one.value)).collect();
            if new.is_empty() {
                break;
            }
            family.extend(new.iter().map(|(_, schema)| std::ptr::from_ref(*schema)));
            children.extend(new);
        }
        let mut mapping: Vec<(Box<str>, SchemaId)> = Vec::new();
        for member in written.get("mapping").map(Node::members).unwrap_or_default() {
            let text = member.value.text().unwrap_or_default();
            let target =
                named.iter().find(|one| *one.name == *text).map(|one| &one.value).or_else(|| root.resolve(text));
            let Some((_, child)) =
                children.iter().find(|(_, child)| target.is_some_and(|one| std::ptr::eq(one, *child)))
            else {
                continue;
            };
            mapping.push((member.name.clone(), self.schema(child)));
        }
        for (name, child) in children {
            if !mapping.iter().any(|(known, _)| known == name) {
                mapping.push((name.clone(), self.schema(child)));
            }
        }
        (!mapping.is_empty()).then(|| Box::new(Discriminator { property, mapping: mapping.into(), of_parent: true }))
    }

    fn values(&mut self, node: &'n Node, types: Types) -> Option<Box<[Constant]>> {
        let written = node.get("enum").or_else(|| node.get("const"))?;
        let listed: &[Node] = if node.get("enum").is_some() { written.items() } else { std::slice::from_ref(written) };
        if listed.is_empty() {
            self.fault(written, "`enum` is a list of values");
            return None;
        }
        let fits = |one: &Node| match &one.value {
            Value::Null => true,
            Value::Bool(_) => types.any(Types::BOOLEAN),
            Value::Number(_) => types.any(Types::NUMBER),
            Value::Text(_) => types.any(Types::STRING),
            Value::Array(_) => types.any(Types::ARRAY),
            Value::Object(_) => types.any(Types::OBJECT),
        };
        if !listed.iter().any(fits) {
            self.fault(written, "no value of `enum` has the type of the schema");
            return None;
        }
        let constant = |one: &Node| match &one.value {
            Value::Text(text) => Constant::Text(text.clone()),
            Value::Number(text) => Number::parse(text).map_or_else(|| Constant::Other(json(one)), Constant::Number),
            _ => Constant::Other(json(one)),
        };
        Some(listed.iter().map(constant).collect())
    }
}

/// A value as JSON, its numbers with their digits.
pub fn json(node: &Node) -> Box<str> {
    let mut out = String::new();
    write(node, &mut out);
    out.into()
}

fn write(node: &Node, out: &mut String) {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(number),
        Value::Text(value) => out.push_str(&text(value)),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (place, member) in members.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                out.push_str(&text(&member.name));
                out.push(':');
                write(&member.value, out);
            }
            out.push('}');
        }
    }
}
