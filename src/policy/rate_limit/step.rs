//! The step of a rate limit: whose request it is, what the limits say, and what the caller is told.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use super::OnMissingKey;
use super::compile::{period_of, rate};
use super::key::{Key, Missing};
use crate::expression::{EvaluationError, Expression};
use crate::limit::{Answer, Ask, Count, Decision, Line, Rate};
use crate::pipeline::limits::{Cost, Counted, KeyText, Limited, Rule};
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Exchange, Fault, Flow};
use crate::policy::value::evaluation_failed;
use crate::telemetry::metrics::LimitMetrics;

/// The most calls that an expression may give.
const MOST_CALLS: i64 = 1_000_000;

/// A rate limit that runs.
pub(super) struct Compiled {
    pub(super) key: Key,
    /// The limit itself, and those for single APIs and operations.
    pub(super) rules: Box<[Applies]>,
    pub(super) once: bool,
    pub(super) amount: Amount,
    pub(super) span: Span,
    pub(super) burst: Option<NonZeroU32>,
    /// Whether a request counts; with a rule's `later` this is decided there.
    pub(super) condition: Option<Expression>,
    pub(super) cost: Cost,
    pub(super) reserve: u32,
    pub(super) line: Option<Line>,
    pub(super) shadow: bool,
    pub(super) on_missing_key: OnMissingKey,
    pub(super) retry_after_header: HeaderName,
    pub(super) total_header: Option<HeaderName>,
    pub(super) retry_after_variable: Option<Arc<str>>,
    pub(super) remaining_variable: Option<Arc<str>>,
    pub(super) metrics: LimitMetrics,
}

/// A limit, and the requests that it applies to.
pub(super) struct Applies {
    pub(super) api: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) rule: Arc<Rule>,
}

/// How many requests are admitted. An expression comes with its text, which tells limits apart.
pub(super) enum Amount {
    Constant(NonZeroU32),
    Expression(Expression, Box<str>),
}

/// In which time.
pub(super) enum Span {
    Constant(Duration),
    Expression(Expression, Box<str>),
}

impl Amount {
    pub(super) fn constant(&self) -> Option<NonZeroU32> {
        match self {
            Self::Constant(calls) => Some(*calls),
            Self::Expression(..) => None,
        }
    }

    pub(super) fn written(&self) -> Cow<'_, str> {
        match self {
            Self::Constant(calls) => calls.to_string().into(),
            Self::Expression(_, text) => Cow::Borrowed(text),
        }
    }

    /// The calls for an exchange; none when nothing is admitted.
    fn of(&self, cx: &Context<'_>) -> Result<Option<NonZeroU32>, EvaluationError> {
        match self {
            Self::Constant(calls) => Ok(Some(*calls)),
            Self::Expression(expression, _) => match expression.integer(cx)? {
                calls @ 0..=MOST_CALLS => Ok(u32::try_from(calls).ok().and_then(NonZeroU32::new)),
                calls => Err(EvaluationError::new(format!("{calls} calls are not from 0 to {MOST_CALLS}"))),
            },
        }
    }
}

impl Span {
    pub(super) fn constant(&self) -> Option<Duration> {
        match self {
            Self::Constant(period) => Some(*period),
            Self::Expression(..) => None,
        }
    }

    pub(super) fn written(&self) -> Cow<'_, str> {
        match self {
            Self::Constant(period) => format!("{period:?}").into(),
            Self::Expression(_, text) => Cow::Borrowed(text),
        }
    }

    fn of(&self, cx: &Context<'_>) -> Result<Duration, EvaluationError> {
        match self {
            Self::Constant(period) => Ok(*period),
            Self::Expression(expression, _) => {
                let text = expression.text(cx)?;
                period_of(&text)
                    .ok_or_else(|| EvaluationError::new(format!("`{text}` is not a period from 1 ms to 366 days")))
            }
        }
    }
}

/// A request as the limits are asked about it.
struct Asked {
    key: KeyText,
    cost: u32,
    count: Count,
    /// Where the rate is worked out.
    rate: Option<Rate>,
    /// Whether the rate is zero calls.
    closed: bool,
}

impl Asked {
    fn of(&self, applies: &Applies) -> Ask<'_> {
        let rate = self.rate.filter(|_| applies.rule.limit.settings().varying);
        Ask { key: self.key.as_str(), cost: self.cost, count: self.count, rate }
    }
}

impl Compiled {
    /// What the limits are asked; none when the request is not limited.
    fn ask(&self, cx: &Context<'_>) -> Result<Option<Asked>, Fault> {
        let Some(key) = self.key(cx)? else { return Ok(None) };
        let mut asked = Asked { key, cost: 1, count: self.rules[0].rule.count, rate: None, closed: false };
        if self.amount.constant().is_none() || self.span.constant().is_none() {
            let calls = self.amount.of(cx).map_err(evaluation_failed)?;
            let period = self.span.of(cx).map_err(evaluation_failed)?;
            asked.closed = calls.is_none();
            asked.rate = calls.map(|calls| rate(calls, period, self.burst));
        }
        if self.rules[0].rule.later.is_some() {
            if self.reserve > 0 {
                asked.cost = self.reserve;
            } else {
                asked.cost = self.cost.constant().unwrap_or(1).max(1);
                asked.count = Count::Later;
            }
            return Ok(Some(asked));
        }
        asked.cost = self.cost.of(cx).map_err(evaluation_failed)?;
        if let Some(condition) = &self.condition
            && !condition.boolean(cx).map_err(evaluation_failed)?
        {
            asked.count = Count::Never;
        }
        Ok(Some(asked))
    }

    /// Whose request it is; none when it is not limited.
    fn key(&self, cx: &Context<'_>) -> Result<Option<KeyText>, Fault> {
        let missing = Missing {
            then: self.on_missing_key,
            shadow: self.shadow,
            metrics: &self.metrics,
            reason: "RateLimitKeyMissing",
            message: "The key of the rate limit is missing.",
        };
        self.key.of(cx, &missing)
    }

    /// The limits that apply to an exchange.
    fn applying<'s>(&'s self, exchange: &'s Exchange) -> impl Iterator<Item = &'s Applies> {
        let operation = exchange.operation.as_deref();
        self.rules.iter().filter(move |applies| {
            let is = |wanted: &Option<String>, found: Option<&str>| {
                wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
            };
            is(&applies.api, operation.map(|operation| &*operation.api.name))
                && is(&applies.operation, operation.map(|operation| &*operation.name))
        })
    }

    /// What this exchange was told before by a limit with the same counter: it counts once.
    fn counted(&self, cx: &Context<'_>, applies: &Applies, asked: &Asked) -> Option<Decision> {
        let mut earlier = cx.state.limits.iter().filter(|_| self.once);
        earlier.find_map(|limited| limited.decision_of(&applies.rule.limit, asked.key.as_str())).copied()
    }

    /// Notes a decision; a refusal ends the request.
    fn conclude(
        &self,
        cx: &mut Context<'_>,
        applies: &Applies,
        asked: &Asked,
        decision: Decision,
    ) -> Result<(), Fault> {
        let rule = &applies.rule;
        match (decision.overflowed, decision.admitted) {
            (true, _) => self.metrics.overflow.note(cx.exchange.gateway.clock.now()),
            (false, true) => self.metrics.admitted.inc(),
            (false, false) if self.shadow => self.metrics.shadow_refused.inc(),
            (false, false) => self.metrics.refused.inc(),
        }
        let goes_on = decision.admitted || self.shadow;
        let mut limited = Limited::rate(rule, asked.key.clone(), asked.of(applies).rate, decision);
        limited.refused = !goes_on;
        if let Counted::Rate { units, pending, .. } = &mut limited.counted {
            let counts = matches!(asked.count, Count::Admitted | Count::All);
            let counted = counts && decision.admitted && !decision.overflowed;
            *units = if counted { asked.cost } else { 0 };
            // What would be refused counts nothing in shadow mode either.
            *pending = decision.admitted && !decision.overflowed && rule.later.is_some();
        }
        cx.state.limits.push(limited);
        if goes_on { Ok(()) } else { Err(self.exceeded(cx, &decision)) }
    }

    /// Tells later policies what is left.
    fn tell(&self, cx: &mut Context<'_>, decisions: &[Decision]) {
        let Some(remaining) = decisions.iter().map(|decision| decision.remaining).min() else { return };
        self.tell_total(cx, decisions.first());
        if let Some(name) = &self.remaining_variable {
            cx.state.set_variable(name, remaining.into());
        }
    }

    /// Azure API Management tells the outermost limit, whichever was reached.
    fn tell_total(&self, cx: &mut Context<'_>, outermost: Option<&Decision>) {
        if let (Some(name), Some(decision)) = (self.total_header.as_ref().filter(|_| !self.shadow), outermost) {
            cx.state.response_headers.push((name.clone(), decision.limit.into()));
        }
    }

    /// Azure API Management's 429, byte for byte.
    fn exceeded(&self, cx: &mut Context<'_>, decision: &Decision) -> Fault {
        if let Some(name) = &self.remaining_variable {
            cx.state.set_variable(name, decision.remaining.into());
        }
        let fault =
            Fault::client(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", "Rate limit is exceeded").by_limit();
        let Some(seconds) = decision.retry_after_seconds() else {
            return fault.public("Rate limit is exceeded. The request asks for more than the limit allows.");
        };
        if let Some(name) = &self.retry_after_variable {
            cx.state.set_variable(name, seconds.into());
        }
        let fault = fault
            .public(format!("Rate limit is exceeded. Try again in {seconds} seconds."))
            .header(self.retry_after_header.clone(), HeaderValue::from(seconds));
        if decision.overflowed { fault.cause("the limit holds as many keys as it may") } else { fault }
    }

    /// Refuses a caller whose limit is zero calls.
    fn closed(&self) -> Result<Flow, Fault> {
        if self.shadow {
            self.metrics.shadow_refused.inc();
            return Ok(Flow::Next);
        }
        self.metrics.refused.inc();
        Err(Fault::client(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", "Rate limit is exceeded")
            .by_limit()
            .public("Rate limit is exceeded. The limit of this caller is zero calls."))
    }
}

/// Decisions in the order of the limits. Nearly always there is one.
type Decisions = smallvec::SmallVec<[Decision; 1]>;

// === impl Apply ===

// Where all is counted in memory and nothing waits.
impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(asked) = self.ask(cx)? else { return Ok(Flow::Next) };
        if asked.closed {
            return self.closed();
        }
        let mut decisions = Decisions::new();
        for applies in self.applying(cx.exchange) {
            if let Some(decision) = self.counted(cx, applies, &asked) {
                decisions.push(decision);
                continue;
            }
            let Answer::Now(decision) = applies.rule.limit.ask(asked.of(applies)) else {
                return Err(Fault::internal("Internal", "a shared limit cannot decide at once"));
            };
            decisions.push(decision);
            if !decision.admitted && !self.shadow {
                self.tell_total(cx, decisions.first());
            }
            self.conclude(cx, applies, &asked, decision)?;
        }
        self.tell(cx, &decisions);
        Ok(Flow::Next)
    }
}

// === impl ApplyAsync ===

// Where a store is asked, or requests wait their turn.
impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let Some(asked) = call.with(|cx| self.ask(cx))? else { return Ok(Flow::Next) };
            if asked.closed {
                return self.closed();
            }
            let mut decisions = Decisions::new();
            for applies in self.applying(call.exchange) {
                if let Some(decision) = call.with(|cx| self.counted(cx, applies, &asked)) {
                    decisions.push(decision);
                    continue;
                }
                let (limit, ask) = (&applies.rule.limit, asked.of(applies));
                let decision = match &self.line {
                    Some(line) => line.pass(limit, ask, || self.metrics.delayed.inc()).await.decision,
                    None => limit.ask(ask).wait().await,
                };
                decisions.push(decision);
                call.with(|cx| {
                    if !decision.admitted && !self.shadow {
                        self.tell_total(cx, decisions.first());
                    }
                    self.conclude(cx, applies, &asked, decision)
                })?;
            }
            call.with(|cx| self.tell(cx, &decisions));
            Ok(Flow::Next)
        })
    }
}
