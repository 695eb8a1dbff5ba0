//! What limits decided in an exchange: told in fields of the answer, and settled once the answer is known.

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::exchange::Context;
use crate::expression::{EvaluationError, Expression};
use crate::limit::{Ask, Count, Decision, Limit, Rate};

/// Two fields by the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers-10), structured fields
/// (RFC 9651): what holds, and what is left of it.
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A limit as a step uses it.
#[derive(Debug)]
pub struct Rule {
    /// Where it is counted.
    pub limit: Limit,
    /// Which requests are counted.
    pub count: Count,
    /// What is said of it; nothing in shadow mode.
    pub fields: Option<Arc<Fields>>,
    /// What is counted when the answer is known.
    pub later: Option<Later>,
    /// The header that tells what is left, unless the request is refused.
    pub remaining: Option<HeaderName>,
}

/// Counting that reads the answer.
#[derive(Debug)]
pub struct Later {
    /// Whether the request counts; it does when there is none.
    pub condition: Option<Expression>,
    /// How much it costs.
    pub cost: Cost,
    /// How much was counted ahead, to be put right.
    pub reserve: u32,
}

/// What a request costs.
#[derive(Clone, Debug)]
pub enum Cost {
    /// Always the same.
    Constant(u32),
    /// Evaluated for each exchange.
    Expression(Expression),
}

impl Cost {
    /// The cost, where it is the same for every exchange.
    pub fn constant(&self) -> Option<u32> {
        match self {
            Self::Constant(cost) => Some(*cost),
            Self::Expression(_) => None,
        }
    }

    /// The cost for an exchange: a whole number that is not negative.
    pub fn of(&self, cx: &Context<'_>) -> Result<u32, EvaluationError> {
        match self {
            Self::Constant(cost) => Ok(*cost),
            Self::Expression(expression) => {
                let cost = expression.integer(cx)?;
                u32::try_from(cost).map_err(|_| EvaluationError::new(format!("{cost} cannot be what a request costs")))
            }
        }
    }
}

/// Which fields tell of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `RateLimit-Policy` and `RateLimit`.
    pub ratelimit: bool,
    /// `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`.
    pub x_ratelimit: bool,
}

/// What is said of a limit.
#[derive(Debug)]
pub struct Fields {
    shown: Shown,
    /// Its name, as the text of a structured field's string.
    name: Box<str>,
    /// Its item of `RateLimit-Policy` but for the name; worked out for each answer where rates vary.
    parameters: Option<Box<str>>,
    /// All of `RateLimit-Policy`, when there is no other limit.
    alone: Option<HeaderValue>,
    burst: bool,
}

impl Fields {
    /// For a limit of that name, which is printable ASCII. `rate` is the rate, unless it varies; `burst` is whether a bucket's
    /// burst is told.
    pub fn new(shown: Shown, name: &str, rate: Option<&Rate>, burst: bool) -> Self {
        Self::with(shown, name, rate.map(|rate| rate_parameters(rate, burst)), burst)
    }

    /// For a limit on requests at once.
    pub fn concurrency(shown: Shown, name: &str, max: u32) -> Self {
        Self::with(shown, name, Some(format!(";q={max};qu=\"concurrent-requests\"")), false)
    }

    fn with(shown: Shown, name: &str, parameters: Option<String>, burst: bool) -> Self {
        let name: String =
            name.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
        let alone = parameters.as_ref().and_then(|rest| HeaderValue::try_from(format!("\"{name}\"{rest}")).ok());
        Self { shown, name: name.into(), parameters: parameters.map(Into::into), alone, burst }
    }
}

/// The parameters of an item of `RateLimit-Policy`. The window is told where it is whole seconds, which is all that it can be.
fn rate_parameters(rate: &Rate, burst: bool) -> String {
    let mut text = format!(";q={}", rate.calls);
    if rate.period.subsec_nanos() == 0 && rate.period.as_secs() > 0 {
        let _ = write!(text, ";w={}", rate.period.as_secs());
    }
    if burst && rate.burst != rate.calls {
        let _ = write!(text, ";sluicegate-burst={}", rate.burst);
    }
    text
}

/// The text of a key, kept for as long as the exchange. Short ones are kept in place.
#[derive(Clone)]
pub struct KeyText(SmallVec<[u8; 48]>);

impl KeyText {
    /// Keeps a key.
    pub fn new(key: &str) -> Self {
        Self(SmallVec::from_slice(key.as_bytes()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may be secrets; they are never printed.
        f.write_str("KeyText")
    }
}

/// One limit of an exchange.
#[derive(Debug)]
pub struct Limited {
    /// The limit; none for one on requests at once.
    pub rule: Option<Arc<Rule>>,
    /// What is said of it.
    pub fields: Option<Arc<Fields>>,
    /// Whose request it is.
    pub key: KeyText,
    /// The rate that was applied, where rates vary.
    pub rate: Option<Rate>,
    /// What was decided.
    pub decision: Decision,
    /// How much has been counted.
    pub units: u32,
    /// Whether it refused the request.
    pub refused: bool,
    /// Whether something is left to be counted when the answer is known.
    pub pending: bool,
}

impl Limited {
    fn ask(&self, rule: &Rule, cost: u32) -> Ask<'_> {
        Ask { key: self.key.as_str(), cost, count: rule.count, rate: self.rate }
    }

    /// Whether it is this limit and this key.
    pub fn is(&self, limit: &Limit, key: &str) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.limit.is(limit)) && self.key.as_str() == key
    }

    /// Takes back what was counted, because another limit refuses the request: it uses nothing up.
    pub fn refused_elsewhere(&mut self) {
        self.pending = false;
        let Some(rule) = &self.rule else { return };
        if self.units > 0 && rule.count == Count::Admitted {
            rule.limit.give_back(&self.ask(rule, self.units), &self.decision);
            self.decision.remaining = self.decision.remaining.saturating_add(self.units).min(self.decision.limit);
            self.units = 0;
        }
    }

    /// Counts what the answer says.
    fn settle(&mut self, cx: &Context<'_>) {
        if !std::mem::take(&mut self.pending) {
            return;
        }
        let Some(rule) = &self.rule else { return };
        let Some(later) = &rule.later else { return };
        let counts = later.condition.as_ref().map_or(Ok(true), |condition| condition.boolean(cx));
        let cost = counts.and_then(|counts| if counts { later.cost.of(cx) } else { Ok(0) });
        let cost = cost.unwrap_or_else(|error| {
            let id = cx.exchange.request_id.to_str().unwrap_or_default();
            tracing::warn!(request_id = id, "what a request costs cannot be evaluated, so it counts as one: {error}");
            later.least()
        });
        if cost > self.units {
            rule.limit.charge(&self.ask(rule, cost - self.units));
        } else if cost < self.units {
            rule.limit.give_back(&self.ask(rule, self.units - cost), &self.decision);
        }
        self.units = cost;
    }

    /// Counts a request whose caller left before there was an answer: leaving early is not a way around the limit.
    pub fn abandon(&mut self) {
        if !std::mem::take(&mut self.pending) {
            return;
        }
        let Some(rule) = &self.rule else { return };
        let least = rule.later.as_ref().map_or(0, Later::least);
        if least > self.units {
            rule.limit.charge(&self.ask(rule, least - self.units));
        }
    }
}

impl Later {
    /// What counts where the answer's own cost is not known.
    fn least(&self) -> u32 {
        self.cost.constant().unwrap_or(1).max(self.reserve)
    }
}

/// Settles all limits of an exchange whose answer is known.
pub(super) fn settle(limits: &mut [Limited], cx: &Context<'_>) {
    for limited in limits {
        limited.settle(cx);
    }
}

/// Writes what is said of the limits.
pub(super) fn write(limits: &[Limited], headers: &mut HeaderMap) {
    let shown = |pick: fn(&Shown) -> bool| {
        let fields = limits.iter().filter_map(|limited| Some((limited, limited.fields.as_deref()?)));
        fields.filter(move |(_, fields)| pick(&fields.shown))
    };
    write_remaining(limits, headers);
    let limits: SmallVec<[(&Limited, &Fields); 4]> = shown(|shown| shown.ratelimit).collect();
    write_ratelimit(&limits, headers);
    let tightest = shown(|shown| shown.x_ratelimit).map(|(limited, _)| limited.decision);
    if let Some(tightest) = tightest.min_by_key(|decision| (decision.remaining, std::cmp::Reverse(decision.reset))) {
        headers.insert(X_RATELIMIT_LIMIT, tightest.limit.into());
        headers.insert(X_RATELIMIT_REMAINING, tightest.remaining.into());
        headers.insert(X_RATELIMIT_RESET, tightest.reset_seconds().into());
    }
}

/// Azure API Management's header, which only admitted requests get. Limits with one header tell the least.
fn write_remaining(limits: &[Limited], headers: &mut HeaderMap) {
    if limits.iter().any(|limited| limited.refused) {
        return;
    }
    let name = |limited: &Limited| limited.rule.as_ref().and_then(|rule| rule.remaining.clone());
    for limited in limits {
        let Some(name) = name(limited) else { continue };
        let same = limits
            .iter()
            .filter(|other| other.rule.as_ref().is_some_and(|rule| rule.remaining.as_ref() == Some(&name)));
        let least = same.map(|other| other.decision.remaining).min().unwrap_or(limited.decision.remaining);
        headers.insert(name, least.into());
    }
}

fn write_ratelimit(limits: &[(&Limited, &Fields)], headers: &mut HeaderMap) {
    if limits.is_empty() {
        return;
    }
    let mut policy = String::new();
    let mut left = String::with_capacity(48);
    for (at, (limited, fields)) in limits.iter().enumerate() {
        let same = limits[..at].iter().filter(|(_, other)| other.name == fields.name).count();
        let name = |text: &mut String| {
            if at > 0 {
                text.push_str(", ");
            }
            text.push('"');
            text.push_str(&fields.name);
            if same > 0 {
                // No two items of a field may have the same name.
                let _ = write!(text, "-{}", same + 1);
            }
            text.push('"');
        };
        name(&mut left);
        let decision = &limited.decision;
        left.push_str(";r=");
        left.push_str(itoa::Buffer::new().format(decision.remaining));
        let seconds = decision.more_seconds();
        if seconds > 0 {
            left.push_str(";t=");
            left.push_str(itoa::Buffer::new().format(seconds));
        }
        if limits.len() > 1 || fields.alone.is_none() {
            name(&mut policy);
            match (&fields.parameters, &limited.rate) {
                (Some(parameters), _) => policy.push_str(parameters),
                (None, Some(rate)) => policy.push_str(&rate_parameters(rate, fields.burst)),
                (None, None) => {
                    let _ = write!(policy, ";q={}", decision.limit);
                }
            }
        }
    }
    let alone = limits.first().filter(|_| limits.len() == 1).and_then(|(_, fields)| fields.alone.clone());
    if let Some(policy) = alone.or_else(|| HeaderValue::try_from(policy).ok()) {
        headers.insert(RATELIMIT_POLICY, policy);
    }
    if let Ok(left) = HeaderValue::try_from(left) {
        headers.insert(RATELIMIT, left);
    }
}
