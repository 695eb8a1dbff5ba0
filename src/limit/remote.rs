//! A limit that several gateways count together, in a Redis or Valkey server.
//!
//! A decision is one script, so one atomic step in one round trip, with the bounds of the limit in memory and the server's clock.
//! Two things make a difference: times are whole microseconds, and a limit that changed takes over what was counted as counts (the
//! windows) or as the same share (the bucket). Another algorithm begins anew. The server forgets a key once it is back to full;
//! `max_keys` does not apply there.

mod concurrency;
mod lease;

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::digest;
use redis::Cmd;

pub(super) use self::concurrency::Place;
pub use self::concurrency::RemoteConcurrency;
pub use self::lease::Lease;
use self::lease::{Leases, Spent};
use super::{Algorithm, Ask, Count, Decision, Limiter, Pending, Precision, Rate, Settings, SharedLimit, WindowStart};
use crate::clock::{Clock, Nanos};
use crate::shared_store::redis::Script;
use crate::shared_store::{Redis, StoreError};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("remote/limit.lua")));

/// Longer keys are kept as a digest, as in memory.
const LONGEST_KEY: usize = 256;

/// What decides while the store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStoreError {
    /// A limit in the memory of this gateway.
    #[default]
    Local,
    /// Nobody: requests are admitted uncounted.
    Allow,
    /// Nobody: requests are refused.
    Deny,
}

/// Where and how gateways count together.
#[derive(Clone, Debug)]
pub struct SharedCounters {
    /// The store.
    pub store: Arc<Redis>,
    /// What decides while it does not answer.
    pub on_error: OnStoreError,
    /// How many gateways there are.
    pub replicas: u32,
    /// Whether units are taken in advance.
    pub lease: Option<Lease>,
}

impl PartialEq for SharedCounters {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
            && (self.on_error, self.replicas, self.lease) == (other.on_error, other.replicas, other.lease)
    }
}

impl SharedCounters {
    /// This gateway's part of a limit, for the time that the store does not answer.
    pub fn local(&self, settings: &Settings) -> Settings {
        let algorithm = match settings.algorithm {
            Algorithm::TokenBucket { burst } => Algorithm::TokenBucket { burst: self.part(burst) },
            other => other,
        };
        Settings { algorithm, calls: self.part(settings.calls), ..settings.clone() }
    }

    /// This gateway's part of a number, rounded up.
    pub fn part(&self, whole: NonZeroU32) -> NonZeroU32 {
        NonZeroU32::new(whole.get().div_ceil(self.replicas.max(1))).unwrap_or(NonZeroU32::MIN)
    }
}

/// A limit in a store.
#[derive(Debug)]
pub struct RemoteLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    /// What its keys begin with in the store.
    name: String,
    store: Arc<Redis>,
    on_error: OnStoreError,
    /// Counts while the store does not answer.
    local: Arc<Limiter>,
    leases: Option<Leases>,
    clock: Clock,
    /// Takes the place of the server's clock.
    time: Option<Clock>,
}

/// The script's word for counting what was found out later.
const CHARGE: &str = "charge";

/// What a script answers; times in microseconds, and units in the end.
type Reply = (i64, i64, i64, i64, i64, i64, i64);

impl RemoteLimit {
    /// The limit of the policy `id`. `local` decides while the store does not answer, where that is asked for.
    pub fn new(id: &str, settings: Settings, counters: &SharedCounters, local: Arc<Limiter>, clock: Clock) -> Self {
        let letter = match settings.algorithm {
            Algorithm::SlidingWindow { precision: Precision::Exact } => 'w',
            Algorithm::SlidingWindow { precision: Precision::Slots(_) } => 's',
            Algorithm::TokenBucket { .. } => 'b',
            Algorithm::FixedWindow { .. } => 'f',
        };
        let store = Arc::clone(&counters.store);
        let name = format!("{}limit:{letter}:{id}:", store.settings().prefix);
        let leases = counters.lease.map(|lease| Leases::new(lease, settings.max_keys.get()));
        let on_error = counters.on_error;
        Self(Arc::new(Shared { settings, name, store, on_error, local, leases, clock, time: None }))
    }

    /// The same under another clock than the server's, for tests. Its wall time must not go back.
    #[must_use]
    pub fn with_time(self, clock: Clock) -> Self {
        let mut shared = self.0;
        // Nobody else has it yet.
        if let Some(shared) = Arc::get_mut(&mut shared) {
            shared.time = Some(clock);
        }
        Self(shared)
    }
}

impl SharedLimit for RemoteLimit {
    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn ask<'a>(&'a self, ask: Ask<'a>) -> Pending<'a> {
        Box::pin(self.0.ask(ask))
    }

    fn charge(&self, ask: &Ask<'_>) {
        self.later(ask, CHARGE, String::new());
    }

    fn give_back(&self, ask: &Ask<'_>, decision: &Decision) {
        let at = decision.at.0 / 1000;
        let extra = match self.0.settings.algorithm {
            Algorithm::TokenBucket { .. } => format!("{at}:{}", (decision.at + decision.reset).0 / 1000),
            Algorithm::SlidingWindow { .. } | Algorithm::FixedWindow { .. } => at.to_string(),
        };
        self.later(ask, "give-back", extra);
    }
}

impl RemoteLimit {
    /// Corrects what was counted, without anybody waiting for it. What the store does not take counts against this gateway's part,
    /// where that decides meanwhile; what it does not give back stays counted.
    fn later(&self, ask: &Ask<'_>, operation: &'static str, extra: String) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, key) = (Arc::clone(&self.0), store_key(&self.0.name, ask.key));
        let (cost, own_key, own_rate) = (ask.cost, ask.key.to_owned(), ask.rate);
        runtime.spawn(async move {
            let rate = own_rate.unwrap_or_else(|| shared.settings.rate());
            let run = shared.store.run::<Reply>(&SCRIPT, &key, |command| {
                shared.arguments(command, operation, &rate, cost, &extra);
            });
            // The store has logged why.
            if run.await.is_err() && operation == CHARGE && shared.on_error == OnStoreError::Local {
                shared.local.charge(&Ask { key: &own_key, cost, count: Count::Admitted, rate: own_rate });
            }
        });
    }
}

impl Shared {
    async fn ask(&self, ask: Ask<'_>) -> Decision {
        if let Some(leases) = &self.leases
            && ask.count == Count::Admitted
            && ask.rate.is_none()
            && ask.cost > 0
        {
            return self.ask_leased(leases, &ask).await;
        }
        match self.take(&ask, ask.cost).await {
            Ok((decision, _)) => decision,
            Err(_) => self.without_store(&ask),
        }
    }

    async fn ask_leased(&self, leases: &Leases, ask: &Ask<'_>) -> Decision {
        let taking = match leases.spend(ask.key, ask.cost, self.clock.now()) {
            Spent::Units(decision) => return decision,
            Spent::Alone => None,
            Spent::Nothing(taking) => Some(taking),
        };
        let wanted = if taking.is_some() { leases.units(self.settings.calls.get()).max(ask.cost) } else { ask.cost };
        match self.take(ask, wanted).await {
            Ok((decision, taken)) => {
                let kept = taken.saturating_sub(ask.cost);
                if let Some(taking) = taking.filter(|_| decision.admitted) {
                    taking.keep(kept, decision, self.clock.now());
                }
                Decision { remaining: decision.remaining.saturating_add(kept), ..decision }
            }
            Err(_) => self.without_store(ask),
        }
    }

    /// Asks the store for so many units, and for no more than are left as long as the cost is; says how many it counted of an
    /// admitted request.
    async fn take(&self, ask: &Ask<'_>, units: u32) -> Result<(Decision, u32), StoreError> {
        let rate = ask.rate.unwrap_or_else(|| self.settings.rate());
        let count = match ask.count {
            Count::Admitted => "admitted",
            Count::All => "all",
            Count::Later | Count::Never => "later",
        };
        let key = store_key(&self.name, ask.key);
        let reply = self.store.run::<Reply>(&SCRIPT, &key, |command| {
            self.arguments(command, "take", &rate, units, count);
            command.arg(ask.cost);
        });
        let (admitted, remaining, retry_after, more, reset, at, taken) = reply.await?;
        let admitted = admitted == 1;
        let decision = Decision {
            admitted,
            limit: self.settings.capacity(&rate),
            remaining: u32::try_from(remaining).unwrap_or(0),
            retry_after: if retry_after < 0 { Duration::MAX } else { micros(retry_after) },
            more: micros(more),
            reset: micros(reset),
            at: Nanos(u64::try_from(at).unwrap_or(0).saturating_mul(1000)),
            overflowed: false,
        };
        Ok((decision, if admitted { u32::try_from(taken).unwrap_or(0) } else { 0 }))
    }

    fn arguments(&self, command: &mut Cmd, operation: &str, rate: &Rate, units: u32, extra: &str) {
        let period = rate.period_nanos().div_ceil(1000);
        match &self.time {
            Some(clock) => {
                let time = clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                command.arg(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
            }
            None => command.arg(""),
        };
        command.arg(operation);
        match self.settings.algorithm {
            Algorithm::SlidingWindow { precision } => {
                let width = match precision {
                    Precision::Exact => 0,
                    Precision::Slots(slots) => period.div_ceil(slots.get().into()).max(1),
                };
                command.arg("window").arg(rate.calls.get()).arg(period).arg(units).arg(extra).arg(width)
            }
            Algorithm::FixedWindow { start } => {
                let start = match start {
                    WindowStart::Clock => "clock",
                    WindowStart::FirstCall => "first-call",
                };
                command.arg("fixed").arg(rate.calls.get()).arg(period).arg(units).arg(extra).arg(start)
            }
            Algorithm::TokenBucket { .. } => {
                command.arg("bucket").arg(rate.burst.get()).arg(period).arg(units).arg(extra).arg(rate.calls.get())
            }
        };
    }

    /// The decision while the store does not answer.
    fn without_store(&self, ask: &Ask<'_>) -> Decision {
        let pause = self.store.settings().pause;
        let admitted = match self.on_error {
            OnStoreError::Local => return self.local.ask(ask),
            OnStoreError::Allow => true,
            OnStoreError::Deny => ask.cost == 0,
        };
        Decision {
            admitted,
            limit: self.settings.capacity(&ask.rate.unwrap_or_else(|| self.settings.rate())),
            remaining: 0,
            // Then somebody finds out whether the store is back.
            retry_after: if admitted { Duration::ZERO } else { pause },
            more: pause,
            reset: pause,
            at: self.clock.now(),
            overflowed: false,
        }
    }
}

/// What a key is called in the store.
fn store_key(name: &str, key: &str) -> Vec<u8> {
    let mut stored = Vec::with_capacity(name.len() + key.len().min(LONGEST_KEY));
    stored.extend_from_slice(name.as_bytes());
    if key.len() <= LONGEST_KEY {
        stored.extend_from_slice(key.as_bytes());
    } else {
        // 0xFF occurs in no UTF-8 text, so that a digest is never taken for a key.
        stored.push(0xFF);
        stored.extend_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    }
    stored
}

fn micros(time: i64) -> Duration {
    Duration::from_micros(u64::try_from(time).unwrap_or(0))
}
