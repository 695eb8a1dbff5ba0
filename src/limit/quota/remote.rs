//! A quota that several gateways count together, in a Redis or Valkey server.
//!
//! A decision is one script, so one atomic step in one round trip, with the bounds of a [`Ledger`]. Periods go by the server's clock,
//! whatever those of the gateways say. The server knows no calendar, so a gateway says which period it takes it to be; where the server
//! is in another one, it says what time it is, and is asked once more: at the edge of a period, and by a gateway whose clock is wrong
//! once. What comes on top when an exchange ends is counted without anybody waiting for it. The server keeps a key under its digest,
//! and forgets it when all that it used has come back; `max_keys` does not apply there.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Cmd;

use super::ledger::digest_of;
use super::schedule::{NEVER, millis, slot};
use super::{Allowance, Exceeded, Ledger, Left, Millis, Schedule, Ticket, Verdict};
use crate::clock::Clock;
use crate::limit::{OnStoreError, SharedCounters};
use crate::shared_store::redis::Script;
use crate::shared_store::{Redis, StoreError};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("remote/quota.lua")));

/// The time that stands for "never" in the script.
const SCRIPT_NEVER: Millis = 1_000_000_000_000_000;

/// The largest number that the script holds exactly.
const LARGEST: u64 = 1 << 53;

/// What the clocks of a server and of the one that takes its place may differ by before something that was counted in a later period
/// would end early.
const SKEW: Millis = 60_000;

/// How often the server may say that it is another period; then it takes the gateway's word.
const CORRECTIONS: usize = 3;

/// A quota in a store.
#[derive(Debug)]
pub struct RemoteLedger {
    schedule: Schedule,
    /// What its keys begin with in the store.
    name: String,
    store: Arc<Redis>,
    on_error: OnStoreError,
    replicas: u64,
    /// Counts while the store does not answer.
    local: Arc<Ledger>,
    clock: Clock,
    /// How much the server's clock is ahead of this gateway's, in ms, as far as it matters.
    ahead: AtomicI64,
    /// Takes the place of the server's clock.
    time: Option<Clock>,
}

/// What the script answers: outcome, calls and units used, end of the period, wait, until there are more calls and more units.
type Reply = (i64, i64, i64, i64, i64, i64, i64);

/// What to count, and with it what a correction is about.
struct Entry<'a> {
    operation: &'static str,
    calls: i64,
    units: i64,
    extra: [&'a str; 2],
}

impl RemoteLedger {
    /// The quota of `local`, counted in the store.
    pub fn new(schedule: Schedule, counters: &SharedCounters, local: Arc<Ledger>, clock: Clock) -> Self {
        let store = counters.store.clone();
        let name = format!("{}quota:{}:", store.settings().prefix, local.id());
        let replicas = counters.replicas.max(1).into();
        let (on_error, ahead) = (counters.on_error, AtomicI64::new(0));
        Self { schedule, name, store, on_error, replicas, local, clock, ahead, time: None }
    }

    /// The same under another clock than the server's, for tests.
    #[must_use]
    pub fn with_time(self, clock: Clock) -> Self {
        Self { time: Some(clock), ..self }
    }

    /// What counts while the store does not answer.
    pub fn local(&self) -> &Arc<Ledger> {
        &self.local
    }

    /// As [`Ledger::take`]: one atomic step, in one round trip.
    pub async fn take(
        &self,
        key: &str,
        first: Option<Millis>,
        allowance: &Allowance,
        calls: u64,
        units: u64,
    ) -> Verdict {
        let most = |limit: Option<u64>| limit.map_or_else(String::new, |limit| limit.min(LARGEST).to_string());
        let (most_calls, most_units) = (most(allowance.calls), most(allowance.units));
        let entry =
            Entry { operation: "take", calls: number(calls), units: number(units), extra: [&most_calls, &most_units] };
        match self.run(key, first, &entry).await {
            Ok((outcome, used_calls, used_units, until, wait, more_calls, more_units)) => {
                let time = |wait: i64| u64::try_from(wait).ok().map(Duration::from_millis);
                let left = |limit: u64, used: i64, more: i64| Left {
                    limit,
                    left: limit.saturating_sub(u64::try_from(used).unwrap_or(0)),
                    more: time(more),
                };
                Verdict {
                    outcome: match outcome {
                        0 => Ok(Ticket::shared(if until >= SCRIPT_NEVER { NEVER } else { until })),
                        1 => Err(Exceeded::Calls),
                        _ => Err(Exceeded::Units),
                    },
                    calls: allowance.calls.map(|limit| left(limit, used_calls, more_calls)),
                    units: allowance.units.map(|limit| left(limit, used_units, more_units)),
                    wait: time(wait),
                    overflowed: false,
                }
            }
            Err(_) => self.without_store(key, first, allowance, calls, units),
        }
    }

    /// The decision while the store does not answer.
    fn without_store(
        &self,
        key: &str,
        first: Option<Millis>,
        allowance: &Allowance,
        calls: u64,
        units: u64,
    ) -> Verdict {
        let admitted = match self.on_error {
            OnStoreError::Local => {
                let part = |limit: u64| limit.div_ceil(self.replicas);
                let part = Allowance { calls: allowance.calls.map(part), units: allowance.units.map(part) };
                return self.local.take(key, first, &part, calls, units);
            }
            OnStoreError::Allow => true,
            OnStoreError::Deny => false,
        };
        // Then somebody finds out whether the store is back.
        let pause = Some(self.store.settings().pause);
        Verdict {
            outcome: if admitted { Ok(Ticket::uncounted()) } else { Err(Exceeded::Calls) },
            calls: allowance.calls.map(|limit| Left { limit, left: 0, more: pause }),
            units: allowance.units.map(|limit| Left { limit, left: 0, more: pause }),
            wait: if admitted { Some(Duration::ZERO) } else { pause },
            overflowed: false,
        }
    }

    /// As [`Ledger::settle`], without anybody waiting for it. What the store does not take is lost, as in an outage.
    pub fn settle(
        self: &Arc<Self>,
        key: &str,
        first: Option<Millis>,
        ticket: Ticket,
        calls: (u64, u64),
        units: (u64, u64),
    ) {
        let Some(counted) = ticket.in_store() else {
            return self.local.settle(key, first, ticket, calls, units);
        };
        let change = |(was, is): (u64, u64)| number(is).saturating_sub(number(was));
        let (calls, units) = (change(calls), change(units));
        if (calls, units) == (0, 0) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, key) = (self.clone(), key.to_owned());
        runtime.spawn(async move {
            let counted = counted.min(SCRIPT_NEVER).to_string();
            let entry = Entry { operation: "settle", calls, units, extra: [&counted, ""] };
            // The store has logged why.
            let _ = shared.run(&key, first, &entry).await;
        });
    }

    async fn run(&self, key: &str, first: Option<Millis>, entry: &Entry<'_>) -> Result<Reply, StoreError> {
        let mut name = Vec::with_capacity(self.name.len() + 32);
        name.extend_from_slice(self.name.as_bytes());
        name.extend_from_slice(&digest_of(key.as_bytes()));
        let mut corrections = 0;
        loop {
            let ahead = self.ahead.load(Ordering::Relaxed);
            let now = millis(self.clock.wall()).saturating_add(ahead);
            let believed = corrections < CORRECTIONS;
            let reply =
                self.store.run::<Reply>(&SCRIPT, &name, |it| self.arguments(it, now, first, believed, entry)).await?;
            let (-1, time, ..) = reply else { return Ok(reply) };
            self.ahead.store(time.saturating_sub(millis(self.clock.wall())), Ordering::Relaxed);
            corrections += 1;
        }
    }

    /// The script's arguments, for a time that the server checks where it is only `believed`.
    fn arguments(&self, command: &mut Cmd, now: Millis, first: Option<Millis>, believed: bool, entry: &Entry<'_>) {
        let (from, until) = self.schedule.window(now, first);
        let within = |length: Millis| format!("+{}", length.saturating_add(SKEW).min(SCRIPT_NEVER));
        // When what counts from now on ends, until when that is so, and up to when anything may count.
        let (ends, to, latest) = match self.schedule {
            // Where another server's clock was ahead, the next period may have begun.
            Schedule::Calendar { .. } => {
                (until, Some(until), self.schedule.window(until, first).1.min(SCRIPT_NEVER).to_string())
            }
            Schedule::Every { period, .. } => (until, Some(until), within(period)),
            Schedule::Sliding { period } => {
                (until, Some(until.saturating_sub(period)), within(period.saturating_add(slot(period))))
            }
            Schedule::FirstCall { period } => (period, None, within(period)),
            Schedule::Never => (NEVER, None, SCRIPT_NEVER.to_string()),
        };
        match &self.time {
            Some(clock) => command.arg(millis(clock.wall())),
            None => command.arg(""),
        };
        let first_call = if self.schedule.is_first_call() { "first-call" } else { "" };
        command.arg(entry.operation).arg(ends.min(SCRIPT_NEVER)).arg(first_call).arg(latest);
        command.arg(entry.calls).arg(entry.units).arg(&entry.extra);
        match to.filter(|_| believed) {
            Some(to) => command.arg(from.max(-SCRIPT_NEVER)).arg(to.min(SCRIPT_NEVER)),
            None => command.arg("").arg(""),
        };
    }
}

fn number(amount: u64) -> i64 {
    i64::try_from(amount.min(LARGEST)).unwrap_or(i64::MAX)
}
