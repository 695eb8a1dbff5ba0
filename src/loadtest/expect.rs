//! What a limit promises, as a configuration or `--expect '100/1m sliding'` states it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::Period;
use crate::config::diagnostic::suggest;
use crate::limit::{self, MissingKey};

/// What one limit promises about each of its keys. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// At most `calls` in any half-open window of `period`.
    SlidingWindow {
        /// How many.
        calls: u64,
        /// The window.
        period: u64,
        /// Into how many slots the window is divided, each of which counts until the whole of it is over; 0 when times are exact.
        slots: u64,
    },
    /// At most `burst + calls × t / period` in any time t.
    TokenBucket {
        /// How many come back in a period.
        calls: u64,
        /// The time in which they come back.
        period: u64,
        /// How many a full bucket admits at once.
        burst: u64,
    },
    /// At most `calls` in each window of `period`, one after the other.
    FixedWindow {
        /// How many.
        calls: u64,
        /// The window.
        period: u64,
        /// Where windows begin.
        start: WindowStart,
    },
    /// At most `max` at once.
    Concurrency {
        /// How many.
        max: u64,
        /// The time that an admitted request is in progress at least; without it nothing can be proven from outside.
        hold: u64,
    },
}

/// Where fixed windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowStart {
    /// At the same times for all keys, which the caller does not know.
    Aligned,
    /// With the first request after the window before.
    FirstCall,
}

/// Whose requests count together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each key of the test has a count of its own.
    #[default]
    PerKey,
    /// All requests of the test count together.
    Shared,
}

/// One limit that is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What it is called in the report.
    pub name: String,
    /// What it promises.
    pub terms: Terms,
    /// Whose requests count together.
    pub scope: Scope,
    /// The status of a refusal.
    pub status: u16,
    /// What happens without a key, when that is known.
    pub missing_key: Option<MissingKey>,
    /// How many keys it holds, when that is known.
    pub max_keys: Option<u64>,
    /// Whether it only counts and refuses nothing.
    pub shadow: bool,
    /// Whether its answers are to carry `RateLimit`.
    pub told: bool,
    /// Which requests count, and when.
    pub counted: Counted,
}

/// Which requests count, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// Those that are admitted, at once.
    #[default]
    Admitted,
    /// Those that are refused too, so that under overload it is right to admit nothing.
    All,
    /// Those that are admitted, once they have been answered: what is in progress meanwhile is admitted beside them.
    Answered,
    /// Some of those that are admitted, once they have been answered, as the answer says: no excess can be proven.
    Perhaps,
}

impl Counted {
    /// Whether requests are counted once they have been answered.
    pub fn is_late(self) -> bool {
        matches!(self, Self::Answered | Self::Perhaps)
    }
}

const SECOND: u64 = 1_000_000_000;

/// How much longer than its window a request may count in a sliding window of slots.
pub fn slack(period: u64, slots: u64) -> u64 {
    if slots == 0 { 0 } else { period.div_ceil(slots) }
}

/// A duration in nanoseconds, at most five centuries.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Terms {
    /// The terms of a configured rate limit.
    pub fn of(settings: &limit::Settings) -> Self {
        let (calls, period) = (u64::from(settings.calls.get()), nanos(settings.period).max(1));
        match settings.algorithm {
            limit::Algorithm::SlidingWindow { precision } => {
                let slots = match precision {
                    limit::Precision::Exact => 0,
                    limit::Precision::Slots(slots) => slots.get().into(),
                };
                Self::SlidingWindow { calls, period, slots }
            }
            limit::Algorithm::TokenBucket { burst } => {
                Self::TokenBucket { calls, period, burst: u64::from(burst.get()) }
            }
            limit::Algorithm::FixedWindow { start } => {
                let start = match start {
                    limit::WindowStart::Clock => WindowStart::Aligned,
                    limit::WindowStart::FirstCall => WindowStart::FirstCall,
                };
                Self::FixedWindow { calls, period, start }
            }
        }
    }

    /// The most that a rested key can have admitted at once.
    pub fn capacity(&self) -> u64 {
        match *self {
            Self::SlidingWindow { calls, .. } | Self::FixedWindow { calls, .. } => calls,
            Self::TokenBucket { burst, .. } => burst,
            Self::Concurrency { max, .. } => max,
        }
    }

    /// The period; for a concurrency limit, the time that a request is in progress.
    pub fn period(&self) -> u64 {
        match *self {
            Self::SlidingWindow { period, .. }
            | Self::TokenBucket { period, .. }
            | Self::FixedWindow { period, .. } => period,
            Self::Concurrency { hold, .. } => hold.max(SECOND),
        }
    }

    /// Requests each second that one key can have admitted for ever.
    pub fn rate(&self) -> f64 {
        match *self {
            Self::SlidingWindow { calls, period, .. }
            | Self::TokenBucket { calls, period, .. }
            | Self::FixedWindow { calls, period, .. } => calls as f64 * SECOND as f64 / period as f64,
            Self::Concurrency { max, hold } => max as f64 * SECOND as f64 / hold.max(SECOND / 100) as f64,
        }
    }

    /// How long a drained key takes to be rested.
    pub fn refill(&self) -> u64 {
        match *self {
            Self::FixedWindow { period, .. } => period,
            Self::SlidingWindow { period, slots, .. } => period.saturating_add(slack(period, slots)),
            Self::TokenBucket { calls, period, burst } => {
                u64::try_from(u128::from(burst) * u128::from(period) / u128::from(calls.max(1))).unwrap_or(u64::MAX)
            }
            Self::Concurrency { hold, .. } => hold,
        }
    }

    /// Whether it counts requests over time.
    pub fn is_rate(&self) -> bool {
        !matches!(self, Self::Concurrency { .. })
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SlidingWindow { calls, period, slots: 0 } => write!(f, "{calls}/{} sliding", short(period)),
            Self::SlidingWindow { calls, period, slots } => {
                write!(f, "{calls}/{} sliding slots={slots}", short(period))
            }
            Self::TokenBucket { calls, period, burst } => {
                write!(f, "{calls}/{} token-bucket burst={burst}", short(period))
            }
            Self::FixedWindow { calls, period, start } => {
                let start = if start == WindowStart::Aligned { "aligned" } else { "first-call" };
                write!(f, "{calls}/{} fixed {start}", short(period))
            }
            Self::Concurrency { max, hold: 0 } => write!(f, "concurrency {max}"),
            Self::Concurrency { max, hold } => write!(f, "concurrency {max} hold={}", short(hold)),
        }
    }
}

/// A duration as it is written in a configuration: `1m`, `1h30m`, `250ms`.
pub fn short(nanos: u64) -> String {
    let mut rest = (nanos + 500_000) / 1_000_000;
    let mut out = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= length {
            out += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    if out.is_empty() { format!("{nanos}ns") } else { out }
}

const FORMS: &str = "`100/1m sliding`, `100/1m token-bucket burst=20`, `100/1m fixed aligned`, `100/1m fixed first-call` or \
                     `concurrency 52 hold=200ms`";

const ALGORITHMS: [&str; 4] = ["sliding", "token-bucket", "fixed", "concurrency"];

fn number(text: &str, what: &str) -> Result<u64, String> {
    match text.parse::<u32>() {
        Ok(0) => Err(format!("{what} is 0, which would admit nothing")),
        Ok(number) => Ok(number.into()),
        Err(_) => Err(format!("`{text}` is not {what}; a whole number from 1 to {}", u32::MAX)),
    }
}

fn period(text: &str) -> Result<u64, String> {
    let period = nanos(Period::parse(text)?.0);
    if period == 0 { Err("a period of zero limits nothing".to_owned()) } else { Ok(period) }
}

/// What follows the algorithm.
#[derive(Default)]
struct Options {
    burst: Option<u64>,
    slots: Option<u64>,
    hold: Option<u64>,
    start: Option<WindowStart>,
    scope: Scope,
    status: Option<u16>,
    counted: Counted,
}

impl Options {
    fn read(words: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("burst", value) => options.burst = Some(number(value, "a burst")?),
                ("slots", value) => options.slots = Some(number(value, "a number of slots")?),
                ("hold", value) => options.hold = Some(period(value)?),
                ("aligned", "") => options.start = Some(WindowStart::Aligned),
                ("first-call", "") => options.start = Some(WindowStart::FirstCall),
                ("per", "key") => options.scope = Scope::PerKey,
                ("per", "all") => options.scope = Scope::Shared,
                ("count", "admitted") => options.counted = Counted::Admitted,
                ("count", "all") => options.counted = Counted::All,
                ("count", "answered") => options.counted = Counted::Answered,
                ("status", value) => {
                    let status = value.parse().ok().filter(|status| (400..600).contains(status));
                    options.status = Some(status.ok_or_else(|| format!("`{value}` is no status of a refusal"))?);
                }
                _ => {
                    let known = [
                        "burst=",
                        "slots=",
                        "hold=",
                        "aligned",
                        "first-call",
                        "per=key",
                        "per=all",
                        "count=all",
                        "count=answered",
                        "status=",
                    ];
                    let hint = suggest(word, known).map(|hint| format!("; {hint}")).unwrap_or_default();
                    return Err(format!("`{word}` is not known in an expectation{hint}"));
                }
            }
        }
        Ok(options)
    }
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (terms, options) = match words.as_slice() {
            ["concurrency", max, rest @ ..] => {
                let options = Options::read(rest)?;
                let hold = options.hold.unwrap_or(0);
                (Terms::Concurrency { max: number(max, "a number of requests at once")?, hold }, options)
            }
            [rate, algorithm, rest @ ..] if rate.contains('/') => {
                let (calls, length) = rate.split_once('/').unwrap_or_default();
                let (calls, period) = (number(calls, "a number of calls")?, period(length)?);
                let options = Options::read(rest)?;
                let terms = match *algorithm {
                    "sliding" | "sliding-window" => {
                        Terms::SlidingWindow { calls, period, slots: options.slots.unwrap_or(0) }
                    }
                    "token-bucket" | "bucket" => {
                        Terms::TokenBucket { calls, period, burst: options.burst.unwrap_or(calls) }
                    }
                    "fixed" | "fixed-window" => Terms::FixedWindow {
                        calls,
                        period,
                        start: options.start.ok_or("say where fixed windows begin: `aligned` or `first-call`")?,
                    },
                    other => {
                        let hint = suggest(other, ALGORITHMS).map(|hint| format!("; {hint}")).unwrap_or_default();
                        return Err(format!("`{other}` is no algorithm{hint}; expected {FORMS}"));
                    }
                };
                (terms, options)
            }
            _ => return Err(format!("`{text}` is not a limit; expected {FORMS}")),
        };
        for (given, fits, name) in [
            (options.burst.is_some(), matches!(terms, Terms::TokenBucket { .. }), "burst"),
            (options.slots.is_some(), matches!(terms, Terms::SlidingWindow { .. }), "a number of slots"),
            (options.hold.is_some(), matches!(terms, Terms::Concurrency { .. }), "hold"),
            (options.start.is_some(), matches!(terms, Terms::FixedWindow { .. }), "a window's start"),
        ] {
            if given && !fits {
                return Err(format!("{name} does not belong to `{terms}`"));
            }
        }
        Ok(Self {
            name: terms.to_string(),
            terms,
            scope: options.scope,
            status: options.status.unwrap_or(429),
            missing_key: None,
            max_keys: None,
            shadow: false,
            told: false,
            counted: options.counted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_read_and_shown() {
        for (text, want) in [
            ("100/1m sliding", Ok("100/1m sliding")),
            ("100/1h30m sliding-window", Ok("100/1h30m sliding")),
            ("5/250ms token-bucket", Ok("5/250ms token-bucket burst=5")),
            ("100/1m sliding slots=30", Ok("100/1m sliding slots=30")),
            ("5/1s bucket slots=3", Err("a number of slots does not belong to `5/1s token-bucket burst=5`")),
            ("5/1s bucket burst=20", Ok("5/1s token-bucket burst=20")),
            ("5/1s fixed aligned", Ok("5/1s fixed aligned")),
            ("5/1s fixed first-call per=all status=503", Ok("5/1s fixed first-call")),
            ("concurrency 52 hold=200ms", Ok("concurrency 52 hold=200ms")),
            ("concurrency 52", Ok("concurrency 52")),
            ("0/1s sliding", Err("a number of calls is 0, which would admit nothing")),
            ("5/0s sliding", Err("a period of zero limits nothing")),
            ("5/1s fixed", Err("say where fixed windows begin: `aligned` or `first-call`")),
            ("5/1s slidding", Err("`slidding` is no algorithm; did you mean `sliding`?")),
            ("5/1s sliding burst=3", Err("burst does not belong to `5/1s sliding`")),
            ("5/1s sliding bust=3", Err("`bust=3` is not known in an expectation")),
            ("5 per minute", Err("`5 per minute` is not a limit; expected `100/1m sliding`")),
            ("5/minute sliding", Err("`minute` is not a duration")),
        ] {
            match (text.parse::<Expected>(), want) {
                (Ok(found), Ok(want)) => assert_eq!(found.terms.to_string(), want, "{text}"),
                (Err(found), Err(want)) => assert!(found.starts_with(want), "{text}: {found}"),
                (found, want) => panic!("{text}: {found:?}, not {want:?}"),
            }
        }
        let shared: Expected = "5/1s fixed first-call per=all status=503".parse().unwrap();
        assert_eq!((shared.scope, shared.status, shared.counted), (Scope::Shared, 503, Counted::Admitted));
        let strict: Expected = "5/1s sliding count=all".parse().unwrap();
        assert_eq!(strict.counted, Counted::All);
    }

    #[test]
    fn durations_as_they_are_written() {
        for (nanos, want) in [(60 * SECOND, "1m"), (90 * 60 * SECOND, "1h30m"), (SECOND / 4, "250ms"), (7, "7ns")] {
            assert_eq!(short(nanos), want);
        }
    }
}
