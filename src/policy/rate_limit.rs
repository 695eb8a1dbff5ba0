//! Limits how many requests a caller may make in a time.

mod compile;
pub(super) mod key;
mod step;

use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::spec::LimitHeaders;
use crate::config::{At, OrExpression, Period, Text};
use crate::pipeline::Step;

pub(super) use compile::{Counted, limit_name};

/// Limits how many requests a caller may make in a time. Beyond it the answer is 429 with `Retry-After`, and on-error runs with
/// the reason `RateLimitExceeded`. A client that waits as long as `Retry-After` says, and makes no other request, is admitted.
///
/// Checking and counting are one step, so that simultaneous requests admit exactly the limit. A refused request is not counted,
/// nor is one that another limit refuses later: several limits on one key are several policies, and what one of them refuses uses
/// up none. (In Azure API Management refused requests count; `count = "all"` is that.)
///
/// Without `key` requests are counted by subscription, and those without a subscription by the client's address, as
/// [rate-limit](https://learn.microsoft.com/azure/api-management/rate-limit-policy) in Azure API Management does. Where addresses
/// are keys, IPv6 addresses count by their /64 network, because one client has all of it; `key = "@clientIp()"` counts whole
/// addresses.
///
/// Each `rate-limit` counts for itself, at the scope it is written at: all operations of an API share the limit of the API. In a
/// fragment it is the fragment's, whoever includes it. Counts are kept over a reload; a changed limit takes over how much of the
/// old one was used. Preflights are answered by `cors` before any limit is asked.
///
/// What a million keys of 21 bytes were seen to take, everything included; `max-keys` bounds how many there are:
///
/// | `algorithm` | memory |
/// |---|---|
/// | `sliding-window`, one request of each key in the window | 120 MiB |
/// | `sliding-window`, ten requests of each key in the window | 441 MiB |
/// | `sliding-window` with `slots = 10`, however many requests | 164 MiB |
/// | `sliding-window` with `slots = 16`, however many requests | 194 MiB |
/// | `token-bucket` | 136 MiB |
/// | `fixed-window` | 120 MiB |
///
/// So an exact window is for limits of some hundred calls, or for few keys; `slots` bounds it for others, and all of them stay exact on
/// the safe side.
///
/// Azure API Management's names for the keys are understood too: `renewal-period`, `retry-after-header-name`,
/// `remaining-calls-variable-name` and so on.
///
/// ```toml
/// [[inbound]]
/// policy = "rate-limit"
/// calls  = 100
/// period = "1m"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RateLimit(Spec);

/// What both policies say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Spec {
    /// How many requests each key may make in each `period`: a number from 1, or an expression, for limits that differ between
    /// callers. An expression is evaluated when the step runs and bounded to 1000000; 0 admits nothing, and what is no number, or
    /// negative, is a failure that goes to on-error. When it changes for a key, what the key has used is taken over.
    calls: At<OrExpression<NonZeroU32>>,
    /// The length of the window; for a token bucket, the time in which `calls` tokens come back. A duration, or an expression that
    /// gives one, or seconds; from 1 ms to 366 days.
    #[serde(alias = "renewal-period")]
    period: At<OrExpression<Period>>,
    /// Whose requests count together. Evaluated when the step runs; a failure goes to on-error. Default: the subscription's id,
    /// else the client's address.
    #[serde(alias = "counter-key")]
    key: Option<Text>,
    /// How requests are counted. Default `sliding-window`.
    #[serde(default)]
    algorithm: Algorithm,
    /// How many requests a full token bucket admits at once. Only with `token-bucket`; default `calls`.
    burst: Option<At<NonZeroU32>>,
    /// Into how many slots a sliding window is divided, 2 to 1000, instead of keeping the time of every request. A key then takes
    /// `4 × slots + 32` bytes, whatever `calls` is, and never gets more than `calls` in any window; a request may be refused up to
    /// `period / slots` longer than needed. Only with `sliding-window`; default: exact times.
    slots: Option<At<NonZeroU32>>,
    /// When a fixed window begins. Only with `fixed-window`; default `clock`.
    start: Option<At<WindowStart>>,
    /// How much a request counts: a whole number, or an expression that gives one. With 0 it counts nothing and is admitted. An
    /// expression that reads the answer (`status()`, `responseHeaders()`) is evaluated at the end of outbound, on whatever the
    /// caller gets, and counted then: any number of simultaneous requests are admitted before the first of them counts, and what
    /// they use beyond the limit is made up for afterwards. `reserve` prevents that. It cannot read a body; keep what it needs
    /// with `set-variable`. Azure API Management: `increment-count`. Default 1.
    #[serde(alias = "increment-count")]
    cost: Option<Text>,
    /// Which requests count: `admitted` ones; `all`, refused ones too, so that a client has to stop before it is admitted again; or
    /// an expression that is true for those that count. One that reads the answer is evaluated at the end of outbound, as with
    /// `cost`. A request that does not count is refused all the same while nothing is left. Azure API Management:
    /// `increment-condition`. Default `admitted`.
    #[serde(alias = "increment-condition")]
    count: Option<Text>,
    /// How much is counted ahead of a `cost` or `count` that reads the answer, and put right when it is known: given back when it
    /// was too much, as long as it is still in the window. With the largest cost that there is, simultaneous requests admit exactly
    /// the limit. Default 0.
    reserve: Option<At<u32>>,
    /// What happens to a request beyond the limit. Default `reject`.
    #[serde(default)]
    on_limit: OnLimit,
    /// How long a request may wait. Only with `on-limit = "delay"`; default `10s`.
    max_delay: Option<At<Period>>,
    /// How many requests of one key may wait. Only with `on-limit = "delay"`; default 100.
    max_queue: Option<At<NonZeroUsize>>,
    /// Whether the limit refuses anything. Default `enforce`.
    #[serde(default)]
    mode: Mode,
    /// The limit's name in the `RateLimit` fields: printable ASCII. Default: the policy's `id`, else its scope (`api`).
    name: Option<At<String>>,
    /// Which headers tell of the limit, on both outcomes; `[]` for none. Default: what `[limits] headers` of gateway.toml says, which
    /// is `["ratelimit"]` unless it says otherwise.
    headers: Option<Vec<LimitHeaders>>,
    /// What happens to a request whose `key` gives null or empty text. Default `reject`.
    #[serde(default)]
    on_missing_key: OnMissingKey,
    /// How many keys are held at most. A key is let go only when it has its full allowance again. A shared store
    /// holds as many as it has memory for. Default 100000.
    max_keys: Option<NonZeroUsize>,
    /// What happens to a request with a new key when `max-keys` are held and none can be let go. Default `reject`.
    #[serde(default)]
    on_overflow: OnOverflow,
    /// The header that tells a limited caller how many seconds to wait. Default `Retry-After`.
    #[serde(alias = "retry-after-header-name")]
    retry_after_header: Option<At<String>>,
    /// The variable that then holds these seconds.
    #[serde(alias = "retry-after-variable-name")]
    retry_after_variable: Option<String>,
    /// The header that tells an admitted caller how many requests are left now. Default: none.
    #[serde(alias = "remaining-calls-header-name")]
    remaining_calls_header: Option<At<String>>,
    /// The variable that holds how many requests are left, on both outcomes.
    #[serde(alias = "remaining-calls-variable-name")]
    remaining_calls_variable: Option<String>,
    /// The header that tells the most a caller can have admitted at once (`calls`, or `burst`), on both outcomes. Default: none.
    #[serde(alias = "total-calls-header-name")]
    total_calls_header: Option<At<String>>,
    /// Limits for some APIs besides the one for all, in a product or for all APIs: each applies by itself, with a count of its own
    /// for each key, and the first that has nothing left refuses.
    #[serde(default)]
    apis: Vec<ApiLimit>,
    /// Limits for some operations besides the one for all, in an API.
    #[serde(default)]
    operations: Vec<OperationLimit>,
}

/// A limit for one API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ApiLimit {
    /// The API's name.
    name: At<String>,
    /// How many requests each key may make to the API in each `period`. At least 1.
    calls: At<NonZeroU32>,
    /// The length of the window.
    #[serde(alias = "renewal-period")]
    period: At<Period>,
    /// Limits for some of its operations.
    #[serde(default)]
    operations: Vec<OperationLimit>,
}

/// A limit for one operation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OperationLimit {
    /// The operation's name.
    name: At<String>,
    /// How many requests each key may make to the operation in each `period`. At least 1.
    calls: At<NonZeroU32>,
    /// The length of the window.
    #[serde(alias = "renewal-period")]
    period: At<Period>,
}

/// How requests are counted. Every bound holds at every instant, for any number of simultaneous requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// At most `calls` in any window of `period`, wherever it begins, and all that this allows: Azure API Management's classic
    /// tiers. A key takes 16 bytes while one request is in its window; with more 80, and 12 for each in steps of powers of two, up to
    /// `24 × calls`; see `slots`.
    #[default]
    SlidingWindow,
    /// A bucket of `burst` tokens that fills evenly with `calls` in each `period`: Azure API Management's v2 tiers. At most
    /// `burst + calls × t / period` requests in any time t. A key takes 24 bytes.
    TokenBucket,
    /// At most `calls` in each window of `period`; the next one begins afresh, so that up to `2 × calls` may come within one `period`
    /// around the boundary. A key takes 12 bytes.
    FixedWindow,
}

/// When a fixed window begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WindowStart {
    /// On the clock: at whole multiples of `period` since 1970-01-01T00:00:00Z. All keys begin at the same time.
    #[default]
    Clock,
    /// With the key's first request, and again with the first one after the window has ended.
    FirstCall,
}

/// What happens to a request beyond the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnLimit {
    /// It is refused with 429.
    #[default]
    Reject,
    /// It waits its turn, up to `max-delay` and behind at most `max-queue` others of its key: a leaky queue. What would wait longer
    /// is refused at once, and `Retry-After` says how long. Whoever leaves gives the place up. Each waiting request takes some 100
    /// bytes besides its connection.
    Delay,
}

/// Whether a limit refuses anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It only counts: what it would refuse shows in the metric `sluicegate_limit_shadow_refused_total`, and no header tells of it. To
    /// try a limit out before it hurts anyone.
    Shadow,
}

impl Mode {
    /// The headers that tell of it: none of what refuses nothing.
    pub(super) fn headers(self, headers: Option<&[LimitHeaders]>) -> Option<&[LimitHeaders]> {
        if self == Self::Shadow { Some(&[]) } else { headers }
    }
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
    /// It is refused, as one beyond the limit is, until a key can be let go.
    #[default]
    Reject,
    /// It is admitted and not counted. Weakens the limit: whoever can make up keys is free of it.
    Admit,
}

impl Policy for RateLimit {
    const NAME: &'static str = "rate-limit";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let id = cx.state_id();
        self.0.compile(cx, &id, false)
    }
}
