//! What answers tell of limits: the IETF draft's structured fields, the older headers, and Azure API Management's.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{Counted, Limited};
use crate::limit::{Decision, Rate};

/// Two fields by the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers-10), structured fields
/// (RFC 9651): what holds, and what is left of it.
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The draft's unit for the bytes of bodies.
pub const CONTENT_BYTES: &str = "content-bytes";

/// The unit for the tokens of language models. The draft's registry has none for them; unknown ones are let be by who reads it.
pub const TOKENS: &str = "tokens";

/// The draft's unit for requests that run at once.
pub const CONCURRENT_REQUESTS: &str = "concurrent-requests";

/// The largest integer of a structured field (RFC 9651 §3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Which fields tell of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `RateLimit-Policy` and `RateLimit`.
    pub ratelimit: bool,
    /// `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`.
    pub x_ratelimit: bool,
}

/// What is said of a limit.
#[derive(Debug)]
pub struct Fields {
    shown: Shown,
    /// Its name, as the text of a structured field's string.
    name: Box<str>,
    /// What it says; worked out for each answer where rates vary.
    terms: Option<Terms>,
    /// Its item of `RateLimit-Policy` but for the name.
    parameters: Box<str>,
    /// All of `RateLimit-Policy`, when there is no other limit.
    alone: Option<HeaderValue>,
    burst: bool,
    /// What it counts; none are requests.
    unit: Option<&'static str>,
}

/// What `RateLimit-Policy` says of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How much is allowed in each window.
    pub quota: u64,
    /// What is counted: a unit of the draft's registry. None are requests, which go without saying.
    pub unit: Option<&'static str>,
    /// The window in seconds, where it is always the same and whole seconds, which is all that can be told.
    pub window: Option<u64>,
    /// The most at once, where that is something else.
    pub burst: Option<u64>,
}

impl Terms {
    /// So many requests, in no certain time.
    pub fn requests(quota: u64) -> Self {
        Self { quota, unit: None, window: None, burst: None }
    }

    /// Those of a rate; with `burst` a bucket's is told.
    pub fn of_rate(rate: &Rate, burst: bool) -> Self {
        let window = Some(rate.period.as_secs()).filter(|seconds| rate.period.subsec_nanos() == 0 && *seconds > 0);
        let burst = Some(rate.burst.get().into()).filter(|_| burst && rate.burst != rate.calls);
        Self { window, burst, ..Self::requests(rate.calls.get().into()) }
    }

    /// The most at once.
    fn capacity(&self) -> u64 {
        self.burst.unwrap_or(self.quota)
    }

    /// The same share of everything, for a part of the limit.
    fn cut(&self, capacity: u64) -> Self {
        let share = |whole: u64| {
            let share = (u128::from(whole) * u128::from(capacity)).div_ceil(u128::from(self.capacity().max(1)));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        Self { quota: share(self.quota), burst: self.burst.map(share), ..*self }
    }

    fn write(&self, text: &mut String) {
        let _ = write!(text, ";q={}", self.quota.min(LARGEST));
        if let Some(unit) = self.unit {
            let _ = write!(text, ";qu=\"{unit}\"");
        }
        if let Some(window) = self.window {
            let _ = write!(text, ";w={window}");
        }
        if let Some(burst) = self.burst {
            let _ = write!(text, ";sluicegate-burst={}", burst.min(LARGEST));
        }
    }
}

impl Fields {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For a limit of that name, which is printable ASCII. `rate` is the rate, unless it varies; `burst` is whether a bucket's
    /// burst is told.
    pub fn new(shown: Shown, name: &str, rate: Option<&Rate>, burst: bool) -> Self {
        Self::of_rate(shown, name, rate, burst, None)
    }

    /// The same for a limit on something else than requests.
    pub fn of_rate(shown: Shown, name: &str, rate: Option<&Rate>, burst: bool, unit: Option<&'static str>) -> Self {
        let terms = rate.map(|rate| Terms { unit, ..Terms::of_rate(rate, burst) });
        Self { burst, unit, ..Self::with(shown, name, terms) }
    }

    /// For a limit of that name that says this.
    pub fn of(shown: Shown, name: &str, terms: Terms) -> Self {
        Self::with(shown, name, Some(terms))
    }

    /// Whether anybody is told.
    pub fn are_told(&self) -> bool {
        self.shown.ratelimit || self.shown.x_ratelimit
    }

    fn with(shown: Shown, name: &str, terms: Option<Terms>) -> Self {
        let name: String =
            name.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
        let mut parameters = String::new();
        if let Some(terms) = &terms {
            terms.write(&mut parameters);
        }
        let alone = terms.and_then(|_| HeaderValue::try_from(format!("\"{name}\"{parameters}")).ok());
        let unit = terms.and_then(|terms| terms.unit);
        let (name, parameters) = (name.into(), parameters.into());
        Self { shown, name, terms, parameters, alone, burst: false, unit }
    }

    /// Whether somebody decided who counts only a part of the limit.
    fn is_cut(&self, standing: &Standing) -> bool {
        self.terms.is_some_and(|terms| standing.limit < terms.capacity())
    }
}

/// How a key stands after a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The most that can be admitted at once, by whoever decided: a part of the limit while a shared store does not answer.
    pub limit: u64,
    /// How much of it is left.
    pub remaining: u64,
    /// In how many seconds there is more; zero when there is nothing to wait for, or nothing ever comes.
    pub more: u64,
    /// In how many seconds it is back to full.
    pub reset: u64,
}

impl From<&Decision> for Standing {
    fn from(decision: &Decision) -> Self {
        Self {
            limit: decision.limit.into(),
            remaining: decision.remaining.into(),
            more: decision.more_seconds(),
            reset: decision.reset_seconds(),
        }
    }
}

/// Writes what is said of the limits.
pub(in crate::pipeline) fn write(limits: &[Limited], headers: &mut HeaderMap) {
    let shown = |pick: fn(&Shown) -> bool| {
        let fields = limits.iter().filter_map(|limited| Some((limited, limited.fields.as_deref()?)));
        fields.filter(move |(_, fields)| pick(&fields.shown))
    };
    write_remaining(limits, headers);
    let limits: SmallVec<[(&Limited, &Fields); 4]> = shown(|shown| shown.ratelimit).collect();
    write_ratelimit(&limits, headers);
    // The numbers say nothing of what they count, so that only limits on requests are told this way.
    let requests = shown(|shown| shown.x_ratelimit).filter(|(_, fields)| fields.unit.is_none());
    let tightest = requests.map(|(limited, _)| limited.standing);
    if let Some(tightest) = tightest.min_by_key(|standing| (standing.remaining, std::cmp::Reverse(standing.reset))) {
        headers.insert(X_RATELIMIT_LIMIT, tightest.limit.into());
        headers.insert(X_RATELIMIT_REMAINING, tightest.remaining.into());
        headers.insert(X_RATELIMIT_RESET, tightest.reset.into());
    }
}

/// Azure API Management's header, which only admitted requests get. Limits with one header tell the least.
fn write_remaining(limits: &[Limited], headers: &mut HeaderMap) {
    if limits.iter().any(|limited| limited.refused) {
        return;
    }
    for limited in limits {
        let Some(name) = limited.remaining_header() else { continue };
        let same = limits.iter().filter(|other| other.remaining_header() == Some(name));
        let least = same.map(|other| other.standing.remaining).min().unwrap_or(limited.standing.remaining);
        headers.insert(name, least.into());
    }
}

fn write_ratelimit(limits: &[(&Limited, &Fields)], headers: &mut HeaderMap) {
    if limits.is_empty() {
        return;
    }
    let mut policy = String::new();
    let mut left = String::with_capacity(48);
    for (at, (limited, fields)) in limits.iter().enumerate() {
        let same = limits[..at].iter().filter(|(_, other)| other.name == fields.name).count();
        let name = |text: &mut String| {
            if at > 0 {
                text.push_str(", ");
            }
            text.push('"');
            text.push_str(&fields.name);
            if same > 0 {
                // No two items of a field may have the same name.
                let _ = write!(text, "-{}", same + 1);
            }
            text.push('"');
        };
        name(&mut left);
        let standing = &limited.standing;
        left.push_str(";r=");
        left.push_str(itoa::Buffer::new().format(standing.remaining.min(LARGEST)));
        if standing.more > 0 {
            left.push_str(";t=");
            left.push_str(itoa::Buffer::new().format(standing.more));
        }
        if limits.len() > 1 || fields.alone.is_none() || fields.is_cut(standing) {
            name(&mut policy);
            match (&fields.terms, &limited.counted) {
                (Some(terms), _) if fields.is_cut(standing) => terms.cut(standing.limit).write(&mut policy),
                (Some(_), _) => policy.push_str(&fields.parameters),
                (None, Counted::Rate { rate: Some(rate), .. }) => {
                    Terms { unit: fields.unit, ..Terms::of_rate(rate, fields.burst) }.write(&mut policy);
                }
                (None, _) => Terms { unit: fields.unit, ..Terms::requests(standing.limit) }.write(&mut policy),
            }
        }
    }
    let alone = limits.first().filter(|(limited, fields)| limits.len() == 1 && !fields.is_cut(&limited.standing));
    let alone = alone.and_then(|(_, fields)| fields.alone.clone());
    if let Some(policy) = alone.or_else(|| HeaderValue::try_from(policy).ok()) {
        headers.insert(RATELIMIT_POLICY, policy);
    }
    if let Ok(left) = HeaderValue::try_from(left) {
        headers.insert(RATELIMIT, left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::KeyText;
    use super::*;

    #[test]
    fn a_gateway_that_counts_a_part_tells_of_that_part() {
        struct Case {
            name: &'static str,
            terms: Terms,
            /// The most that whoever decided admits, and how much of it is left.
            standing: [u64; 2],
            want: [&'static str; 2],
        }
        let hourly = Terms { window: Some(3600), ..Terms::requests(100) };
        for Case { name, terms, standing: [limit, remaining], want } in [
            Case {
                name: "all of it",
                terms: hourly,
                standing: [100, 99],
                want: ["\"it\";q=100;w=3600", "\"it\";r=99;t=7"],
            },
            Case {
                name: "one of three gateways",
                terms: hourly,
                standing: [34, 33],
                want: ["\"it\";q=34;w=3600", "\"it\";r=33;t=7"],
            },
            Case {
                name: "a part of bytes",
                terms: Terms { unit: Some(CONTENT_BYTES), ..hourly },
                standing: [50, 0],
                want: ["\"it\";q=50;qu=\"content-bytes\";w=3600", "\"it\";r=0;t=7"],
            },
            Case {
                name: "a part of a bucket, whose burst is what decides",
                terms: Terms { burst: Some(20), ..hourly },
                standing: [10, 4],
                want: ["\"it\";q=50;w=3600;sluicegate-burst=10", "\"it\";r=4;t=7"],
            },
            Case {
                name: "more than a structured field can say",
                terms: Terms::requests(u64::MAX),
                standing: [u64::MAX, u64::MAX],
                want: ["\"it\";q=999999999999999", "\"it\";r=999999999999999;t=7"],
            },
        ] {
            let shown = Shown { ratelimit: true, x_ratelimit: false };
            let limited = Limited {
                fields: Some(Arc::new(Fields::of(shown, "it", terms))),
                key: KeyText::new("key"),
                standing: Standing { limit, remaining, more: 7, reset: 7 },
                refused: false,
                counted: Counted::Nothing,
            };
            let mut headers = HeaderMap::new();
            write(&[limited], &mut headers);
            assert_eq!([&headers[RATELIMIT_POLICY], &headers[RATELIMIT]], want, "{name}");
        }
    }
}
