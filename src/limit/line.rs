//! The leaky queue: requests that a limit would refuse now wait their turn, in the order they came.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Ask, Count, Decision, Limit};
use crate::clock::Clock;

/// A waiting line in front of a limit, one for each key. What leaves it was admitted by the limit at that moment, so that the
/// limit's bound holds as it is. Nobody overtakes; a request whose future is dropped gives its place up at once.
pub struct Line {
    clock: Clock,
    max_length: usize,
    max_wait: Duration,
    keys: Mutex<HashMap<String, Queue, RandomState>>,
}

/// Those who wait with one key, in the order they came.
type Queue = VecDeque<Place>;

#[derive(Debug)]
struct Place {
    cost: u32,
    /// Told when it comes to the front.
    turn: Arc<Notify>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// The decision. When it is a refusal, its wait is until the turn would have come.
    pub decision: Decision,
    /// Whether it waited.
    pub waited: bool,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may be secrets; they are never printed.
        f.debug_struct("Line").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Line {
    /// A line in which at most `max_length` requests of a key wait, each for at most `max_wait`.
    pub fn new(clock: Clock, max_length: NonZeroUsize, max_wait: Duration) -> Self {
        Self { clock, max_length: max_length.get(), max_wait, keys: Mutex::default() }
    }

    /// How many requests are waiting.
    pub fn waiting(&self) -> usize {
        self.keys.lock().values().map(VecDeque::len).sum()
    }

    /// Asks the limit, and waits for the turn of a request that is refused: unless the line is full, or the wait would be too
    /// long. `begins` is called when the request begins to wait.
    pub async fn pass(&self, limit: &Limit, ask: Ask<'_>, begins: impl FnOnce()) -> Passed {
        if !self.keys.lock().contains_key(ask.key) {
            let decision = limit.ask(ask).wait().await;
            if decision.admitted || decision.overflowed || decision.retry_after > self.max_wait {
                return Passed { decision, waited: false };
            }
        }
        let deadline = self.clock.now() + self.max_wait;
        let (place, ahead) = self.enter(&ask);
        let decision = expected(limit, ask, ahead).await;
        let Some(place) = place else { return Passed { decision, waited: false } };
        if decision.retry_after > self.max_wait {
            return Passed { decision, waited: false };
        }
        begins();
        // Who stands further back needs no timer: each of those in front leaves by a deadline that is earlier.
        place.until_first().await;
        loop {
            let decision = limit.ask(ask).wait().await;
            let now = self.clock.now();
            if decision.admitted || decision.overflowed || now >= deadline {
                return Passed { decision, waited: true };
            }
            self.clock.sleep_until((now + decision.retry_after).min(deadline)).await;
        }
    }

    /// A place at the end of the line, unless it is full, and the cost of those in front.
    fn enter<'a>(&'a self, ask: &Ask<'a>) -> (Option<Waiting<'a>>, u64) {
        let mut keys = self.keys.lock();
        let queue = keys.entry_ref(ask.key).or_default();
        let ahead = queue.iter().map(|place| u64::from(place.cost)).sum();
        if queue.len() >= self.max_length {
            return (None, ahead);
        }
        let turn = Arc::new(Notify::new());
        if queue.is_empty() {
            turn.notify_one();
        }
        queue.push_back(Place { cost: ask.cost, turn: Arc::clone(&turn) });
        (Some(Waiting { line: self, key: ask.key, turn }), ahead)
    }
}

/// What the limit would say once those in front have been served: a refusal with the whole wait.
async fn expected(limit: &Limit, ask: Ask<'_>, ahead: u64) -> Decision {
    let rate = ask.rate.unwrap_or_else(|| limit.settings().rate());
    let whole = u64::from(limit.settings().capacity(&rate)).max(1);
    let units = ahead + u64::from(ask.cost);
    // Whoever asks for more than there ever is, is served after so many times the whole has come back.
    let times = units.saturating_sub(1) / whole;
    let rest = u32::try_from(units - times * whole).unwrap_or(u32::MAX);
    let mut decision = limit.ask(Ask { cost: rest, count: Count::Never, ..ask }).wait().await;
    if ask.cost > decision.limit {
        return Decision { admitted: false, retry_after: Duration::MAX, ..decision };
    }
    let refill = limit.settings().refill(&rate).saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
    decision.retry_after = decision.retry_after.saturating_add(refill);
    decision.admitted = false;
    decision
}

/// A place in the line, given up when it is dropped.
struct Waiting<'a> {
    line: &'a Line,
    key: &'a str,
    turn: Arc<Notify>,
}

impl Waiting<'_> {
    async fn until_first(&self) {
        self.turn.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut keys = self.line.keys.lock();
        let Some(queue) = keys.get_mut(self.key) else { return };
        let Some(at) = queue.iter().position(|place| Arc::ptr_eq(&place.turn, &self.turn)) else { return };
        queue.remove(at);
        match queue.front() {
            Some(next) if at == 0 => next.turn.notify_one(),
            Some(_) => {}
            None => {
                keys.remove(self.key);
            }
        }
    }
}
