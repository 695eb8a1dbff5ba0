//! Schemas as they run: small, in one list, each with the numbers of those it refers to, so that cycles are no matter.

use std::sync::OnceLock;

use super::format::Format;
use super::number::Number;
use super::pattern::Pattern;
use crate::json::Kind;

/// The schemas of a definition.
#[derive(Debug, Default)]
pub struct Schemas {
    pub(super) all: Vec<Schema>,
    /// Whether `1.0` is a whole number, as in JSON Schema and OpenAPI 3.1. Before that, whole numbers are those without a fraction.
    pub(super) whole_by_value: bool,
    /// Which of them lead to what is visited, by what that is; worked out when it is first asked for.
    pub(super) leads: [OnceLock<Box<[bool]>>; 2],
}

/// A schema, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SchemaId(pub(super) u32);

impl Schemas {
    /// The schema with this number.
    pub fn get(&self, id: SchemaId) -> &Schema {
        &self.all[id.0 as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// A schema. What is not said is not asked.
#[derive(Debug, Default)]
pub struct Schema {
    /// The types that it takes.
    pub types: Types,
    /// Whether null is taken whatever else is said.
    pub nullable: bool,
    /// Only the API writes it: it is not asked of requests.
    pub read_only: bool,
    /// Only callers write it: it is not asked of responses.
    pub write_only: bool,
    /// Callers do not see it (`x-ms-visibility: internal`).
    pub internal: bool,
    /// Whether a property below it is filled in that callers do not see.
    pub fills: bool,
    /// Takes nothing at all: the schema `false`.
    pub never: bool,
    /// The format of a text or a number.
    pub format: Format,
    /// What is asked of texts.
    pub text: Option<Box<TextRules>>,
    /// What is asked of numbers.
    pub number: Option<Box<NumberRules>>,
    /// What is asked of arrays.
    pub array: Option<Box<ArrayRules>>,
    /// What is asked of objects.
    pub object: Option<Box<ObjectRules>>,
    /// Schemas that are taken together.
    pub logic: Option<Box<Logic>>,
    /// The only values that it takes.
    pub values: Option<Box<[Constant]>>,
    /// What stands for a value that is not there, as JSON.
    pub default: Option<Box<str>>,
    /// An example, as JSON.
    pub example: Option<Box<str>>,
}

/// A set of types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    /// All of them.
    pub const ALL: Self = Self(0x7f);
    /// None.
    pub const NONE: Self = Self(0);
    /// Null.
    pub const NULL: Self = Self(1);
    /// Truth values.
    pub const BOOLEAN: Self = Self(2);
    /// Numbers, whole ones included.
    pub const NUMBER: Self = Self(4 | 8);
    /// Whole numbers.
    pub const INTEGER: Self = Self(8);
    /// Texts.
    pub const STRING: Self = Self(16);
    /// Arrays.
    pub const ARRAY: Self = Self(32);
    /// Objects.
    pub const OBJECT: Self = Self(64);

    const NAMES: [(Self, &str); 7] = [
        (Self(2), "Boolean"),
        (Self(4), "Number"),
        (Self(8), "Integer"),
        (Self(16), "String"),
        (Self(32), "Array"),
        (Self(64), "Object"),
        (Self(1), "Null"),
    ];

    /// The type of this name in a schema.
    pub fn find(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "number" => Self::NUMBER,
            "integer" => Self::INTEGER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether any of the others is in it.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The types that a kind of value may be of.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Null => Self::NULL,
            Kind::Bool => Self::BOOLEAN,
            Kind::Number => Self::NUMBER,
            Kind::Text => Self::STRING,
            Kind::Array => Self::ARRAY,
            Kind::Object => Self::OBJECT,
        }
    }
}

impl Default for Types {
    fn default() -> Self {
        Self::ALL
    }
}

impl std::fmt::Debug for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// As Json.NET's messages have it: `String, Null`.
impl std::fmt::Display for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.0 & Self::NUMBER.0 == Self::NUMBER.0;
        let names = Self::NAMES.iter().filter(|(one, name)| self.0 & one.0 != 0 && !(whole && *name == "Integer"));
        for (number, (_, name)) in names.enumerate() {
            f.write_str(if number > 0 { ", " } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// What is asked of texts.
#[derive(Debug, Default)]
pub struct TextRules {
    /// The fewest characters.
    pub min: Option<u64>,
    /// The most characters.
    pub max: Option<u64>,
    /// What must be found in it.
    pub pattern: Option<Pattern>,
}

/// What is asked of numbers.
#[derive(Debug, Default)]
pub struct NumberRules {
    /// The smallest, and whether it is excluded itself.
    pub min: Option<(Number, bool)>,
    /// The largest, and whether it is excluded itself.
    pub max: Option<(Number, bool)>,
    /// What it must be a multiple of.
    pub multiple_of: Option<Number>,
}

/// What is asked of values that are not named one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    #[default]
    Any,
    /// That there are none.
    None,
    /// That they are as a schema says.
    Schema(SchemaId),
}

/// What is asked of arrays.
#[derive(Debug, Default)]
pub struct ArrayRules {
    /// The fewest items.
    pub min: Option<u64>,
    /// The most items.
    pub max: Option<u64>,
    /// Whether no item may stand twice.
    pub unique: bool,
    /// The first items, one by one.
    pub first: Box<[SchemaId]>,
    /// The others.
    pub rest: Rest,
    /// A schema of which there must be so many items, at least and at most.
    pub contains: Option<(SchemaId, u64, Option<u64>)>,
}

/// A property of an object.
#[derive(Debug)]
pub struct Property {
    /// Its name.
    pub name: Box<str>,
    /// What it must be.
    pub schema: SchemaId,
    /// Whether it must be there.
    pub required: bool,
}

/// What is asked of objects.
#[derive(Debug, Default)]
pub struct ObjectRules {
    /// Its properties, sorted by name.
    pub properties: Box<[Property]>,
    /// The places of the properties in the order written.
    pub order: Box<[u32]>,
    /// What must be there and is not among the properties.
    pub required: Box<[Box<str>]>,
    /// Properties by what is found in their names.
    pub patterns: Box<[(Pattern, SchemaId)]>,
    /// The others.
    pub rest: Rest,
    /// What names must be.
    pub names: Option<SchemaId>,
    /// The fewest properties.
    pub min: Option<u64>,
    /// The most properties.
    pub max: Option<u64>,
}

impl ObjectRules {
    /// The place of a property.
    pub fn find(&self, name: &str, ignore_case: bool) -> Option<usize> {
        let exact = self.properties.binary_search_by(|property| (*property.name).cmp(name)).ok();
        let alike = || self.properties.iter().position(|property| property.name.eq_ignore_ascii_case(name));
        exact.or_else(|| if ignore_case { alike() } else { None })
    }

    /// The place of a name among those that must be there and are no properties.
    pub fn find_required(&self, name: &str, ignore_case: bool) -> Option<usize> {
        let exact = self.required.binary_search_by(|one| (**one).cmp(name)).ok();
        let alike = || self.required.iter().position(|one| one.eq_ignore_ascii_case(name));
        exact.or_else(|| if ignore_case { alike() } else { None })
    }

    /// The properties in the order written.
    pub fn in_order(&self) -> impl Iterator<Item = &Property> {
        self.order.iter().filter_map(|place| self.properties.get(*place as usize))
    }
}

/// Schemas that are taken together.
#[derive(Debug, Default)]
pub struct Logic {
    /// All of them must take the value.
    pub all: Box<[SchemaId]>,
    /// At least one of them.
    pub any: Box<[SchemaId]>,
    /// Exactly one of them.
    pub one: Box<[SchemaId]>,
    /// The property that tells which of the alternatives is meant.
    pub discriminator: Option<Box<Discriminator>>,
    /// It must not take the value.
    pub not: Option<SchemaId>,
    /// When the first takes the value, the second must, else the third.
    pub choice: Option<(SchemaId, Option<SchemaId>, Option<SchemaId>)>,
}

/// A property whose value tells which alternative an object is (OpenAPI 3, discriminator object), or which of the schemas
/// that are made of this one (OpenAPI 2.0, schema object).
#[derive(Debug)]
pub struct Discriminator {
    /// Its name.
    pub property: Box<str>,
    /// Its values and what they stand for.
    pub mapping: Box<[(Box<str>, SchemaId)]>,
    /// Whether they stand for schemas that are made of this one (`allOf`), which has no alternatives itself.
    pub of_parent: bool,
}

/// A value of a schema.
#[derive(Debug)]
pub enum Constant {
    /// A number.
    Number(Number),
    /// A text.
    Text(Box<str>),
    /// Anything else, as JSON.
    Other(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named() {
        for (types, want) in
            [(Types::STRING.with(Types::NULL), "String, Null"), (Types::NUMBER, "Number"), (Types::INTEGER, "Integer")]
        {
            assert_eq!(types.to_string(), want);
        }
        // Definitions have many of them.
        assert!(size_of::<Schema>() <= 112, "{}", size_of::<Schema>());
    }
}
