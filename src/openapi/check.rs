//! A value against a schema: what does not fit, in the words of Json.NET, with the place in the text and without the value itself.

use smallvec::SmallVec;

use super::format::Format;
use super::number::Number;
use super::pattern::Pattern;
use super::same::{first_double, is};
use super::schema::{ArrayRules, ObjectRules, Rest, Schema, SchemaId, Schemas, Types};
use crate::json::{Index, Kind, Value};

mod logic;

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
    // Alternatives multiply what one value costs: a few dozen of them are tried on a large body, and the worst takes well below a second.
    let values = text.len() as u64;
    let work = 200_000 + (64 * values).min(4_000_000).max(8 * values);
    let (mistakes, told) = (Vec::new(), Vec::new());
    let mut check = Check { schemas, direction, strictness, mistakes, quiet: 0, depth: 0, inside: 0, told, work };
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
    /// Where the objects begin that are being checked as what their discriminators say.
    told: Vec<usize>,
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

    /// Takes from the work that may be done.
    fn spend(&mut self, work: u64) -> Result<(), TooMuch> {
        let left = self.work.checked_sub(work);
        self.work = left.unwrap_or(0);
        left.map(drop).ok_or(TooMuch)
    }

    /// The same for a text that is gone through.
    fn spend_on_text(&mut self, text: &str) -> Result<(), TooMuch> {
        self.spend(text.len() as u64 / 64)
    }

    fn value(&mut self, id: SchemaId, value: Value<'_>) -> Verdict {
        if self.depth >= MAX_DEPTH {
            return Err(TooMuch);
        }
        self.spend(1)?;
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
        if let Some(child) = self.child(schema, value)? {
            self.told.push(value.start());
            let valid = self.value(child, value);
            self.told.pop();
            return valid;
        }
        let number = if kind == Kind::Number { Some(value.raw()) } else { None };
        number.map_or(Ok(()), |raw| self.spend_on_text(raw))?;
        let number = number.and_then(Number::parse);
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
        let looks = schema.values.is_some() || schema.text.is_some() || schema.format != Format::Any;
        let text = if looks { value.text() } else { None };
        text.as_deref().map_or(Ok(()), |text| self.spend_on_text(text))?;
        let text = text.as_deref();
        let mut valid = true;
        if let Some(values) = &schema.values {
            self.spend(values.len() as u64 / 16)?;
            if !values.iter().any(|one| is(value, number, text, one)) {
                valid = self.mistake(value, || "Value is not defined in enum.".to_owned());
            }
        }
        match kind {
            Kind::Text => {
                if let Some(text) = text {
                    valid &= self.text(schema, value, text)?;
                }
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

    fn text(&mut self, schema: &Schema, value: Value<'_>, text: &str) -> Verdict {
        let mut valid = true;
        if let Some(rules) = &schema.text {
            let count = if rules.min.is_some() || rules.max.is_some() { text.chars().count() as u64 } else { 0 };
            if let Some(min) = rules.min.filter(|min| count < *min) {
                valid = self.mistake(value, || format!("String is less than minimum length of {min}."));
            }
            if let Some(max) = rules.max.filter(|max| count > *max) {
                valid = self.mistake(value, || format!("String exceeds maximum length of {max}."));
            }
            // A text that is too long anyway is not gone through.
            let looks = rules.max.is_none_or(|max| count <= max);
            if let Some(pattern) = rules.pattern.as_ref().filter(|_| looks)
                && !self.finds(pattern, text)?
            {
                valid =
                    self.mistake(value, || format!("String does not match regex pattern '{}'.", cut(pattern.as_str())));
            }
        }
        if !schema.format.takes_text(text) {
            let name = schema.format.as_str();
            valid = self.mistake(value, || format!("String does not validate against format '{name}'."));
        }
        Ok(valid)
    }

    /// Whether a pattern is found in a text.
    fn finds(&mut self, pattern: &Pattern, text: &str) -> Verdict {
        self.spend(1 + text.len() as u64 / 64)?;
        Ok(pattern.is_in(text))
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
            self.spend(1)?;
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
        if rules.unique {
            // All that is in it is gone through once more.
            self.spend(value.size() as u64)?;
            if let Some((place, item)) = first_double(value) {
                valid = self.mistake(item, || format!("Non-unique array item at index {place}."));
            }
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
        let mut extra: SmallVec<[u64; 1]> = SmallVec::from_elem(0, rules.required.len() / 64 + 1);
        // Without regard to case, a name is compared with each one.
        let a_name = if ignore_case { 1 + rules.properties.len() as u64 / 16 } else { 1 };
        let mut count = 0;
        for (name, member) in value.members() {
            count += 1;
            self.spend(a_name)?;
            let mut known = false;
            if let Some(place) = rules.find(&name, ignore_case) {
                seen[place / 64] |= 1 << (place % 64);
                known = true;
                valid &= self.whole(rules.properties[place].schema, member)?;
            }
            if let Some(place) = rules.find_required(&name, ignore_case) {
                extra[place / 64] |= 1 << (place % 64);
            }
            for (pattern, schema) in &rules.patterns {
                if self.finds(pattern, &name)? {
                    known = true;
                    valid &= self.whole(*schema, member)?;
                }
            }
            if let Some(names) = rules.names {
                valid &= self.name(names, &name, member)?;
            }
            if !known {
                let refused = match (self.strictness.additional_properties, rules.rest) {
                    (Some(false), _) if closed => !self.knows(schema, &name, 0)?,
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
        valid &= self.required(rules, &seen, &extra, value);
        if let Some(min) = rules.min.filter(|min| count < *min) {
            valid =
                self.mistake(value, || format!("Object property count {count} is less than minimum count of {min}."));
        }
        if let Some(max) = rules.max.filter(|max| count > *max) {
            valid = self.mistake(value, || format!("Object property count {count} exceeds maximum count of {max}."));
        }
        Ok(valid)
    }

    fn required(&mut self, rules: &ObjectRules, seen: &[u64], extra: &[u64], value: Value<'_>) -> bool {
        let asked = |schema: SchemaId| {
            let schema = self.schemas.get(schema);
            match self.direction {
                Direction::Request => !schema.read_only,
                Direction::Response => !schema.write_only,
            }
        };
        let is_set = |bits: &[u64], place: usize| bits[place / 64] & 1 << (place % 64) != 0;
        let declared = rules.properties.iter().enumerate();
        let mut missing: SmallVec<[&str; 4]> = declared
            .filter(|(place, property)| property.required && !is_set(seen, *place) && asked(property.schema))
            .map(|(_, property)| &*property.name)
            .collect();
        let others = rules.required.iter().enumerate().filter(|(place, _)| !is_set(extra, *place));
        missing.extend(others.map(|(_, name)| &**name));
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

    /// Whether a schema takes a value; if not, nobody is told.
    fn tried(&mut self, schema: SchemaId, value: Value<'_>) -> Verdict {
        self.quiet += 1;
        let verdict = self.value(schema, value);
        self.quiet -= 1;
        verdict
    }
}

/// A text from a definition, short enough for a message.
fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
