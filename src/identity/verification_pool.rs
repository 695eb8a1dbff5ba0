//! Threads that verify signatures, so that the arithmetic for one caller's token is not another caller's waiting.
//!
//! A worker hands over a token and serves others until the answer comes. The queue is bounded: when it is full there is more to
//! verify than the machine can, and a token is refused at once instead of late. Whoever stops waiting is skipped.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::token_error::TokenError;
use super::token_verifier::{Outcome, TokenVerifier};

/// How many tokens may wait. At some 30 µs each, the last one waits for a few hundredths of a second.
const CAPACITY: usize = 1_024;

/// See the module. Its threads start with the first token and end with it.
pub struct VerificationPool {
    queue: Arc<Queue>,
    threads: usize,
}

struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    started: bool,
    closed: bool,
}

struct Job {
    verifier: Arc<TokenVerifier>,
    token: Box<str>,
    now: SystemTime,
    /// Whether a fetch was waited for, so that none may be asked for again.
    waited: bool,
    reply: oneshot::Sender<Outcome>,
}

impl VerificationPool {
    /// A pool for a machine with this many cores: half of them, because the other half feeds it.
    pub fn for_cores(cores: usize) -> Self {
        Self::new(cores.div_ceil(2).clamp(1, 8), CAPACITY)
    }

    fn new(threads: usize, capacity: usize) -> Self {
        Self { queue: Arc::new(Queue { state: Mutex::default(), filled: Condvar::new(), capacity }), threads }
    }

    /// Verifies a token on one of the threads, to be awaited on any runtime: [`TokenVerifier::try_verify`], or
    /// [`TokenVerifier::verify`] when keys were waited for before.
    pub async fn verify(&self, verifier: &Arc<TokenVerifier>, token: &str, now: SystemTime, waited: bool) -> Outcome {
        match self.submit(verifier, token, now, waited) {
            // An error means that the thread is gone, and with it the answer.
            Some(answer) => answer.await.unwrap_or(Outcome::Done(Err(TokenError::Overloaded))),
            None => Outcome::Done(Err(TokenError::Overloaded)),
        }
    }

    fn submit(
        &self,
        verifier: &Arc<TokenVerifier>,
        token: &str,
        now: SystemTime,
        waited: bool,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let (reply, answer) = oneshot::channel();
        let job = Job { verifier: Arc::clone(verifier), token: token.into(), now, waited, reply };
        let mut state = self.queue.state.lock();
        if state.jobs.len() >= self.queue.capacity {
            return None;
        }
        if !state.started {
            state.started = true;
            for number in 0..self.threads {
                let queue = Arc::clone(&self.queue);
                let thread = std::thread::Builder::new().name(format!("verify-{number}"));
                if let Err(error) = thread.spawn(move || queue.work()) {
                    tracing::error!(%error, "a thread for verifying tokens cannot start");
                    // The next token tries again; without any thread nobody would answer.
                    state.started = number > 0;
                    if number == 0 {
                        return None;
                    }
                    break;
                }
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.queue.filled.notify_one();
        Some(answer)
    }
}

impl Queue {
    fn work(&self) {
        while let Some(job) = self.next() {
            let Job { verifier, token, now, waited, reply } = job;
            if reply.is_closed() {
                continue;
            }
            let verify =
                || if waited { Outcome::Done(verifier.verify(&token, now)) } else { verifier.try_verify(&token, now) };
            // A thread must outlive a mistake in the verifier: the pool would shrink with each.
            if let Ok(outcome) = catch_unwind(AssertUnwindSafe(verify)) {
                let _ = reply.send(outcome);
            }
        }
    }

    /// The next job; nothing when the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            self.filled.wait(&mut state);
        }
    }
}

impl Drop for VerificationPool {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.queue.filled.notify_all();
    }
}

impl std::fmt::Debug for VerificationPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerificationPool({} threads)", self.threads)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm as Signing;
    use serde_json::json;

    use super::super::test_support::{Signer, fixture};
    use super::*;
    use crate::clock::Clock;
    use crate::identity::{KeySet, TokenCache, TokenRules, VerificationKey};

    fn verifier() -> Arc<TokenVerifier> {
        remembering(&Arc::default())
    }

    fn remembering(cache: &Arc<TokenCache>) -> Arc<TokenVerifier> {
        let rules = TokenRules { audiences: vec!["api".into()], require_expiration: false, ..TokenRules::default() };
        let key = VerificationKey::from_pem(fixture!("rsa-a.pub.pem")).unwrap();
        Arc::new(TokenVerifier::new(rules, KeySet::new(vec![key]), Vec::new(), cache.clone()).unwrap())
    }

    fn token(signer: &Signer, number: u32) -> String {
        signer.token(None, &json!({ "aud": "api", "n": number }))
    }

    #[tokio::test]
    async fn tokens_are_verified_elsewhere() {
        let pool = VerificationPool::new(2, 10);
        let cache = Arc::default();
        let (verifier, now) = (remembering(&cache), Clock::manual().wall());
        let (good, forged) = (Signer::rsa_a(Signing::RS256), Signer::rsa_b(Signing::RS256));
        for (signer, want) in [(&good, "ok"), (&forged, "TokenSignatureInvalid"), (&good, "ok")] {
            let outcome = pool.verify(&verifier, &token(signer, 0), now, false).await;
            let Outcome::Done(result) = outcome else { panic!("there is nothing to wait for") };
            assert_eq!(result.map_or_else(|error| error.reason(), |_| "ok"), want);
        }
        assert_eq!(cache.len(), 1);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_whoever_left_is_skipped() {
        // No thread takes anything away.
        let pool = VerificationPool::new(0, 2);
        let cache = Arc::default();
        let (verifier, now) = (remembering(&cache), Clock::manual().wall());
        let signer = Signer::rsa_a(Signing::RS256);
        let waiting: Vec<_> = (0..2).map(|n| pool.submit(&verifier, &token(&signer, n), now, false).unwrap()).collect();
        let outcome = pool.verify(&verifier, &token(&signer, 2), now, false).await;
        let Outcome::Done(Err(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.reason(), "TokenVerificationOverloaded");

        drop(waiting);
        let queue = Arc::clone(&pool.queue);
        let worker = std::thread::spawn(move || queue.work());
        while !pool.queue.state.lock().jobs.is_empty() {
            std::thread::yield_now();
        }
        drop(pool);
        worker.join().unwrap();
        assert!(cache.is_empty(), "nobody waited for these");
    }

    #[tokio::test]
    async fn a_pool_that_ends_leaves_nobody_waiting() {
        let pool = VerificationPool::new(0, 2);
        let signer = Signer::rsa_a(Signing::RS256);
        let answer = pool.submit(&verifier(), &token(&signer, 0), Clock::manual().wall(), false).unwrap();
        drop(pool);
        assert!(answer.await.is_err());
    }
}
