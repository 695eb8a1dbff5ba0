//! How a quota decides on a request, and what it counts of it when it has ended.

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use crate::body::{Body, End, Progress};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::expression::{Expression, Needs};
use crate::limit::quota::schedule::millis;
use crate::limit::quota::{Allowance, Book, Exceeded, Left, Millis, Verdict};
use crate::pipeline::limits::{Counted, Fields, KeyText, Limited, Standing};
use crate::pipeline::{
    Apply, ApplyAsync, BoxFuture, Call, Context, Exchange, Fault, Flow, Follow, Message, State, Step,
};
use crate::policy::rate_limit::OnMissingKey;
use crate::policy::rate_limit::key::{Key, Missing};
use crate::policy::value::{Condition, evaluation_failed};
use crate::telemetry::metrics::LimitMetrics;

/// A quota that runs.
pub(in crate::policy) struct Compiled {
    pub(in crate::policy) key: Key,
    pub(in crate::policy) on_missing_key: OnMissingKey,
    /// Whether periods begin with the subscription.
    pub(in crate::policy) from_subscription: bool,
    /// The limit for everything first, then those for single APIs and operations.
    pub(in crate::policy) counters: Box<[Counter]>,
    pub(in crate::policy) counting: Arc<Counting>,
    pub(in crate::policy) outputs: Outputs,
    /// Whether it refuses nothing.
    pub(in crate::policy) shadow: bool,
    pub(in crate::policy) metrics: LimitMetrics,
}

/// One limit and where its calls are counted.
pub(in crate::policy) struct Counter {
    book: Book,
    allowance: Allowance,
    api: Option<Box<str>>,
    operation: Option<Box<str>>,
    /// What is said of its calls and of its data.
    told: [Option<Arc<Fields>>; 2],
}

impl Counter {
    /// A limit for every call.
    pub(super) fn new(book: Book, allowance: Allowance, told: [Option<Arc<Fields>>; 2]) -> Self {
        Self { book, allowance, api: None, operation: None, told }
    }

    /// The same for the calls of an API, or of one operation of it.
    pub(super) fn only(mut self, api: &str, operation: Option<&str>) -> Self {
        self.api = Some(api.into());
        self.operation = operation.map(Into::into);
        self
    }

    fn applies(&self, exchange: &Exchange) -> bool {
        let Some(api) = &self.api else { return true };
        exchange.operation.as_ref().is_some_and(|found| {
            *found.api.name == **api && self.operation.as_ref().is_none_or(|operation| *found.name == **operation)
        })
    }
}

/// How much a request counts for.
pub(in crate::policy) struct Counting {
    condition: Option<Condition>,
    count: Count,
}

enum Count {
    Literal(u64),
    Expression(Expression),
}

impl Counting {
    /// Every request counts once.
    pub(in crate::policy) fn one() -> Arc<Self> {
        Arc::new(Self { condition: None, count: Count::Literal(1) })
    }

    /// Compiles condition and count. They are evaluated when there is an answer, so what they read of the request is kept.
    pub(in crate::policy) fn compile(
        cx: &mut CompileCx<'_, '_>,
        condition: Option<&Text>,
        count: Option<&Text>,
    ) -> Result<Arc<Self>, CompileError> {
        let before = std::mem::take(&mut cx.needs);
        let condition = condition.map(|text| {
            let compiled =
                Condition::compile(text, cx).and_then(|condition| no_body(cx.needs, text).map(|()| condition));
            cx.note(compiled)
        });
        let count = count.map(|text| {
            let compiled = Self::count(cx, text).and_then(|count| no_body(cx.needs, text).map(|()| count));
            cx.note(compiled)
        });
        let later = std::mem::replace(&mut cx.needs, before);
        if later.contains(Needs::TARGET) {
            cx.needs |= Needs::HEAD_LATER;
        }
        let condition = condition.transpose()?;
        Ok(Arc::new(Self { condition, count: count.transpose()?.unwrap_or(Count::Literal(1)) }))
    }

    fn count(cx: &mut CompileCx<'_, '_>, text: &Text) -> Result<Count, CompileError> {
        let expression = cx.expression(text)?;
        let Some(literal) = expression.literal() else { return Ok(Count::Expression(expression)) };
        literal.parse().ok().filter(|count| *count > 0).map(Count::Literal).ok_or_else(|| {
            CompileError::at(text, format!("`{literal}` is not a number of calls"))
                .hint("an integer of 1 or more, or an expression that gives one")
        })
    }

    /// What a request takes when it comes.
    fn reserved(&self) -> u64 {
        match self.count {
            Count::Literal(count) => count,
            Count::Expression(_) => 1,
        }
    }

    /// Whether what a request counts for is known only with its answer.
    fn is_deferred(&self) -> bool {
        self.condition.is_some() || matches!(self.count, Count::Expression(_))
    }

    /// What a request counted for.
    fn counted(&self, cx: &Context<'_>) -> Result<u64, Fault> {
        if let Some(condition) = &self.condition
            && !condition.holds(cx)?
        {
            return Ok(0);
        }
        match &self.count {
            Count::Literal(count) => Ok(*count),
            Count::Expression(expression) => {
                Ok(u64::try_from(expression.integer(cx).map_err(evaluation_failed)?).unwrap_or(0))
            }
        }
    }
}

fn no_body(needs: Needs, text: &Text) -> Result<(), CompileError> {
    if !needs.reads_body() {
        return Ok(());
    }
    Err(CompileError::at(text, "what a request counts for cannot depend on a body")
        .hint("`set-variable` in outbound reads the answer, and `@variables('…')` is at hand here"))
}

/// What a quota tells the caller and the policies that follow.
#[derive(Default)]
pub(in crate::policy) struct Outputs {
    remaining_header: Option<HeaderName>,
    remaining_variable: Option<Arc<str>>,
    retry_after_header: Option<HeaderName>,
    retry_after_variable: Option<Arc<str>>,
}

impl Outputs {
    /// Checks the names of the headers.
    pub(in crate::policy) fn compile(
        cx: &mut CompileCx<'_, '_>,
        remaining_header: Option<&At<String>>,
        remaining_variable: Option<String>,
        retry_after_header: Option<&At<String>>,
        retry_after_variable: Option<String>,
    ) -> Result<Self, CompileError> {
        let mut header = |name: Option<&At<String>>| {
            let name = name.map(|name| cx.header_name(name)).transpose();
            cx.note(name)
        };
        let (remaining, retry_after) = (header(remaining_header), header(retry_after_header));
        Ok(Self {
            remaining_header: remaining?,
            remaining_variable: remaining_variable.map(Into::into),
            retry_after_header: retry_after?,
            retry_after_variable: retry_after_variable.map(Into::into),
        })
    }
}

/// Entries of the exchange's limits, by their places.
type Places = SmallVec<[usize; 1]>;

/// A request on its way through the counters.
struct Pass {
    key: KeyText,
    first: Option<Millis>,
    /// What each counter takes.
    calls: u64,
    /// What this policy has counted.
    counted: Places,
    /// What transfers data that nobody counts yet.
    metered: Places,
    remaining: Option<u64>,
    overflowed: bool,
    /// Whether a quota in shadow mode would have refused it.
    would_refuse: bool,
}

// === impl Apply ===

// Where all is counted in memory.
impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(mut pass) = self.begin(cx)? else { return Ok(Flow::Next) };
        for counter in self.counters.iter().filter(|counter| counter.applies(cx.exchange)) {
            let Book::Memory(ledger) = &counter.book else {
                return Err(Fault::internal("Internal", "a shared quota cannot decide at once"));
            };
            let calls = pass.calls_for(counter, cx);
            let verdict = ledger.take(pass.key.as_str(), pass.first, &counter.allowance, calls, 0);
            self.conclude(cx, counter, &mut pass, &verdict)?;
        }
        self.end(cx, pass);
        Ok(Flow::Next)
    }
}

// === impl ApplyAsync ===

// Where a store is asked.
impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let Some(mut pass) = call.with(|cx| self.begin(cx))? else { return Ok(Flow::Next) };
            for counter in self.counters.iter().filter(|counter| counter.applies(call.exchange)) {
                let calls = call.with(|cx| pass.calls_for(counter, cx));
                let verdict = counter.book.take(pass.key.as_str(), pass.first, &counter.allowance, calls, 0).await;
                call.with(|cx| self.conclude(cx, counter, &mut pass, &verdict))?;
            }
            call.with(|cx| self.end(cx, pass));
            Ok(Flow::Next)
        })
    }
}

impl Pass {
    /// What a counter takes: nothing where another policy has counted the request.
    fn calls_for(&self, counter: &Counter, cx: &Context<'_>) -> u64 {
        if self.earlier(counter, cx).is_some() { 0 } else { self.calls }
    }

    /// Where another policy has counted the request under this key.
    fn earlier(&self, counter: &Counter, cx: &Context<'_>) -> Option<usize> {
        let ledger = counter.book.ledger();
        if !ledger.is_shared() {
            return None;
        }
        cx.state.limits.iter().position(|limited| limited.is_of(ledger, self.key.as_str()))
    }
}

impl Compiled {
    /// The step, of the weakest kind that works.
    pub(in crate::policy) fn into_step(self) -> Step {
        if self.counters.iter().all(|counter| counter.book.is_local()) {
            Step::sync(self)
        } else {
            Step::asynchronous(self)
        }
    }

    /// Whose request it is; none when it is not limited.
    fn key(&self, cx: &Context<'_>) -> Result<Option<KeyText>, Fault> {
        let missing = Missing {
            then: self.on_missing_key,
            shadow: self.shadow,
            metrics: &self.metrics,
            reason: "QuotaKeyMissing",
            message: "The key of the quota is missing.",
        };
        self.key.of(cx, &missing)
    }

    fn begin(&self, cx: &Context<'_>) -> Result<Option<Pass>, Fault> {
        let first = self.from_subscription.then(|| cx.state.subscription.as_ref()?.start.map(millis)).flatten();
        Ok(self.key(cx)?.map(|key| Pass {
            key,
            first,
            calls: self.counting.reserved(),
            counted: Places::new(),
            metered: Places::new(),
            remaining: None,
            overflowed: false,
            would_refuse: false,
        }))
    }

    /// Notes a verdict; a refusal ends the request, and then what was counted of it is taken back.
    fn conclude(
        &self,
        cx: &mut Context<'_>,
        counter: &Counter,
        pass: &mut Pass,
        verdict: &Verdict,
    ) -> Result<(), Fault> {
        let earlier = pass.earlier(counter, cx);
        pass.overflowed |= verdict.overflowed;
        let refused = verdict.outcome.is_err();
        if refused && self.shadow {
            pass.would_refuse = true;
            return Ok(());
        }
        let mut counted = Counted::Nothing;
        if let (Ok(ticket), None) = (verdict.outcome, earlier) {
            pass.counted.push(cx.state.limits.len());
            let (book, first, calls) = (counter.book.clone(), pass.first, pass.calls);
            counted = Counted::Quota { book, first, ticket, calls, units: 0, metered: false, of_units: false };
        }
        let at = earlier.unwrap_or(cx.state.limits.len());
        let [calls, data] = &counter.told;
        let wait = verdict.wait.filter(|_| refused);
        let limited = |left: Option<Left>, fields: &Option<Arc<Fields>>, counted| Limited {
            fields: fields.clone(),
            key: pass.key.clone(),
            standing: left.map_or_else(Standing::default, |left| standing(left, wait)),
            refused,
            counted,
        };
        if calls.is_some() || !matches!(counted, Counted::Nothing) {
            cx.state.limits.push(limited(verdict.calls, calls, counted));
        }
        if data.is_some() {
            cx.state.limits.push(limited(verdict.units, data, Counted::Nothing));
        }
        if refused {
            return Err(self.exceeded(cx, verdict));
        }
        if let Counted::Quota { metered, .. } = &mut cx.state.limits[at].counted
            && verdict.units.is_some()
            && !std::mem::replace(metered, true)
        {
            pass.metered.push(at);
        }
        pass.remaining = match (pass.remaining, verdict.calls_left()) {
            (Some(least), Some(left)) => Some(least.min(left)),
            (least, left) => least.or(left),
        };
        Ok(())
    }

    /// Tells what is left, and leaves behind what is to be counted later.
    fn end(&self, cx: &mut Context<'_>, pass: Pass) {
        if pass.overflowed {
            self.metrics.overflow.note(cx.exchange.gateway.clock.now());
        } else if pass.would_refuse {
            self.metrics.shadow_refused.inc();
        } else {
            self.metrics.admitted.inc();
        }
        if let Some(remaining) = pass.remaining {
            if let Some(name) = self.outputs.remaining_header.as_ref().filter(|_| !self.shadow) {
                cx.state.response_headers.push((name.clone(), HeaderValue::from(remaining)));
            }
            if let Some(name) = &self.outputs.remaining_variable {
                cx.state.set_variable(name, remaining.into());
            }
        }
        let Pass { counted, metered, .. } = pass;
        let counting = (self.counting.is_deferred() && !counted.is_empty()).then(|| self.counting.clone());
        if counting.is_some() || !metered.is_empty() {
            let received = if metered.is_empty() { Received::Bytes(0) } else { Received::of(&cx.message) };
            cx.state.followers.push(Following { counted, metered, counting, received });
        }
    }

    /// Azure API Management's 403, byte for byte.
    #[cold]
    fn exceeded(&self, cx: &mut Context<'_>, verdict: &Verdict) -> Fault {
        if verdict.overflowed {
            self.metrics.overflow.note(cx.exchange.gateway.clock.now());
        } else {
            self.metrics.refused.inc();
        }
        if let (Some(name), Some(left)) = (&self.outputs.remaining_variable, verdict.calls_left()) {
            cx.state.set_variable(name, left.into());
        }
        let what = match verdict.outcome {
            Err(Exceeded::Units) => "bandwidth",
            _ => "call volume",
        };
        let message = match verdict.wait {
            Some(wait) => format!("Out of {what} quota. Quota will be replenished in {}.", clock(seconds(wait))),
            None => format!("Out of {what} quota."),
        };
        let mut fault = Fault::client(StatusCode::FORBIDDEN, "QuotaExceeded", message).by_limit();
        // Its word for both policies.
        fault.source = "quota";
        if let Some(wait) = verdict.wait {
            let seconds = seconds(wait);
            if let Some(name) = &self.outputs.retry_after_variable {
                cx.state.set_variable(name, seconds.into());
            }
            let name = self.outputs.retry_after_header.clone().unwrap_or(RETRY_AFTER);
            fault = fault.header(name, HeaderValue::from(seconds));
        }
        if verdict.overflowed { fault.cause("the quota holds as many keys as it may") } else { fault }
    }
}

/// Whole seconds, rounded up and never zero, so that a client that waits so long is admitted.
pub(in crate::policy) fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// How a key stands, as it is told; `wait` is how long a refused request has to.
pub(in crate::policy) fn standing(left: Left, wait: Option<Duration>) -> Standing {
    let whole = |time: Duration| time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    let more = left.more.map_or(0, whole).max(wait.map_or(0, whole));
    Standing { limit: left.limit, remaining: left.left, more, reset: more }
}

/// `00:06:46`; from a day on `2.23:59:59`, as .NET writes a time span.
fn clock(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let time = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    if days > 0 { format!("{days}.{time}") } else { time }
}

/// How much of the request's body the client has sent.
enum Received {
    Bytes(u64),
    SoFar(Arc<Progress>),
}

impl Received {
    fn of(message: &Message<'_>) -> Self {
        let body: &Body = message.body();
        match body.progress() {
            Some(progress) => Self::SoFar(progress),
            None => Self::Bytes(body.bytes().map_or(0, |bytes| bytes.len() as u64)),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => *bytes,
            Self::SoFar(progress) => progress.bytes(),
        }
    }
}

// === impl Follow ===

/// A counted request on its way.
struct Following {
    /// What this policy has counted.
    counted: Places,
    /// What transfers the data of the request.
    metered: Places,
    /// How much it counts for, when that is yet to be seen.
    counting: Option<Arc<Counting>>,
    received: Received,
}

impl Follow for Following {
    fn answered(&mut self, cx: &mut Context<'_>) {
        let Some(counting) = &self.counting else { return };
        let calls = counting.counted(cx).unwrap_or_else(|fault| {
            let id = cx.exchange.request_id.to_str().unwrap_or_default();
            tracing::warn!(
                request_id = id,
                "a request counts as it came, because its count could not be told: {fault}"
            );
            counting.reserved()
        });
        for at in &self.counted {
            let limited = &mut cx.state.limits[*at];
            let told = limited.standing;
            limited.correct(calls, limited.counts().1);
            // It tells how the key stood when the request was admitted; others have come since.
            limited.standing = told;
        }
    }

    fn ended(&mut self, _: &Exchange, state: &mut State, end: &End<'_>) {
        let bytes = self.received.bytes().saturating_add(end.bytes);
        for at in &self.metered {
            let limited = &mut state.limits[*at];
            limited.correct(limited.counts().0, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_written_as_dotnet_writes_them() {
        for (seconds, want) in
            [(1, "00:00:01"), (406, "00:06:46"), (86_399, "23:59:59"), (86_400, "1.00:00:00"), (183_168, "2.02:52:48")]
        {
            assert_eq!(clock(seconds), want);
        }
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::ZERO), 1, "never zero");
    }
}
