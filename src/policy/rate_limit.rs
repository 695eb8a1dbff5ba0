//! Limits how many requests a caller may make in a time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::evaluation_failed;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError, RateSeen};
use crate::config::{At, Period, Text};
use crate::expression::{Expression, Value};
use crate::limit::{self, Decision, Limiter};
use crate::pipeline::{Apply, Context, Fault, Flow, Step};
use crate::telemetry::metrics::LimitMetrics;

/// Limits how many requests a caller may make in a time. Beyond it the answer is 429 with `Retry-After`, and on-error runs with
/// the reason `RateLimitExceeded`. A client that waits as long as `Retry-After` says, and makes no other request, is admitted.
///
/// Checking and counting are one step, so that simultaneous requests admit exactly the limit. A rejected request is not counted.
///
/// Without `key` requests are counted by subscription, and those without a subscription by the client's address, as
/// [rate-limit](https://learn.microsoft.com/azure/api-management/rate-limit-policy) in Azure API Management does. With `key` it is
/// [rate-limit-by-key](https://learn.microsoft.com/azure/api-management/rate-limit-by-key-policy). Where addresses are keys, IPv6
/// addresses count by their /64 network, because one client has all of it; `key = "@clientIp()"` counts whole addresses.
///
/// Each `rate-limit` counts for itself, at the scope it is written at: all operations of an API share the limit of the API. In a
/// fragment it is the fragment's, whoever includes it. Counts are kept over a reload; a changed limit takes over how much of the
/// old one was used.
///
/// ```toml
/// [[inbound]]
/// policy = "rate-limit"
/// calls  = 100
/// period = "1m"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateLimit {
    /// How many requests each key may make in each `period`. At least 1.
    calls: At<NonZeroU32>,
    /// The length of the window; for a token bucket, the time in which `calls` tokens come back.
    period: At<Period>,
    /// Whose requests count together. Evaluated when the step runs; a failure goes to on-error. Default: the subscription's id,
    /// else the client's address.
    key: Option<Text>,
    /// How requests are counted. Default `sliding-window`.
    #[serde(default)]
    algorithm: Algorithm,
    /// How many requests a full token bucket admits at once. Only with `token-bucket`; default `calls`.
    burst: Option<At<NonZeroU32>>,
    /// What happens to a request whose `key` gives null or empty text. Default `reject`.
    #[serde(default)]
    on_missing_key: OnMissingKey,
    /// How many keys are held at most. A key is let go only when it has its full allowance again. Default 100000.
    max_keys: Option<NonZeroUsize>,
    /// What happens to a request with a new key when `max-keys` are held and none can be let go. Default `reject`.
    #[serde(default)]
    on_overflow: OnOverflow,
    /// The header that tells a limited caller how many seconds to wait. Default `Retry-After`.
    retry_after_header: Option<At<String>>,
    /// The variable that then holds these seconds.
    retry_after_variable: Option<String>,
    /// The header that tells an admitted caller how many requests are left now. Default: none.
    remaining_calls_header: Option<At<String>>,
    /// The variable that holds how many requests are left, on both outcomes.
    remaining_calls_variable: Option<String>,
    /// The header that tells the most a caller can have admitted at once (`calls`, or `burst`), on both outcomes. Default: none.
    total_calls_header: Option<At<String>>,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// At most `calls` in any window of `period`, wherever it begins: Azure API Management's classic tiers. Keeps 16 bytes for
    /// each request in the window.
    #[default]
    SlidingWindow,
    /// A bucket of `burst` tokens that fills evenly with `calls` in each `period`: Azure API Management's v2 tiers. At most
    /// `burst + calls × t / period` requests in any time t. Keeps 8 bytes.
    TokenBucket,
}

/// What happens to a request without a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissingKey {
    /// It is refused with 403 (reason `RateLimitKeyMissing`): waiting would not help, so it is not 429.
    #[default]
    Reject,
    /// All requests without a key count together.
    Share,
    /// It is not limited. Weakens the limit: whoever can leave the key out is free of it.
    Skip,
    /// It counts by the client's address.
    ClientIp,
}

/// What happens to a request with a new key when no more can be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnOverflow {
    /// It is refused with 429 until a key can be let go.
    #[default]
    Reject,
    /// It is admitted and not counted. Weakens the limit: whoever can make up keys is free of it.
    Admit,
}

/// More calls than this in a sliding window deserve a thought about memory.
const MANY_CALLS: u32 = 100_000;

impl Policy for RateLimit {
    const NAME: &'static str = "rate-limit";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let calls = self.calls.value;
        let period = cx.note(self.period());
        let algorithm = cx.note(self.algorithm());
        let key = match &self.key {
            None => Ok(Key::Caller),
            Some(text) => cx.expression(text).map(Key::Expression),
        };
        let key = cx.note(key);
        let mut header = |name: &Option<At<String>>| {
            let name = name.as_ref().map(|name| cx.header_name(name)).transpose();
            cx.note(name)
        };
        let retry_after_header = header(&self.retry_after_header);
        let remaining_header = header(&self.remaining_calls_header);
        let total_header = header(&self.total_calls_header);
        let (period, algorithm) = (period?, algorithm?);
        if self.algorithm == Algorithm::SlidingWindow && calls.get() > MANY_CALLS {
            let message =
                format!("each busy key takes up to {} MiB of memory", u64::from(calls.get()) * 16 / (1 << 20));
            cx.warn(&self.calls, "limit-memory", message, "a token bucket takes 8 bytes for each key");
        }
        if self.algorithm == Algorithm::SlidingWindow {
            self.check_siblings(cx);
        }
        let settings = limit::Settings {
            algorithm,
            calls,
            period,
            max_keys: self.max_keys.unwrap_or(NonZeroUsize::new(100_000).unwrap_or(NonZeroUsize::MAX)),
            on_overflow: match self.on_overflow {
                OnOverflow::Reject => limit::Overflow::Reject,
                OnOverflow::Admit => limit::Overflow::Admit,
            },
        };
        let id = cx.state_id();
        Ok(Step::sync(Compiled {
            key: key?,
            on_missing_key: self.on_missing_key,
            retry_after_header: retry_after_header?.unwrap_or(RETRY_AFTER),
            remaining_header: remaining_header?,
            total_header: total_header?,
            retry_after_variable: self.retry_after_variable.map(Into::into),
            remaining_variable: self.remaining_calls_variable.map(Into::into),
            metrics: cx.world.shared.metrics.limit(&id),
            limiter: cx.world.limits.limiter(&id, settings),
        }))
    }
}

impl RateLimit {
    fn period(&self) -> Result<Duration, CompileError> {
        let period = self.period.value.0;
        if period.is_zero() {
            return Err(CompileError::at(&self.period, "a period of zero limits nothing").hint("for example `1m`"));
        }
        Ok(period)
    }

    fn algorithm(&self) -> Result<limit::Algorithm, CompileError> {
        match (self.algorithm, &self.burst) {
            (Algorithm::SlidingWindow, None) => Ok(limit::Algorithm::SlidingWindow),
            (Algorithm::SlidingWindow, Some(burst)) => Err(CompileError::at(burst, "a sliding window has no burst")
                .hint("`algorithm = \"token-bucket\"`, or leave `burst` out")),
            (Algorithm::TokenBucket, burst) => {
                let burst = burst.as_ref().map_or(self.calls.value, |burst| burst.value);
                Ok(limit::Algorithm::TokenBucket { burst })
            }
        }
    }

    /// Warns when a limit beside this one makes one of the two pointless: a longer window with fewer or as many calls.
    fn check_siblings(&self, cx: &mut CompileCx<'_, '_>) {
        let list = cx.origin.path.rsplit_once('/').map_or("", |(list, _)| list).to_owned();
        let key = self.key.as_ref().map(|key| key.0.clone());
        let (calls, period) = (self.calls.value, self.period.value.0);
        let other = cx.rates.iter().find(|other| {
            (&*other.list, &other.key) == (&*list, &key)
                && ((other.period > period && other.calls <= calls) || (other.period < period && other.calls >= calls))
        });
        if let Some(other) = other {
            let (this, other) = ((calls, period), (other.calls, other.period));
            let ((few, long), (many, short)) = if other.1 > period { (other, this) } else { (this, other) };
            let message =
                format!("beside {few} calls in {long:?}, a limit of {many} calls in {short:?} is never reached");
            cx.warn(&self.calls, "limits-contradict", message, "the longer period should allow more calls");
        }
        cx.rates.push(RateSeen { list, key, calls, period });
    }
}

// === impl Apply ===

struct Compiled {
    key: Key,
    on_missing_key: OnMissingKey,
    retry_after_header: HeaderName,
    remaining_header: Option<HeaderName>,
    total_header: Option<HeaderName>,
    retry_after_variable: Option<Arc<str>>,
    remaining_variable: Option<Arc<str>>,
    metrics: LimitMetrics,
    limiter: Arc<Limiter>,
}

enum Key {
    /// The subscription, else the client's address.
    Caller,
    Expression(Expression),
}

/// Begins keys that no header can hold, so that no caller can count as somebody else.
const MARK: char = '\0';

impl Compiled {
    /// The decision about a request; none when it is not limited.
    fn decide(&self, cx: &Context<'_>) -> Result<Option<Decision>, Fault> {
        let key = match &self.key {
            Key::Caller => cx.state.subscription.as_ref().map(|subscription| Cow::Borrowed(&*subscription.id)),
            Key::Expression(expression) => match expression.evaluate(cx).map_err(evaluation_failed)? {
                Value::Null => None,
                value => Some(value.into_text().map_err(evaluation_failed)?),
            },
        };
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            return Ok(Some(self.limiter.decide(&key, 1)));
        }
        let by_address = matches!(self.key, Key::Caller) || self.on_missing_key == OnMissingKey::ClientIp;
        match self.on_missing_key {
            _ if by_address => Ok(Some(self.limiter.decide(&AddressKey::new(cx.exchange.client_ip), 1))),
            OnMissingKey::Share => Ok(Some(self.limiter.decide("\0", 1))),
            OnMissingKey::Skip => Ok(None),
            OnMissingKey::Reject | OnMissingKey::ClientIp => {
                self.metrics.refused.inc();
                Err(Fault::client(
                    StatusCode::FORBIDDEN,
                    "RateLimitKeyMissing",
                    "The key of the rate limit is missing.",
                ))
            }
        }
    }
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(decision) = self.decide(cx)? else { return Ok(Flow::Next) };
        if let Some(name) = &self.total_header {
            cx.state.response_headers.push((name.clone(), decision.limit.into()));
        }
        if let Some(name) = &self.remaining_variable {
            cx.state.set_variable(name, decision.remaining.into());
        }
        if decision.overflowed {
            self.metrics.overflow.inc();
        } else if decision.admitted {
            self.metrics.admitted.inc();
        } else {
            self.metrics.refused.inc();
        }
        if !decision.admitted {
            return Err(self.exceeded(cx, &decision));
        }
        if let Some(name) = &self.remaining_header {
            cx.state.response_headers.push((name.clone(), decision.remaining.into()));
        }
        Ok(Flow::Next)
    }
}

impl Compiled {
    /// Azure API Management's 429, byte for byte.
    fn exceeded(&self, cx: &mut Context<'_>, decision: &Decision) -> Fault {
        let seconds = decision.retry_after_seconds();
        if let Some(name) = &self.retry_after_variable {
            cx.state.set_variable(name, seconds.into());
        }
        let fault = Fault::client(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", "Rate limit is exceeded")
            .public(format!("Rate limit is exceeded. Try again in {seconds} seconds."))
            .header(self.retry_after_header.clone(), HeaderValue::from(seconds));
        if decision.overflowed { fault.cause("the limit holds as many keys as it may") } else { fault }
    }
}

/// A client's address as a key, made without allocation.
pub(super) struct AddressKey {
    text: [u8; 48],
    length: usize,
}

impl AddressKey {
    pub(super) fn new(address: IpAddr) -> Self {
        let mut key = Self { text: [0; 48], length: 0 };
        let written = match address.to_canonical() {
            IpAddr::V4(address) => write!(key, "{MARK}{address}"),
            IpAddr::V6(address) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
                write!(key, "{MARK}{network}/64")
            }
        };
        debug_assert!(written.is_ok(), "an address has at most 39 characters");
        key
    }
}

impl std::fmt::Write for AddressKey {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.text.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl std::ops::Deref for AddressKey {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_keys() {
        for (name, address, want) in [
            ("IPv4", "192.0.2.7", "\u{0}192.0.2.7"),
            ("IPv4 in IPv6", "::ffff:192.0.2.7", "\u{0}192.0.2.7"),
            ("IPv6 by network", "2001:db8:1:2:3:4:5:6", "\u{0}2001:db8:1:2::/64"),
            ("the longest", "ffff:eeee:dddd:cccc:bbbb:aaaa:9999:8888", "\u{0}ffff:eeee:dddd:cccc::/64"),
        ] {
            assert_eq!(&*AddressKey::new(address.parse().unwrap()), want, "{name}");
        }
    }
}
