//! The step of a token limit: whose request it is, what the limits say beforehand, and what the caller is told.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::follow::{Following, Left, Outputs, Places};
use crate::expression::{EvaluationError, Expression};
use crate::limit::quota::{Allowance, Book, Verdict};
use crate::limit::{self, Answer, Ask, Count, Decision};
use crate::llm::Meter;
use crate::pipeline::limits::{Counted, Fields, KeyText, Limited, Rule, Standing};
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Fault, Flow};
use crate::policy::quota::step::{seconds, standing};
use crate::policy::rate_limit::OnMissingKey;
use crate::policy::rate_limit::key::{Key, Missing};
use crate::policy::value::evaluation_failed;
use crate::telemetry::metrics::LimitMetrics;

/// The most tokens that an expression may give.
const MOST: i64 = 1_000_000_000;

/// A token limit that runs.
pub(super) struct Compiled {
    pub(super) key: Key,
    pub(super) on_missing_key: OnMissingKey,
    pub(super) rate: Option<Rate>,
    pub(super) quota: Option<Quota>,
    /// Whether the prompt is estimated beforehand.
    pub(super) estimates: bool,
    /// What is counted ahead beside it.
    pub(super) reserve: u64,
    pub(super) outputs: Arc<Outputs>,
    /// Whether it refuses nothing.
    pub(super) shadow: bool,
    pub(super) metrics: LimitMetrics,
}

/// So many tokens in a minute.
pub(super) struct Rate {
    pub(super) amount: Amount,
    pub(super) burst: Option<NonZeroU32>,
    pub(super) rule: Arc<Rule>,
}

/// So many tokens in a period.
pub(super) struct Quota {
    pub(super) amount: Amount,
    pub(super) book: Book,
    pub(super) fields: Option<Arc<Fields>>,
}

/// How many tokens.
pub(super) enum Amount {
    Constant(u64),
    Expression(Expression),
}

impl Amount {
    fn of(&self, cx: &Context<'_>) -> Result<u64, EvaluationError> {
        match self {
            Self::Constant(tokens) => Ok(*tokens),
            Self::Expression(expression) => match expression.integer(cx)? {
                tokens @ 0..=MOST => Ok(tokens.unsigned_abs()),
                tokens => Err(EvaluationError::new(format!("{tokens} tokens are not from 0 to {MOST}"))),
            },
        }
    }
}

/// A request on its way through the limits.
struct Pass {
    key: KeyText,
    meter: Arc<Meter>,
    /// Whether no other limit counts tokens so far.
    first: bool,
    /// The estimate of the prompt, where it is wanted.
    prompt: u64,
    /// What is counted ahead.
    ahead: u64,
    places: Places,
    overflowed: bool,
    /// Where the quota has counted it.
    counted_quota: Option<usize>,
    /// Whether a limit in shadow mode would have refused it.
    would_refuse: bool,
}

/// What the limit of the minute is asked where so many tokens are counted ahead.
pub(super) fn asked(ahead: u64) -> (u32, Count) {
    match u32::try_from(ahead).unwrap_or(u32::MAX) {
        // One has to be left.
        0 => (1, Count::Later),
        ahead => (ahead, Count::Admitted),
    }
}

/// What is to be asked of a limit, or where in the exchange it has been.
enum Question<T> {
    Ask(T),
    Asked(usize),
    /// Nothing: it would be refused whatever has been used, in shadow mode.
    Closed,
}

impl Compiled {
    /// Whose request it is; none when it is not limited.
    fn key(&self, cx: &Context<'_>) -> Result<Option<KeyText>, Fault> {
        let missing = Missing {
            then: self.on_missing_key,
            shadow: self.shadow,
            metrics: &self.metrics,
            reason: "TokenLimitKeyMissing",
            message: "The key of the token limit is missing.",
        };
        self.key.of(cx, &missing)
    }

    fn begin(&self, cx: &mut Context<'_>) -> Result<Option<Pass>, Fault> {
        let Some(key) = self.key(cx)? else { return Ok(None) };
        let first = cx.state.tokens.is_none();
        let meter = cx.state.tokens.get_or_insert_default().clone();
        if first {
            let body = cx.message.body_mut();
            *body = meter.request(std::mem::take(body));
        }
        let prompt = if self.estimates { meter.prompt() } else { 0 };
        let ahead = prompt.saturating_add(self.reserve);
        Ok(Some(Pass {
            key,
            meter,
            first,
            prompt,
            ahead,
            places: Places::default(),
            overflowed: false,
            counted_quota: None,
            would_refuse: false,
        }))
    }

    /// What the quota is asked, unless it has been about this request.
    fn ask_quota(&self, quota: &Quota, pass: &Pass, cx: &Context<'_>) -> Result<Question<Allowance>, Fault> {
        let ledger = quota.book.ledger();
        if let Some(at) = cx.state.limits.iter().position(|limited| limited.is_of(ledger, pass.key.as_str())) {
            return Ok(Question::Asked(at));
        }
        match quota.amount.of(cx).map_err(evaluation_failed)? {
            0 if self.shadow => Ok(Question::Closed),
            0 => Err(self.closed(StatusCode::FORBIDDEN)),
            tokens => Ok(Question::Ask(Allowance { calls: None, units: Some(tokens) })),
        }
    }

    /// Notes what the quota says; a refusal ends the request.
    fn conclude_quota(
        &self,
        cx: &mut Context<'_>,
        quota: &Quota,
        pass: &mut Pass,
        verdict: &Verdict,
    ) -> Result<(), Fault> {
        pass.overflowed |= verdict.overflowed;
        let counted = match verdict.outcome {
            Ok(ticket) => Counted::Quota {
                book: quota.book.clone(),
                first: None,
                ticket,
                calls: 1,
                units: pass.ahead,
                metered: false,
                of_units: true,
            },
            Err(_) => Counted::Nothing,
        };
        let refused = verdict.outcome.is_err() && !self.shadow;
        pass.would_refuse |= verdict.outcome.is_err();
        let wait = verdict.wait.filter(|_| refused);
        pass.places.quota = Some(cx.state.limits.len());
        pass.counted_quota = verdict.outcome.is_ok().then_some(cx.state.limits.len());
        cx.state.limits.push(Limited {
            fields: quota.fields.clone(),
            key: pass.key.clone(),
            standing: verdict.units.map_or_else(Standing::default, |left| standing(left, wait)),
            refused,
            counted,
        });
        if refused { Err(self.quota_exceeded(cx, pass, verdict)) } else { Ok(()) }
    }

    /// What the limit of the minute is asked, unless it has been about this request.
    fn ask_rate<'p>(&self, rate: &Rate, pass: &'p Pass, cx: &Context<'_>) -> Result<Question<Ask<'p>>, Fault> {
        let key = pass.key.as_str();
        let limits = &cx.state.limits;
        if let Some(at) = limits.iter().position(|limited| limited.decision_of(&rate.rule.limit, key).is_some()) {
            return Ok(Question::Asked(at));
        }
        let varied = match rate.amount {
            Amount::Constant(_) => None,
            Amount::Expression(_) => {
                let tokens = rate.amount.of(cx).map_err(evaluation_failed)?;
                let Some(tokens) = u32::try_from(tokens).ok().and_then(NonZeroU32::new) else {
                    if self.shadow {
                        return Ok(Question::Closed);
                    }
                    return Err(self.closed(StatusCode::TOO_MANY_REQUESTS));
                };
                let burst = rate.burst.unwrap_or(tokens);
                Some(limit::Rate { calls: tokens, period: Duration::from_secs(60), burst })
            }
        };
        let (cost, count) = asked(pass.ahead);
        Ok(Question::Ask(Ask { key, cost, count, rate: varied }))
    }

    /// Notes what the limit of the minute says; a refusal ends the request.
    fn conclude_rate(
        &self,
        cx: &mut Context<'_>,
        rule: &Arc<Rule>,
        varied: Option<limit::Rate>,
        pass: &mut Pass,
        decision: Decision,
    ) -> Result<(), Fault> {
        pass.overflowed |= decision.overflowed;
        let mut limited = Limited::rate(rule, pass.key.clone(), varied, decision);
        limited.refused = !decision.admitted && !self.shadow;
        pass.would_refuse |= !decision.admitted;
        if decision.overflowed || self.shadow && !decision.admitted {
            limited.counted = Counted::Nothing;
        } else if let Counted::Rate { units, .. } = &mut limited.counted
            && decision.admitted
        {
            *units = u32::try_from(pass.ahead).unwrap_or(u32::MAX);
        }
        if self.shadow
            && !decision.admitted
            && let Some(at) = pass.counted_quota.take()
        {
            // What is refused uses up nothing of the quota either.
            cx.state.limits[at].correct(0, 0);
            cx.state.limits[at].counted = Counted::Nothing;
        }
        pass.places.rate = Some(cx.state.limits.len());
        let refused = limited.refused;
        cx.state.limits.push(limited);
        if refused { Err(self.rate_exceeded(cx, pass, &decision)) } else { Ok(()) }
    }

    /// Tells later policies what is left, and leaves behind what is to be counted when the answer is known.
    fn end(&self, cx: &mut Context<'_>, pass: Pass) {
        if pass.overflowed {
            self.metrics.overflow.note(cx.exchange.gateway.clock.now());
        } else if pass.would_refuse {
            self.metrics.shadow_refused.inc();
        } else {
            self.metrics.admitted.inc();
        }
        self.outputs.set_variables(cx.state, pass.places, pass.prompt, Left::Now);
        let Pass { meter, first, places, .. } = pass;
        cx.state.followers.push(Following::new(meter, first, places, self.outputs.clone()));
    }

    /// Azure API Management's 429, byte for byte.
    #[cold]
    fn rate_exceeded(&self, cx: &mut Context<'_>, pass: &Pass, decision: &Decision) -> Fault {
        self.refuse(cx, pass);
        let fault = Fault::client(StatusCode::TOO_MANY_REQUESTS, "OpenAITokenLimitExceeded", "Token limit is exceeded")
            .by_limit();
        let Some(seconds) = decision.retry_after_seconds() else {
            return fault.public("Token limit is exceeded. The request asks for more tokens than the limit allows.");
        };
        self.outputs.set_retry_after(cx.state, seconds);
        let fault = fault
            .public(format!("Token limit is exceeded. Try again in {seconds} seconds."))
            .header(self.outputs.retry_after_header.clone(), HeaderValue::from(seconds));
        if decision.overflowed { fault.cause("the limit holds as many keys as it may") } else { fault }
    }

    /// Azure API Management's 403, byte for byte.
    #[cold]
    fn quota_exceeded(&self, cx: &mut Context<'_>, pass: &Pass, verdict: &Verdict) -> Fault {
        self.refuse(cx, pass);
        let fault =
            Fault::client(StatusCode::FORBIDDEN, "OpenAITokenQuotaExceeded", "Token quota is exceeded").by_limit();
        let Some(wait) = verdict.wait else {
            return fault.public("Token quota is exceeded.");
        };
        let seconds = seconds(wait);
        self.outputs.set_retry_after(cx.state, seconds);
        let fault = fault
            .public(format!("Token quota is exceeded. Try again in {}.", words(seconds)))
            .header(self.outputs.retry_after_header.clone(), HeaderValue::from(seconds));
        if verdict.overflowed { fault.cause("the quota holds as many keys as it may") } else { fault }
    }

    /// What both refusals have in common.
    fn refuse(&self, cx: &mut Context<'_>, pass: &Pass) {
        if pass.overflowed {
            self.metrics.overflow.note(cx.exchange.gateway.clock.now());
        } else {
            self.metrics.refused.inc();
        }
        self.outputs.set_variables(cx.state, pass.places, 0, Left::Refused);
        self.outputs.write_remaining(cx.state, pass.places, Left::Refused);
    }

    /// Refuses a caller whose limit is zero tokens.
    #[cold]
    fn closed(&self, status: StatusCode) -> Fault {
        self.metrics.refused.inc();
        let (reason, message, public) = if status == StatusCode::FORBIDDEN {
            (
                "OpenAITokenQuotaExceeded",
                "Token quota is exceeded",
                "Token quota is exceeded. The quota of this caller is zero tokens.",
            )
        } else {
            (
                "OpenAITokenLimitExceeded",
                "Token limit is exceeded",
                "Token limit is exceeded. The limit of this caller is zero tokens.",
            )
        };
        Fault::client(status, reason, message).by_limit().public(public)
    }
}

/// `21 minutes and 33 seconds`, `24 days, 14 hours and 1 second`: what Azure API Management makes of a time span.
fn words(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let mut said: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}{}", if number == 1 { "" } else { "s" }))
        .collect();
    let last = said.pop().unwrap_or_default();
    if said.is_empty() { last } else { format!("{} and {last}", said.join(", ")) }
}

// === impl Apply ===

// Where all is counted in memory.
impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(mut pass) = self.begin(cx)? else { return Ok(Flow::Next) };
        let shared = || Fault::internal("Internal", "a shared limit cannot decide at once");
        if let Some(quota) = &self.quota {
            match self.ask_quota(quota, &pass, cx)? {
                Question::Asked(at) => pass.places.quota = Some(at),
                Question::Closed => pass.would_refuse = true,
                Question::Ask(allowance) => {
                    let Book::Memory(ledger) = &quota.book else { return Err(shared()) };
                    let verdict = ledger.take(pass.key.as_str(), None, &allowance, 1, pass.ahead);
                    self.conclude_quota(cx, quota, &mut pass, &verdict)?;
                }
            }
        }
        // As where it refuses, the first refusal decides.
        if let Some(rate) = self.rate.as_ref().filter(|_| !pass.would_refuse) {
            match self.ask_rate(rate, &pass, cx)? {
                Question::Asked(at) => pass.places.rate = Some(at),
                Question::Closed => pass.would_refuse = true,
                Question::Ask(ask) => {
                    let varied = ask.rate;
                    let Answer::Now(decision) = rate.rule.limit.ask(ask) else { return Err(shared()) };
                    self.conclude_rate(cx, &rate.rule, varied, &mut pass, decision)?;
                }
            }
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
            if let Some(quota) = &self.quota {
                match call.with(|cx| self.ask_quota(quota, &pass, cx))? {
                    Question::Asked(at) => pass.places.quota = Some(at),
                    Question::Closed => pass.would_refuse = true,
                    Question::Ask(allowance) => {
                        let verdict = quota.book.take(pass.key.as_str(), None, &allowance, 1, pass.ahead).await;
                        call.with(|cx| self.conclude_quota(cx, quota, &mut pass, &verdict))?;
                    }
                }
            }
            // As where it refuses, the first refusal decides.
            if let Some(rate) = self.rate.as_ref().filter(|_| !pass.would_refuse) {
                match call.with(|cx| self.ask_rate(rate, &pass, cx))? {
                    Question::Asked(at) => pass.places.rate = Some(at),
                    Question::Closed => pass.would_refuse = true,
                    Question::Ask(ask) => {
                        let varied = ask.rate;
                        let decision = rate.rule.limit.ask(ask).wait().await;
                        call.with(|cx| self.conclude_rate(cx, &rate.rule, varied, &mut pass, decision))?;
                    }
                }
            }
            call.with(|cx| self.end(cx, pass));
            Ok(Flow::Next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_said_in_words() {
        for (seconds, want) in [
            (1, "1 second"),
            (1_293, "21 minutes and 33 seconds"),
            (3_600, "1 hour"),
            (86_400 * 24 + 3_600 * 14, "24 days and 14 hours"),
            (86_400 + 3_600 + 60 + 1, "1 day, 1 hour, 1 minute and 1 second"),
        ] {
            assert_eq!(words(seconds), want);
        }
    }
}
