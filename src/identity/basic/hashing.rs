//! The threads that check passwords: few, with a short queue, apart from the workers.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// The most checks that wait. Beyond, a caller is told to come again: at milliseconds each, more would only wait in vain.
const MOST_WAITING: usize = 128;

/// One check.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Checks passwords on threads of its own: at most half of the cores, so that a flood of passwords leaves the other half to
/// everybody else.
pub struct Hashing {
    runtime: Handle,
    queue: Mutex<Queue>,
    most_running: usize,
}

#[derive(Default)]
struct Queue {
    running: usize,
    waiting: VecDeque<Job>,
}

/// Too many wait.
#[derive(Debug)]
pub(super) struct Full;

impl Hashing {
    /// Threads of this runtime's pool for blocking work, taken only while there is something to check.
    pub fn new(runtime: Handle) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { runtime, queue: Mutex::default(), most_running: (cores / 2).max(1) }
    }

    pub(super) fn submit(self: &Arc<Self>, job: Job) -> Result<(), Full> {
        let mut queue = self.queue.lock();
        if queue.running >= self.most_running {
            if queue.waiting.len() >= MOST_WAITING {
                return Err(Full);
            }
            queue.waiting.push_back(job);
            return Ok(());
        }
        queue.running += 1;
        drop(queue);
        let this = self.clone();
        self.runtime.spawn_blocking(move || {
            let mut next = Some(job);
            while let Some(job) = next {
                // A check that panics takes only itself away, not its place.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                let mut queue = this.queue.lock();
                next = queue.waiting.pop_front();
                if next.is_none() {
                    queue.running -= 1;
                }
            }
        });
        Ok(())
    }
}

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashing").field("most_running", &self.most_running).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_panic_costs_no_place() {
        let hashing = Arc::new(Hashing { most_running: 1, ..Hashing::new(Handle::current()) });
        let (release, gate) = channel::<()>();
        let (done, finished) = channel();
        hashing.submit(Box::new(move || gate.recv().unwrap())).unwrap();
        for number in 0..MOST_WAITING {
            let done = done.clone();
            let job = move || {
                done.send(number).unwrap();
                assert!(number != 3, "one check panics");
            };
            hashing.submit(Box::new(job)).unwrap();
        }
        assert!(hashing.submit(Box::new(|| ())).is_err(), "one more than may wait");
        release.send(()).unwrap();
        let seen: Vec<usize> = finished.iter().take(MOST_WAITING).collect();
        assert_eq!(seen, (0..MOST_WAITING).collect::<Vec<_>>(), "in the order they came");
        while hashing.queue.lock().running > 0 {
            tokio::task::yield_now().await;
        }
        let done = done.clone();
        hashing.submit(Box::new(move || done.send(1000).unwrap())).unwrap();
        assert_eq!(finished.recv().unwrap(), 1000);
    }
}
