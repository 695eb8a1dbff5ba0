//! The forms that dates are read in, and those that they are written in.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time, date};
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::compile::CompileError;
use crate::config::At;
use crate::config::diagnostic::suggest;
use crate::expression::dates::{self, Moment};

/// A form that a date is read in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 3339 §5.6 and its relatives in ISO 8601.
    Iso,
    /// RFC 1123 §5.2.14, RFC 5322 §3.3, and the obsolete ones of RFC 9110 §5.6.7.
    Rfc,
    /// `/Date(1795682400000+0100)/`: the time in UTC, whatever the offset says.
    JsonDate,
    EpochSeconds,
    EpochMilliseconds,
    /// .NET's format.
    Pattern(String),
}

const NAMES: [(&str, Form); 5] = [
    ("iso-8601", Form::Iso),
    ("rfc-1123", Form::Rfc),
    ("json-date", Form::JsonDate),
    ("epoch-seconds", Form::EpochSeconds),
    ("epoch-milliseconds", Form::EpochMilliseconds),
];

/// What dates are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Target {
    /// `2026-11-26T08:30:00Z`, in UTC.
    #[default]
    DateTime,
    /// `2026-11-26T09:30:00`, in `time-zone`.
    DateNoTz,
    /// `2026-11-26`, in `time-zone`.
    Date,
}

impl Form {
    /// Reads the name of a form, or a format.
    pub(super) fn parse(text: &At<String>) -> Result<Self, CompileError> {
        if let Some((_, form)) = NAMES.iter().find(|(name, _)| *name == text.value) {
            return Ok(form.clone());
        }
        let error = |message: String| CompileError::at(text, message);
        if !text.contains('y') {
            let known = NAMES.map(|(name, _)| name);
            let hint = match suggest(text, known) {
                Some(near) => near,
                None => format!("one of `{}`, or a format such as `dd.MM.yyyy HH:mm`", known.join("`, `")),
            };
            return Err(error(format!("`{}` is no form of dates", text.value)).hint(hint));
        }
        let sample = Moment { civil: date(2031, 12, 25).at(13, 58, 59, 0), utc: true };
        let written =
            dates::format(sample, text).map_err(|why| error(format!("`{}` is no format: {why}", text.value)))?;
        let read = dates::parse_exact(&written, text);
        if read.is_none_or(|read| read.civil.date() != sample.civil.date()) {
            return Err(error(format!("a date cannot be read by `{}`", text.value))
                .hint("it has to name year, month and day, for example `dd.MM.yyyy HH:mm`"));
        }
        Ok(Self::Pattern(text.value.clone()))
    }

    /// Reads a date; one that does not say its zone is of this one. In a gap of the clock the later time is meant, in a fold the earlier.
    pub(super) fn read(&self, text: &str, is_number: bool, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::EpochSeconds => epoch(text, 9),
            Self::EpochMilliseconds => epoch(text, 6),
            // A year alone is a number too, and no date.
            _ if is_number => None,
            Self::Iso => iso(text, zone),
            Self::Rfc => {
                let found = jiff::fmt::rfc2822::parse(text).map(|zoned| zoned.timestamp());
                found
                    .or_else(|_| Timestamp::try_from(httpdate::parse_http_date(text).map_err(drop)?).map_err(drop))
                    .ok()
            }
            Self::JsonDate => {
                let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
                let sign = inner.rfind(['+', '-']).filter(|at| *at > 0);
                epoch(&inner[..sign.unwrap_or(inner.len())], 6)
            }
            Self::Pattern(format) => {
                let moment = dates::parse_exact(text, format)?;
                let utc = TimeZone::UTC;
                at(moment.civil, if moment.utc { &utc } else { zone })
            }
        }
    }
}

impl Target {
    /// Writes a date.
    pub(super) fn write(self, moment: Timestamp, zone: &TimeZone) -> String {
        match self {
            Self::DateTime => moment.to_string(),
            Self::DateNoTz => zone.to_datetime(moment).to_string(),
            Self::Date => zone.to_datetime(moment).date().to_string(),
        }
    }
}

fn at(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(civil).compatible().ok()
}

fn iso(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
    match pieces.offset() {
        None => at(civil, zone),
        Some(PiecesOffset::Numeric(numeric)) => numeric.offset().to_timestamp(civil).ok(),
        Some(_) => at(civil, &TimeZone::UTC),
    }
}

/// A decimal count since 1970 in units of ten to the `digits` nanoseconds, without rounding.
fn epoch(text: &str, digits: usize) -> Option<Timestamp> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let unit = 10_i128.pow(u32::try_from(digits).ok()?);
    let padded = format!("{fraction:0<digits$}");
    let nanoseconds = whole.parse::<i128>().ok()? * unit + padded[..digits].parse::<i128>().ok()?;
    Timestamp::from_nanosecond(sign * nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        dates::zone("W. Europe Standard Time").unwrap()
    }

    #[test]
    fn forms_are_read() {
        use Form::{EpochMilliseconds as Millis, EpochSeconds as Seconds, Iso, JsonDate, Rfc};
        let pattern = |text: &str| Form::Pattern(text.to_owned());
        for (form, text, want) in [
            (Iso, "2026-11-26T08:30:00Z", Some("2026-11-26T08:30:00Z")),
            (Iso, "2026-11-26T08:30:00.1234567+01:00", Some("2026-11-26T07:30:00.1234567Z")),
            (Iso, "2026-11-26 08:30:00", Some("2026-11-26T07:30:00Z")),
            (Iso, "2026-07-26T08:30:00", Some("2026-07-26T06:30:00Z")),
            (Iso, "2026-11-26", Some("2026-11-25T23:00:00Z")),
            (Iso, "20261126T083000Z", Some("2026-11-26T08:30:00Z")),
            (Iso, "26.11.2026", None),
            (Iso, "2026-13-01", None),
            (Rfc, "Thu, 26 Nov 2026 08:30:00 GMT", Some("2026-11-26T08:30:00Z")),
            (Rfc, "Thu, 26 Nov 2026 08:30:00 +0100", Some("2026-11-26T07:30:00Z")),
            (Rfc, "Thursday, 26-Nov-26 08:30:00 GMT", Some("2026-11-26T08:30:00Z")),
            (Rfc, "2026-11-26", None),
            (JsonDate, "/Date(1795681800000)/", Some("2026-11-26T08:30:00Z")),
            (JsonDate, "/Date(1795681800000+0100)/", Some("2026-11-26T08:30:00Z")),
            (JsonDate, "/Date(-1000)/", Some("1969-12-31T23:59:59Z")),
            (JsonDate, "/Date(x)/", None),
            (JsonDate, "/Date()/", None),
            (Seconds, "1795681800", Some("2026-11-26T08:30:00Z")),
            (Seconds, "1795681800.25", Some("2026-11-26T08:30:00.25Z")),
            (Seconds, "1795681800000", None),
            (Seconds, "", None),
            (Millis, "1795681800000", Some("2026-11-26T08:30:00Z")),
            (Millis, "1e3", None),
            (pattern("dd.MM.yyyy HH:mm"), "26.11.2026 09:30", Some("2026-11-26T08:30:00Z")),
            (pattern("dd.MM.yyyy HH:mm"), "26.11.2026", None),
            (pattern("M/d/yyyy h:mm tt"), "7/4/2026 1:05 PM", Some("2026-07-04T11:05:00Z")),
            (pattern("yyyyMMdd"), "20261126", Some("2026-11-25T23:00:00Z")),
            // The clocks go forward from two to three, and back from three to two.
            (pattern("dd.MM.yyyy HH:mm"), "29.03.2026 02:30", Some("2026-03-29T01:30:00Z")),
            (pattern("dd.MM.yyyy HH:mm"), "25.10.2026 02:30", Some("2026-10-25T00:30:00Z")),
        ] {
            let got = form.read(text, false, &berlin()).map(|moment| moment.to_string());
            assert_eq!(got.as_deref(), want, "{form:?} {text}");
        }
        assert_eq!(Iso.read("2026", true, &TimeZone::UTC), None, "a number is no text");
    }

    #[test]
    fn targets_are_written() {
        let moment: Timestamp = "2026-11-25T23:30:00.5Z".parse().unwrap();
        for (target, want) in [
            (Target::DateTime, "2026-11-25T23:30:00.5Z"),
            (Target::DateNoTz, "2026-11-26T00:30:00.5"),
            (Target::Date, "2026-11-26"),
        ] {
            assert_eq!(target.write(moment, &berlin()), want, "{target:?}");
        }
    }
}
