//! The small types that configuration values are read into: text with its place, durations, sizes, nested policies.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

/// A value and where it stands in its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The bytes of the value in its file, with quotes.
    pub span: Range<usize>,
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner(), span })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Text that may hold connector expressions (`@headers('x')`, `@{…}`). Numbers and booleans are taken as their text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template(pub String);

/// A [`Template`] and its place.
pub type Text = At<Template>;

impl Deref for Template {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

struct TemplateVisitor;

impl<'de> Visitor<'de> for TemplateVisitor {
    type Value = Template;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text or an expression")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Template, E> {
        Ok(Template(text.to_owned()))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Template, E> {
        Ok(Template(value.to_string()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Template, E> {
        Ok(Template(value.to_string()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Template, E> {
        Ok(Template(value.to_string()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Template, A::Error> {
        match map.next_key::<String>()?.as_deref() {
            Some("csharp") => Err(A::Error::custom(
                "C# policy expressions are not supported yet; hint: write it as a connector expression, for example `@headers('x-tenant')`",
            )),
            _ => Err(A::Error::custom("invalid type: map, expected text or an expression")),
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TemplateVisitor)
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// Text, a number, or true or false: what metadata holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar(pub serde_json::Value);

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text, a number, `true` or `false`")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar(text.into()))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A value that may be an expression instead: text with an `@` in it.
#[derive(Clone, Debug, PartialEq)]
pub enum OrExpression<T> {
    /// The value as it stands.
    Value(T),
    /// Evaluated for each exchange.
    Expression(Template),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrExpression<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OrExpression<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value or an expression")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.contains('@') {
                    return Ok(OrExpression::Expression(Template(text.to_owned())));
                }
                T::deserialize(text.into_deserializer()).map(OrExpression::Value)
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(OrExpression::Value)
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(OrExpression::Value)
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(OrExpression::Value)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OrExpression<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrExpression", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = T::json_schema(generator);
        json_schema!({ "anyOf": [value, { "type": "string", "pattern": "@|\\{\\{.+\\}\\}" }] })
    }
}

/// A duration: a number and a unit (`"250ms"`, `"10s"`, `"1m"`, `"1h30m"`, `"7d"`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// Reads `250ms`, `10s`, `1.5m`, `1h30m`, `7d`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let problem = || {
            format!(
                "`{text}` is not a duration; hint: a number and a unit, for example `250ms`, `10s`, `1m` or `1h30m`"
            )
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(problem());
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(problem)?;
            let number: f64 = rest[..digits].parse().map_err(|_| problem())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let unit = match &rest[..letters] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return Err(problem()),
            };
            rest = rest[letters..].trim_start();
            total += Duration::try_from_secs_f64(number * unit).map_err(|_| problem())?;
        }
        // Nanoseconds that a binary fraction leaves behind (`0.1s`) are nobody's intention.
        Ok(Self(Duration::from_micros(u64::try_from((total.as_nanos() + 500) / 1_000).map_err(|_| problem())?)))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;
        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as \"10s\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                Period::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(PeriodVisitor)
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(([0-9.]+(ms|s|m|min|h|d) ?)+|.*\{\{.+\}\}.*)$" })
    }
}

/// A number of bytes: an integer, or text with a unit of 1,024 (`"64KiB"`, `"10MiB"`, `"1GiB"`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Reads `512`, `64KiB`, `10MiB`, `1GiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let problem = || {
            format!(
                "`{text}` is not a size; hint: a number of bytes with an optional unit, for example `65536`, `64KiB` or `10MiB`"
            )
        };
        let text_trimmed = text.trim();
        let digits = text_trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_trimmed.len());
        let number: u64 = text_trimmed[..digits].parse().map_err(|_| problem())?;
        let factor = match text_trimmed[digits..].trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(problem()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(problem)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of bytes such as \"64KiB\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"], "minimum": 0, "pattern": r"^([0-9]+ ?(B|KiB|MiB|GiB)?|.*\{\{.+\}\}.*)$"
        })
    }
}

/// A list of policies inside a policy (`choose`). The tables themselves are lifted out before serde reads the
/// rest, because serde would lose their places; what stays is their number.
#[derive(Clone, Debug, Default)]
pub struct Nested(pub Option<usize>);

/// Marks a lifted list in the table that serde reads. The first character cannot be typed by accident.
pub(crate) const NESTED_MARK: char = '\u{1}';

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NestedVisitor;
        impl<'de> Visitor<'de> for NestedVisitor {
            type Value = Nested;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of policies")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Nested, E> {
                let number = text.strip_prefix(NESTED_MARK).and_then(|number| number.parse().ok());
                number
                    .map(|number| Nested(Some(number)))
                    .ok_or_else(|| E::custom("invalid type: string, expected a list of policies"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Nested, A::Error> {
                match list.next_element::<serde::de::IgnoredAny>()? {
                    None => Ok(Nested(None)),
                    Some(_) => Err(A::Error::custom("each policy is a table with a `policy` key")),
                }
            }
        }
        deserializer.deserialize_any(NestedVisitor)
    }
}

impl JsonSchema for Nested {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Policies".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "$ref": "#/$defs/policy" } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("250ms", Some(Duration::from_millis(250))),
            ("1m", Some(Duration::from_secs(60))),
            ("1h30m", Some(Duration::from_secs(5_400))),
            ("1.5s", Some(Duration::from_millis(1_500))),
            ("0.1s", Some(Duration::from_millis(100))),
            ("7d", Some(Duration::from_secs(604_800))),
            ("10", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1 fortnight", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(Period::parse(text).ok().map(|period| period.0), want, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in
            [("512", Some(512)), ("64KiB", Some(65_536)), ("1 GiB", Some(1 << 30)), ("1kb", None), ("", None)]
        {
            assert_eq!(Size::parse(text).ok().map(|size| size.0), want, "{text}");
        }
    }
}
