//! When the allowance of a quota comes back: calendar periods, periods of a fixed length, and a window that slides.
//!
//! All times are milliseconds since 1970 on the wall clock, because quotas outlive the process.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Milliseconds since 1970.
pub type Millis = i64;

/// Into how many slots a sliding window is cut. What is counted in a slot is counted until `period` after the slot's end, so
/// that no window of `period` ever holds more than the limit, and it comes back at most `period / SLOTS` late.
pub const SLOTS: i64 = 60;

/// Beyond any time that is told apart.
pub const NEVER: Millis = i64::MAX;

/// The first of January of the year 1, a Monday: where Azure API Management's periods begin unless told otherwise.
pub const YEAR_ONE: DateTime = DateTime::constant(1, 1, 1, 0, 0, 0, 0);

/// Periods of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
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
}

impl Unit {
    /// The unit's name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    fn times(self, count: i64) -> Option<Span> {
        let span = Span::new();
        match self {
            Self::Hour => span.try_hours(count),
            Self::Day => span.try_days(count),
            Self::Week => span.try_weeks(count),
            Self::Month => span.try_months(count),
            Self::Year => span.try_years(count),
        }
        .ok()
    }

    /// About how many units lie between two dates; at most one off.
    fn between(self, from: Date, to: Date) -> i64 {
        let days = || i64::from((to - from).get_days());
        let months = || i64::from(to.year() - from.year()) * 12 + i64::from(to.month() - from.month());
        match self {
            Self::Hour | Self::Day => days(),
            Self::Week => days().div_euclid(7),
            Self::Month => months(),
            Self::Year => i64::from(to.year() - from.year()),
        }
    }
}

/// When counts expire.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// At the end of the calendar's period in a time zone. The first period begins at `first`, civil time.
    Calendar {
        /// The period.
        unit: Unit,
        /// Where midnight is looked up.
        zone: TimeZone,
        /// Where the first period begins.
        first: DateTime,
    },
    /// At the end of a period of this length; one begins at `first`.
    Every {
        /// The length.
        period: Millis,
        /// Where one begins.
        first: Millis,
    },
    /// This long after the first count of the key.
    FirstCall {
        /// The length.
        period: Millis,
    },
    /// Each count by itself, this long after it was made and at most a slot later.
    Sliding {
        /// The length.
        period: Millis,
    },
    /// Never.
    Never,
}

impl Schedule {
    /// The period that holds `now`: from its first millisecond up to the first of the next. `first` stands in for the schedule's
    /// own, where the period is counted from something of the key's.
    pub fn window(&self, now: Millis, first: Option<Millis>) -> (Millis, Millis) {
        match self {
            Self::Calendar { unit, zone, first } => calendar(*unit, zone, *first, now),
            Self::Every { period, first: own } => {
                let first = first.unwrap_or(*own);
                let from = now.saturating_sub(now.saturating_sub(first).rem_euclid(*period));
                (from, from.saturating_add(*period))
            }
            Self::FirstCall { period } => (now, now.saturating_add(*period)),
            Self::Sliding { period } => {
                let slot = slot(*period);
                let end = now.div_euclid(slot).saturating_add(1).saturating_mul(slot);
                (end.saturating_sub(slot), end.saturating_add(*period))
            }
            Self::Never => (Millis::MIN, NEVER),
        }
    }

    /// The latest time up to which something that is counted now may count.
    pub fn horizon(&self, now: Millis) -> Millis {
        match self {
            Self::Every { period, .. } => now.saturating_add(*period),
            Self::Calendar { .. } | Self::FirstCall { .. } | Self::Sliding { .. } | Self::Never => {
                self.window(now, None).1
            }
        }
    }

    /// Whether the end of a period is found through the calendar, which costs a microsecond.
    pub fn is_calendar(&self) -> bool {
        matches!(self, Self::Calendar { .. })
    }

    /// Whether the first count of a key begins its period.
    pub fn is_first_call(&self) -> bool {
        matches!(self, Self::FirstCall { .. })
    }

    /// A name that tells schedules apart, the same in every run.
    pub fn name(&self) -> String {
        match self {
            Self::Calendar { unit, zone, first } => {
                let zone = zone.iana_name().unwrap_or("UTC");
                let from = if *first == YEAR_ONE { String::new() } else { format!(" from {first}") };
                format!("{} in {zone}{from}", unit.as_str())
            }
            Self::Every { period, first } => format!("every {period} ms from {first}"),
            Self::FirstCall { period } => format!("{period} ms from the first call"),
            Self::Sliding { period } => format!("any {period} ms"),
            Self::Never => "for ever".to_owned(),
        }
    }
}

/// The length of a slot of a sliding window.
pub fn slot(period: Millis) -> Millis {
    (period / SLOTS).max(1)
}

/// The milliseconds of a time.
pub fn millis(time: SystemTime) -> Millis {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(NEVER),
        Err(before) => i64::try_from(before.duration().as_nanos().div_ceil(1_000_000)).map_or(i64::MIN, |it| -it),
    }
}

fn calendar(unit: Unit, zone: &TimeZone, first: DateTime, now: Millis) -> (Millis, Millis) {
    let Ok(timestamp) = Timestamp::from_millisecond(now) else { return (Millis::MIN, NEVER) };
    let local = zone.to_datetime(timestamp);
    if unit == Unit::Hour {
        // By the clock on the wall, whose minutes run on over a change of the offset by whole hours.
        let past = i64::from(local.minute()) * 60_000 + i64::from(local.second()) * 1_000 + now.rem_euclid(1_000);
        let past =
            (past - i64::from(first.minute()) * 60_000 - i64::from(first.second()) * 1_000).rem_euclid(3_600_000);
        return (now - past, now - past + 3_600_000);
    }
    // Counted from the first period each time: a month that begins on the 31st would lose days otherwise.
    let start = |count: i64| -> Option<Millis> {
        let begin = first.checked_add(unit.times(count)?).ok()?;
        // A midnight that a change of the offset leaves out is the moment of the change.
        Some(zone.to_ambiguous_timestamp(begin).compatible().ok()?.as_millisecond())
    };
    let mut count = unit.between(first.date(), local.date());
    while start(count).is_some_and(|begin| begin > now) {
        count -= 1;
    }
    while start(count + 1).is_some_and(|begin| begin <= now) {
        count += 1;
    }
    (start(count).unwrap_or(Millis::MIN), start(count + 1).unwrap_or(NEVER))
}

/// The milliseconds of a civil time in a zone, for a first period that is written without an offset.
pub fn civil(first: DateTime, zone: &TimeZone) -> Option<Millis> {
    Some(zone.to_ambiguous_timestamp(first).compatible().ok()?.as_millisecond())
}
