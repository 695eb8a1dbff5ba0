//! Limits how much each key may use in a period: calls, data, or both.

use std::num::{NonZeroU64, NonZeroUsize};

use schemars::JsonSchema;
use serde::Deserialize;

use super::quota::allowance::{Terms, Told, Window};
use super::quota::step::{Compiled, Counting, Outputs};
use super::rate_limit::key::Key;
use super::rate_limit::{Mode, OnMissingKey, OnOverflow};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::spec::LimitHeaders;
use crate::config::{At, Kilobytes, Recurrence, Text};
use crate::pipeline::Step;

/// Limits how much each key may use in a period: calls, data, or both. Beyond it the answer is 403 with `Retry-After`, and on-error
/// runs with the source `quota` and the reason `QuotaExceeded`. What is counted, and how exactly, is described at `quota`. See
/// [quota-by-key](https://learn.microsoft.com/azure/api-management/quota-by-key-policy) in Azure API Management.
///
/// As there, a key has one count wherever it is used: all `quota-by-key` of the same period share it, whatever their limits, and a
/// request is counted once under a key however many of them it meets.
///
/// With `increment-condition` or an expression as `increment-count` a request takes one call's place when it comes, so that the
/// limit holds for simultaneous requests, and is counted for what it was when its answer is ready, after outbound or on-error: a
/// condition that is false gives the place back. When the client leaves before, the place stays taken.
///
/// ```toml
/// [[inbound]]
/// policy = "quota-by-key"
/// key    = "@headers('x-tenant')"
/// calls  = 500
/// period = "7d"
/// first-period-start  = "2026-01-05T00:00:00Z"
/// increment-condition = "@equals(status(), 200)"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct QuotaByKey {
    /// Whose requests count together. Evaluated when the step runs; a failure goes to on-error.
    key: Text,
    /// How many calls a key may make in each period. At least 1. One of `calls` and `bandwidth` is needed.
    calls: Option<At<NonZeroU64>>,
    /// How much data a key may transfer in each period: kilobytes (1,024 bytes), or text with a unit (`"512MiB"`).
    bandwidth: Option<Kilobytes>,
    /// The period: `hour`, `day`, `week` (from Monday), `month`, `year`, a duration (`30d`), or `infinite`.
    period: At<Recurrence>,
    /// How periods of a duration follow each other. Default `fixed`.
    window: Option<At<Window>>,
    /// Where a period begins: a date and time (`2026-01-15T00:00:00Z`), or one without a zone, in `time-zone`. A month that
    /// begins on the 31st begins on the last day of shorter ones. Default: the year 1.
    first_period_start: Option<At<String>>,
    /// The time zone of the calendar (IANA), with its changes to and from daylight-saving time. Default `UTC`.
    time_zone: Option<At<String>>,
    /// Whether a request counts at all. Evaluated when its answer is ready; may read request and response, not their bodies. When it
    /// fails, the request counts. Default `true`.
    increment_condition: Option<Text>,
    /// How many calls a request counts for: a number, or an expression that is evaluated when the answer is ready; zero or less
    /// counts nothing. When it fails, the request counts once. Default 1.
    increment_count: Option<Text>,
    /// What happens to a request whose `key` gives null or empty text. Default `reject`.
    #[serde(default)]
    on_missing_key: OnMissingKey,
    /// How many keys are held at most. A key is let go only when all it used has come back. A shared store
    /// holds as many as it has memory for. Default 100000.
    max_keys: Option<NonZeroUsize>,
    /// What happens to a request with a new key when `max-keys` are held and none can be let go. Default `reject`.
    #[serde(default)]
    on_overflow: OnOverflow,
    /// Whether the quota refuses anything. Default `enforce`.
    #[serde(default)]
    mode: Mode,
    /// The quota's name in the `RateLimit` fields: printable ASCII. `bandwidth` is told under it with `-bandwidth` behind. Default:
    /// the policy's `id`, else its scope with `-quota` (`api-quota`).
    name: Option<At<String>>,
    /// Which headers tell of the quota, on both outcomes; `[]` for none. Default: what `[limits] headers` of gateway.toml says, which is
    /// `["ratelimit"]` unless it says otherwise.
    headers: Option<Vec<LimitHeaders>>,
    /// The header that tells an admitted caller how many calls are left. Default: none.
    remaining_calls_header: Option<At<String>>,
    /// The variable that holds how many calls are left, on both outcomes.
    remaining_calls_variable: Option<String>,
    /// The header that tells a refused caller how many seconds to wait. Default `Retry-After`.
    retry_after_header: Option<At<String>>,
    /// The variable that then holds these seconds.
    retry_after_variable: Option<String>,
}

impl Policy for QuotaByKey {
    const NAME: &'static str = "quota-by-key";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let id = cx.state_id();
        let key = cx.expression(&self.key);
        let key = cx.note(key);
        let counting = Counting::compile(cx, self.increment_condition.as_ref(), self.increment_count.as_ref());
        let told = Told::compile(cx, self.name.as_ref(), "-quota", self.mode.headers(self.headers.as_deref()));
        let told = cx.note(told)?;
        let terms = Terms {
            calls: self.calls.as_ref().map(|calls| calls.value),
            bandwidth: self.bandwidth,
            period: self.period,
            window: self.window,
            first: self.first_period_start,
            zone: self.time_zone,
            max_keys: self.max_keys,
            on_overflow: self.on_overflow,
            told,
        };
        let counter = terms.counter(cx, |schedule| format!("quota-by-key {}", schedule.name()));
        let counter = cx.note(counter);
        let outputs = Outputs::compile(
            cx,
            self.remaining_calls_header.as_ref(),
            self.remaining_calls_variable,
            self.retry_after_header.as_ref(),
            self.retry_after_variable,
        );
        let metrics = cx.world.shared.metrics.limit(&id);
        Ok(Compiled {
            key: Key::Expression(key?),
            on_missing_key: self.on_missing_key,
            from_subscription: false,
            counters: Box::new([counter?]),
            counting: counting?,
            outputs: outputs?,
            shadow: self.mode == Mode::Shadow,
            metrics,
        }
        .into_step())
    }
}
