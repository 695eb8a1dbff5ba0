//! Time, passed in: the system's clock in service, a clock moved by hand in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    Manual { elapsed: Arc<AtomicU64>, epoch: SystemTime },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it. Its wall time starts at 2026-01-01T00:00:00Z.
    pub fn manual() -> Self {
        let epoch = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        Self(Source::Manual { elapsed: Arc::default(), epoch })
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
            Source::Manual { elapsed, epoch } => *epoch + Duration::from_nanos(elapsed.load(Ordering::Acquire)),
        }
    }

    /// Moves a manual clock forward. A system clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { elapsed, .. } = &self.0 {
            elapsed.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }
}
