//! The small types of quotas: how often something comes back, and an amount of data in kilobytes.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::value::{Period, Size};

/// How often an allowance comes back: a period of the calendar, a duration, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// From the full hour.
    Hour,
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
    /// From the first of January.
    Year,
    /// After so long.
    Every(Duration),
    /// Never.
    Infinite,
}

impl Recurrence {
    /// Reads `month`, `30d`, `infinite`; and the names that Azure API Management has for the calendar's.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "hour" | "hourly" => Self::Hour,
            "day" | "daily" => Self::Day,
            "week" | "weekly" => Self::Week,
            "month" | "monthly" => Self::Month,
            "year" | "yearly" => Self::Year,
            "infinite" => Self::Infinite,
            _ => match Period::parse(text) {
                Ok(period) if period.0 < Duration::from_millis(1) => {
                    return Err(
                        "a period of zero limits nothing; hint: `infinite` never gives anything back".to_owned()
                    );
                }
                Ok(period) => Self::Every(period.0),
                Err(_) => {
                    return Err(format!(
                        "`{text}` is not a period; hint: `hour`, `day`, `week`, `month`, `year`, a duration such as `30d`, or `infinite`"
                    ));
                }
            },
        })
    }
}

impl<'de> Deserialize<'de> for Recurrence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecurrenceVisitor;
        impl Visitor<'_> for RecurrenceVisitor {
            type Value = Recurrence;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a period such as \"month\" or \"30d\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Recurrence, E> {
                Recurrence::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(RecurrenceVisitor)
    }
}

impl JsonSchema for Recurrence {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Recurrence".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(hour|day|week|month|year|Hourly|Daily|Weekly|Monthly|Yearly|infinite|([0-9.]+(ms|s|m|min|h|d) ?)+|.*\{\{.+\}\}.*)$"
        })
    }
}

/// An amount of data: kilobytes of 1,024 bytes, as Azure API Management counts them, or text with a unit (`"512MiB"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kilobytes(pub u64);

impl Kilobytes {
    /// The same in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn from_number(number: u64) -> Result<Self, String> {
        match number.checked_mul(1024) {
            Some(0) => Err("a bandwidth of zero lets nothing through; hint: at least 1".to_owned()),
            Some(bytes) => Ok(Self(bytes)),
            None => Err(format!("`{number}` is too much; hint: kilobytes, or text with a unit such as `512MiB`")),
        }
    }
}

impl<'de> Deserialize<'de> for Kilobytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KilobytesVisitor;
        impl Visitor<'_> for KilobytesVisitor {
            type Value = Kilobytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of kilobytes, or text with a unit such as \"512MiB\"")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Kilobytes, E> {
                let number = u64::try_from(number).map_err(|_| E::custom("a bandwidth cannot be negative"))?;
                Kilobytes::from_number(number).map_err(E::custom)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Kilobytes, E> {
                if let Ok(number) = text.trim().parse() {
                    return Kilobytes::from_number(number).map_err(E::custom);
                }
                match Size::parse(text).map_err(E::custom)? {
                    Size(0) => Err(E::custom("a bandwidth of zero lets nothing through; hint: at least 1")),
                    Size(bytes) => Ok(Kilobytes(bytes)),
                }
            }
        }
        deserializer.deserialize_any(KilobytesVisitor)
    }
}

impl JsonSchema for Kilobytes {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Kilobytes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"], "minimum": 1, "pattern": r"^([0-9]+ ?(B|KiB|MiB|GiB)?|.*\{\{.+\}\}.*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_of_quotas() {
        for (text, want) in [
            ("month", Some(Recurrence::Month)),
            ("Monthly", Some(Recurrence::Month)),
            ("30d", Some(Recurrence::Every(Duration::from_secs(30 * 86_400)))),
            ("infinite", Some(Recurrence::Infinite)),
            ("0s", None),
            ("0", None),
            ("fortnight", None),
        ] {
            assert_eq!(Recurrence::parse(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn kilobytes_are_api_managements_and_units_are_exact() {
        #[derive(serde::Deserialize)]
        struct Spec {
            bandwidth: Kilobytes,
        }
        for (text, want) in [
            ("1", Some(1024)),
            ("'1'", Some(1024)),
            ("'1KiB'", Some(1024)),
            ("'1B'", Some(1)),
            ("0", None),
            ("-1", None),
        ] {
            let read = toml::from_str::<Spec>(&format!("bandwidth = {text}"));
            assert_eq!(read.ok().map(|spec| spec.bandwidth.bytes()), want, "{text}");
        }
    }
}
