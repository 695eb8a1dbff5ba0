//! What is asked of a limit, and what it answers.

use std::time::Duration;

use super::Rate;
use crate::clock::Nanos;

/// What is said at most: a year, where the true wait is longer.
const LONGEST_SECONDS: u64 = 365 * 24 * 60 * 60;

/// A request, as a limit sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose it is.
    pub key: &'a str,
    /// How much it costs. A cost of 0 counts nothing, is always admitted and shows what is left.
    pub cost: u32,
    /// Whether the cost is counted.
    pub count: Count,
    /// The rate to apply, where the limit's [varies](super::Settings::varying); the limit's own when there is none.
    pub rate: Option<Rate>,
}

impl<'a> Ask<'a> {
    /// A request that counts when it is admitted.
    pub fn new(key: &'a str, cost: u32) -> Self {
        Self { key, cost, count: Count::Admitted, rate: None }
    }
}

/// Which requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Count {
    /// Those that are admitted.
    #[default]
    Admitted,
    /// Those that are refused too, so that a client has to stop before it is admitted again. What a refused request counts
    /// never puts a key further back than having just used everything.
    All,
    /// None now; an admitted one is counted later, by [`charge`](super::Limit::charge), so that there has to be room for its key.
    Later,
    /// None: the limit only says whether it would admit one.
    Never,
}

/// What a limit says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub admitted: bool,
    /// The most that the key can have admitted at once: `calls`, or the bucket's `burst`.
    pub limit: u32,
    /// What the key has left after this decision.
    pub remaining: u32,
    /// How long until the same request would be admitted: zero when it was, [`Duration::MAX`] when its cost is above
    /// the limit, so that it never can be.
    pub retry_after: Duration,
    /// How long until the key has more left than now, if it makes no more requests; zero when it has its full allowance.
    pub more: Duration,
    /// How long until the key is back to full, if it makes no more requests.
    pub reset: Duration,
    /// When it was decided, on the clock of who decided.
    pub at: Nanos,
    /// Whether the key could not be counted because `max_keys` others are held.
    pub overflowed: bool,
}

impl Decision {
    /// The value of `Retry-After` (RFC 9110 §10.2.3): the wait rounded up, so that a client which waits exactly that
    /// long is admitted; never 0 on a rejected request. None when it was admitted, or when no wait helps.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        (!self.admitted && self.retry_after != Duration::MAX)
            .then(|| ceil_seconds(self.retry_after).clamp(1, LONGEST_SECONDS))
    }

    /// The whole seconds until the key is back to full, rounded up.
    pub fn reset_seconds(&self) -> u64 {
        ceil_seconds(self.reset).min(LONGEST_SECONDS)
    }

    /// The whole seconds until there is more, rounded up; on a rejected request until it would be admitted. This is the `t`
    /// parameter of the IETF `RateLimit` field, which does not name an earlier time than `Retry-After`.
    pub fn more_seconds(&self) -> u64 {
        self.retry_after_seconds().unwrap_or_else(|| ceil_seconds(self.more)).min(LONGEST_SECONDS)
    }
}

/// Whole seconds, rounded up.
pub(super) fn ceil_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}
