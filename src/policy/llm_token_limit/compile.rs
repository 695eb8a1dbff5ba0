//! From what is written of a token limit to the step that runs.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;

use super::Spec;
use super::follow::Outputs;
use super::step::{Amount, Compiled, Quota, Rate};
use crate::compile::{CompileCx, CompileError, shown};
use crate::config::{At, OrExpression, Recurrence};
use crate::expression::Needs;
use crate::limit::quota::schedule::YEAR_ONE;
use crate::limit::quota::{Millis, Schedule};
use crate::limit::{self, Count, MissingKey, Overflow, Settings, Stated, StatedKey, StatedTerms, Tokens};
use crate::pipeline::Step;
use crate::pipeline::limits::{self, Fields, Rule, Shown, TOKENS};
use crate::policy::quota::allowance;
use crate::policy::rate_limit::key::Key;
use crate::policy::rate_limit::{Counted, Mode, OnMissingKey, OnOverflow, limit_name};

const MINUTE: Duration = Duration::from_secs(60);

/// The name of the counters: both policies share them.
const COUNTER: &str = "llm-token-limit";

impl Spec {
    /// Checks the values and builds the step.
    pub(in crate::policy) fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let key = cx.expression(&self.counter_key);
        let key = cx.note(key);
        let name = limit_name(cx, self.name.as_ref(), "-tokens");
        let name = cx.note(name);
        let shown_by = self.mode.headers(self.headers.as_deref()).map_or(cx.world.limits_shown, shown);
        let told = (shown_by, name.as_ref().map_or_else(|_| String::new(), String::clone));
        let rate = self.rate(cx, &told);
        let rate = cx.note(rate);
        let quota = self.quota(cx, &told);
        let quota = cx.note(quota);
        let outputs = self.outputs(cx);
        let outputs = cx.note(outputs);
        if self.tokens_per_minute.is_none() && self.token_quota.is_none() && self.token_quota_period.is_none() {
            return Err(CompileError::whole("a limit without `tokens-per-minute` and `token-quota` limits nothing")
                .hint("give one of them, or both"));
        }
        cx.needs |= Needs::ANSWER;
        if self.estimate_prompt_tokens {
            cx.needs |= Needs::BODY;
        }
        name?;
        let compiled = Compiled {
            key: Key::Expression(key?),
            on_missing_key: self.on_missing_key,
            rate: rate?,
            quota: quota?,
            estimates: self.estimate_prompt_tokens,
            reserve: self.reserve.map_or(0, |reserve| reserve.value.into()),
            outputs: Arc::new(outputs?),
            shadow: self.mode == Mode::Shadow,
            metrics: cx.world.shared.metrics.limit(&cx.state_id()),
        };
        let local = compiled.rate.as_ref().is_none_or(|rate| rate.rule.limit.is_local())
            && compiled.quota.as_ref().is_none_or(|quota| quota.book.is_local());
        Ok(if local { Step::sync(compiled) } else { Step::asynchronous(compiled) })
    }

    fn rate(&self, cx: &mut CompileCx<'_, '_>, told: &(Shown, String)) -> Result<Option<Rate>, CompileError> {
        let counted = Counted { algorithm: self.algorithm, burst: &self.burst, slots: &self.slots, start: &self.start };
        let Some(written) = &self.tokens_per_minute else {
            return Ok(None);
        };
        let amount = amount(cx, written, |tokens| u64::from(tokens.get()))?;
        let constant = match amount {
            Amount::Constant(tokens) => u32::try_from(tokens).ok().and_then(NonZeroU32::new),
            Amount::Expression(_) => None,
        };
        let calls = constant.unwrap_or(NonZeroU32::MIN);
        let algorithm = counted.compile(calls)?;
        let settings = Settings {
            algorithm,
            calls,
            period: MINUTE,
            varying: constant.is_none(),
            max_keys: self.max_keys.unwrap_or(NonZeroUsize::MIN.saturating_add(99_999)),
            on_overflow: self.on_overflow(),
        };
        cx.world.stated.lock().push((cx.origin.clone(), self.stated(settings.clone())));
        let burst = matches!(algorithm, limit::Algorithm::TokenBucket { .. });
        let (shown_by, name) = told;
        let rate = (!settings.varying).then(|| settings.rate());
        let fields = Fields::of_rate(*shown_by, name, rate.as_ref(), burst, Some(TOKENS));
        // A rate that varies is part of what the limit is.
        let varied = match &written.value {
            OrExpression::Value(_) => "",
            OrExpression::Expression(text) => &text.0,
        };
        let id = format!("{COUNTER}:{}/{varied}", self.counter_key.value.0);
        let rule = Rule {
            limit: cx.world.limits.limit(&id, settings),
            count: Count::Admitted,
            fields: fields.are_told().then(|| Arc::new(fields)),
            later: None,
            remaining: None,
        };
        Ok(Some(Rate { amount, burst: self.burst.as_ref().map(|burst| burst.value), rule: Arc::new(rule) }))
    }

    /// What is said about the limit, for who tests it.
    fn stated(&self, settings: Settings) -> Stated {
        Stated {
            terms: StatedTerms::Rate(settings),
            key: StatedKey::Written(self.counter_key.value.0.clone()),
            missing_key: match self.on_missing_key {
                OnMissingKey::Reject => MissingKey::Refused,
                OnMissingKey::Share => MissingKey::OneKey,
                OnMissingKey::Skip => MissingKey::Unlimited,
                OnMissingKey::ClientIp => MissingKey::Otherwise,
            },
            cost: None,
            count: Some(Count::Later),
            tokens: Some(Tokens {
                estimates: self.estimate_prompt_tokens,
                reserve: self.reserve.as_ref().map_or(0, |reserve| reserve.value),
                quota: self.token_quota.is_some(),
            }),
            shadow: false,
            delays: false,
            // Its fields tell of tokens.
            told: false,
            api: None,
            operation: None,
        }
    }

    fn quota(&self, cx: &mut CompileCx<'_, '_>, told: &(Shown, String)) -> Result<Option<Quota>, CompileError> {
        let (written, period) = match (&self.token_quota, &self.token_quota_period) {
            (Some(quota), Some(period)) => (quota, period),
            (None, None) => {
                return match &self.time_zone {
                    Some(zone) => Err(CompileError::at(zone, "the time zone is that of a quota, and there is none")
                        .hint("leave it out")),
                    None => Ok(None),
                };
            }
            (Some(quota), None) => {
                return Err(CompileError::at(quota, "a quota needs a period")
                    .hint("`token-quota-period = \"monthly\"`, or `hourly`, `daily`, `weekly`, `yearly`"));
            }
            (None, Some(period)) => {
                return Err(
                    CompileError::at(period, "the period is that of a quota, and there is none").hint("`token-quota`")
                );
            }
        };
        let amount = amount(cx, written, |tokens| tokens.get())?;
        let schedule = self.schedule(period)?;
        allowance::warn_unkept(cx, period);
        let (shown_by, name) = told;
        let terms = |quota| limits::Terms {
            window: allowance::window(&schedule),
            unit: Some(TOKENS),
            ..limits::Terms::requests(quota)
        };
        let name = format!("{name}-quota");
        let fields = match amount {
            Amount::Constant(quota) => Fields::of(*shown_by, &name, terms(quota)),
            Amount::Expression(_) => Fields::of_rate(*shown_by, &name, None, false, Some(TOKENS)),
        };
        let settings = allowance::settings(schedule.clone(), self.max_keys, self.on_overflow);
        let book = cx.world.limits.book(&format!("{COUNTER} {}", schedule.name()), settings);
        Ok(Some(Quota { amount, book, fields: fields.are_told().then(|| Arc::new(fields)) }))
    }

    fn schedule(&self, period: &At<Recurrence>) -> Result<Schedule, CompileError> {
        let zone = allowance::time_zone(self.time_zone.as_ref())?;
        if let Some(unit) = allowance::calendar_unit(period.value) {
            return Ok(Schedule::Calendar { unit, first: YEAR_ONE, zone });
        }
        if let Some(zone) = &self.time_zone {
            return Err(CompileError::at(zone, "the time zone matters to no part of this quota")
                .hint("it is that of the calendar's periods"));
        }
        Ok(match period.value {
            Recurrence::Every(period) => {
                let period = Millis::try_from(period.as_millis()).unwrap_or(Millis::MAX);
                Schedule::Every { period, first: allowance::year_one() }
            }
            _ => Schedule::Never,
        })
    }

    fn outputs(&self, cx: &mut CompileCx<'_, '_>) -> Result<Outputs, CompileError> {
        let mut header = |name: &Option<At<String>>| {
            let name = name.as_ref().map(|name| cx.header_name(name)).transpose();
            // No header tells of what refuses nothing.
            cx.note(name).map(|name| name.filter(|_| self.mode == Mode::Enforce))
        };
        let variable = |name: &Option<String>| name.as_deref().map(Into::into);
        let retry_after = header(&self.retry_after_header);
        let remaining = header(&self.remaining_tokens_header);
        let remaining_quota = header(&self.remaining_quota_tokens_header);
        let consumed = header(&self.tokens_consumed_header);
        Ok(Outputs {
            retry_after_header: retry_after?.unwrap_or(RETRY_AFTER),
            retry_after_variable: variable(&self.retry_after_variable),
            remaining_header: remaining?,
            remaining_variable: variable(&self.remaining_tokens_variable),
            remaining_quota_header: remaining_quota?,
            remaining_quota_variable: variable(&self.remaining_quota_tokens_variable),
            consumed_header: consumed?,
            consumed_variable: variable(&self.tokens_consumed_variable),
        })
    }

    fn on_overflow(&self) -> Overflow {
        match self.on_overflow {
            OnOverflow::Reject => Overflow::Reject,
            OnOverflow::Admit => Overflow::Admit,
        }
    }
}

fn amount<T: Copy>(
    cx: &mut CompileCx<'_, '_>,
    written: &At<OrExpression<T>>,
    number: impl FnOnce(T) -> u64,
) -> Result<Amount, CompileError> {
    match &written.value {
        OrExpression::Value(value) => Ok(Amount::Constant(number(*value))),
        OrExpression::Expression(text) => {
            let text = At { value: text.clone(), span: written.span.clone() };
            cx.expression(&text).map(Amount::Expression)
        }
    }
}
