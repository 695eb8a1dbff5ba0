//! What limits decided in an exchange: told in fields of the answer, and settled once the answer is known.

mod fields;

use std::sync::Arc;

use http::HeaderName;
use smallvec::SmallVec;

pub(super) use self::fields::write;
pub use self::fields::{CONCURRENT_REQUESTS, CONTENT_BYTES, Fields, Shown, Standing, TOKENS, Terms};
use super::exchange::Context;
use crate::clock::Clock;
use crate::expression::{EvaluationError, Expression};
use crate::limit::quota::{Book, Ledger, Millis, Ticket, schedule};
use crate::limit::{Ask, Count, Decision, Limit, Rate};

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
    /// What is said of it.
    pub fields: Option<Arc<Fields>>,
    /// Whose request it is.
    pub key: KeyText,
    /// How the key stands, as it is told.
    pub standing: Standing,
    /// Whether it refused the request.
    pub refused: bool,
    /// What has been counted.
    pub counted: Counted,
}

/// What a limit has counted of an exchange, and can correct.
#[derive(Debug)]
pub enum Counted {
    /// Nothing, or nothing that is corrected here.
    Nothing,
    /// Requests or units, by a rate limit.
    Rate {
        /// The limit.
        rule: Arc<Rule>,
        /// The rate that was applied, where rates vary.
        rate: Option<Rate>,
        /// What was decided.
        decision: Decision,
        /// How much has been counted.
        units: u32,
        /// Whether something is left to be counted when the answer is known.
        pending: bool,
    },
    /// Calls and units, by a quota.
    Quota {
        /// Where it counts.
        book: Book,
        /// Where the key's own periods begin.
        first: Option<Millis>,
        /// Where in time it was counted.
        ticket: Ticket,
        /// How many calls have been counted.
        calls: u64,
        /// How many units have been counted.
        units: u64,
        /// Whether somebody counts the units when the exchange has ended.
        metered: bool,
        /// Whether the units are what is told to be left, and not the calls.
        of_units: bool,
    },
}

impl Limited {
    /// A decision of a rate limit, which has counted nothing so far.
    pub fn rate(rule: &Arc<Rule>, key: KeyText, rate: Option<Rate>, decision: Decision) -> Self {
        Self {
            fields: rule.fields.clone(),
            key,
            standing: Standing::from(&decision),
            refused: false,
            counted: Counted::Rate { rule: rule.clone(), rate, decision, units: 0, pending: false },
        }
    }

    /// A decision that is told and never corrected.
    pub fn told(fields: &Arc<Fields>, standing: Standing, refused: bool) -> Self {
        let key = KeyText::new("");
        Self { fields: Some(fields.clone()), key, standing, refused, counted: Counted::Nothing }
    }

    /// The decision of a rate limit, when it is this one and this key.
    pub fn decision_of(&self, limit: &Limit, key: &str) -> Option<&Decision> {
        match &self.counted {
            Counted::Rate { rule, decision, .. } if rule.limit.is(limit) && self.key.as_str() == key => Some(decision),
            _ => None,
        }
    }

    /// Whether it is a quota that counted this key in this ledger.
    pub fn is_of(&self, ledger: &Arc<Ledger>, key: &str) -> bool {
        match &self.counted {
            Counted::Quota { book, .. } => Arc::ptr_eq(book.ledger(), ledger) && self.key.as_str() == key,
            _ => false,
        }
    }

    /// Takes back what was counted, because another limit refuses the request: it uses nothing up.
    fn refused_elsewhere(&mut self) {
        match &mut self.counted {
            Counted::Rate { rule, pending, units, .. } => {
                *pending = false;
                if *units > 0 && rule.count == Count::Admitted {
                    self.correct(0, 0);
                }
            }
            Counted::Quota { .. } => {
                self.correct(0, 0);
                // What the exchange transfers from now on is that refusal.
                self.counted = Counted::Nothing;
            }
            Counted::Nothing => {}
        }
    }

    /// Counts what the request turned out to be: `calls` by a quota, `units` by both. What is left is told accordingly.
    pub fn correct(&mut self, calls: u64, units: u64) {
        let key = self.key.as_str();
        let (was, is) = match &mut self.counted {
            Counted::Nothing => return,
            Counted::Rate { rule, rate, decision, units: counted, .. } => {
                let (was, is) = (*counted, u32::try_from(units).unwrap_or(u32::MAX));
                let ask = |cost| Ask { key, cost, count: rule.count, rate: *rate };
                if is > was {
                    rule.limit.charge(&ask(is - was));
                } else if is < was {
                    rule.limit.give_back(&ask(was - is), decision);
                }
                *counted = is;
                (u64::from(was), u64::from(is))
            }
            Counted::Quota { book, first, ticket, calls: counted_calls, units: counted_units, of_units, .. } => {
                book.settle(key, *first, *ticket, (*counted_calls, calls), (*counted_units, units));
                let told = if *of_units { (*counted_units, units) } else { (*counted_calls, calls) };
                (*counted_calls, *counted_units) = (calls, units);
                told
            }
        };
        self.standing.remaining = (self.standing.remaining + was).saturating_sub(is).min(self.standing.limit);
    }

    /// Tells in how many seconds there is more, where that was not told because nothing had been used when it was decided.
    pub fn tell_when_more(&mut self, clock: &Clock) {
        if self.standing.more > 0 || self.standing.remaining >= self.standing.limit {
            return;
        }
        let more = match &self.counted {
            Counted::Nothing => None,
            Counted::Rate { rule, rate, .. } => {
                let settings = rule.limit.settings();
                Some(settings.soonest(&rate.unwrap_or_else(|| settings.rate())))
            }
            Counted::Quota { ticket, .. } => ticket.counts_for(schedule::millis(clock.wall())),
        };
        if let Some(more) = more {
            self.standing.more = more.as_secs().saturating_add(u64::from(more.subsec_nanos() > 0));
            self.standing.reset = self.standing.reset.max(self.standing.more);
        }
    }

    /// How much has been counted: calls and units.
    pub fn counts(&self) -> (u64, u64) {
        match &self.counted {
            Counted::Nothing => (0, 0),
            Counted::Rate { units, .. } => (0, (*units).into()),
            Counted::Quota { calls, units, .. } => (*calls, *units),
        }
    }

    /// Whether something is left to be counted when the answer is known.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.counted, Counted::Rate { pending: true, .. })
    }

    /// What is to be counted now that no more is left to be seen; none when nothing is pending.
    fn due(&mut self) -> Option<Arc<Rule>> {
        match &mut self.counted {
            Counted::Rate { rule, pending, .. } => std::mem::take(pending).then(|| rule.clone()),
            _ => None,
        }
    }

    /// Counts what the answer says.
    fn settle(&mut self, cx: &Context<'_>) {
        let Some(rule) = self.due() else { return };
        let Some(later) = &rule.later else { return };
        let counts = later.condition.as_ref().map_or(Ok(true), |condition| condition.boolean(cx));
        let cost = counts.and_then(|counts| if counts { later.cost.of(cx) } else { Ok(0) });
        let cost = cost.unwrap_or_else(|error| {
            let id = cx.exchange.request_id.to_str().unwrap_or_default();
            tracing::warn!(request_id = id, "what a request costs cannot be evaluated, so it counts as one: {error}");
            later.least()
        });
        let told = self.standing;
        self.correct(0, cost.into());
        // It tells how the key stood when the request was admitted; others have come since.
        self.standing = told;
    }

    /// Counts a request whose caller left before there was an answer: leaving early is not a way around the limit.
    pub fn abandon(&mut self) {
        let Some(rule) = self.due() else { return };
        let least = rule.later.as_ref().map_or(0, Later::least).into();
        if least > self.counts().1 {
            self.correct(0, least);
        }
    }

    fn remaining_header(&self) -> Option<&HeaderName> {
        match &self.counted {
            Counted::Rate { rule, .. } => rule.remaining.as_ref(),
            _ => None,
        }
    }
}

impl Later {
    /// What counts where the answer's own cost is not known.
    fn least(&self) -> u32 {
        self.cost.constant().unwrap_or(1).max(self.reserve)
    }
}

/// Takes back what the limits of an exchange counted, because one of them refuses it.
pub(super) fn refused(limits: &mut [Limited]) {
    limits.iter_mut().for_each(Limited::refused_elsewhere);
}

/// Settles all limits of an exchange whose answer is known.
pub(super) fn settle(limits: &mut [Limited], cx: &Context<'_>) {
    for limited in limits {
        limited.settle(cx);
    }
}
