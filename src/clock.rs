//! Time, passed in: the system's clock in service, a clock moved by hand in tests.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Nanoseconds on a clock that never goes back. Zero is when the [`Clock`] was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Nanos {
    type Output = Self;
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where the gateway reads the time. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { origin: Instant },
    Manual { elapsed: Arc<AtomicU64>, epoch: SystemTime, sleepers: Arc<Mutex<Vec<(u64, Waker)>>> },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it. Its wall time starts at 2026-01-01T00:00:00Z.
    pub fn manual() -> Self {
        let epoch = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        Self(Source::Manual { elapsed: Arc::default(), epoch, sleepers: Arc::default() })
    }

    /// The monotonic time: for limits, deadlines and durations.
    pub fn now(&self) -> Nanos {
        match &self.0 {
            Source::System { origin } => {
                let elapsed = origin.elapsed();
                // In 64 bits, which last for centuries.
                Nanos(elapsed.as_secs().saturating_mul(1_000_000_000).saturating_add(elapsed.subsec_nanos().into()))
            }
            Source::Manual { elapsed, .. } => Nanos(elapsed.load(Ordering::Acquire)),
        }
    }

    /// The wall time: for dates, token lifetimes and logs.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's wall clock")]
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System { .. } => SystemTime::now(),
            Source::Manual { elapsed, epoch, .. } => *epoch + Duration::from_nanos(elapsed.load(Ordering::Acquire)),
        }
    }

    /// Waits until the clock shows `until`: for the system's clock on tokio's timer, which is never early and up to a
    /// millisecond late.
    pub async fn sleep_until(&self, until: Nanos) {
        match &self.0 {
            Source::System { origin } => {
                // A time that no timer can hold is as good as never.
                match origin.checked_add(Duration::from_nanos(until.0)) {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            }
            Source::Manual { elapsed, sleepers, .. } => {
                poll_fn(|cx| {
                    // Looked at under the lock, which `advance` takes after it has moved the clock.
                    let mut sleepers = sleepers.lock();
                    if elapsed.load(Ordering::Acquire) >= until.0 {
                        return Poll::Ready(());
                    }
                    sleepers.push((until.0, cx.waker().clone()));
                    Poll::Pending
                })
                .await;
            }
        }
    }

    /// Moves a manual clock forward and wakes who waited for that. A system clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { elapsed, sleepers, .. } = &self.0 {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            let now = elapsed.fetch_add(by, Ordering::AcqRel).saturating_add(by);
            let mut sleepers = sleepers.lock();
            let due = sleepers.extract_if(.., |(until, _)| *until <= now);
            due.for_each(|(_, waker)| waker.wake());
        }
    }
}
