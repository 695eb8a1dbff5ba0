//! A value against a schema: what does not fit, in the words of Json.NET, with the place in the text and without the value itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::format::Format;
use super::number::Number;
use super::schema::{ArrayRules, Constant, Logic, ObjectRules, Rest, Schema, SchemaId, Schemas, Types};
use crate::json::{Index, Kind, Value};

/// How many mistakes of one value are told.
pub const MAX_MISTAKES: usize = 16;
/// How deep schemas may be entered in one another; a body nests 128 deep at most.
const MAX_DEPTH: usize = 384;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the API: what only the API writes is not asked for.
    Request,
    /// From the API: what only callers write is not asked for.
    Response,
}

/// How strictly objects are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strictness {
    /// Whether properties that are not named are taken; none leaves it to the schemas.
    pub additional_properties: Option<bool>,
    /// Whether names of properties compare without regard to case.
    pub ignore_case: bool,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What it is, and where: `Invalid type. Expected String but got Integer. Path 'id'. Line: 1, Position: 7`.
    pub message: String,
}

/// The value cannot be judged: it would take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema asks for more work than is done for one message")]
pub struct TooMuch;

/// What does not fit; nothing when all does.
///
/// # Errors
/// When it would take too long.
pub fn check(
    schemas: &Schemas,
    schema: SchemaId,
    text: &Index<'_>,
    direction: Direction,
    strictness: Strictness,
) -> Result<Vec<Mistake>, TooMuch> {
    let work = 200_000 + 64 * text.len() as u64;
    let mut check = Check { schemas, direction, strictness, mistakes: Vec::new(), quiet: 0, depth: 0, inside: 0, work };
    check.value(schema, text.root())?;
    Ok(check.mistakes)
}

struct Check<'s> {
    schemas: &'s Schemas,
    direction: Direction,
    strictness: Strictness,
    mistakes: Vec<Mistake>,
    /// Above zero while alternatives are tried, whose mistakes are nobody's.
    quiet: u32,
    depth: usize,
    /// Above zero inside schemas that are taken together, where none knows the properties of the others.
    inside: u32,
    work: u64,
}

type Verdict = Result<bool, TooMuch>;

impl Check<'_> {
    /// Notes a mistake. Nothing is written while alternatives are tried.
    fn mistake(&mut self, value: Value<'_>, message: impl FnOnce() -> String) -> bool {
        if self.quiet == 0 && self.mistakes.len() < MAX_MISTAKES {
            let (line, column) = value.position();
            let path = value.path();
            let path = if path.is_empty() { String::new() } else { format!(" Path '{path}'.") };
            self.mistakes.push(Mistake { message: format!("{}{path} Line: {line}, Position: {column}", message()) });
        }
        false
    }

    /// Whether what is left needs no look: an alternative has failed, or enough was told.
    fn is_done(&self, valid: bool) -> bool {
        !valid && (self.quiet > 0 || self.mistakes.len() >= MAX_MISTAKES)
    }

    fn value(&mut self, id: SchemaId, value: Value<'_>) -> Verdict {
        if self.depth >= MAX_DEPTH || self.work == 0 {
            return Err(TooMuch);
        }
        self.work -= 1;
        self.depth += 1;
        let valid = self.schema(self.schemas.get(id), value);
        self.depth -= 1;
        valid
    }

    fn schema(&mut self, schema: &Schema, value: Value<'_>) -> Verdict {
        let kind = value.kind();
        if kind == Kind::Null && schema.nullable {
            return Ok(true);
        }
        if schema.never {
            return Ok(self.mistake(value, || "Schema always fails validation.".to_owned()));
        }
        let number = if kind == Kind::Number { Number::parse(value.raw()) } else { None };
        let found = match number {
            Some(number) if self.is_whole(value, number) => Types::INTEGER,
            Some(_) => Types::NUMBER,
            None => Types::of(kind),
        };
        let takes = schema.types.both(found);
        if takes == Types::NONE || kind == Kind::Number && takes == Types::INTEGER && found != Types::INTEGER {
            let expected = if schema.nullable { schema.types.with(Types::NULL) } else { schema.types };
            return Ok(self.mistake(value, || format!("Invalid type. Expected {expected} but got {found}.")));
        }
        let mut valid = true;
        if let Some(values) = &schema.values
            && !values.iter().any(|one| is(value, number, one))
        {
            valid = self.mistake(value, || "Value is not defined in enum.".to_owned());
        }
        match kind {
            Kind::Text if schema.text.is_some() || schema.format != Format::Any => {
                valid &= self.text(schema, value);
            }
            Kind::Number => {
                if let Some(number) = number {
                    valid &= self.number(schema, value, number);
                }
            }
            Kind::Array => {
                if let Some(rules) = &schema.array
                    && !self.is_done(valid)
                {
                    valid &= self.array(rules, value)?;
                }
            }
            Kind::Object if !self.is_done(valid) => valid &= self.object(schema, value)?,
            _ => {}
        }
        if let Some(logic) = &schema.logic
            && !self.is_done(valid)
        {
            self.inside += 1;
            let verdict = self.logic(logic, value);
            self.inside -= 1;
            valid &= verdict?;
        }
        Ok(valid)
    }

    fn is_whole(&self, value: Value<'_>, number: Number) -> bool {
        number.is_whole() && (self.schemas.whole_by_value || !value.raw().contains(['.', 'e', 'E']))
    }

    fn text(&mut self, schema: &Schema, value: Value<'_>) -> bool {
        let Some(text) = value.text() else { return true };
        let mut valid = true;
        if let Some(rules) = &schema.text {
            let count = if rules.min.is_some() || rules.max.is_some() { text.chars().count() as u64 } else { 0 };
            if let Some(min) = rules.min.filter(|min| count < *min) {
                valid = self.mistake(value, || format!("String is less than minimum length of {min}."));
            }
            if let Some(max) = rules.max.filter(|max| count > *max) {
                valid = self.mistake(value, || format!("String exceeds maximum length of {max}."));
            }
            if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_in(&text)) {
                valid =
                    self.mistake(value, || format!("String does not match regex pattern '{}'.", cut(pattern.as_str())));
            }
        }
        if !schema.format.takes_text(&text) {
            let name = schema.format.as_str();
            valid = self.mistake(value, || format!("String does not validate against format '{name}'."));
        }
        valid
    }

    fn number(&mut self, schema: &Schema, value: Value<'_>, number: Number) -> bool {
        let mut valid = true;
        if !schema.format.takes_number(number) {
            let name = schema.format.as_str();
            valid = self.mistake(value, || format!("Number does not validate against format '{name}'."));
        }
        let Some(rules) = &schema.number else { return valid };
        let shown = |number: Number| number.value();
        if let Some((min, exclusive)) = rules.min {
            if number < min {
                valid = self.mistake(value, || format!("Number is less than minimum value of {}.", shown(min)));
            } else if exclusive && number == min {
                valid = self.mistake(value, || {
                    format!("Number equals minimum value of {} and exclusive minimum is true.", shown(min))
                });
            }
        }
        if let Some((max, exclusive)) = rules.max {
            if number > max {
                valid = self.mistake(value, || format!("Number exceeds maximum value of {}.", shown(max)));
            } else if exclusive && number == max {
                valid = self.mistake(value, || {
                    format!("Number equals maximum value of {} and exclusive maximum is true.", shown(max))
                });
            }
        }
        if let Some(of) = rules.multiple_of.filter(|of| !number.is_multiple_of(*of)) {
            valid = self.mistake(value, || format!("Number is not a multiple of {}.", shown(of)));
        }
        valid
    }

    fn array(&mut self, rules: &ArrayRules, value: Value<'_>) -> Verdict {
        let mut valid = true;
        let (mut count, mut contained) = (0, 0);
        for item in value.items() {
            let schema = match (rules.first.get(count), rules.rest) {
                (Some(first), _) => Some(*first),
                (None, Rest::Schema(rest)) => Some(rest),
                (None, Rest::Any) => None,
                (None, Rest::None) => {
                    valid = self.mistake(item, || {
                        format!("Index {count} has not been defined and the schema does not allow additional items.")
                    });
                    None
                }
            };
            if let Some(schema) = schema {
                valid &= self.whole(schema, item)?;
            }
            if let Some((schema, ..)) = rules.contains {
                contained += u64::from(self.tried(schema, item)?);
            }
            count += 1;
            if self.is_done(valid) {
                return Ok(false);
            }
        }
        let count = count as u64;
        if let Some(min) = rules.min.filter(|min| count < *min) {
            valid = self.mistake(value, || format!("Array item count {count} is less than minimum count of {min}."));
        }
        if let Some(max) = rules.max.filter(|max| count > *max) {
            valid = self.mistake(value, || format!("Array item count {count} exceeds maximum count of {max}."));
        }
        if let Some((_, min, max)) = rules.contains
            && (contained < min || max.is_some_and(|max| contained > max))
        {
            valid = self.mistake(value, || format!("Contains schema is matched by {contained} items."));
        }
        if rules.unique
            && let Some((place, item)) = first_double(value)
        {
            valid = self.mistake(item, || format!("Non-unique array item at index {place}."));
        }
        Ok(valid)
    }

    fn object(&mut self, schema: &Schema, value: Value<'_>) -> Verdict {
        let ignore_case = self.strictness.ignore_case;
        // What another schema beside this one names is no stranger.
        let closed = self.strictness.additional_properties == Some(false) && self.inside == 0;
        let empty = ObjectRules::default();
        let rules = match &schema.object {
            Some(rules) => &**rules,
            // A map of whatever comes says nothing of properties that could be additional.
            None if closed && schema.logic.is_some() => &empty,
            None => return Ok(true),
        };
        let mut valid = true;
        let mut seen: SmallVec<[u64; 2]> = SmallVec::from_elem(0, rules.properties.len() / 64 + 1);
        let mut count = 0;
        for (name, member) in value.members() {
            count += 1;
            let mut known = false;
            if let Some(place) = rules.find(&name, ignore_case) {
                seen[place / 64] |= 1 << (place % 64);
                known = true;
                valid &= self.whole(rules.properties[place].schema, member)?;
            }
            for (pattern, schema) in &rules.patterns {
                if pattern.is_in(&name) {
                    known = true;
                    valid &= self.whole(*schema, member)?;
                }
            }
            if let Some(names) = rules.names {
                valid &= self.name(names, &name, member)?;
            }
            if !known {
                let refused = match (self.strictness.additional_properties, rules.rest) {
                    (Some(false), _) if closed => !self.knows(schema, &name, 0),
                    (allowed, Rest::None) => allowed != Some(true),
                    (_, Rest::Any) => false,
                    (_, Rest::Schema(rest)) => {
                        valid &= self.whole(rest, member)?;
                        false
                    }
                };
                if refused {
                    let name: String = name.chars().take(64).collect();
                    valid = self.mistake(member, || {
                        format!(
                            "Property '{name}' has not been defined and the schema does not allow additional properties."
                        )
                    });
                }
            }
            if self.is_done(valid) {
                return Ok(false);
            }
        }
        valid &= self.required(rules, &seen, value);
        if let Some(min) = rules.min.filter(|min| count < *min) {
            valid =
                self.mistake(value, || format!("Object property count {count} is less than minimum count of {min}."));
        }
        if let Some(max) = rules.max.filter(|max| count > *max) {
            valid = self.mistake(value, || format!("Object property count {count} exceeds maximum count of {max}."));
        }
        Ok(valid)
    }

    fn required(&mut self, rules: &ObjectRules, seen: &[u64], value: Value<'_>) -> bool {
        let asked = |schema: SchemaId| {
            let schema = self.schemas.get(schema);
            match self.direction {
                Direction::Request => !schema.read_only,
                Direction::Response => !schema.write_only,
            }
        };
        let there = |place: usize| seen[place / 64] & 1 << (place % 64) != 0;
        let declared = rules.properties.iter().enumerate();
        let mut missing: SmallVec<[&str; 4]> = declared
            .filter(|(place, property)| property.required && !there(*place) && asked(property.schema))
            .map(|(_, property)| &*property.name)
            .collect();
        let ignore_case = self.strictness.ignore_case;
        let has = |wanted: &str| {
            value.members().any(|(name, _)| name == wanted || ignore_case && name.eq_ignore_ascii_case(wanted))
        };
        missing.extend(rules.required.iter().filter(|name| !has(name)).map(|name| &**name));
        if missing.is_empty() {
            return true;
        }
        missing.sort_unstable();
        self.mistake(value, || format!("Required properties are missing from object: {}.", cut(&missing.join(", "))))
    }

    /// A value that is whole, and no part of what its schema is taken together with.
    fn whole(&mut self, schema: SchemaId, value: Value<'_>) -> Verdict {
        let inside = std::mem::take(&mut self.inside);
        let verdict = self.value(schema, value);
        self.inside = inside;
        verdict
    }

    /// The name of a member as a value of its own.
    fn name(&mut self, schema: SchemaId, name: &str, member: Value<'_>) -> Verdict {
        let text = serde_json::Value::from(name).to_string();
        let Ok(index) = Index::parse(text.as_bytes()) else { return Ok(true) };
        if self.tried(schema, index.root())? {
            return Ok(true);
        }
        Ok(self.mistake(member, || "Property name does not validate.".to_owned()))
    }

    /// Whether a schema, or one that it is taken together with, names a property.
    fn knows(&self, schema: &Schema, name: &str, depth: usize) -> bool {
        let of = |id: &SchemaId| depth < 16 && self.knows(self.schemas.get(*id), name, depth + 1);
        let own = schema.object.as_ref().is_some_and(|rules| {
            rules.find(name, self.strictness.ignore_case).is_some()
                || rules.patterns.iter().any(|(pattern, _)| pattern.is_in(name))
        });
        own || schema.logic.as_ref().is_some_and(|logic| {
            let choice = logic.choice.iter().flat_map(|(condition, then, otherwise)| {
                [Some(condition), then.as_ref(), otherwise.as_ref()].into_iter().flatten()
            });
            logic.all.iter().chain(&logic.any).chain(&logic.one).chain(choice).any(of)
        })
    }

    /// Whether a schema takes a value; if not, nobody is told.
    fn tried(&mut self, schema: SchemaId, value: Value<'_>) -> Verdict {
        self.quiet += 1;
        let verdict = self.value(schema, value);
        self.quiet -= 1;
        verdict
    }

    fn logic(&mut self, logic: &Logic, value: Value<'_>) -> Verdict {
        let mut valid = true;
        for schema in &logic.all {
            valid &= self.value(*schema, value)?;
            if self.is_done(valid) {
                return Ok(false);
            }
        }
        match &*logic.any {
            [] => {}
            // The mistakes of the only one say more.
            [only] => valid &= self.value(*only, value)?,
            several => {
                let mut taken = false;
                for schema in several {
                    if self.tried(*schema, value)? {
                        taken = true;
                        break;
                    }
                }
                if !taken {
                    valid = self.mistake(value, || "JSON does not match any schemas from 'anyOf'.".to_owned());
                }
            }
        }
        match &*logic.one {
            [] => {}
            [only] => valid &= self.value(*only, value)?,
            several => {
                let mut taken = 0;
                for schema in several {
                    taken += u32::from(self.tried(*schema, value)?);
                    if taken > 1 {
                        break;
                    }
                }
                if taken != 1 {
                    let how = if taken == 0 { "no schemas" } else { "more than one schema" };
                    valid = self.mistake(value, || format!("JSON is valid against {how} from 'oneOf'."));
                }
            }
        }
        if let Some(not) = logic.not
            && self.tried(not, value)?
        {
            valid = self.mistake(value, || "JSON is valid against schema from 'not'.".to_owned());
        }
        if let Some((condition, then, otherwise)) = logic.choice {
            let branch = if self.tried(condition, value)? { then } else { otherwise };
            if let Some(branch) = branch {
                valid &= self.value(branch, value)?;
            }
        }
        Ok(valid)
    }
}

/// A text from a definition, short enough for a message.
fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Whether a value is a constant.
fn is(value: Value<'_>, number: Option<Number>, constant: &Constant) -> bool {
    match constant {
        Constant::Number(constant) => number.is_some_and(|number| number == *constant),
        Constant::Text(constant) => value.text().is_some_and(|text| text == **constant),
        Constant::Other(json) => Index::parse(json.as_bytes()).is_ok_and(|constant| equal(value, constant.root())),
    }
}

/// Whether two values are the same: numbers by what they are worth, members in any order.
fn equal(a: Value<'_>, b: Value<'_>) -> bool {
    match (a.kind(), b.kind()) {
        (Kind::Number, Kind::Number) => match (Number::parse(a.raw()), Number::parse(b.raw())) {
            (Some(a), Some(b)) => a == b,
            _ => a.raw() == b.raw(),
        },
        (Kind::Text, Kind::Text) => a.text() == b.text(),
        (Kind::Array, Kind::Array) => {
            let (mut a, mut b) = (a.items(), b.items());
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if equal(a, b) => {}
                    _ => return false,
                }
            }
        }
        (Kind::Object, Kind::Object) => {
            let (a, b) = (sorted(a), sorted(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(one, two)| one.0 == two.0 && equal(one.1, two.1))
        }
        (a_kind, b_kind) => a_kind == b_kind && a.raw() == b.raw(),
    }
}

/// The members of an object by name.
fn sorted(object: Value<'_>) -> Vec<(Cow<'_, str>, Value<'_>)> {
    let mut members: Vec<_> = object.members().collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    members
}

/// The first item that is the same as one before it.
fn first_double<'i>(value: Value<'i>) -> Option<(usize, Value<'i>)> {
    // Keyed anew each time: callers choose what is hashed.
    let hasher = RandomState::new();
    let mut seen: HashMap<u64, SmallVec<[Value<'i>; 1]>> = HashMap::new();
    for (place, item) in value.items().enumerate() {
        let alike = seen.entry(digest(item, &hasher)).or_default();
        if alike.iter().any(|other| equal(*other, item)) {
            return Some((place, item));
        }
        alike.push(item);
    }
    None
}

/// A number that is the same for values that are the same.
fn digest(value: Value<'_>, hasher: &RandomState) -> u64 {
    match value.kind() {
        Kind::Number => match Number::parse(value.raw()) {
            Some(Number::Exact { negative, digits, exponent }) => hasher.hash_one((negative, digits, exponent)),
            _ => 1,
        },
        Kind::Text => hasher.hash_one(value.text()),
        Kind::Array => {
            value.items().fold(2, |sum: u64, item| sum.rotate_left(5).wrapping_add(digest(item, hasher)) ^ 0x9e37)
        }
        Kind::Object => value
            .members()
            .fold(3, |sum: u64, (name, member)| sum.wrapping_add(hasher.hash_one((name, digest(member, hasher))))),
        Kind::Null | Kind::Bool => hasher.hash_one(value.raw()),
    }
}
