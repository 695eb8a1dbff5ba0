//! Limits how much a subscription may use in a period: calls, data, or both.

pub(super) mod allowance;
pub(super) mod step;

use std::num::NonZeroUsize;

use schemars::JsonSchema;
use serde::Deserialize;

use super::rate_limit::key::Key;
use super::rate_limit::{Mode, OnMissingKey, OnOverflow};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::spec::LimitHeaders;
use crate::config::{At, Kilobytes, Recurrence};
use crate::pipeline::Step;
use allowance::{Terms, Told, Window};
use step::{Counter, Counting, Outputs};

/// Limits how much a subscription may use in a period: calls, data, or both. Beyond it the answer is 403 with `Retry-After`, and
/// on-error runs with the source `quota` and the reason `QuotaExceeded`. Requests without a subscription count by the client's
/// address. See [quota](https://learn.microsoft.com/azure/api-management/quota-policy) in Azure API Management; here it may stand at
/// every scope and in fragments, and counts for itself wherever it is written.
///
/// Checking and counting calls are one step, so that simultaneous requests use exactly the limit, and a refused request is not
/// counted. `bandwidth` counts the bytes of the bodies of request and answer as they pass between client and gateway, without
/// heads; they are known when the exchange has ended and counted then. A request is admitted while a byte is left, so that a
/// subscription uses at most its bandwidth and what its requests in progress at that moment transfer.
///
/// A request that another limit refuses (`rate-limit`, `limit-concurrency`, a further quota), before or after this one, uses up
/// nothing of it; nor does a request that this one refuses use up anything of theirs, unless they say `count = "all"`. Azure API
/// Management counts refused requests.
///
/// A period of a fixed length (`30d`) begins at `first-period-start`, else when the subscription began (`start` in its table),
/// else with the year 1; a period of the calendar (`month`) begins with the calendar's, in `time-zone`. Counts are kept over a
/// reload, and with `path` in `[store]` over restarts and crashes; a changed limit takes over what was used. With
/// `kind = "redis"` all gateways that share the store count together, in one atomic round trip for each call; while it does not
/// answer, `on-error` decides.
///
/// ```toml
/// [[inbound]]
/// policy    = "quota"
/// calls     = 10000
/// bandwidth = "2GiB"
/// period    = "month"
/// time-zone = "Europe/Berlin"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Quota {
    /// How many calls a subscription may make in each period. At least 1. One of `calls` and `bandwidth` is needed.
    calls: Option<At<std::num::NonZeroU64>>,
    /// How much data a subscription may transfer in each period: kilobytes (1,024 bytes), or text with a unit (`"512MiB"`).
    bandwidth: Option<Kilobytes>,
    /// The period: `hour`, `day`, `week` (from Monday), `month`, `year`, a duration (`30d`), or `infinite`.
    period: At<Recurrence>,
    /// How periods of a duration follow each other. Default `fixed`.
    window: Option<At<Window>>,
    /// Where a period begins: a date and time (`2026-01-15T00:00:00Z`), or one without a zone, in `time-zone`. A month that
    /// begins on the 31st begins on the last day of shorter ones. Default: for a duration the subscription's start, else
    /// the year 1.
    first_period_start: Option<At<String>>,
    /// The time zone of the calendar (IANA), with its changes to and from daylight-saving time. Default `UTC`.
    time_zone: Option<At<String>>,
    /// Limits for single APIs, beside the one for all: `[{ name = "orders", calls = 100, period = "day" }]`. Each call must fit
    /// them all.
    #[serde(default)]
    apis: Vec<ApiQuota>,
    /// Limits for single operations of this API, beside the one for all; only at the scope of an API.
    #[serde(default)]
    operations: Vec<OperationQuota>,
    /// How many subscriptions and addresses are held at most. One is let go only when all it used has come back. A shared store
    /// holds as many as it has memory for. Default 100000.
    max_keys: Option<NonZeroUsize>,
    /// What happens to a new one when `max-keys` are held and none can be let go. Default `reject`.
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

/// A limit for one API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApiQuota {
    /// The API's name.
    name: At<String>,
    /// How many calls. At least 1.
    calls: Option<At<std::num::NonZeroU64>>,
    /// How much data.
    bandwidth: Option<Kilobytes>,
    /// The period.
    period: At<Recurrence>,
    /// Limits for single operations of the API.
    #[serde(default)]
    operations: Vec<OperationQuota>,
}

/// A limit for one operation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OperationQuota {
    /// The operation's name.
    name: At<String>,
    /// How many calls. At least 1.
    calls: Option<At<std::num::NonZeroU64>>,
    /// How much data.
    bandwidth: Option<Kilobytes>,
    /// The period.
    period: At<Recurrence>,
}

impl Policy for Quota {
    const NAME: &'static str = "quota";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let id = cx.state_id();
        let max_keys = self.max_keys;
        let on_overflow = self.on_overflow;
        let told = Told::compile(cx, self.name.as_ref(), "-quota", self.mode.headers(self.headers.as_deref()));
        let told = cx.note(told)?;
        let terms = |calls: &Option<At<std::num::NonZeroU64>>,
                     bandwidth: Option<Kilobytes>,
                     period: &At<Recurrence>,
                     place: &str| Terms {
            calls: calls.as_ref().map(|calls| calls.value),
            bandwidth,
            period: period.clone(),
            window: self.window.clone(),
            first: self.first_period_start.clone(),
            zone: self.time_zone.clone(),
            max_keys,
            on_overflow,
            told: told.of(place),
        };
        let whole = terms(&self.calls, self.bandwidth, &self.period, "").counter(cx, |_| id.clone());
        let mut counters = vec![cx.note(whole)];
        let own = cx.scope.id.strip_prefix("api:").map(str::to_owned);
        for api in &self.apis {
            let known = known_api(cx, &api.name);
            let mine = terms(&api.calls, api.bandwidth, &api.period, &format!("/{}", api.name.value))
                .counter(cx, |_| format!("{id}/api:{}", api.name.value))
                .map(|counter| counter.only(&api.name, None));
            counters.push(cx.note(known.and(mine)));
            for operation in &api.operations {
                counters.push(operation.counter(cx, &id, &api.name, &terms));
            }
        }
        for operation in &self.operations {
            let counter = match &own {
                Some(api) => operation.counter(cx, &id, api, &terms),
                None => cx.note(Err(CompileError::at(&operation.name, "the operation's API is not known here")
                    .hint("put it into `operations` of an entry of `apis`"))),
            };
            counters.push(counter);
        }
        let counters: Result<Box<[Counter]>, CompileError> = counters.into_iter().collect();
        let outputs = Outputs::compile(
            cx,
            self.remaining_calls_header.as_ref(),
            self.remaining_calls_variable,
            self.retry_after_header.as_ref(),
            self.retry_after_variable,
        );
        let metrics = cx.world.shared.metrics.limit(&id);
        Ok(step::Compiled {
            key: Key::Caller,
            on_missing_key: OnMissingKey::default(),
            from_subscription: self.first_period_start.is_none(),
            counters: counters?,
            counting: Counting::one(),
            outputs: outputs?,
            shadow: self.mode == Mode::Shadow,
            metrics,
        }
        .into_step())
    }
}

impl OperationQuota {
    fn counter(
        &self,
        cx: &mut CompileCx<'_, '_>,
        id: &str,
        api: &str,
        terms: &impl Fn(&Option<At<std::num::NonZeroU64>>, Option<Kilobytes>, &At<Recurrence>, &str) -> Terms,
    ) -> Result<Counter, CompileError> {
        let known = known_operation(cx, api, &self.name);
        let mine = terms(&self.calls, self.bandwidth, &self.period, &format!("/{api}/{}", self.name.value))
            .counter(cx, |_| format!("{id}/operation:{api}/{}", self.name.value))
            .map(|counter| counter.only(api, Some(&self.name)));
        cx.note(known.and(mine))
    }
}

fn known_api(cx: &CompileCx<'_, '_>, name: &At<String>) -> Result<(), CompileError> {
    let world = &cx.world;
    // The API may be in a file that could not be read.
    if world.apis_unread || world.apis.contains_key(&name.value) {
        return Ok(());
    }
    let names = world.apis.keys().map(String::as_str);
    Err(CompileError::at(name, format!("unknown API `{}`", name.value))
        .code("unknown-api")
        .hint(crate::compile::unknown_hint(name, names, "the `name` in some file's `[api]` table")))
}

fn known_operation(cx: &CompileCx<'_, '_>, api: &str, name: &At<String>) -> Result<(), CompileError> {
    let Some(operations) = cx.world.apis.get(api) else { return Ok(()) };
    if operations.contains(&name.value) {
        return Ok(());
    }
    let names = operations.iter().map(String::as_str);
    Err(CompileError::at(name, format!("API `{api}` has no operation `{}`", name.value))
        .code("unknown-operation")
        .hint(crate::compile::unknown_hint(name, names, "the `name` of an `[[operation]]` in the API's file")))
}
