//! From what is written of a rate limit to the step that runs.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;

use super::key::Key;
use super::step::{Amount, Applies, Compiled, Span};
use super::{Algorithm, Mode, OnLimit, OnMissingKey, OnOverflow, OperationLimit, Spec, WindowStart};
use crate::compile::{CompileCx, CompileError, RateSeen, shown, unknown_hint};
use crate::config::{At, OrExpression, Period, Text};
use crate::expression::{Expression, Needs};
use crate::limit::{self, Count, Line, MissingKey, Rate, Settings, Stated, StatedKey, StatedTerms};
use crate::pipeline::Step;
use crate::pipeline::limits::{Cost, Fields, Later, Rule, Shown};

/// An exact sliding window of more calls than this deserves a thought about memory.
const MANY_CALLS: u32 = 10_000;

/// The periods that a limit may have.
pub(super) const PERIODS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(366 * 24 * 60 * 60);

/// What is counted, and when.
struct Counting {
    count: Count,
    condition: Option<Expression>,
    cost: Cost,
    later: bool,
}

impl Spec {
    /// What policies with the same counter have in common.
    pub(in crate::policy) fn shared_id(&self, policy: &str) -> Result<String, CompileError> {
        let Some(key) = &self.key else {
            return Err(CompileError::whole("missing key `counter-key`").code("missing-key"));
        };
        if let Some(name) =
            self.apis.iter().map(|api| &api.name).chain(self.operations.iter().map(|it| &it.name)).next()
        {
            return Err(CompileError::at(name, "a limit by key has no limits for APIs and operations")
                .hint("put one more policy into the scope of the API or the operation"));
        }
        Ok(format!("{policy}:{}", key.value.0))
    }

    /// Checks the values and builds the step. `once`: a request that passes several limits with this counter counts once.
    pub(in crate::policy) fn compile(
        self,
        cx: &mut CompileCx<'_, '_>,
        id: &str,
        once: bool,
    ) -> Result<Step, CompileError> {
        let amount = self.amount(cx);
        let amount = cx.note(amount);
        let span = self.span(cx);
        let span = cx.note(span);
        let algorithm = cx.note(self.algorithm());
        let key = match &self.key {
            None => Ok(Key::Caller),
            Some(text) => cx.expression(text).map(Key::Expression),
        };
        let key = cx.note(key);
        let counting = self.counting(cx);
        let counting = cx.note(counting);
        let line = cx.note(self.line(cx));
        let name = limit_name(cx, self.name.as_ref(), "");
        let name = cx.note(name);
        let mut header = |name: &Option<At<String>>| {
            let name = name.as_ref().map(|name| cx.header_name(name)).transpose();
            cx.note(name)
        };
        let retry_after_header = header(&self.retry_after_header);
        let remaining_header = header(&self.remaining_calls_header);
        let total_header = header(&self.total_calls_header);
        let inner = self.inner(cx);
        let (amount, span, algorithm, counting, inner) = (amount?, span?, algorithm?, counting?, inner?);
        self.warn(cx, &amount, &span);

        let one = NonZeroU32::MIN;
        let (calls, period) = (amount.constant().unwrap_or(one), span.constant().unwrap_or(Duration::from_secs(60)));
        let varying = amount.constant().is_none() || span.constant().is_none();
        let settings = Settings {
            algorithm,
            calls,
            period,
            varying,
            max_keys: self.max_keys.unwrap_or(NonZeroUsize::MIN.saturating_add(99_999)),
            on_overflow: match self.on_overflow {
                OnOverflow::Reject => limit::Overflow::Reject,
                OnOverflow::Admit => limit::Overflow::Admit,
            },
        };
        let mut shown_by = self.headers.as_deref().map_or(cx.world.limits_shown, shown);
        if self.mode == Mode::Shadow {
            shown_by = shown(&[]);
        }
        let name = name?;
        let remaining_header = remaining_header?.filter(|_| self.mode == Mode::Enforce);
        let burst = matches!(algorithm, limit::Algorithm::TokenBucket { .. });
        let rule = |id: &str, name: &str, settings: Settings, later: Option<Later>| {
            let rate = (!settings.varying).then(|| settings.rate());
            let fields = Fields::new(shown_by, name, rate.as_ref(), burst);
            Arc::new(Rule {
                limit: cx.world.limits.limit(id, settings),
                count: counting.count,
                fields: fields.are_told().then(|| Arc::new(fields)),
                later,
                remaining: remaining_header.clone(),
            })
        };
        // A rate that varies is part of what the limit is.
        let own = if varying { format!("{id}/{}/{}", amount.written(), span.written()) } else { id.to_owned() };
        let reserve = self.reserve.as_ref().map_or(0, |reserve| reserve.value);
        let later = |counting: &Counting| {
            counting.later.then(|| Later {
                condition: counting.condition.clone(),
                cost: counting.cost.clone(),
                reserve,
            })
        };
        for (api, operation, settings) in
            [(None, None, settings.clone())].into_iter().chain(inner.iter().map(|(api, operation, calls, period)| {
                let settings = inner_settings(&settings, *calls, *period);
                (api.clone(), operation.clone(), settings)
            }))
        {
            let stated = self.stated(settings, &counting, shown_by, api, operation);
            cx.world.stated.lock().push((cx.origin.clone(), stated));
        }
        let mut rules =
            vec![Applies { api: None, operation: None, rule: rule(&own, &name, settings.clone(), later(&counting)) }];
        for (api, operation, calls, period) in inner {
            let place = [api.as_deref(), operation.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
            let settings = inner_settings(&settings, calls, period);
            let rule = rule(&format!("{id}/{place}"), &format!("{name}/{place}"), settings, later(&counting));
            rules.push(Applies { api, operation, rule });
        }
        let local = rules.iter().all(|applies| applies.rule.limit.is_local());
        let compiled = Compiled {
            key: key?,
            rules: rules.into(),
            once,
            amount,
            span,
            burst: self.burst.as_ref().map(|burst| burst.value),
            condition: if counting.later { None } else { counting.condition },
            cost: counting.cost,
            reserve,
            line: line?,
            shadow: self.mode == Mode::Shadow,
            on_missing_key: self.on_missing_key,
            retry_after_header: retry_after_header?.unwrap_or(RETRY_AFTER),
            total_header: total_header?,
            retry_after_variable: self.retry_after_variable.map(Into::into),
            remaining_variable: self.remaining_calls_variable.map(Into::into),
            metrics: cx.world.shared.metrics.limit(&cx.state_id()),
        };
        Ok(if local && compiled.line.is_none() { Step::sync(compiled) } else { Step::asynchronous(compiled) })
    }

    fn amount(&self, cx: &mut CompileCx<'_, '_>) -> Result<Amount, CompileError> {
        match &self.calls.value {
            OrExpression::Value(calls) => Ok(Amount::Constant(*calls)),
            OrExpression::Expression(text) => {
                let text = At { value: text.clone(), span: self.calls.span.clone() };
                cx.expression(&text).map(|expression| Amount::Expression(expression, text.value.0.into()))
            }
        }
    }

    fn span(&self, cx: &mut CompileCx<'_, '_>) -> Result<Span, CompileError> {
        match &self.period.value {
            OrExpression::Value(period) => checked(&self.period, period.0).map(Span::Constant),
            OrExpression::Expression(text) => {
                let text = At { value: text.clone(), span: self.period.span.clone() };
                cx.expression(&text).map(|expression| Span::Expression(expression, text.value.0.into()))
            }
        }
    }

    fn algorithm(&self) -> Result<limit::Algorithm, CompileError> {
        let calls = match self.calls.value {
            OrExpression::Value(calls) => calls,
            OrExpression::Expression(_) => NonZeroU32::MIN,
        };
        Counted { algorithm: self.algorithm, burst: &self.burst, slots: &self.slots, start: &self.start }.compile(calls)
    }

    fn counting(&self, cx: &mut CompileCx<'_, '_>) -> Result<Counting, CompileError> {
        let before = cx.needs;
        let cost = match &self.cost {
            None => Ok(Cost::Constant(1)),
            Some(text) => cost(text, cx),
        };
        let cost = cx.note(cost);
        let condition = match self.count.as_ref().map(|text| (text, text.value.0.as_str())) {
            None | Some((_, "admitted")) => Ok((Count::Admitted, None)),
            Some((_, "all")) => Ok((Count::All, None)),
            Some((text, _)) => condition(text, cx).map(|condition| (Count::Admitted, Some(condition))),
        };
        let (cost, (count, condition)) = (cost?, cx.note(condition)?);
        let of_cost = match &cost {
            Cost::Constant(_) => Needs::NONE,
            Cost::Expression(expression) => expression.needs(),
        };
        let needs = of_cost | condition.as_ref().map_or(Needs::NONE, Expression::needs);
        let later = needs.contains(Needs::RESPONSE_HEAD);
        if later {
            // Nothing of it is read before there is an answer.
            cx.needs = before;
            if needs.contains(Needs::TARGET) {
                cx.needs |= Needs::HEAD_LATER;
            }
            if needs.contains(Needs::BODY)
                && let Some(text) = self.cost.as_ref().filter(|_| of_cost.contains(Needs::BODY)).or(self.count.as_ref())
            {
                return Err(CompileError::at(text, "what is counted once the answer is known cannot read a body")
                    .hint("keep what it needs with `set-variable` in outbound, and read `variables('…')`"));
            }
            if count == Count::All
                && let Some(text) = &self.count
            {
                return Err(CompileError::at(text, "a refused request has no answer that its cost could be read from")
                    .hint("`admitted`, or a `cost` that does not read the answer"));
            }
        } else if let Some(reserve) = &self.reserve {
            return Err(CompileError::at(reserve, "all is counted at once, so that nothing can be counted ahead")
                .hint(
                    "`reserve` belongs to a `cost` or `count` that reads the answer: `status()`, `responseHeaders()`",
                ));
        }
        Ok(Counting { count, condition, cost, later })
    }

    /// What is said about the limit, for who tests it.
    fn stated(
        &self,
        settings: Settings,
        counting: &Counting,
        shown_by: Shown,
        api: Option<String>,
        operation: Option<String>,
    ) -> Stated {
        Stated {
            terms: StatedTerms::Rate(settings),
            key: self.key.as_ref().map_or(StatedKey::Caller, |key| StatedKey::Written(key.0.clone())),
            missing_key: match self.on_missing_key {
                OnMissingKey::Reject => MissingKey::Refused,
                OnMissingKey::Share => MissingKey::OneKey,
                OnMissingKey::Skip => MissingKey::Unlimited,
                OnMissingKey::ClientIp => MissingKey::Otherwise,
            },
            // Of what is counted ahead, too much may be.
            cost: counting.cost.constant().filter(|_| self.reserve.is_none()),
            count: match (&counting.condition, counting.later) {
                (_, true) => Some(Count::Later),
                (Some(_), false) => None,
                (None, false) => Some(counting.count),
            },
            tokens: None,
            shadow: self.mode == Mode::Shadow,
            delays: self.on_limit == OnLimit::Delay,
            told: shown_by.ratelimit,
            api,
            operation,
        }
    }

    fn line(&self, cx: &CompileCx<'_, '_>) -> Result<Option<Line>, CompileError> {
        if self.on_limit == OnLimit::Reject {
            let only = "only requests that may wait have it; add `on-limit = \"delay\"`, or leave it out";
            return match (&self.max_delay, &self.max_queue) {
                (Some(delay), _) => Err(CompileError::at(delay, "nothing waits here").hint(only)),
                (None, Some(queue)) => Err(CompileError::at(queue, "nothing waits here").hint(only)),
                (None, None) => Ok(None),
            };
        }
        if self.mode == Mode::Shadow {
            return Err(CompileError::whole("a limit in shadow mode delays nothing"));
        }
        if let Some(count) = self.count.as_ref().filter(|count| count.value.0 == "all") {
            return Err(CompileError::at(
                count,
                "a request that waits is not refused, so that it cannot count for that",
            )
            .hint("`admitted`, or `on-limit = \"reject\"`"));
        }
        let max_wait = match &self.max_delay {
            None => Duration::from_secs(10),
            Some(delay) => checked(delay, delay.0)?,
        };
        let max_length = self.max_queue.as_ref().map_or(NonZeroUsize::MIN.saturating_add(99), |queue| queue.value);
        Ok(Some(Line::new(cx.world.shared.clock.clone(), max_length, max_wait)))
    }

    /// The limits of APIs and operations: their names, and what they say.
    #[expect(clippy::type_complexity, reason = "read in one place")]
    fn inner(
        &self,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Vec<(Option<String>, Option<String>, NonZeroU32, Duration)>, CompileError> {
        let mut inner = Vec::new();
        let mut failed = None;
        let mut note = |cx: &mut CompileCx<'_, '_>, result: Result<(), CompileError>| {
            if let Err(error) = cx.note(result) {
                failed = Some(error);
            }
        };
        let own = cx.scope.id.strip_prefix("api:").map(str::to_owned);
        let mut operations = |cx: &mut CompileCx<'_, '_>,
                              api: Option<&str>,
                              list: &[OperationLimit],
                              inner: &mut Vec<_>| {
            for limit in list {
                let known = api.and_then(|api| cx.world.apis.get(api)).map_or(&[][..], Vec::as_slice);
                let check = if api.is_none() {
                    Err(CompileError::at(&limit.name, "operations are named below their API")
                        .hint("`apis = [{ name = \"orders\", operations = [\u{2026}] }]`, or put the policy into the API's file"))
                } else if known.contains(&limit.name) || known.is_empty() && cx.world.apis_unread {
                    checked(&limit.period, limit.period.0).map(drop)
                } else {
                    let hint =
                        unknown_hint(&limit.name, known.iter().map(String::as_str), "the `name` of an `[[operation]]`");
                    Err(CompileError::at(&limit.name, format!("unknown operation `{}`", limit.name.value)).hint(hint))
                };
                note(cx, check);
                inner.push((api.map(str::to_owned), Some(limit.name.value.clone()), limit.calls.value, limit.period.0));
            }
        };
        operations(cx, own.as_deref(), &self.operations, &mut inner);
        for limit in &self.apis {
            inner.push((Some(limit.name.value.clone()), None, limit.calls.value, limit.period.0));
            operations(cx, Some(limit.name.as_str()), &limit.operations, &mut inner);
        }
        for limit in &self.apis {
            let known = cx.world.apis.keys().map(String::as_str);
            let check = if cx.world.apis.contains_key(limit.name.as_str()) || cx.world.apis_unread {
                checked(&limit.period, limit.period.0).map(drop)
            } else {
                let hint = unknown_hint(&limit.name, known, "the `name` in some file's `[api]` table");
                let message = format!("unknown API `{}`", limit.name.value);
                Err(CompileError::at(&limit.name, message).code("unknown-api").hint(hint))
            };
            note(cx, check);
        }
        failed.map_or(Ok(inner), Err)
    }

    /// Warns of much memory, and when a limit beside this one makes one of the two pointless: a longer window with fewer or as
    /// many calls.
    fn warn(&self, cx: &mut CompileCx<'_, '_>, amount: &Amount, span: &Span) {
        let (Some(calls), Some(period)) = (amount.constant(), span.constant()) else { return };
        if self.algorithm != Algorithm::SlidingWindow {
            return;
        }
        if self.slots.is_none() && calls.get() > MANY_CALLS {
            let message = format!("each busy key takes up to {} KiB of memory", u64::from(calls.get()) * 12 / 1024);
            let hint = "`slots = 60` takes 272 bytes and refuses at most a sixtieth of the period longer; a token bucket takes 24 bytes";
            cx.warn(&self.calls, "limit-memory", message, hint);
        }
        let list = cx.origin.path.rsplit_once('/').map_or("", |(list, _)| list).to_owned();
        let key = self.key.as_ref().map(|key| key.0.clone());
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

/// How a policy says that something is counted.
pub(in crate::policy) struct Counted<'a> {
    pub(in crate::policy) algorithm: Algorithm,
    pub(in crate::policy) burst: &'a Option<At<NonZeroU32>>,
    pub(in crate::policy) slots: &'a Option<At<NonZeroU32>>,
    pub(in crate::policy) start: &'a Option<At<WindowStart>>,
}

impl Counted<'_> {
    /// The algorithm; a bucket holds `calls` unless something else is written.
    pub(in crate::policy) fn compile(&self, calls: NonZeroU32) -> Result<limit::Algorithm, CompileError> {
        if let Some(burst) = self.burst.as_ref().filter(|_| self.algorithm != Algorithm::TokenBucket) {
            return Err(CompileError::at(burst, "a window has no burst")
                .hint("`algorithm = \"token-bucket\"`, or leave `burst` out"));
        }
        if let Some(slots) = self.slots.as_ref().filter(|_| self.algorithm != Algorithm::SlidingWindow) {
            return Err(CompileError::at(slots, "only a sliding window has slots").hint("leave `slots` out"));
        }
        if let Some(start) = self.start.as_ref().filter(|_| self.algorithm != Algorithm::FixedWindow) {
            return Err(CompileError::at(start, "only a fixed window has a start")
                .hint("`algorithm = \"fixed-window\"`, or leave `start` out"));
        }
        Ok(match self.algorithm {
            Algorithm::SlidingWindow => {
                let precision = match &self.slots {
                    None => limit::Precision::Exact,
                    Some(slots) if (2..=1000).contains(&slots.value.get()) => limit::Precision::Slots(slots.value),
                    Some(slots) => {
                        let message = format!("a window cannot be divided into `{}` slots", slots.value);
                        return Err(CompileError::at(slots, message).hint("2 to 1000"));
                    }
                };
                limit::Algorithm::SlidingWindow { precision }
            }
            Algorithm::TokenBucket => {
                limit::Algorithm::TokenBucket { burst: self.burst.as_ref().map_or(calls, |burst| burst.value) }
            }
            Algorithm::FixedWindow => limit::Algorithm::FixedWindow {
                start: match self.start.as_ref().map(|start| start.value).unwrap_or_default() {
                    WindowStart::Clock => limit::WindowStart::Clock,
                    WindowStart::FirstCall => limit::WindowStart::FirstCall,
                },
            },
        })
    }
}

/// The name of a limit in the `RateLimit` fields: as written, else the policy's `id`, else its scope with a suffix.
pub(in crate::policy) fn limit_name(
    cx: &CompileCx<'_, '_>,
    name: Option<&At<String>>,
    suffix: &str,
) -> Result<String, CompileError> {
    let Some(name) = name else {
        let id = cx.origin.id.as_deref().filter(|id| printable(id));
        return Ok(id.map_or_else(|| format!("{}{suffix}", cx.scope.kind), str::to_owned));
    };
    if !printable(name) {
        return Err(CompileError::at(name, format!("`{}` cannot be the name of a limit", name.value))
            .hint("printable ASCII characters (RFC 9651 §3.3.3)"));
    }
    Ok(name.value.clone())
}

/// The settings of a limit for one API or operation.
fn inner_settings(outer: &Settings, calls: NonZeroU32, period: Duration) -> Settings {
    let algorithm = match outer.algorithm {
        limit::Algorithm::TokenBucket { .. } => limit::Algorithm::TokenBucket { burst: calls },
        other => other,
    };
    Settings { algorithm, calls, period, varying: false, ..outer.clone() }
}

/// A period that a limit may have.
fn checked<T>(field: &At<T>, period: Duration) -> Result<Duration, CompileError> {
    if period.is_zero() {
        return Err(CompileError::at(field, "a period of zero limits nothing").hint("for example `1m`"));
    }
    if !PERIODS.contains(&period) {
        return Err(CompileError::at(field, "the period is out of bounds").hint("`1ms` to `366d`"));
    }
    Ok(period)
}

fn printable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn cost(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Cost, CompileError> {
    let expression = cx.expression(text)?;
    let Some(literal) = expression.literal() else { return Ok(Cost::Expression(expression)) };
    literal.parse().map(Cost::Constant).map_err(|_| {
        CompileError::at(text, format!("`{literal}` cannot be what a request costs"))
            .hint("a whole number from 0, or an expression such as `@int(headers('x-cost'))`")
    })
}

fn condition(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Expression, CompileError> {
    let expression = cx.expression(text)?;
    match expression.literal() {
        None => Ok(expression),
        Some(literal) => Err(CompileError::at(text, format!("unknown value `{literal}`"))
            .code("unknown-value")
            .hint("`admitted`, `all`, or an expression such as `@equals(status(), 200)`")),
    }
}

/// The rate for a request whose `calls` or `period` are worked out.
pub(super) fn rate(calls: NonZeroU32, period: Duration, burst: Option<NonZeroU32>) -> Rate {
    Rate { calls, period, burst: burst.unwrap_or(calls) }
}

/// Reads `1m`, or a number of seconds.
pub(super) fn period_of(text: &str) -> Option<Duration> {
    let period = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => Period::parse(text).ok()?.0,
    };
    PERIODS.contains(&period).then_some(period)
}
