//! What a quota allows, as written, checked and turned into a counter.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::step::Counter;
use crate::compile::{self, CompileCx, CompileError};
use crate::config::spec::LimitHeaders;
use crate::config::{At, Kilobytes, Recurrence};
use crate::limit::Overflow;
use crate::limit::quota::schedule::{self, YEAR_ONE};
use crate::limit::quota::{Allowance, Millis, Schedule, Settings, Unit};
use crate::pipeline::limits::{self, Fields, Shown};
use crate::policy::rate_limit::{OnOverflow, limit_name};

/// How periods of a duration follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// One after the other from a fixed time, the same for every request: Azure API Management's.
    #[default]
    Fixed,
    /// Each key's period begins with its first call after the last period.
    FirstCall,
    /// No window of the period, wherever it begins, holds more than the limit. Counted in sixtieths of the period: what was used
    /// comes back up to a sixtieth late.
    Sliding,
}

/// Shorter periods are nothing that a restart matters to.
const WORTH_KEEPING: Duration = Duration::from_secs(3_600);

/// What a quota says.
pub(in crate::policy) struct Terms {
    pub(in crate::policy) calls: Option<NonZeroU64>,
    pub(in crate::policy) bandwidth: Option<Kilobytes>,
    pub(in crate::policy) period: At<Recurrence>,
    pub(in crate::policy) window: Option<At<Window>>,
    pub(in crate::policy) first: Option<At<String>>,
    pub(in crate::policy) zone: Option<At<String>>,
    pub(in crate::policy) max_keys: Option<NonZeroUsize>,
    pub(in crate::policy) on_overflow: OnOverflow,
    pub(in crate::policy) told: Told,
}

/// What is said of a quota, and under which name.
#[derive(Clone)]
pub(in crate::policy) struct Told {
    shown: Shown,
    name: String,
}

impl Told {
    /// As the policy says, else as `[limits]` does.
    pub(in crate::policy) fn compile(
        cx: &CompileCx<'_, '_>,
        name: Option<&At<String>>,
        suffix: &str,
        headers: Option<&[LimitHeaders]>,
    ) -> Result<Self, CompileError> {
        let name = limit_name(cx, name, suffix)?;
        Ok(Self { shown: headers.map_or(cx.world.limits_shown, compile::shown), name })
    }

    /// The same for a part of it.
    pub(in crate::policy) fn of(&self, part: &str) -> Self {
        Self { shown: self.shown, name: format!("{}{part}", self.name) }
    }

    /// The fields, when anybody is told.
    pub(in crate::policy) fn fields(&self, terms: limits::Terms) -> Option<Arc<Fields>> {
        let fields = Fields::of(self.shown, &self.name, terms);
        fields.are_told().then(|| Arc::new(fields))
    }
}

impl Terms {
    /// The counter of these terms; `id` names its ledger.
    pub(in crate::policy) fn counter(
        self,
        cx: &mut CompileCx<'_, '_>,
        id: impl FnOnce(&Schedule) -> String,
    ) -> Result<Counter, CompileError> {
        if self.calls.is_none() && self.bandwidth.is_none() {
            return Err(CompileError::at(&self.period, "a quota without `calls` and `bandwidth` limits nothing")
                .code("bad-policy")
                .hint("give one of them, or both"));
        }
        let schedule = self.schedule(cx)?;
        warn_unkept(cx, &self.period);
        let id = id(&schedule);
        let window = window(&schedule);
        let book = cx.world.limits.book(&id, settings(schedule, self.max_keys, self.on_overflow));
        let allowance =
            Allowance { calls: self.calls.map(NonZeroU64::get), units: self.bandwidth.map(Kilobytes::bytes) };
        let calls = allowance.calls.map(|calls| limits::Terms { window, ..limits::Terms::requests(calls) });
        let bytes = allowance.units.map(|bytes| limits::Terms {
            window,
            unit: Some(limits::CONTENT_BYTES),
            ..limits::Terms::requests(bytes)
        });
        let data = self.told.of("-bandwidth");
        let told = [calls.and_then(|calls| self.told.fields(calls)), bytes.and_then(|bytes| data.fields(bytes))];
        Ok(Counter::new(book, allowance, told))
    }

    fn schedule(&self, cx: &mut CompileCx<'_, '_>) -> Result<Schedule, CompileError> {
        let zone = time_zone(self.zone.as_ref());
        let zone = cx.note(zone);
        let window = self.window.as_ref().map_or(Window::Fixed, |window| window.value);
        let unit = calendar_unit(self.period.value);
        if let (Some(window), true) = (&self.window, unit.is_some() || self.period.value == Recurrence::Infinite)
            && window.value != Window::Fixed
        {
            return Err(CompileError::at(window, "a period of the calendar is always fixed")
                .hint("a duration can slide: `period = \"30d\"`"));
        }
        let zone = zone?;
        let first = self.first.as_ref().map(|text| first_period(text, &zone)).transpose()?;
        if let Some(text) = &self.first
            && (window != Window::Fixed || self.period.value == Recurrence::Infinite)
        {
            return Err(CompileError::at(text, "only fixed periods have a first one").hint("leave it out"));
        }
        if let Some(text) = &self.zone
            && unit.is_none()
            && first.is_none_or(|first| first.offset)
        {
            return Err(CompileError::at(text, "the time zone matters to no part of this quota")
                .hint("it is that of the calendar's periods, and of a `first-period-start` without one"));
        }
        Ok(match (unit, self.period.value) {
            (Some(unit), _) => {
                Schedule::Calendar { unit, first: first.map_or(YEAR_ONE, |first| first.civil(&zone)), zone }
            }
            (None, Recurrence::Every(period)) => {
                let period = Millis::try_from(period.as_millis()).unwrap_or(Millis::MAX);
                match window {
                    Window::Fixed => Schedule::Every { period, first: first.map_or_else(year_one, |first| first.at) },
                    Window::FirstCall => Schedule::FirstCall { period },
                    Window::Sliding => Schedule::Sliding { period },
                }
            }
            (None, _) => Schedule::Never,
        })
    }
}

/// The window in seconds, where all of them are equally long: months are not, nor days where clocks are changed.
pub(in crate::policy) fn window(schedule: &Schedule) -> Option<u64> {
    let millis = match schedule {
        Schedule::Every { period, .. } | Schedule::FirstCall { period } | Schedule::Sliding { period } => *period,
        Schedule::Calendar { unit: Unit::Hour, .. } => 3_600_000,
        Schedule::Calendar { unit: Unit::Day, zone, .. } if *zone == TimeZone::UTC => 86_400_000,
        Schedule::Calendar { unit: Unit::Week, zone, .. } if *zone == TimeZone::UTC => 7 * 86_400_000,
        Schedule::Calendar { .. } | Schedule::Never => return None,
    };
    let seconds = u64::try_from(millis).ok().filter(|millis| millis % 1000 == 0)? / 1000;
    (seconds > 0).then_some(seconds)
}

/// Says that a quota is forgotten when the process ends, where that matters.
pub(in crate::policy) fn warn_unkept(cx: &mut CompileCx<'_, '_>, period: &At<Recurrence>) {
    let short = matches!(period.value, Recurrence::Every(period) if period < WORTH_KEEPING);
    if !short && !cx.world.keeps_counts && !cx.world.limits.is_shared() {
        cx.warn(
            period,
            "quota-in-memory",
            "the quota is kept in memory only, and a restart gives all of it back",
            "`path` in `[store]` names a file that it is kept in",
        );
    }
}

/// How the ledger of a quota counts.
pub(in crate::policy) fn settings(
    schedule: Schedule,
    max_keys: Option<NonZeroUsize>,
    on_overflow: OnOverflow,
) -> Settings {
    Settings {
        schedule,
        max_keys: max_keys.map_or(100_000, NonZeroUsize::get),
        on_overflow: match on_overflow {
            OnOverflow::Reject => Overflow::Reject,
            OnOverflow::Admit => Overflow::Admit,
        },
        kept: true,
    }
}

pub(in crate::policy) fn year_one() -> Millis {
    schedule::civil(YEAR_ONE, &TimeZone::UTC).unwrap_or_default()
}

/// The calendar's period of this name.
pub(in crate::policy) fn calendar_unit(period: Recurrence) -> Option<Unit> {
    match period {
        Recurrence::Hour => Some(Unit::Hour),
        Recurrence::Day => Some(Unit::Day),
        Recurrence::Week => Some(Unit::Week),
        Recurrence::Month => Some(Unit::Month),
        Recurrence::Year => Some(Unit::Year),
        Recurrence::Every(_) | Recurrence::Infinite => None,
    }
}

/// A time zone by its name.
pub(in crate::policy) fn time_zone(name: Option<&At<String>>) -> Result<TimeZone, CompileError> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    if name.eq_ignore_ascii_case("UTC") {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        CompileError::at(name, format!("this machine knows no time zone `{}`", name.value))
            .hint("a name of the IANA database, for example `Europe/Berlin`; the package `tzdata` holds it")
    })
}

/// Where a period begins.
#[derive(Clone, Copy)]
struct First {
    at: Millis,
    /// Whether it was written with its own offset.
    offset: bool,
}

impl First {
    fn civil(self, zone: &TimeZone) -> DateTime {
        Timestamp::from_millisecond(self.at).map_or(YEAR_ONE, |at| zone.to_datetime(at))
    }
}

fn first_period(text: &At<String>, zone: &TimeZone) -> Result<First, CompileError> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(First { at: at.as_millisecond(), offset: true });
    }
    let civil = text.parse::<DateTime>().ok().and_then(|civil| schedule::civil(civil, zone));
    civil.map(|at| First { at, offset: false }).ok_or_else(|| {
        CompileError::at(text, format!("`{}` is not a date and time", text.value))
            .hint("`2026-01-15T00:00:00Z`, or without `Z` in the quota's time zone")
    })
}
