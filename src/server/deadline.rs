//! Deadlines without a timer for each request: a worker-local table that one coarse tick looks through.
//!
//! A tokio timer that is due before the runtime's next wake-up costs an eventfd write, and a proxied request would set
//! several. Here a deadline is a slot in a thread-local table, and a task wakes every [`TICK`] only while slots are in
//! use. A deadline never fires early and fires at most two ticks late; use tokio's timers where that is too coarse.
//!
//! A [`Deadline`] belongs to the thread that made it: poll and drop it there. Workers never move a task, so they comply.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

/// How coarse deadlines are.
pub const TICK: Duration = Duration::from_millis(25);

/// How many ticks the task goes on with an empty table, so that steady traffic does not start it for each request.
const GRACE: u32 = 40;

struct Slot {
    /// Told apart from an earlier user of the same slot.
    generation: u32,
    /// In milliseconds of the worker's coarse clock.
    due: u64,
    waker: Option<Waker>,
}

struct Ticker {
    origin: Cell<Option<Instant>>,
    now: Cell<u64>,
    running: Cell<bool>,
    generation: Cell<u32>,
    slots: RefCell<Slab<Slot>>,
}

thread_local! {
    static TICKER: Ticker = const {
        Ticker {
            origin: Cell::new(None),
            now: Cell::new(0),
            running: Cell::new(false),
            generation: Cell::new(0),
            slots: RefCell::new(Slab::new()),
        }
    };
}

impl Ticker {
    /// Reads the system's clock into the coarse one.
    fn refresh(&self) -> u64 {
        let now = Instant::now();
        let origin = self.origin.get().unwrap_or_else(|| {
            self.origin.set(Some(now));
            now
        });
        // Starts at 1, so that zero can mean "never" wherever a time is kept in a plain integer.
        let millis = u64::try_from(now.saturating_duration_since(origin).as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.now.set(millis.max(self.now.get()));
        self.now.get()
    }

    fn due(&self, after: Duration) -> u64 {
        if !self.running.get() {
            self.refresh();
            self.running.set(true);
            tokio::spawn(run(Running));
        }
        // The coarse clock is up to one tick behind, hence one more: never early.
        self.now.get().saturating_add(millis(after)).saturating_add(millis(TICK))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The coarse time of this worker in milliseconds, brought up to date. Zero is never returned.
pub(crate) fn refreshed_now() -> u64 {
    TICKER.with(Ticker::refresh)
}

/// The coarse time of this worker in milliseconds, as of the last tick or sweep.
pub(crate) fn coarse_now() -> u64 {
    TICKER.with(|ticker| ticker.now.get().max(1))
}

/// Clears the mark when the tick's task ends, also when its runtime is dropped under it.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        let _ = TICKER.try_with(|ticker| ticker.running.set(false));
    }
}

async fn run(_running: Running) {
    let mut empty = 0;
    let mut expired: Vec<Waker> = Vec::new();
    while empty < GRACE {
        tokio::time::sleep(TICK).await;
        TICKER.with(|ticker| {
            let now = ticker.refresh();
            let mut slots = ticker.slots.borrow_mut();
            empty = if slots.is_empty() { empty + 1 } else { 0 };
            expired
                .extend(slots.iter_mut().filter(|(_, slot)| slot.due <= now).filter_map(|(_, slot)| slot.waker.take()));
        });
        expired.drain(..).for_each(Waker::wake);
    }
}

/// A point in time that something must not pass. Making, moving and dropping one is cheap.
#[derive(Debug)]
pub struct Deadline {
    key: u32,
    generation: u32,
}

impl Deadline {
    /// A deadline this far from now.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn after(duration: Duration) -> Self {
        TICKER.with(|ticker| {
            let due = ticker.due(duration);
            let generation = ticker.generation.get().wrapping_add(1);
            ticker.generation.set(generation);
            let key = ticker.slots.borrow_mut().insert(Slot { generation, due, waker: None });
            Self { key: u32::try_from(key).unwrap_or(u32::MAX), generation }
        })
    }

    /// Moves the deadline to this far from now.
    pub fn reset(&self, duration: Duration) {
        self.set(|ticker| ticker.due(duration));
    }

    /// Moves the deadline to this far from now, but not past `limit`, a value of [`Deadline::due`].
    pub fn reset_within(&self, duration: Duration, limit: u64) {
        self.set(|ticker| ticker.due(duration).min(limit));
    }

    fn set(&self, due: impl FnOnce(&Ticker) -> u64) {
        TICKER.with(|ticker| {
            let due = due(ticker);
            if let Some(slot) = self.slot(&mut ticker.slots.borrow_mut()) {
                slot.due = due;
            }
        });
    }

    /// When it is due, on the worker's coarse clock.
    pub fn due(&self) -> u64 {
        TICKER.with(|ticker| self.slot(&mut ticker.slots.borrow_mut()).map_or(u64::MAX, |slot| slot.due))
    }

    /// Whether the time has come; if not, the task is woken when it has.
    pub fn poll_expired(&self, cx: &Context<'_>) -> bool {
        TICKER.with(|ticker| {
            let mut slots = ticker.slots.borrow_mut();
            let Some(slot) = self.slot(&mut slots) else { return true };
            if slot.due <= ticker.now.get() {
                return true;
            }
            let old = if slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                None
            } else {
                slot.waker.replace(cx.waker().clone())
            };
            // Dropped last: what a waker drags along may have deadlines of its own.
            drop(slots);
            drop(old);
            false
        })
    }

    fn slot<'a>(&self, slots: &'a mut Slab<Slot>) -> Option<&'a mut Slot> {
        slots.get_mut(self.key as usize).filter(|slot| slot.generation == self.generation)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The thread's table is gone when a worker ends with work left; there is nothing to give back then.
        let _ = TICKER.try_with(|ticker| {
            let mut slots = ticker.slots.borrow_mut();
            if self.slot(&mut slots).is_some() {
                slots.remove(self.key as usize)
            } else {
                Slot { generation: 0, due: 0, waker: None }
            }
        });
    }
}

/// The time allowed has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time allowed has passed")]
pub struct Elapsed;

pin_project_lite::pin_project! {
    /// The future of [`within`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Within<F> {
        deadline: Deadline,
        #[pin]
        future: F,
    }
}

/// Lets `future` run for `duration` at most, to the precision of [`TICK`].
pub fn within<F: Future>(duration: Duration, future: F) -> Within<F> {
    Within { deadline: Deadline::after(duration), future }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if this.deadline.poll_expired(cx) => Poll::Ready(Err(Elapsed)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> usize {
        TICKER.with(|ticker| ticker.slots.borrow().len())
    }

    #[tokio::test(start_paused = true)]
    async fn fires_neither_early_nor_much_late() {
        for millis in [0, 1, 24, 25, 26, 1000] {
            let started = Instant::now();
            let wanted = Duration::from_millis(millis);
            assert_eq!(within(wanted, std::future::pending::<()>()).await, Err(Elapsed));
            let waited = started.elapsed();
            assert!(waited >= wanted && waited <= wanted + 3 * TICK, "{wanted:?} took {waited:?}");
            assert_eq!(used(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_is_in_time_wins() {
        let sleep = tokio::time::sleep(Duration::from_millis(100));
        assert_eq!(within(Duration::from_millis(150), sleep).await, Ok(()));
        assert_eq!(used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_moves_the_deadline() {
        let deadline = Deadline::after(Duration::from_millis(50));
        let started = Instant::now();
        tokio::time::sleep(Duration::from_millis(40)).await;
        deadline.reset(Duration::from_millis(200));
        std::future::poll_fn(|cx| if deadline.poll_expired(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        assert!(started.elapsed() >= Duration::from_millis(240), "{:?}", started.elapsed());
        deadline.reset_within(Duration::from_secs(60), deadline.due());
        assert!(std::future::poll_fn(|cx| Poll::Ready(deadline.poll_expired(cx))).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tick_stops_when_nothing_waits_and_starts_again() {
        drop(Deadline::after(Duration::from_secs(1)));
        assert!(TICKER.with(|ticker| ticker.running.get()));
        tokio::time::sleep(TICK * (GRACE + 2)).await;
        assert!(!TICKER.with(|ticker| ticker.running.get()));
        assert_eq!(within(Duration::from_millis(10), std::future::pending::<()>()).await, Err(Elapsed));
    }
}
