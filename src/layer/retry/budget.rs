//! A bound on retries as a share of requests, so that retries cannot multiply an outage.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;

/// How long a request earns retries.
const WINDOW_SECONDS: u64 = 10;

/// Counts the requests of the last ten seconds and lets a share of them be retried. One budget is shared by all workers.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    floor_per_second: u32,
    clock: Clock,
    /// Requests by second: the second in the upper half, how many in the lower. One more slot than the window has
    /// seconds, so that the current one does not overwrite the oldest.
    requests: [AtomicU64; SLOTS],
    retries: Mutex<[(u64, u64); SLOTS]>,
}

const SLOTS: usize = WINDOW_SECONDS as usize + 1;

impl Budget {
    /// Lets `share` of the requests (0.2 is one retry for five requests) and at least `floor_per_second` be retried.
    pub fn new(share: f64, floor_per_second: u32, clock: Clock) -> Self {
        let share = if share.is_finite() { share.max(0.0) } else { 0.0 };
        Self { share, floor_per_second, clock, requests: Default::default(), retries: Mutex::default() }
    }

    /// Counts a request, not a retry.
    pub fn deposit(&self) {
        let second = self.second();
        let slot = &self.requests[slot(second)];
        let add =
            |packed: u64| Some(if packed >> 32 == second { packed.saturating_add(1) } else { (second << 32) | 1 });
        // The closure never refuses, so the update cannot fail.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes one retry out, or says that there is none.
    pub fn withdraw(&self) -> bool {
        let second = self.second();
        let recent = |then: u64| then <= second && second - then < WINDOW_SECONDS;
        let mut requests = 0;
        for packed in self.requests.iter().map(|slot| slot.load(Ordering::Relaxed)) {
            if recent(packed >> 32) {
                requests += packed & u64::from(u32::MAX);
            }
        }
        let earned = (requests as f64 * self.share) as u64 + u64::from(self.floor_per_second) * WINDOW_SECONDS;
        let mut retries = self.retries.lock();
        let spent: u64 = retries.iter().filter(|(then, _)| recent(*then)).map(|(_, count)| count).sum();
        if spent >= earned {
            return false;
        }
        let (then, count) = &mut retries[slot(second)];
        if *then != second {
            (*then, *count) = (second, 0);
        }
        *count += 1;
        true
    }

    fn second(&self) -> u64 {
        // From 1, so that an unused slot is not second 0.
        Duration::from_nanos(self.clock.now().0).as_secs() + WINDOW_SECONDS
    }
}

fn slot(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawn(budget: &Budget, tries: usize) -> usize {
        (0..tries).filter(|_| budget.withdraw()).count()
    }

    #[test]
    fn a_share_of_requests_and_a_floor() {
        for (share, floor, requests, want) in
            [(0.2, 0, 0, 0), (0.2, 0, 4, 0), (0.2, 0, 5, 1), (0.2, 0, 100, 20), (0.0, 1, 100, 10), (0.5, 2, 10, 25)]
        {
            let budget = Budget::new(share, floor, Clock::manual());
            (0..requests).for_each(|_| budget.deposit());
            assert_eq!(withdrawn(&budget, 1000), want, "{share} of {requests} and {floor}/s");
        }
    }

    #[test]
    fn requests_earn_and_retries_spend_for_ten_seconds() {
        let clock = Clock::manual();
        let budget = Budget::new(0.5, 0, clock.clone());
        (0..10).for_each(|_| budget.deposit());
        assert_eq!(withdrawn(&budget, 3), 3);
        clock.advance(Duration::from_secs(9));
        assert_eq!(withdrawn(&budget, 100), 2, "still in the window");
        clock.advance(Duration::from_secs(1));
        assert_eq!(withdrawn(&budget, 100), 0, "the requests are too old");
        (0..10).for_each(|_| budget.deposit());
        assert_eq!(withdrawn(&budget, 100), 3, "the two retries of the last second still count");
    }

    #[test]
    fn many_threads_withdraw_no_more_than_is_there() {
        let budget = Budget::new(0.1, 0, Clock::manual());
        let total = std::sync::atomic::AtomicUsize::new(0);
        (0..1000).for_each(|_| budget.deposit());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| total.fetch_add(withdrawn(&budget, 100), Ordering::Relaxed));
            }
        });
        assert_eq!(total.into_inner(), 100);
    }
}
