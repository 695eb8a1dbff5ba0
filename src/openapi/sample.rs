//! A value made up from a schema: always the same one, small, and one that the schema takes where that is known.

use serde_json::{Map, Value as Json};

use crate::json::Index;

use super::check::{Direction, Strictness, check};
use super::format::Format;
use super::number::Number;
use super::schema::{Constant, Rest, Schema, SchemaId, Schemas, Types};

/// How many values one sample may have.
const MAX_VALUES: usize = 2_000;
/// How deep it may be nested.
const MAX_DEPTH: usize = 12;
/// How long a text may get.
const MAX_LENGTH: u64 = 1_000;

/// Makes up an answer.
pub fn sample(schemas: &Schemas, schema: SchemaId) -> Json {
    let mut maker = Maker { schemas, open: Vec::new(), left: MAX_VALUES };
    maker.value(schema).unwrap_or(Json::Null)
}

struct Maker<'s> {
    schemas: &'s Schemas,
    /// The schemas that the value being made stands in.
    open: Vec<SchemaId>,
    left: usize,
}

impl Maker<'_> {
    /// A value; none where the schema stands in itself, or there is enough.
    fn value(&mut self, id: SchemaId) -> Option<Json> {
        if self.open.contains(&id) || self.open.len() >= MAX_DEPTH || self.left == 0 {
            return None;
        }
        self.left -= 1;
        self.open.push(id);
        let made = self.make(id);
        self.open.pop();
        made
    }

    fn make(&mut self, id: SchemaId) -> Option<Json> {
        let schema = self.schemas.get(id);
        let written = schema.example.iter().chain(&schema.default);
        let written = written.filter_map(|text| fitting(schema, serde_json::from_str(text).ok()?));
        for value in written {
            if self.is_taken(id, &value) {
                return Some(value);
            }
        }
        if let Some(constant) = schema.values.as_ref().and_then(|values| values.first()) {
            return Some(constant_json(constant));
        }
        let mut made = self.of_type(schema);
        if let Some(logic) = &schema.logic {
            let first = logic.one.first().or(logic.any.first());
            for part in logic.all.iter().chain(first) {
                made = merge(made, self.value(*part));
            }
        }
        made.or(Some(Json::Null))
    }

    /// Whether a value that a maker has written is one of the schema: those who check answers would refuse others.
    fn is_taken(&self, id: SchemaId, value: &Json) -> bool {
        let text = value.to_string();
        let Ok(index) = Index::parse(text.as_bytes()) else { return false };
        check(self.schemas, id, &index, Direction::Response, Strictness::default()).is_ok_and(|found| found.is_empty())
    }

    fn of_type(&mut self, schema: &Schema) -> Option<Json> {
        let types = schema.types;
        if types == Types::ALL {
            // Without a type, by what is asked of it.
            return match schema {
                Schema { object: Some(_), .. } => Some(self.object(schema)),
                Schema { array: Some(_), .. } => Some(self.array(schema)),
                Schema { number: Some(_), .. } => Some(number(schema, Types::NUMBER)),
                Schema { text: Some(_), .. } => Some(Json::String(text(schema))),
                _ if schema.format != Format::Any => Some(Json::String(text(schema))),
                _ => None,
            };
        }
        Some(match types {
            _ if types.any(Types::OBJECT) => self.object(schema),
            _ if types.any(Types::ARRAY) => self.array(schema),
            _ if types.any(Types::STRING) => Json::String(text(schema)),
            _ if types.any(Types::NUMBER) => number(schema, types),
            _ if types.any(Types::BOOLEAN) => Json::Bool(true),
            _ => Json::Null,
        })
    }

    fn object(&mut self, schema: &Schema) -> Json {
        let mut object = Map::new();
        let Some(rules) = &schema.object else { return Json::Object(object) };
        for property in rules.in_order() {
            let inner = self.schemas.get(property.schema);
            // Callers write it, the API never shows it.
            if inner.write_only {
                continue;
            }
            match self.value(property.schema) {
                Some(value) => drop(object.insert(property.name.to_string(), value)),
                None if property.required => drop(object.insert(property.name.to_string(), empty(inner))),
                None => {}
            }
        }
        for name in &rules.required {
            object.entry(&**name).or_insert(Json::Null);
        }
        if let (Rest::Schema(rest), true) = (rules.rest, object.is_empty())
            && let Some(value) = self.value(rest)
        {
            object.insert("property".to_owned(), value);
        }
        Json::Object(object)
    }

    fn array(&mut self, schema: &Schema) -> Json {
        let Some(rules) = &schema.array else { return Json::Array(Vec::new()) };
        let mut items: Vec<Json> = rules.first.iter().filter_map(|id| self.value(*id)).collect();
        let wanted = rules.min.unwrap_or(1).clamp(1, 10).min(rules.max.unwrap_or(10)) as usize;
        if let Rest::Schema(rest) = rules.rest {
            while items.len() < wanted {
                let Some(item) = self.value(rest) else { break };
                // Another one would be the same.
                if rules.unique && items.contains(&item) {
                    break;
                }
                items.push(item);
            }
        }
        Json::Array(items)
    }
}

/// A value that a maker has written, if it is of a type that the schema takes. Makers write objects as text, too.
fn fitting(schema: &Schema, value: Json) -> Option<Json> {
    let types = schema.types;
    let own = match &value {
        Json::Null if schema.nullable => return Some(value),
        Json::Null => Types::NULL,
        Json::Bool(_) => Types::BOOLEAN,
        Json::Number(number) if number.is_f64() => Types::NUMBER,
        Json::Number(_) => Types::INTEGER,
        Json::String(_) => Types::STRING,
        Json::Array(_) => Types::ARRAY,
        Json::Object(_) => Types::OBJECT,
    };
    match &value {
        _ if types == Types::ALL || types.any(own) => Some(value),
        Json::String(text) => serde_json::from_str(text)
            .ok()
            .filter(|read: &Json| !read.is_string())
            .and_then(|read| fitting(schema, read)),
        _ => None,
    }
}

/// The least value of a schema, in which no other one stands.
fn empty(schema: &Schema) -> Json {
    if let Some(constant) = schema.values.as_ref().and_then(|values| values.first()) {
        return constant_json(constant);
    }
    match schema.types {
        Types::ALL => Json::Null,
        types if schema.nullable || types.any(Types::NULL) => Json::Null,
        types if types.any(Types::OBJECT) => Json::Object(Map::new()),
        types if types.any(Types::ARRAY) => Json::Array(Vec::new()),
        types if types.any(Types::STRING) => Json::String(text(schema)),
        types if types.any(Types::NUMBER) => number(schema, types),
        _ => Json::Bool(true),
    }
}

/// Two values that are taken together: objects become one.
fn merge(first: Option<Json>, second: Option<Json>) -> Option<Json> {
    match (first, second) {
        (Some(Json::Object(mut first)), Some(Json::Object(second))) => {
            first.extend(second);
            Some(Json::Object(first))
        }
        (None | Some(Json::Null), second) => second,
        (first, _) => first,
    }
}

fn constant_json(constant: &Constant) -> Json {
    match constant {
        Constant::Text(text) => Json::String(text.to_string()),
        Constant::Number(number) => number_json(*number),
        Constant::Other(json) => serde_json::from_str(json).unwrap_or(Json::Null),
    }
}

fn text(schema: &Schema) -> String {
    let mut text = match schema.format {
        Format::DateTime => "2026-01-31T12:30:00Z",
        Format::DateTimeWithoutOffset => "2026-01-31T12:30:00",
        Format::Date => "2026-01-31",
        Format::Time => "12:30:00Z",
        Format::Uuid => "00000000-0000-4000-8000-000000000000",
        Format::Email => "user@example.com",
        Format::Uri => "https://example.com/",
        Format::Hostname => "example.com",
        Format::Ipv4 => "192.0.2.1",
        Format::Ipv6 => "2001:db8::1",
        Format::Byte => "c3RyaW5n",
        Format::Any | Format::Int32 | Format::Int64 => "string",
    }
    .to_owned();
    if let Some(rules) = &schema.text {
        if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_in(&text))
            && let Some(made) = pattern.made_up(rules.min.unwrap_or(0), rules.max.unwrap_or(MAX_LENGTH))
        {
            return made;
        }
        let count = text.chars().count() as u64;
        let wanted = rules.min.unwrap_or(0).min(MAX_LENGTH).max(count).min(rules.max.unwrap_or(u64::MAX));
        text = text.chars().chain("string".chars().cycle()).take(usize::try_from(wanted).unwrap_or(0)).collect();
    }
    text
}

fn number(schema: &Schema, types: Types) -> Json {
    let whole = !types.any(Types::NUMBER) || types == Types::INTEGER || types == Types::INTEGER.with(Types::NULL);
    let Some(rules) = &schema.number else { return Json::from(0) };
    let step = rules.multiple_of.map_or(1.0, Number::value);
    let mut value = 0.0;
    if let Some((min, exclusive)) = rules.min {
        let min = min.value();
        if value < min || exclusive && value == min {
            value = (min / step).ceil() * step;
            if exclusive && value <= min {
                value += step;
            }
        }
    }
    if let Some((max, exclusive)) = rules.max {
        let max = max.value();
        if value > max || exclusive && value >= max {
            value = (max / step).floor() * step;
            if exclusive && value >= max {
                value -= step;
            }
            // Between two bounds that are close to one another.
            if let Some((min, _)) = rules.min.filter(|(min, _)| value < min.value() && !whole) {
                value = f64::midpoint(min.value(), max);
            }
        }
    }
    float(value)
}

fn number_json(number: Number) -> Json {
    float(number.value())
}

fn float(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() < 9e15 { Json::from(value as i64) } else { Json::from(value) }
}
