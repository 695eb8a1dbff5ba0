//! Statuses in configuration: single ones and ranges.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A status (`503`) or a range of them (`"500-599"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRange(pub RangeInclusive<u16>);

impl StatusRange {
    /// Reads `503` or `500-599`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let problem =
            || format!("`{text}` is not a status or a range of them; hint: `503` or `500-599`, within 100 to 599");
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.trim().parse().ok().filter(|code| (100..=599).contains(code));
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self(from..=to)),
            _ => Err(problem()),
        }
    }
}

/// Whether a status is in one of the ranges.
pub fn contains(ranges: &[RangeInclusive<u16>], status: StatusCode) -> bool {
    ranges.iter().any(|range| range.contains(&status.as_u16()))
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatusVisitor;
        impl Visitor<'_> for StatusVisitor {
            type Value = StatusRange;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a status such as 503 or a range such as \"500-599\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<StatusRange, E> {
                StatusRange::parse(text).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, status: i64) -> Result<StatusRange, E> {
                StatusRange::parse(&status.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(StatusVisitor)
    }
}

impl JsonSchema for StatusRange {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "StatusRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 100, "maximum": 599, "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_ranges() {
        for (text, want) in [
            ("503", Some(503..=503)),
            ("500-599", Some(500..=599)),
            ("500 - 504", Some(500..=504)),
            ("599-500", None),
            ("99", None),
            ("500-600", None),
            ("-503", None),
            ("5xx", None),
            ("", None),
        ] {
            assert_eq!(StatusRange::parse(text).ok().map(|range| range.0), want, "{text}");
        }
    }
}
