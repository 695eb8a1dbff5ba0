//! Live: the test over real connections, from one thread.
//!
//! The load is open loop: a request is sent when the plan says so, however long the answers before it take, and its latency
//! counts from then. What holds the generator itself back is measured as [`Record::handled`](super::record::Record::handled) and
//! told apart from the target's slowness.

mod answer;
mod connection;
mod pool;
mod request;
pub mod stand_in;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use self::pool::Pool;
pub use self::request::{KeyPlace, Target, TargetError};
use super::plan::{Act, Plan};
use super::record::{Answer, Attempt};
use super::session::{Due, Session};
use super::virtual_time::Look;

/// How close to the next request the thread stops sleeping: timers are this late, and a wait at work is exact.
const AWAKE: Duration = Duration::from_micros(1_500);

/// How many requests are sent before answers are looked at.
const BATCH: u32 = 32;

/// How often `look` is asked.
const LOOK_EVERY: u64 = 100_000_000;

/// A request that has been answered, or will not be.
struct Done {
    attempt: Attempt,
    /// When it was handled and sent, and when the head and the end of the answer came.
    times: [u64; 4],
    answer: Answer,
    /// Whose connection it was, and the connection itself, if it can be used again.
    line: u64,
    sender: Option<connection::Sender>,
}

/// What the tasks of the thread share.
struct Hub {
    target: Target,
    started: Instant,
    timeout: Duration,
    done: RefCell<VecDeque<Done>>,
    wake: Notify,
}

impl Hub {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn finish(&self, done: Done) {
        self.done.borrow_mut().push_back(done);
        self.wake.notify_one();
    }
}

/// A request and when the thread came to it.
type Waiting = (Attempt, u64);

/// What a live test found out beside the answers.
pub struct Driven<'p> {
    /// The test.
    pub session: Session<'p>,
    /// How much of the time the thread had something to do.
    pub busy: f64,
    /// When the last answer came, in nanoseconds.
    pub ended: u64,
    /// Why the first request that got no answer got none.
    pub first_error: Option<String>,
}

/// Connects to each gateway of the target once, so that one that is not there is told of before anything is asked.
///
/// # Errors
/// The first that cannot be reached, and why.
pub fn reach(target: &Target, timeout: Duration) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        for endpoint in target.endpoints() {
            let why = match tokio::time::timeout(timeout, connection::reach(endpoint)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {timeout:?}"),
            };
            return Err(format!("cannot connect to {}: {why}", endpoint.name()));
        }
        Ok(())
    })
}

/// Goes through the plan over connections. Blocks its thread, which should do nothing else. What is to happen around the target
/// goes to `acts`; `look` sees the test now and then.
///
/// # Errors
/// When the thread's runtime cannot start.
pub fn run<'p>(
    plan: &'p Plan,
    target: Target,
    timeout: Duration,
    acts: &mpsc::UnboundedSender<Act>,
    look: &mut dyn FnMut(&Session<'_>, u64) -> Look,
) -> io::Result<Driven<'p>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    Ok(local.block_on(&runtime, drive(plan, target, timeout, acts, look)))
}

async fn drive<'p>(
    plan: &'p Plan,
    target: Target,
    timeout: Duration,
    acts: &mpsc::UnboundedSender<Act>,
    look: &mut dyn FnMut(&Session<'_>, u64) -> Look,
) -> Driven<'p> {
    let hub = Rc::new(Hub { target, started: Instant::now(), timeout, done: RefCell::default(), wake: Notify::new() });
    let mut session = Session::new(plan);
    let mut pool = Pool::new(hub.clone(), plan.bounds.connections);
    let (mut busy, mut before, mut looked) = (0_u64, 0_u64, 0_u64);
    loop {
        let now = hub.now();
        let mut worked = 0;
        loop {
            // A borrow that ends here: what follows may finish others.
            let Some(done) = hub.done.borrow_mut().pop_front() else { break };
            worked += 1;
            session.answered(done.attempt, done.times, &done.answer);
            pool.give_back(done.line, done.sender);
        }
        while worked < 2 * BATCH {
            let Some(due) = session.next(now) else { break };
            worked += 1;
            match due {
                // Nobody listens any more when the test is ended from outside.
                Due::Act(act) => drop(acts.send(act)),
                Due::Send(attempt) => pool.send(attempt, now),
            }
        }
        if worked > 0 {
            busy += now.saturating_sub(before).min(1_000_000);
        }
        before = now;
        if now.saturating_sub(looked) > LOOK_EVERY {
            looked = now;
            if look(&session, now) == Look::Stop {
                session.stop();
            }
        }
        match session.next_at() {
            None if session.pending() == 0 => break,
            // What has a time limit ends by itself, and tells.
            None => {
                let _ = tokio::time::timeout(Duration::from_millis(100), hub.wake.notified()).await;
            }
            Some(at) => {
                let left = Duration::from_nanos(at.saturating_sub(hub.now()));
                if left > AWAKE {
                    let wait = (left - AWAKE).min(Duration::from_millis(100));
                    let _ = tokio::time::timeout(wait, hub.wake.notified()).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    let ended = hub.now();
    Driven { session, busy: busy as f64 / ended.max(1) as f64, ended, first_error: pool.first_error() }
}
