//! A limit counted in the memory of this process, shared by all workers.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use super::bucket::Bucket;
use super::fixed::Fixed;
use super::keys::{Keys, Moved, Outcome};
use super::meter::{Carried, Meter, Varying};
use super::slots::Slots;
use super::window::Window;
use super::{Algorithm, Ask, Decision, Overflow, Precision, Rate, Settings, WindowStart};
use crate::clock::Clock;

/// One limit and the state of its keys.
#[derive(Debug)]
pub struct Limiter {
    settings: Settings,
    clock: Clock,
    store: Box<dyn Store>,
    /// Who counts on when a reload changed this limit; requests still on the old configuration go there too.
    successor: OnceLock<Arc<Self>>,
}

/// The keys of one limit, whatever its algorithm.
trait Store: std::fmt::Debug + Send + Sync {
    fn len(&self) -> usize;
    fn decide(&self, ask: &Ask<'_>, clock: &Clock) -> Outcome;
    fn charge(&self, ask: &Ask<'_>, clock: &Clock) -> Result<(), Moved>;
    fn give_back(&self, ask: &Ask<'_>, decision: &Decision, clock: &Clock) -> Result<(), Moved>;
    fn drain(&self, now: u64, adopt: &mut dyn FnMut(&[u8], Carried));
    fn adopt(&self, key: &[u8], now: u64, carried: Carried);
}

/// Keys that are all counted under one rate.
#[derive(Debug)]
struct Constant<M: Meter> {
    meter: M,
    keys: Keys<M>,
}

impl<M: Meter + std::fmt::Debug> Store for Constant<M> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn decide(&self, ask: &Ask<'_>, clock: &Clock) -> Outcome {
        self.keys.decide(&self.meter, ask, clock)
    }

    fn charge(&self, ask: &Ask<'_>, clock: &Clock) -> Result<(), Moved> {
        self.keys.charge(&self.meter, ask.key, ask.cost, clock)
    }

    fn give_back(&self, ask: &Ask<'_>, decision: &Decision, clock: &Clock) -> Result<(), Moved> {
        self.keys.give_back(&self.meter, ask.key, ask.cost, decision, clock)
    }

    fn drain(&self, now: u64, adopt: &mut dyn FnMut(&[u8], Carried)) {
        self.keys.drain(&self.meter, now, adopt);
    }

    fn adopt(&self, key: &[u8], now: u64, carried: Carried) {
        self.keys.adopt(&self.meter, key, now, carried);
    }
}

/// Keys whose rate comes with each request.
struct Variable<M: Meter + PartialEq, F> {
    make: F,
    rate: Rate,
    keys: Keys<Varying<M>>,
}

impl<M: Meter + PartialEq, F> std::fmt::Debug for Variable<M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl<M: Meter + PartialEq, F: Fn(&Rate) -> M> Variable<M, F> {
    fn meter(&self, ask: &Ask<'_>) -> Varying<M> {
        Varying((self.make)(ask.rate.as_ref().unwrap_or(&self.rate)))
    }
}

impl<M: Meter + PartialEq, F: Fn(&Rate) -> M + Send + Sync> Store for Variable<M, F> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn decide(&self, ask: &Ask<'_>, clock: &Clock) -> Outcome {
        self.keys.decide(&self.meter(ask), ask, clock)
    }

    fn charge(&self, ask: &Ask<'_>, clock: &Clock) -> Result<(), Moved> {
        self.keys.charge(&self.meter(ask), ask.key, ask.cost, clock)
    }

    fn give_back(&self, ask: &Ask<'_>, decision: &Decision, clock: &Clock) -> Result<(), Moved> {
        self.keys.give_back(&self.meter(ask), ask.key, ask.cost, decision, clock)
    }

    fn drain(&self, now: u64, adopt: &mut dyn FnMut(&[u8], Carried)) {
        self.keys.drain(&Varying((self.make)(&self.rate)), now, adopt);
    }

    fn adopt(&self, key: &[u8], now: u64, carried: Carried) {
        self.keys.adopt(&Varying((self.make)(&self.rate)), key, now, carried);
    }
}

fn store<M, F>(settings: &Settings, make: F) -> Box<dyn Store>
where
    M: Meter + PartialEq + std::fmt::Debug,
    F: Fn(&Rate) -> M + Send + Sync + 'static,
{
    let (rate, bound) = (settings.rate(), settings.max_keys.get());
    if settings.varying {
        Box::new(Variable { make, rate, keys: Keys::new(bound) })
    } else {
        Box::new(Constant { meter: make(&rate), keys: Keys::new(bound) })
    }
}

impl Limiter {
    /// A limit with no keys yet. A `period` of zero counts as one nanosecond.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let store = match settings.algorithm {
            Algorithm::SlidingWindow { precision: Precision::Exact } => store(&settings, Window::new),
            Algorithm::SlidingWindow { precision: Precision::Slots(slots) } => {
                store(&settings, move |rate| Slots::new(rate, slots.get()))
            }
            Algorithm::TokenBucket { .. } => store(&settings, Bucket::new),
            Algorithm::FixedWindow { start } => {
                let epoch = (start == WindowStart::Clock).then(|| epoch(&clock));
                store(&settings, move |rate| Fixed::new(rate, epoch))
            }
        };
        Self { settings, clock, store, successor: OnceLock::new() }
    }

    /// The limit as configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many keys are held.
    pub fn keys(&self) -> usize {
        self.store.len()
    }

    /// Decides on a request of `key` that costs `cost`, and counts it when it is admitted.
    pub fn decide(&self, key: &str, cost: u32) -> Decision {
        self.ask(&Ask::new(key, cost))
    }

    /// Decides on a request, and counts it as it asks for: one atomic step.
    pub fn ask(&self, ask: &Ask<'_>) -> Decision {
        match self.store.decide(ask, &self.clock) {
            Outcome::Decided(decision) => decision,
            Outcome::Overflow { wait } => self.overflow(ask, wait),
            Outcome::Moved => match self.successor.get() {
                Some(successor) => successor.ask(ask),
                // `hand_over` names the successor before it moves the first key.
                None => self.overflow(ask, Duration::ZERO),
            },
        }
    }

    /// Counts the cost, whether or not there is room for it: what was found out about a request after it was admitted. The key
    /// has the less later. A new key is held beyond `max_keys` too, up to as many again.
    pub fn charge(&self, ask: &Ask<'_>) {
        if self.store.charge(ask, &self.clock).is_err()
            && let Some(successor) = self.successor.get()
        {
            successor.charge(ask);
        }
    }

    /// Takes back part or all of the cost that was counted for a decision, as far as the bound of what is counted holds all the
    /// same: nothing once it has left the window, or once a bucket may have been full again.
    pub fn give_back(&self, ask: &Ask<'_>, decision: &Decision) {
        if self.store.give_back(ask, decision, &self.clock).is_err()
            && let Some(successor) = self.successor.get()
        {
            successor.give_back(ask, decision);
        }
    }

    fn overflow(&self, ask: &Ask<'_>, wait: Duration) -> Decision {
        let admitted = self.settings.on_overflow == Overflow::Admit;
        Decision {
            admitted,
            limit: self.settings.capacity(&ask.rate.unwrap_or_else(|| self.settings.rate())),
            remaining: 0,
            retry_after: if admitted { Duration::ZERO } else { wait },
            more: wait,
            reset: wait,
            at: self.clock.now(),
            overflowed: true,
        }
    }

    /// Moves the state of every key to `successor`, which takes all later decisions too, so that neither a reload nor a
    /// request still running on the old configuration refills a limit.
    pub(super) fn hand_over(&self, successor: &Arc<Self>) {
        if self.successor.set(Arc::clone(successor)).is_err() {
            return;
        }
        let now = self.clock.now().0;
        self.store.drain(now, &mut |key, carried| successor.store.adopt(key, now, carried));
    }
}

/// The calendar time of the clock's zero, in nanoseconds since 1970.
fn epoch(clock: &Clock) -> u64 {
    let wall = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX).saturating_sub(clock.now().0)
}
