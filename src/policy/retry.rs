//! Sends a request again when it failed in a way that another try may mend.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Extensions, HeaderMap, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use tower_layer::Layer as _;

use super::timeout::{positive, timed_out};
use super::value::Condition;
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period, Size, StatusRange, Text, statuses};
use crate::expression::Needs;
use crate::layer::RetryLayer;
use crate::layer::retry::{Backoff, Budget, Looking, Retryable, Settings, Stop, Verdict, retry_after, usual_verdict};
use crate::pipeline::{Context, Exchange, Fault, Kept, Message, Next, Origin, Step, rescue};
use crate::telemetry::metrics;
use crate::trace::look_at;

/// Sends a request again when everything after it failed in a way that another try may mend. In `backend`, each try takes the next
/// endpoint of the backend.
///
/// A try is repeated when the connection failed, broke before the answer, or timed out, and on the statuses 502, 503 and 504; on
/// 429 only when it carries `Retry-After`. Methods that are not idempotent (POST, PATCH) are repeated only when the request
/// provably never reached the backend or carries `Idempotency-Key`, unless `any-method` says otherwise. A `Retry-After` of the
/// backend takes the place of the backoff when it is no longer than `max-retry-after` and fits a `timeout` in front; otherwise
/// there is no further try, and none either when the circuit breakers of the backend are all open. When there is none, the
/// caller gets the last answer as it is.
///
/// Retries are taken from a budget, so that they cannot multiply an outage; it is kept over a reload.
///
/// It takes the same shapes as [retry](https://learn.microsoft.com/azure/api-management/retry-policy) in Azure API Management; that
/// policy's `count` is `retries` here, and it repeats what comes after it instead of policies inside it.
///
/// ```toml
/// [[backend]]
/// policy  = "retry"
/// retries = 3
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retry {
    /// How many more tries are made after the first. 1 to 50. Default 2.
    retries: Option<At<u32>>,
    /// The shape of the waits. Default `jitter`.
    #[serde(default)]
    backoff: Shape,
    /// The first wait; with `jitter`, the longest first wait. Default `100ms`.
    interval: Option<At<Period>>,
    /// The longest wait, for `jitter` and `exponential`. Default `10s`.
    max_interval: Option<At<Period>>,
    /// What grows, for `linear` and `exponential`. Default: `interval`.
    delta: Option<At<Period>>,
    /// Whether the first retry comes at once. Default `false`.
    #[serde(default)]
    first_fast_retry: bool,
    /// An expression that says whether to try again, in place of the usual rules: over `status()`, `responseHeaders()` and, after a
    /// failure without an answer, `lastError()`. Then `status()` is what the caller would get. It cannot read the body. Evaluated
    /// after each try; a failure goes to on-error.
    condition: Option<Text>,
    /// Statuses to try again on, single (`503`) or as a range (`"500-504"`), in place of the usual ones. Connection failures and
    /// time-outs are tried again all the same. Not together with `condition`.
    statuses: Option<Vec<StatusRange>>,
    /// How long one try may take until there is the head of an answer. Default: no limit of its own.
    per_try_timeout: Option<At<Period>>,
    /// The longest `Retry-After` that is waited for. Default `30s`.
    max_retry_after: Option<Period>,
    /// How many retries there may be among all requests that come by here.
    #[serde(default)]
    budget: BudgetSpec,
    /// Whether every method is repeated. A POST may then have its effect twice. Default `false`.
    #[serde(default)]
    any_method: bool,
    /// Bodies up to this length are kept to be sent again; those that are longer, or of unknown length, stream and are not repeated.
    /// Default `64KiB`; at most `buffer-size` of `[server.limits]`.
    max_body: Option<Size>,
}

/// Shapes of the waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A random part of `interval`, which is doubled for each further retry up to `max-interval`.
    #[default]
    Jitter,
    /// `interval` each time.
    Fixed,
    /// `interval`, and `delta` more for each further retry.
    Linear,
    /// `interval + (2^n − 1) × random(0.8 × delta, 1.2 × delta)` up to `max-interval`, where n is 0 for the first retry.
    Exponential,
}

/// How many retries there may be, over the last ten seconds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BudgetSpec {
    /// Retries for each 100 requests. 0 to 5000. Default 20.
    percent: Option<At<u32>>,
    /// Retries for each second that are always allowed. Default 10.
    floor: Option<u32>,
}

impl Policy for Retry {
    const NAME: &'static str = "retry";
    const SECTIONS: Sections = Sections::REQUEST;

    // A layer, because it repeats everything after it.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let retries = match &self.retries {
            None => Ok(2),
            Some(retries) if (1..=50).contains(&retries.value) => Ok(retries.value),
            Some(retries) => Err(CompileError::at(retries, format!("{} is not a number of retries", retries.value))
                .hint("1 to 50, as in Azure API Management; leave the policy out for none")),
        };
        let percent = match &self.budget.percent {
            None => Ok(20),
            Some(percent) if percent.value <= 5_000 => Ok(percent.value),
            Some(percent) => Err(CompileError::at(percent, format!("{} is too much of a budget", percent.value))
                .hint("0 to 5000 retries for each 100 requests")),
        };
        let (retries, percent) = (cx.note(retries), cx.note(percent));
        let backoff = cx.note(self.backoff());
        let per_try = cx.note(self.per_try_timeout.as_ref().map(positive).transpose());
        let judge = self.judge(cx);
        let judge = cx.note(judge)?;
        let percent = percent?;
        let floor = self.budget.floor.unwrap_or(10);
        let settings = Settings {
            retries: retries?,
            backoff: backoff?,
            first_fast: self.first_fast_retry,
            any_method: self.any_method,
            per_try: per_try?,
            // The verdict bounds what a backend may ask for; the backoff is the author's own word.
            longest_wait: Duration::MAX,
            budget: Some(cx.world.shared.budgets.get(format!("{} {percent} {floor}", cx.state_id()), || {
                Budget::new(f64::from(percent) / 100.0, floor, cx.world.shared.clock.clone())
            })),
            ..Settings::default()
        };
        let kept = Kept::of(cx.needs);
        let policy = Compiled {
            judge,
            max_retry_after: self.max_retry_after.map_or(Duration::from_secs(30), |wait| wait.0),
            origin: cx.origin.clone(),
        };
        let layer = RetryLayer::new(settings, policy);
        let max_body = self.max_body.map_or(64 << 10, |size| size.0);
        Ok(Step::layer(move |next| {
            let retried = Next::from_service(layer.layer(next)).buffered(Some(max_body));
            retried.keeping(kept)
        }))
    }
}

impl Retry {
    fn backoff(&self) -> Result<Backoff, CompileError> {
        let unused = |field: &Option<At<Period>>, what: &str| match field {
            Some(field) => Err(CompileError::at(field, format!("this backoff has no {what}"))
                .hint("`delta` is for `linear` and `exponential`, `max-interval` for `jitter` and `exponential`")),
            None => Ok(()),
        };
        let or = |field: &Option<At<Period>>, default| field.as_ref().map_or(default, |field| field.value.0);
        let interval = or(&self.interval, Duration::from_millis(100));
        let (delta, max) = (or(&self.delta, interval), or(&self.max_interval, Duration::from_secs(10)));
        if matches!(self.backoff, Shape::Fixed | Shape::Linear) {
            unused(&self.max_interval, "longest wait")?;
        }
        if matches!(self.backoff, Shape::Fixed | Shape::Jitter) {
            unused(&self.delta, "delta")?;
        }
        if let Some(field) = &self.max_interval
            && max < interval
        {
            return Err(CompileError::at(field, "the longest wait is shorter than the first")
                .hint("`max-interval` is at least `interval`, which is `100ms` by default"));
        }
        Ok(match self.backoff {
            // A first wait above the usual longest one is meant as it is written.
            Shape::Jitter => Backoff::FullJitter { base: interval, max: max.max(interval) },
            Shape::Fixed => Backoff::Fixed { interval },
            Shape::Linear => Backoff::Linear { interval, delta },
            Shape::Exponential => Backoff::Exponential { interval, delta, max: max.max(interval) },
        })
    }

    fn judge(&self, cx: &mut CompileCx<'_, '_>) -> Result<Judge, CompileError> {
        match (&self.condition, &self.statuses) {
            (Some(_), Some(_)) => Err(CompileError::whole("both `condition` and `statuses` are given")
                .hint("give one; a condition can compare `status()`")),
            (Some(text), None) => {
                let condition = Condition::compile(text, cx)?;
                if cx.needs.contains(Needs::BODY) {
                    return Err(CompileError::at(text, "the condition of a retry cannot read the body")
                        .hint("`status()`, `responseHeaders('x')` and `lastError('reason')` are at hand"));
                }
                Ok(Judge::Condition(condition))
            }
            (None, Some(ranges)) => Ok(Judge::Statuses(ranges.iter().map(|range| range.0.clone()).collect())),
            (None, None) => Ok(Judge::Usual),
        }
    }
}

// === impl Retryable ===

struct Compiled {
    judge: Judge,
    max_retry_after: Duration,
    origin: Arc<Origin>,
}

enum Judge {
    Usual,
    Statuses(Box<[RangeInclusive<u16>]>),
    Condition(Condition),
}

impl Compiled {
    /// A wait that is asked for and too long ends the tries, and so does an open circuit breaker.
    fn bounded(&self, verdict: Verdict, exchange: &Exchange) -> Verdict {
        match verdict {
            Verdict::Retry { after: Some(after) } if after > self.max_retry_after => Verdict::Done,
            Verdict::Retry { .. } if self.is_hopeless(exchange) => Verdict::Done,
            verdict => verdict,
        }
    }

    /// Whether another try would only be refused: the caller is better served by what the backend said last. A condition is its
    /// author's own word, who may have another backend in mind.
    fn is_hopeless(&self, exchange: &Exchange) -> bool {
        if matches!(self.judge, Judge::Condition(_)) {
            return false;
        }
        let backend = exchange.state.lock().upstream.backend.clone();
        backend.is_some_and(|backend| backend.is_open(exchange.gateway.clock.now()))
    }

    fn wanted(&self, wanted: bool, headers: &HeaderMap, exchange: &Exchange) -> Verdict {
        if !wanted {
            return Verdict::Done;
        }
        self.bounded(Verdict::Retry { after: retry_after(headers, exchange.gateway.clock.wall()) }, exchange)
    }
}

/// Why a request is not sent again, for the trace.
fn why(stop: Stop) -> &'static str {
    match stop {
        Stop::Done => "the answer needs none",
        Stop::Exhausted => "all retries are used",
        Stop::Unsafe => "its method is not idempotent, and it may have reached the backend",
        Stop::Streamed => "its body streams and is gone",
        Stop::NoTime => "the wait would be too long",
        Stop::NoBudget => "the budget is spent",
    }
}

impl Retryable<Body, Fault> for Compiled {
    type Exchange = Option<Arc<Exchange>>;

    fn exchange(&self, extensions: &Extensions) -> Option<Arc<Exchange>> {
        extensions.get::<Arc<Exchange>>().cloned()
    }

    fn response(
        &self,
        exchange: &Option<Arc<Exchange>>,
        _: u32,
        response: &mut Response<Body>,
    ) -> Result<Verdict, Fault> {
        let Some(exchange) = exchange else { return Ok(Verdict::Done) };
        Ok(match &self.judge {
            Judge::Usual => {
                self.bounded(usual_verdict(response.status(), response.headers(), &exchange.gateway.clock), exchange)
            }
            Judge::Statuses(ranges) => {
                self.wanted(statuses::contains(ranges, response.status()), response.headers(), exchange)
            }
            Judge::Condition(condition) => {
                let mut state = exchange.state.lock();
                state.forget_json();
                let cx = Context { exchange, state: &mut state, message: Message::Response(response) };
                let holds = condition.holds(&cx).map_err(|fault| fault.at(&self.origin))?;
                self.wanted(holds, response.headers(), exchange)
            }
        })
    }

    fn error(&self, exchange: &Option<Arc<Exchange>>, _: u32, fault: &mut Fault) -> Result<Verdict, Fault> {
        let Some(exchange) = exchange else { return Ok(Verdict::Done) };
        let wanted = match &self.judge {
            Judge::Usual | Judge::Statuses(_) => fault.retryable,
            Judge::Condition(condition) => {
                let mut answer = rescue::answer(fault, exchange);
                let holds = exchange.state.lock().with_fault(fault, |state| {
                    condition.holds(&Context { exchange, state, message: Message::Response(&mut answer) })
                });
                holds.map_err(|fault| fault.at(&self.origin))?
            }
        };
        let asked = fault.headers.iter().filter(|(name, _)| *name == RETRY_AFTER).cloned().collect();
        Ok(self.wanted(wanted, &asked, exchange))
    }

    fn unsent(&self, fault: &Fault) -> bool {
        fault.unsent
    }

    fn timed_out(&self, after: Duration) -> Fault {
        timed_out(after).at(&self.origin)
    }

    fn retrying(&self, exchange: &Option<Arc<Exchange>>, attempt: u32, wait: Duration) {
        let Some(exchange) = exchange else { return };
        let mut state = exchange.state.lock();
        // What was parsed of the answer is not the request's.
        state.forget_json();
        if let Some(tokens) = &state.tokens {
            tokens.again(state.upstream.status.is_some_and(|status| status.is_success()));
        }
        if let Some(backend) = &state.upstream.backend {
            backend.metrics.retry(metrics::Retry::Attempt);
        }
        tracing::debug!(attempt, ?wait, "the request is sent again");
        if let Some(recorder) = &exchange.recorder {
            recorder.tell(exchange, &self.origin, format!("sends the request again after {wait:?}"));
        }
    }

    fn discarding<'r>(
        &self,
        exchange: &Option<Arc<Exchange>>,
        response: &'r mut Response<Body>,
    ) -> Option<Looking<'r>> {
        exchange.as_ref()?.recorder.as_ref()?;
        Some(Box::pin(look_at(response.body_mut())))
    }

    fn finished(&self, exchange: &Option<Arc<Exchange>>, attempts: u32, stop: Stop) {
        if stop == Stop::Done {
            return;
        }
        tracing::debug!(attempts, ?stop, "the request is not sent again");
        if let Some(exchange) = exchange
            && let Some(recorder) = &exchange.recorder
        {
            recorder.tell(exchange, &self.origin, format!("does not send the request again: {}", why(stop)));
        }
        if let (Stop::NoBudget, Some(exchange)) = (stop, exchange)
            && let Some(backend) = &exchange.state.lock().upstream.backend
        {
            backend.metrics.retry(metrics::Retry::BudgetRefused);
        }
    }
}
