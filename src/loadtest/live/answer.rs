//! What an answer says about limits, in any of the forms that gateways use.

use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName};

use crate::loadtest::record::Answer;

/// The names of headers that differ between gateways.
#[derive(Clone, Debug)]
pub struct Names {
    /// Tells how many seconds to wait.
    pub retry_after: HeaderName,
    /// Tells how many requests are left, besides the names that are known.
    pub remaining: Option<HeaderName>,
}

impl Default for Names {
    fn default() -> Self {
        Self { retry_after: RETRY_AFTER, remaining: None }
    }
}

/// Larger numbers are dates: seconds since 1970.
const LONGEST: u64 = 10 * 366 * 24 * 60 * 60;

/// Reads the head of an answer that came at `now`.
pub(super) fn read(status: u16, headers: &HeaderMap, names: &Names, now: SystemTime) -> Answer {
    let mut answer = Answer { status, ..Answer::default() };
    answer.retry_after = text(headers, &names.retry_after).and_then(|text| wait(text, headers, now));
    if let Some(field) = text(headers, &HeaderName::from_static("ratelimit")) {
        let policy = text(headers, &HeaderName::from_static("ratelimit-policy")).unwrap_or_default();
        (answer.remaining, answer.reset) = fields(field, policy);
    }
    let first =
        |wanted: &[&'static str]| wanted.iter().find_map(|name| number(text(headers, &HeaderName::from_static(name))?));
    if answer.remaining.is_none() {
        let own = names.remaining.as_ref().and_then(|name| number(text(headers, name)?));
        let known = || first(&["ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining"]);
        answer.remaining = own.or_else(known).map(narrow);
    }
    if answer.reset.is_none() {
        let reset = first(&["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"]);
        answer.reset = reset.map(|reset| narrow(if reset > LONGEST { since(reset, now) } else { reset }));
    }
    answer.limit = first(&["ratelimit-limit", "x-ratelimit-limit", "x-rate-limit-limit"]).map(narrow);
    answer
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn number(text: &str) -> Option<u64> {
    // Some list one number for each window; the first is the one in force.
    text.split([',', ';']).next()?.trim().parse().ok()
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX - 1)
}

fn since(epoch: u64, now: SystemTime) -> u64 {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    until.duration_since(now).map_or(0, |left| left.as_secs_f64().ceil() as u64)
}

/// `Retry-After` in seconds, or as a date (RFC 9110 §10.2.3), which counts from the answer's own date.
fn wait(text: &str, headers: &HeaderMap, now: SystemTime) -> Option<u32> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        // Fractions are not allowed, and are waited for all the same.
        return (seconds >= 0.0).then(|| narrow(seconds.ceil() as u64));
    }
    let until = httpdate::parse_http_date(text.trim()).ok()?;
    let date = self::text(headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    Some(narrow(until.duration_since(date).map_or(0, |left| left.as_secs())))
}

/// What `RateLimit` says is left and when there is more, of the limit with the least left: `"default";r=50;t=30`, a list of them
/// (draft-ietf-httpapi-ratelimit-headers-10), or `limit=100, remaining=50, reset=30` (its drafts up to 07). Limits that `policy` says
/// count something else than requests are left out.
fn fields(field: &str, policy: &str) -> (Option<u32>, Option<u32>) {
    let name = |item: &str| split(item, ';').next().unwrap_or_default().trim().to_owned();
    let counts_other = |item: &&str| {
        let unit = split(item, ';').find_map(|part| part.trim().strip_prefix("qu="));
        unit.is_some_and(|unit| unit.trim() != "\"requests\"")
    };
    let others: Vec<String> = split(policy, ',').filter(counts_other).map(name).collect();
    let mut tightest: Option<(u32, Option<u32>)> = None;
    let mut old = (None, None);
    for item in split(field, ',').filter(|item| others.is_empty() || !others.contains(&name(item))) {
        let (mut left, mut time) = (None, None);
        for part in split(item, ';') {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim().parse::<u64>().ok().map(narrow);
            match name.trim() {
                "r" => left = value,
                "t" => time = value,
                "remaining" => old.0 = value,
                "reset" => old.1 = value,
                _ => {}
            }
        }
        let Some(left) = left else { continue };
        // Of two with nothing left, the longer wait is the one to keep.
        let tighter = tightest.is_none_or(|(least, longest)| left < least || (left == least && time > longest));
        if tighter {
            tightest = Some((left, time));
        }
    }
    tightest.map_or(old, |(left, time)| (Some(left), time))
}

/// Splits where `mark` stands outside of quotes.
fn split(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let splits = c == mark && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        splits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_say() {
        struct Case {
            headers: &'static [(&'static str, &'static str)],
            /// Retry-After, remaining, reset.
            want: (Option<u32>, Option<u32>, Option<u32>),
        }
        let now = httpdate::parse_http_date("Thu, 26 Nov 2026 10:00:00 GMT").unwrap();
        for Case { headers, want } in [
            Case { headers: &[], want: (None, None, None) },
            Case { headers: &[("retry-after", "7")], want: (Some(7), None, None) },
            Case { headers: &[("retry-after", "0")], want: (Some(0), None, None) },
            Case { headers: &[("retry-after", "1.2")], want: (Some(2), None, None) },
            Case { headers: &[("retry-after", "-1")], want: (None, None, None) },
            Case { headers: &[("retry-after", "soon")], want: (None, None, None) },
            Case { headers: &[("retry-after", "Thu, 26 Nov 2026 10:00:30 GMT")], want: (Some(30), None, None) },
            Case {
                headers: &[("retry-after", "Thu, 26 Nov 2026 09:00:30 GMT"), ("date", "Thu, 26 Nov 2026 09:00:20 GMT")],
                want: (Some(10), None, None),
            },
            Case { headers: &[("ratelimit", "\"api\";r=3;t=9")], want: (None, Some(3), Some(9)) },
            Case {
                headers: &[("ratelimit", "\"a, \\\"b;r=9\";r=3;t=9, \"c\";r=1;t=60")],
                want: (None, Some(1), Some(60)),
            },
            Case { headers: &[("ratelimit", "\"a\";r=0;t=9, \"c\";r=0;t=60")], want: (None, Some(0), Some(60)) },
            Case {
                headers: &[
                    (
                        "ratelimit-policy",
                        "\"a\";q=9;w=60, \"b\";q=5;qu=\"concurrent-requests\", \"c\";qu=\"requests\";q=8",
                    ),
                    ("ratelimit", "\"a\";r=5;t=9, \"b\";r=0, \"c\";r=3;t=2"),
                ],
                want: (None, Some(3), Some(2)),
            },
            Case { headers: &[("ratelimit", "limit=10, remaining=5, reset=3")], want: (None, Some(5), Some(3)) },
            Case {
                headers: &[("x-ratelimit-remaining", "4, 100"), ("x-ratelimit-reset", "1795687210")],
                want: (None, Some(4), Some(10)),
            },
            Case { headers: &[("x-left", "6")], want: (None, Some(6), None) },
        ] {
            let map: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let names = Names { remaining: Some(HeaderName::from_static("x-left")), ..Names::default() };
            let found = read(429, &map, &names, now);
            assert_eq!((found.retry_after, found.remaining, found.reset), want, "{headers:?}");
        }
    }
}
