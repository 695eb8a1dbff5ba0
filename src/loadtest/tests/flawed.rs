//! A limiter with one deliberate flaw, of the kinds that widely used gateways have.

use std::collections::{HashMap, VecDeque};

use crate::loadtest::plan::Act;
use crate::loadtest::record::{Answer, Attempt, Kind};
use crate::loadtest::virtual_time::Subject;

const SECOND: u64 = 1_000_000_000;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loadtest) enum Flaw {
    /// Nothing.
    None,
    /// It checks now and counts a tenth of a second later (Kong).
    CountsLater,
    /// What it refuses counts too, so that under overload nothing is admitted (pingap, Tyk).
    CountsRefusals,
    /// It holds 20 keys, whether or not they are back to full (Envoy Gateway).
    ForgetsKeys,
    /// A key that was quiet for a tenth of the period is dropped (Traefik, APISIX).
    ForgetsEarly,
    /// A missing key is no limit.
    MissingKeyIsUnlimited,
    /// Who has no key is turned away.
    MissingKeyIsRefused,
    /// `Retry-After` is the whole window (.NET).
    WholeWindow,
    /// `Retry-After` is rounded down (dev-proxy).
    Truncates,
    /// `Retry-After` is 0.
    Zero,
    /// There is no `Retry-After` (agentgateway, APISIX, KrakenD).
    NoRetryAfter,
    /// There is no `RateLimit`.
    NoFields,
    /// There is one on refusals only.
    FieldsOnRefusals,
    /// Of several limits, it tells of the first.
    TellsOfFirst,
    /// What it says is left is what was left a moment ago.
    StaleRemaining,
    /// The reset that it tells is too early.
    EarlyReset,
    /// Windows begin on the clock, though it is to be a sliding window.
    Aligned,
    /// Twice the limit in any window.
    Twice,
    /// No limit at all, as where zero or a number that cannot be read stands for "unlimited" (Traefik).
    Unlimited,
    /// Of several limits, only the first applies.
    FirstLimitOnly,
    /// A reload forgets everything (Traefik, agentgateway).
    ReloadRefills,
    /// Three replicas count by themselves.
    ReplicasAlone,
    /// Three replicas tell each other now and then, and forget what they had counted themselves (Kong).
    SyncForgets,
    /// Without the store every request is a 500 (Traefik).
    FailsWithoutStore,
    /// Without the store each request waits five seconds for it (envoyproxy/ratelimit).
    WaitsForStore,
    /// It refuses though it is to count only.
    RefusesInShadow,
    /// Preflights count.
    CountsPreflights,
    /// It believes whatever address a caller forges.
    BelievesForgers,
    /// Each address of an IPv6 network is somebody else.
    WholeIpv6,
    /// Now and then it refuses somebody for nothing.
    RefusesAtRandom,
    /// The busiest keys take from all others.
    OneBucketForAll,
}

/// At most so many in any window of a period, but for the flaw.
pub(in crate::loadtest) struct Flawed {
    flaw: Flaw,
    /// Calls and period.
    limits: Vec<(usize, u64)>,
    keys: HashMap<String, Key>,
    used: VecDeque<String>,
    asked: u64,
    synced: u64,
    without_store: bool,
    takes: Option<u64>,
}

#[derive(Default)]
struct Key {
    /// When its requests count, in order.
    counted: VecDeque<u64>,
    last: u64,
}

impl Flawed {
    pub(in crate::loadtest) fn new(flaw: Flaw, limits: &[(usize, u64)]) -> Self {
        Self {
            flaw,
            limits: limits.to_vec(),
            keys: HashMap::new(),
            used: VecDeque::new(),
            asked: 0,
            synced: 0,
            without_store: false,
            takes: None,
        }
    }

    fn name(&self, key: Option<&str>, attempt: &Attempt) -> Option<String> {
        let name = match (self.flaw, key) {
            (Flaw::OneBucketForAll, _) => "everybody".to_owned(),
            (Flaw::BelievesForgers, _) if attempt.kind == Kind::Forged => format!("forged {}", attempt.job),
            (Flaw::WholeIpv6, _) if attempt.kind == Kind::Network => format!("address {}", attempt.job),
            (Flaw::MissingKeyIsUnlimited, None) => return None,
            (_, None) => "nobody".to_owned(),
            (_, Some(key)) => key.to_owned(),
        };
        Some(match self.flaw {
            Flaw::ReplicasAlone | Flaw::SyncForgets => format!("{name} at {}", self.asked % 3),
            _ => name,
        })
    }

    /// How long until there is room in each limit; zero when there is, and how much is left.
    fn look(&self, key: &Key, now: u64) -> (u64, usize) {
        let told = if self.flaw == Flaw::TellsOfFirst { 1 } else { self.limits.len() };
        let applying = if self.flaw == Flaw::FirstLimitOnly { &self.limits[..1] } else { &self.limits[..] };
        let mut wait = 0;
        let mut left = usize::MAX;
        for (number, (calls, period)) in applying.iter().enumerate() {
            let calls = if self.flaw == Flaw::Twice { calls * 2 } else { *calls };
            let inside = |at: &&u64| match self.flaw {
                Flaw::Aligned => **at / period == now / period,
                _ => now < **at + period,
            };
            let count = key.counted.iter().filter(|at| **at <= now).filter(inside).count();
            if number < told {
                left = left.min(calls.saturating_sub(count));
            }
            if count >= calls {
                let until = match self.flaw {
                    Flaw::Aligned => (now / period + 1) * period,
                    _ => key.counted[key.counted.len() - calls.min(key.counted.len())] + period,
                };
                wait = wait.max(until.saturating_sub(now)).max(1);
            }
        }
        (wait, left)
    }
}

impl Subject for Flawed {
    fn ask(&mut self, now: u64, key: Option<&str>, attempt: &Attempt) -> Answer {
        self.takes = None;
        self.asked += 1;
        if self.without_store && self.flaw == Flaw::FailsWithoutStore {
            return Answer { status: 500, ..Answer::default() };
        }
        if self.without_store && self.flaw == Flaw::WaitsForStore {
            self.takes = Some(5 * SECOND);
        }
        let fine = Answer { status: 200, ..Answer::default() };
        if attempt.kind == Kind::Preflight && self.flaw != Flaw::CountsPreflights {
            return fine;
        }
        if self.flaw == Flaw::Unlimited {
            return fine;
        }
        if key.is_none() && self.flaw == Flaw::MissingKeyIsRefused {
            return Answer { status: 400, ..Answer::default() };
        }
        let Some(name) = self.name(key, attempt) else { return fine };
        let (_, period) = self.limits[0];
        match self.flaw {
            Flaw::ForgetsKeys => {
                self.used.retain(|one| *one != name);
                self.used.push_back(name.clone());
                if self.used.len() > 20
                    && let Some(oldest) = self.used.pop_front()
                {
                    self.keys.remove(&oldest);
                }
            }
            Flaw::SyncForgets if now / (period / 4) != self.synced => {
                self.synced = now / (period / 4);
                self.keys.clear();
            }
            _ => {}
        }
        let mut key = self.keys.remove(&name).unwrap_or_default();
        if self.flaw == Flaw::ForgetsEarly && now.saturating_sub(key.last) > period / 10 {
            key.counted.clear();
        }
        key.last = now;
        let longest = self.limits.iter().map(|(_, period)| *period).max().unwrap_or(period);
        while key.counted.front().is_some_and(|at| *at + longest <= now) {
            key.counted.pop_front();
        }
        let (wait, left) = self.look(&key, now);
        let refused = wait > 0 || (self.flaw == Flaw::RefusesAtRandom && self.asked.is_multiple_of(101));
        let counts_at = if self.flaw == Flaw::CountsLater { now + SECOND / 10 } else { now };
        if !refused || self.flaw == Flaw::CountsRefusals {
            key.counted.push_back(counts_at);
        }
        let (next, after) = self.look(&key, now);
        self.keys.insert(name, key);
        let seconds = |nanos: u64| u32::try_from(nanos.div_ceil(SECOND)).unwrap_or(u32::MAX);
        let honest = seconds(wait.max(1));
        let answer = Answer {
            status: if refused { 429 } else { 200 },
            retry_after: match self.flaw {
                _ if !refused => None,
                Flaw::NoRetryAfter => None,
                Flaw::Zero => Some(0),
                Flaw::WholeWindow => Some(seconds(period)),
                Flaw::Truncates => Some(u32::try_from(wait / SECOND).unwrap_or(u32::MAX).max(1)),
                _ => Some(honest),
            },
            remaining: Some(u32::try_from(if self.flaw == Flaw::StaleRemaining { left } else { after }).unwrap_or(0)),
            reset: Some(if self.flaw == Flaw::EarlyReset {
                honest.div_ceil(2).min(2)
            } else {
                seconds(next.max(wait))
            }),
            limit: None,
        };
        if self.flaw == Flaw::NoFields || (self.flaw == Flaw::FieldsOnRefusals && !refused) {
            return Answer { remaining: None, reset: None, ..answer };
        }
        answer
    }

    fn takes(&self) -> Option<u64> {
        self.takes
    }

    fn act(&mut self, _: u64, act: Act) {
        match act {
            Act::Reload if self.flaw == Flaw::ReloadRefills => self.keys.clear(),
            Act::Reload => {}
            Act::StoreDown => self.without_store = true,
            Act::StoreUp => self.without_store = false,
        }
    }
}
