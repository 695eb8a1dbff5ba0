//! What clients do when they are refused.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;

use crate::config::diagnostic::suggest;

const SECOND: u64 = 1_000_000_000;

/// What a client does about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// It asks once.
    Once,
    /// It asks again after a second, whatever the answer says, up to 100 times.
    Naive,
    /// It waits exactly as long as `Retry-After` says, a second without, up to 100 times.
    HonoursRetryAfter,
    /// It waits a random time up to 1 s, 2 s, 4 s … 30 s, up to 10 times.
    ExponentialJitter,
    /// Power Automate's default retry policy: 4 times on 408, 429 and 5xx, at intervals that grow by 7.5 s and stay between
    /// 5 s and 45 s.
    PowerAutomate,
    /// `retry` of Azure API Management, with count 10, interval 1, delta 1 and max-interval 30, on 429 and 5xx.
    Apim,
    /// It asks until it is refused, `gap` apart; waits exactly as long as `Retry-After` says; asks once more.
    DrainThenWait {
        /// The time between two requests.
        gap: u64,
        /// How many requests it makes at most before it gives up on being refused.
        at_most: u32,
    },
    /// The same with the time that `RateLimit` says is left until the limit is reset.
    DrainThenReset {
        /// The time between two requests.
        gap: u64,
        /// How many requests it makes at most before it gives up on being refused.
        at_most: u32,
    },
}

/// The strategies that can be chosen, with their names.
pub const STRATEGIES: [(&str, Strategy); 6] = [
    ("once", Strategy::Once),
    ("naive", Strategy::Naive),
    ("honours-retry-after", Strategy::HonoursRetryAfter),
    ("exponential-jitter", Strategy::ExponentialJitter),
    ("power-automate", Strategy::PowerAutomate),
    ("apim-retry", Strategy::Apim),
];

/// What a strategy sees of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The status; 0 when no answer came.
    pub status: u16,
    /// Whether the limit refused it.
    pub refused: bool,
    /// `Retry-After`, in nanoseconds.
    pub retry_after: Option<u64>,
    /// The time until the limit is reset, in nanoseconds.
    pub reset: Option<u64>,
}

impl Strategy {
    /// How long the client waits before its next attempt; none when it is done. `attempts` were made, and `refusals` of
    /// them were refused before this one.
    pub fn wait(self, seen: &Seen, attempts: u32, refusals: u32, rng: &mut Rng) -> Option<u64> {
        let failed = seen.refused || matches!(seen.status, 0 | 408 | 429 | 500..=599);
        let times = |most: u32| failed && attempts <= most;
        match self {
            Self::Once => None,
            Self::Naive => times(100).then_some(SECOND),
            Self::HonoursRetryAfter => times(100).then(|| seen.retry_after.unwrap_or(SECOND)),
            Self::ExponentialJitter => {
                let ceiling = SECOND.saturating_mul(1 << (attempts - 1).min(5)).min(30 * SECOND);
                times(10).then(|| rng.u64(0..=ceiling))
            }
            Self::PowerAutomate => {
                // The ranges of https://learn.microsoft.com/azure/logic-apps/error-exception-handling: from
                // 2^(n-2) to 2^(n-1) intervals, within the minimum and the maximum.
                let interval = 7_500_000_000_u64;
                let bound = |value: u64| value.clamp(5 * SECOND, 45 * SECOND);
                let above = bound(interval << (attempts - 1).min(8));
                let below = bound(if attempts == 1 { 0 } else { interval << (attempts - 2).min(8) });
                times(4).then(|| rng.u64(below..=above))
            }
            Self::Apim => {
                // interval + (2^(n - 1) - 1) × random(0.8 δ, 1.2 δ), up to max-interval.
                let steps = (1_u64 << (attempts - 1).min(20)) - 1;
                let delta = rng.u64(SECOND * 8 / 10..=SECOND * 12 / 10);
                times(10).then(|| SECOND.saturating_add(steps.saturating_mul(delta)).min(30 * SECOND))
            }
            Self::DrainThenWait { gap, at_most } => match (seen.refused, refusals) {
                (false, 0) => (attempts < at_most && seen.status != 0).then_some(gap),
                (true, 0) => seen.retry_after,
                _ => None,
            },
            Self::DrainThenReset { gap, at_most } => match (seen.refused, refusals) {
                (false, 0) => (attempts < at_most && seen.status != 0).then_some(gap),
                (true, 0) => seen.reset,
                _ => None,
            },
        }
    }

    /// Whether its waits before it is refused count from when it asked, not from when it was answered.
    pub fn keeps_pace(self) -> bool {
        matches!(self, Self::DrainThenWait { .. } | Self::DrainThenReset { .. })
    }

    /// Whether clients with this strategy may ask more than once.
    pub fn repeats(self) -> bool {
        self != Self::Once
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = STRATEGIES.iter().find(|(_, strategy)| strategy == self);
        f.write_str(match (named, self) {
            (Some((name, _)), _) => name,
            (None, Self::DrainThenReset { .. }) => "waits for the reset",
            (None, _) => "waits for Retry-After",
        })
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = STRATEGIES.map(|(name, _)| name);
        STRATEGIES.iter().find(|(name, _)| *name == text).map(|(_, strategy)| *strategy).ok_or_else(|| {
            let hint = suggest(text, names).unwrap_or_else(|| format!("expected one of {}", names.join(", ")));
            format!("`{text}` is no strategy; {hint}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(strategy: Strategy, seen: Seen, most: u32) -> Vec<Option<f64>> {
        let mut rng = Rng::with_seed(1);
        (1..=most)
            .map(|attempt| strategy.wait(&seen, attempt, attempt - 1, &mut rng).map(|wait| wait as f64 / 1e9))
            .collect()
    }

    const REFUSED: Seen = Seen { status: 429, refused: true, retry_after: Some(7 * SECOND), reset: None };

    #[test]
    fn an_answer_that_is_no_failure_ends_it() {
        let fine = Seen { status: 200, ..Seen::default() };
        for (name, strategy) in STRATEGIES {
            assert_eq!(waits(strategy, fine, 1), [None], "{name}");
            assert_eq!(strategy.to_string().parse::<Strategy>(), Ok(strategy));
        }
        assert!("power".parse::<Strategy>().is_err());
    }

    #[test]
    fn waits_are_in_their_ranges() {
        struct Case {
            strategy: Strategy,
            ranges: &'static [(f64, f64)],
        }
        for Case { strategy, ranges } in [
            Case { strategy: Strategy::Once, ranges: &[] },
            Case { strategy: Strategy::Naive, ranges: &[(1.0, 1.0); 100] },
            Case { strategy: Strategy::HonoursRetryAfter, ranges: &[(7.0, 7.0); 100] },
            Case { strategy: Strategy::PowerAutomate, ranges: &[(5.0, 7.5), (7.5, 15.0), (15.0, 30.0), (30.0, 45.0)] },
            Case {
                strategy: Strategy::Apim,
                ranges: &[
                    (1.0, 1.0),
                    (1.8, 2.2),
                    (3.4, 4.6),
                    (6.6, 9.4),
                    (13.0, 19.0),
                    (25.8, 30.0),
                    (30.0, 30.0),
                    (30.0, 30.0),
                    (30.0, 30.0),
                    (30.0, 30.0),
                ],
            },
            Case {
                strategy: Strategy::ExponentialJitter,
                ranges: &[
                    (0.0, 1.0),
                    (0.0, 2.0),
                    (0.0, 4.0),
                    (0.0, 8.0),
                    (0.0, 16.0),
                    (0.0, 30.0),
                    (0.0, 30.0),
                    (0.0, 30.0),
                    (0.0, 30.0),
                    (0.0, 30.0),
                ],
            },
        ] {
            let found = waits(strategy, REFUSED, 101);
            let given: Vec<f64> = found.iter().flatten().copied().collect();
            assert_eq!(given.len(), ranges.len(), "{strategy}");
            for (wait, (least, most)) in given.iter().zip(ranges) {
                assert!(least <= wait && wait <= most, "{strategy}: {wait} is not in {least}..{most}");
            }
        }
    }

    #[test]
    fn a_cohort_drains_waits_and_asks_once_more() {
        let strategy = Strategy::DrainThenWait { gap: 5, at_most: 3 };
        let mut rng = Rng::with_seed(1);
        let fine = Seen { status: 200, ..Seen::default() };
        let mut wait = |seen: &Seen, attempts, refusals| strategy.wait(seen, attempts, refusals, &mut rng);
        assert_eq!(wait(&fine, 1, 0), Some(5));
        assert_eq!(wait(&fine, 3, 0), None, "it was never refused");
        assert_eq!(wait(&REFUSED, 2, 0), Some(7 * SECOND));
        assert_eq!(wait(&Seen { retry_after: None, ..REFUSED }, 2, 0), None, "nothing to wait for");
        assert_eq!(wait(&fine, 3, 1), None);
        assert_eq!(wait(&REFUSED, 3, 1), None, "refused again is the end");
    }
}
