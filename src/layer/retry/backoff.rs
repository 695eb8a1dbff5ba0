//! How long to wait before a retry.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The shape of the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// A random part of `base`, doubled for each further retry up to `max`. Spreads retries best:
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
    FullJitter {
        /// The longest first wait.
        base: Duration,
        /// The longest wait.
        max: Duration,
    },
    /// The same wait each time.
    Fixed {
        /// The wait.
        interval: Duration,
    },
    /// `interval`, and `delta` more for each further retry.
    Linear {
        /// The first wait.
        interval: Duration,
        /// What each further wait adds.
        delta: Duration,
    },
    /// Azure API Management's exponential wait: `interval + (2^n − 1) × random(0.8 × delta, 1.2 × delta)`, where n is 0
    /// for the first retry, so that the waits are those of its documented example (10, 20, 40, 80, 100 seconds).
    Exponential {
        /// The first wait.
        interval: Duration,
        /// What is doubled.
        delta: Duration,
        /// The longest wait.
        max: Duration,
    },
}

impl Backoff {
    /// The wait before the `retry`th retry, counted from 1; `random` is in `[0, 1)`.
    pub fn wait(&self, retry: u32, random: f64) -> Duration {
        let before = retry.saturating_sub(1);
        let doubled = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
        match *self {
            Self::FullJitter { base, max } => scale(base.saturating_mul(doubled).min(max), random),
            Self::Fixed { interval } => interval,
            Self::Linear { interval, delta } => interval.saturating_add(delta.saturating_mul(before)),
            Self::Exponential { interval, delta, max } => {
                let growth = scale(delta.saturating_mul(doubled - 1), 0.8 + 0.4 * random);
                interval.saturating_add(growth).min(max)
            }
        }
    }
}

fn scale(wait: Duration, by: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * by).unwrap_or(Duration::MAX)
}

/// The wait that `Retry-After` asks for (RFC 9110 §10.2.3), in seconds or until a date; nothing when it is missing or
/// neither. A date in the past is no wait.
pub fn retry_after(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(wall).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits() {
        struct Case {
            name: &'static str,
            backoff: Backoff,
            random: f64,
            want: [u64; 6],
        }
        let exponential = Backoff::Exponential { interval: s(10), delta: s(10), max: s(100) };
        let jitter = Backoff::FullJitter { base: s(2), max: s(20) };
        for Case { name, backoff, random, want } in [
            Case { name: "fixed", backoff: Backoff::Fixed { interval: s(3) }, random: 0.9, want: [3; 6] },
            Case {
                name: "linear",
                backoff: Backoff::Linear { interval: s(5), delta: s(2) },
                random: 0.0,
                want: [5, 7, 9, 11, 13, 15],
            },
            Case { name: "documented example", backoff: exponential, random: 0.5, want: [10, 20, 40, 80, 100, 100] },
            Case { name: "shortest growth", backoff: exponential, random: 0.0, want: [10, 18, 34, 66, 100, 100] },
            Case { name: "no jitter left", backoff: jitter, random: 0.0, want: [0; 6] },
            Case { name: "half of the jitter", backoff: jitter, random: 0.5, want: [1, 2, 4, 8, 10, 10] },
        ] {
            let got: Vec<_> = (1..=6).map(|retry| backoff.wait(retry, random).as_secs_f64().round() as u64).collect();
            assert_eq!(got, want, "{name}");
        }
        assert_eq!(exponential.wait(50, 0.5), s(100), "no overflow after many retries");
    }

    #[test]
    fn reads_retry_after() {
        let wall = httpdate::parse_http_date("Thu, 01 Jan 2026 00:00:00 GMT").unwrap();
        for (value, want) in [
            ("0", Some(s(0))),
            ("120", Some(s(120))),
            (" 7 ", Some(s(7))),
            ("99999999999999999999999", Some(Duration::MAX)),
            ("Thu, 01 Jan 2026 00:00:30 GMT", Some(s(30))),
            ("Wed, 31 Dec 2025 23:59:59 GMT", Some(s(0))),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, wall), want, "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), wall), None);
    }
}
