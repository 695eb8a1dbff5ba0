//! The waiting line: order, bounds, and who leaves.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use proptest::prelude::*;
use tokio_test::task;
use tokio_test::{assert_pending, assert_ready};

use super::*;

/// A line of at most `length` in front of a limit, and the clock of both.
fn line(settings: Settings, length: usize, seconds: u64) -> (Line, Limit, Clock) {
    let clock = Clock::manual();
    let length = NonZeroUsize::new(length).unwrap();
    let line = Line::new(clock.clone(), length, Duration::from_secs(seconds));
    (line, Limit::Local(Arc::new(Limiter::new(settings, clock.clone()))), clock)
}

/// One request in each second, and no burst: a leaky bucket.
fn leaky() -> Settings {
    bucket(60, 60, 1)
}

/// A request that has not been polled yet.
type Request<'a> = task::Spawn<Pin<Box<dyn Future<Output = Passed> + 'a>>>;

fn pass<'a>(line: &'a Line, limit: &'a Limit, key: &'a str) -> Request<'a> {
    task::spawn(Box::pin(line.pass(limit, Ask::new(key, 1), || {})))
}

#[test]
fn requests_leave_in_the_order_they_came_one_for_each_interval() {
    let (line, limit, clock) = line(leaky(), 10, 10);
    let mut first = pass(&line, &limit, "k");
    let passed = assert_ready!(first.poll());
    assert!(passed.decision.admitted && !passed.waited);
    let mut second = pass(&line, &limit, "k");
    let mut third = pass(&line, &limit, "k");
    let mut other = pass(&line, &limit, "other");
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    assert!(assert_ready!(other.poll()).decision.admitted, "keys wait apart");
    clock.advance(Duration::from_millis(999));
    assert!(!second.is_woken());
    clock.advance(Duration::from_millis(1));
    assert!(second.is_woken() && !third.is_woken());
    // A newcomer does not overtake, though the limit would admit it now.
    let mut fourth = pass(&line, &limit, "k");
    assert_pending!(fourth.poll());
    assert!(assert_ready!(second.poll()).decision.admitted);
    assert!(third.is_woken(), "the next one's turn");
    assert_pending!(third.poll());
    clock.advance(Duration::from_secs(1));
    assert!(assert_ready!(third.poll()).waited);
    assert_pending!(fourth.poll());
    clock.advance(Duration::from_secs(1));
    assert!(assert_ready!(fourth.poll()).decision.admitted);
    assert_eq!(line.waiting(), 0);
}

#[test]
fn whoever_leaves_frees_the_place() {
    let (line, limit, clock) = line(leaky(), 2, 10);
    assert!(assert_ready!(pass(&line, &limit, "k").poll()).decision.admitted);
    let (mut second, mut third) = (pass(&line, &limit, "k"), pass(&line, &limit, "k"));
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    let refused = assert_ready!(pass(&line, &limit, "k").poll());
    assert!(!refused.decision.admitted && !refused.waited, "the line is full");
    assert_eq!(refused.decision.retry_after_seconds(), Some(3), "its turn would come behind the two");
    drop(second);
    assert!(third.is_woken(), "and takes the turn of the one that left");
    assert_pending!(third.poll());
    clock.advance(Duration::from_secs(1));
    assert!(assert_ready!(third.poll()).decision.admitted);
    assert_eq!(line.waiting(), 0);
    assert_pending!(pass(&line, &limit, "k").poll());
    assert_eq!(line.waiting(), 0, "one that is dropped at once leaves nothing behind");
}

#[test]
fn what_would_wait_too_long_is_refused_at_once_with_the_whole_wait() {
    let (line, limit, clock) = line(leaky(), 100, 3);
    assert!(assert_ready!(pass(&line, &limit, "k").poll()).decision.admitted);
    let mut waiting = [pass(&line, &limit, "k"), pass(&line, &limit, "k"), pass(&line, &limit, "k")];
    for one in &mut waiting {
        assert_pending!(one.poll());
    }
    let refused = assert_ready!(pass(&line, &limit, "k").poll());
    assert_eq!(refused.decision.retry_after, Duration::from_secs(4));
    // A client that waits that long is admitted, though the line was full when it was told so.
    for one in &mut waiting {
        clock.advance(Duration::from_secs(1));
        assert!(assert_ready!(one.poll()).decision.admitted);
    }
    clock.advance(Duration::from_secs(1));
    assert!(assert_ready!(pass(&line, &limit, "k").poll()).decision.admitted);
}

#[test]
fn a_cost_above_the_limit_is_refused_for_good() {
    let (line, limit, _) = line(bucket(60, 60, 5), 10, 100);
    let passed = assert_ready!(task::spawn(line.pass(&limit, Ask::new("k", 6), || {})).poll());
    assert_eq!(passed.decision.retry_after, Duration::MAX);
    assert_eq!(line.waiting(), 0);
}

proptest! {
    /// Whoever waits is admitted by the deadline, in order, and the limit's bound holds for what comes out; nobody else's request
    /// is needed for that.
    #[test]
    fn lines_of_every_algorithm_keep_order_and_bound(
        which in 0..4_usize, calls in 1..4_u32, arrivals in prop::collection::vec((0..1500_u64, any::<bool>()), 1..40),
    ) {
        let settings = [
            window(calls, 1), slots(calls, 1, 4), fixed(calls, 1, WindowStart::FirstCall), bucket(calls, 1, calls),
        ][which].clone();
        let (line, limit, clock) = line(settings, 8, 5);
        let mut waiting: Vec<(usize, u64, Request<'_>)> = Vec::new();
        let mut admitted: Vec<u64> = Vec::new();
        let mut came_out = 0;
        for (number, (step, leaves)) in arrivals.iter().enumerate() {
            // Small steps, so that nobody is late because nobody looked.
            for _ in 0..*step {
                clock.advance(Duration::from_millis(1));
                let mut at = 0;
                while at < waiting.len() {
                    let (number, since, future) = &mut waiting[at];
                    match if future.is_woken() { future.poll() } else { Poll::Pending } {
                        Poll::Pending => at += 1,
                        Poll::Ready(passed) => {
                            prop_assert!(passed.decision.admitted, "whoever may wait gets in");
                            prop_assert!(clock.now().0 - *since <= 5_000_000_000);
                            prop_assert!(came_out <= *number, "in order");
                            came_out = *number;
                            admitted.push(clock.now().0);
                            drop(waiting.remove(at));
                            at = 0;
                        }
                    }
                }
            }
            if *leaves && !waiting.is_empty() {
                drop(waiting.remove(waiting.len() / 2));
            }
            let mut future = pass(&line, &limit, "k");
            match future.poll() {
                Poll::Pending => waiting.push((number, clock.now().0, future)),
                Poll::Ready(passed) => {
                    if passed.decision.admitted {
                        admitted.push(clock.now().0);
                    } else {
                        prop_assert!(waiting.len() == 8 || passed.decision.retry_after > Duration::from_secs(5));
                    }
                }
            }
            prop_assert!(line.waiting() <= 8);
        }
        let most = if which == 0 || which == 1 { calls } else { 2 * calls } as usize;
        for from in &admitted {
            let inside = admitted.iter().filter(|at| (*from..from + 1_000_000_000).contains(at)).count();
            prop_assert!(inside <= most, "{} in a second", inside);
        }
    }
}
