//! Dates and times. A timestamp is text; results are written as `2018-03-15T13:00:00.0000000Z` unless a .NET format is given.

use jiff::civil::{DateTime, date};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};

use super::text::{check_locale, integer};
use super::{Evaluated, Function};
use crate::expression::evaluate::Call;
use crate::expression::format::date::{Moment, ROUND_TRIP, format, parse, parse_exact, weekday};
use crate::expression::format::zone;
use crate::expression::{EvaluationError, Needs, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "addDays(timestamp, days, [format])",
        "A timestamp some days later, or earlier.",
        "addDays('2018-03-15T13:00:00Z', 10)",
        "'2018-03-25T13:00:00.0000000Z'",
        |call| add(call, "day"),
    ),
    Function::new(
        "addHours(timestamp, hours, [format])",
        "A timestamp some hours later, or earlier.",
        "addHours('2018-03-15T00:00:00Z', 10)",
        "'2018-03-15T10:00:00.0000000Z'",
        |call| add(call, "hour"),
    ),
    Function::new(
        "addMinutes(timestamp, minutes, [format])",
        "A timestamp some minutes later, or earlier.",
        "addMinutes('2018-03-15T00:20:00Z', -5)",
        "'2018-03-15T00:15:00.0000000Z'",
        |call| add(call, "minute"),
    ),
    Function::new(
        "addSeconds(timestamp, seconds, [format])",
        "A timestamp some seconds later, or earlier.",
        "addSeconds('2018-03-15T00:00:30Z', -5)",
        "'2018-03-15T00:00:25.0000000Z'",
        |call| add(call, "second"),
    ),
    Function::new(
        "addToTime(timestamp, interval, unit, [format])",
        "A timestamp some `Second`, `Minute`, `Hour`, `Day`, `Week`, `Month` or `Year` later.",
        "addToTime('2018-01-31T00:00:00Z', 1, 'Month', 'yyyy-MM-dd')",
        "'2018-02-28'",
        |call| {
            let moment = shift(call, timestamp(call, 0)?, call.integer(1)?, &call.text(2)?)?;
            write(call, moment, 3)
        },
    ),
    Function::new(
        "convertFromUtc(timestamp, zone, [format])",
        "A timestamp in UTC as local time of a zone, named as in Windows or as in IANA's database.",
        "convertFromUtc('2018-01-01T08:00:00.0000000Z', 'Pacific Standard Time')",
        "'2018-01-01T00:00:00.0000000'",
        |call| {
            let moment = to_zone(call, timestamp(call, 0)?, &zone_of(call, 1)?)?;
            write(call, moment, 2)
        },
    ),
    Function::new(
        "convertTimeZone(timestamp, source, destination, [format])",
        "Local time of one zone as local time of another.",
        "convertTimeZone('2018-01-01T08:00:00', 'UTC', 'America/Los_Angeles')",
        "'2018-01-01T00:00:00.0000000'",
        |call| {
            let moment = from_zone(call, timestamp(call, 0)?, &zone_of(call, 1)?)?;
            write(call, to_zone(call, moment, &zone_of(call, 2)?)?, 3)
        },
    ),
    Function::new(
        "convertToUtc(timestamp, zone, [format])",
        "Local time of a zone as UTC.",
        "convertToUtc('01/01/2018 00:00:00', 'Pacific Standard Time')",
        "'2018-01-01T08:00:00.0000000Z'",
        |call| {
            let moment = from_zone(call, timestamp(call, 0)?, &zone_of(call, 1)?)?;
            write(call, moment, 2)
        },
    ),
    Function::new(
        "dateDifference(start, end)",
        "The time between two timestamps as .NET's `d.hh:mm:ss`.",
        "dateDifference('2015-02-08', '2018-07-30')",
        "'1268.00:00:00'",
        |call| Ok(Value::Str(time_span(timestamp(call, 1)?.civil.duration_since(timestamp(call, 0)?.civil)).into())),
    ),
    Function::new(
        "dayOfMonth(timestamp)",
        "The day of the month.",
        "dayOfMonth('2018-03-15T13:27:36Z')",
        "15",
        |call| Ok(Value::Int(timestamp(call, 0)?.civil.day().into())),
    ),
    Function::new(
        "dayOfWeek(timestamp)",
        "The day of the week; Sunday is 0.",
        "dayOfWeek('2018-03-15T13:27:36Z')",
        "4",
        |call| Ok(Value::Int(integer(weekday(timestamp(call, 0)?.civil)))),
    ),
    Function::new("dayOfYear(timestamp)", "The day of the year.", "dayOfYear('2018-03-15T13:27:36Z')", "74", |call| {
        Ok(Value::Int(timestamp(call, 0)?.civil.day_of_year().into()))
    }),
    Function::new(
        "formatDateTime(timestamp, [format], [locale])",
        "A timestamp in a .NET format; the locale is `en-US`.",
        "formatDateTime('2018-03-15T13:27:36Z', 'R')",
        "'Thu, 15 Mar 2018 13:27:36 GMT'",
        |call| {
            check_locale(call, 2)?;
            write(call, timestamp(call, 0)?, 1)
        },
    ),
    Function::new(
        "getFutureTime(interval, unit, [format])",
        "The time now plus some units.",
        "getFutureTime(5, 'Day', 'yyyy-MM-dd')",
        "'2026-01-06'",
        |call| {
            let moment = shift(call, now(call)?, call.integer(0)?, &call.text(1)?)?;
            write(call, moment, 2)
        },
    )
    .reads(Needs::NONE),
    Function::new(
        "getPastTime(interval, unit, [format])",
        "The time now minus some units.",
        "getPastTime(1, 'Week', 'D')",
        "'Thursday, December 25, 2025'",
        |call| {
            let moment = shift(call, now(call)?, negated(call, call.integer(0)?)?, &call.text(1)?)?;
            write(call, moment, 2)
        },
    )
    .reads(Needs::NONE),
    Function::new(
        "parseDateTime(text, [locale], [format])",
        "A timestamp from text in a .NET format; the locale is `en-US`.",
        "parseDateTime('15.03.2018 13:27', 'en-US', 'dd.MM.yyyy HH:mm')",
        "'2018-03-15T13:27:00.0000000'",
        |call| {
            check_locale(call, 1)?;
            let moment = match call.optional_text(2)? {
                Some(format) => parse_exact(&call.text(0)?, &format)
                    .ok_or_else(|| call.error("the text is not a date in this format"))?,
                None => timestamp(call, 0)?,
            };
            // No format argument at this place: the round-trip format.
            write(call, moment, usize::MAX)
        },
    ),
    Function::new(
        "startOfDay(timestamp, [format])",
        "The start of the day.",
        "startOfDay('2018-03-15T13:30:30Z')",
        "'2018-03-15T00:00:00.0000000Z'",
        |call| start(call, |civil| Some(civil.date().to_datetime(jiff::civil::Time::midnight()))),
    ),
    Function::new(
        "startOfHour(timestamp, [format])",
        "The start of the hour.",
        "startOfHour('2018-03-15T13:30:30Z')",
        "'2018-03-15T13:00:00.0000000Z'",
        |call| start(call, |civil| civil.with().minute(0).second(0).subsec_nanosecond(0).build().ok()),
    ),
    Function::new(
        "startOfMonth(timestamp, [format])",
        "The start of the month.",
        "startOfMonth('2018-03-15T13:30:30Z', 'yyyy-MM-dd')",
        "'2018-03-01'",
        |call| start(call, |civil| Some(civil.date().first_of_month().to_datetime(jiff::civil::Time::midnight()))),
    ),
    Function::new(
        "subtractFromTime(timestamp, interval, unit, [format])",
        "A timestamp some units earlier.",
        "subtractFromTime('2018-01-02T00:00:00Z', 1, 'Day')",
        "'2018-01-01T00:00:00.0000000Z'",
        |call| {
            let moment = shift(call, timestamp(call, 0)?, negated(call, call.integer(1)?)?, &call.text(2)?)?;
            write(call, moment, 3)
        },
    ),
    Function::new(
        "ticks(timestamp)",
        "The tenths of microseconds since 0001-01-01.",
        "ticks('2018-01-01T08:00:00Z')",
        "636503904000000000",
        |call| {
            let since = timestamp(call, 0)?.civil.duration_since(date(1, 1, 1).at(0, 0, 0, 0));
            i64::try_from(since.as_nanos() / 100).map(Value::Int).map_err(|_| out_of_range(call))
        },
    ),
    Function::new("utcNow([format])", "The time now.", "utcNow()", "'2026-01-01T00:00:00.0000000Z'", |call| {
        write(call, now(call)?, 0)
    })
    .reads(Needs::NONE),
];

fn timestamp(call: &Call<'_>, index: usize) -> Result<Moment, EvaluationError> {
    parse(&call.text(index)?).ok_or_else(|| {
        call.error(format_args!("argument {} is not a timestamp such as `2018-03-15T13:00:00Z`", index + 1))
    })
}

fn now(call: &Call<'_>) -> Result<Moment, EvaluationError> {
    let now = Timestamp::try_from(call.facts.now()).map_err(|_| out_of_range(call))?;
    Ok(Moment { civil: Offset::UTC.to_datetime(now), utc: true })
}

/// Writes in the format that the argument gives, if any.
fn write<'a>(call: &Call<'a>, moment: Moment, index: usize) -> Evaluated<'a> {
    let wanted = call.optional_text(index)?;
    format(moment, wanted.as_deref().unwrap_or(ROUND_TRIP))
        .map(|text| Value::Str(text.into()))
        .map_err(|message| call.error(message))
}

fn out_of_range(call: &Call<'_>) -> EvaluationError {
    call.error("the time is outside the years 1 to 9999")
}

fn negated(call: &Call<'_>, number: i64) -> Result<i64, EvaluationError> {
    number.checked_neg().ok_or_else(|| out_of_range(call))
}

fn add<'a>(call: &Call<'a>, unit: &str) -> Evaluated<'a> {
    let moment = shift(call, timestamp(call, 0)?, call.integer(1)?, unit)?;
    write(call, moment, 2)
}

fn shift(call: &Call<'_>, moment: Moment, interval: i64, unit: &str) -> Result<Moment, EvaluationError> {
    let span = Span::new();
    let span = match unit.to_ascii_lowercase().as_str() {
        "second" => span.try_seconds(interval),
        "minute" => span.try_minutes(interval),
        "hour" => span.try_hours(interval),
        "day" => span.try_days(interval),
        "week" => span.try_weeks(interval),
        "month" => span.try_months(interval),
        "year" => span.try_years(interval),
        _ => return Err(call.error("the unit must be `Second`, `Minute`, `Hour`, `Day`, `Week`, `Month` or `Year`")),
    };
    let civil = span.and_then(|span| moment.civil.checked_add(span)).map_err(|_| out_of_range(call))?;
    if civil.year() < 1 {
        return Err(out_of_range(call));
    }
    Ok(Moment { civil, ..moment })
}

fn start<'a>(call: &Call<'a>, of: fn(DateTime) -> Option<DateTime>) -> Evaluated<'a> {
    let moment = timestamp(call, 0)?;
    let civil = of(moment.civil).ok_or_else(|| out_of_range(call))?;
    write(call, Moment { civil, ..moment }, 1)
}

fn zone_of(call: &Call<'_>, index: usize) -> Result<TimeZone, EvaluationError> {
    let name = call.text(index)?;
    zone::find(&name).ok_or_else(|| {
        call.error("there is no such time zone; zones are named as in Windows (`Pacific Standard Time`) or as in IANA's database (`America/Los_Angeles`)")
    })
}

/// UTC (or what is taken for it) to local time.
fn to_zone(call: &Call<'_>, moment: Moment, zone: &TimeZone) -> Result<Moment, EvaluationError> {
    let instant = Offset::UTC.to_timestamp(moment.civil).map_err(|_| out_of_range(call))?;
    Ok(Moment { civil: zone.to_datetime(instant), utc: false })
}

/// Local time to UTC. A time that says it is UTC stays. In the hour that clocks repeat or skip the earlier offset holds.
fn from_zone(call: &Call<'_>, moment: Moment, zone: &TimeZone) -> Result<Moment, EvaluationError> {
    if moment.utc {
        return Ok(moment);
    }
    let instant = zone.to_timestamp(moment.civil).map_err(|_| out_of_range(call))?;
    Ok(Moment { civil: Offset::UTC.to_datetime(instant), utc: true })
}

/// .NET's constant (`c`) format of a `TimeSpan`.
fn time_span(duration: SignedDuration) -> String {
    let ticks = duration.as_nanos() / 100;
    let (sign, ticks) = (if ticks < 0 { "-" } else { "" }, ticks.unsigned_abs());
    let seconds = ticks / 10_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let days = if days == 0 { String::new() } else { format!("{days}.") };
    let fraction = match ticks % 10_000_000 {
        0 => String::new(),
        fraction => format!(".{fraction:07}"),
    };
    format!("{sign}{days}{:02}:{:02}:{:02}{fraction}", rest / 3600, rest / 60 % 60, rest % 60)
}
