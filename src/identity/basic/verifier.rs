//! Decides whether a password is right: what was seen lately at once, the rest on threads of its own, once for each pair.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::{Credentials, Hashing, Users};
use crate::clock::{Clock, Nanos};
use crate::limit::{Algorithm, Limiter, Overflow, Precision, Settings as LimitSettings};

/// The most pairs that are remembered as right, and as many as wrong. The wrong ones have a table of their own, so that a
/// flood of them does not push out the right ones.
const REMEMBERED: usize = 4096;

/// The most addresses whose failures are counted; others are let through to the queue, which is bounded as well.
const ADDRESSES: usize = 16 * 1024;

/// How much a [`Verifier`] remembers and puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a pair is remembered; zero is not at all.
    pub cache: Duration,
    /// The failures that one address may have within `period`.
    pub failures: NonZeroU32,
    /// The time over which failures are counted.
    pub period: Duration,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such user.
    #[error("there is no user of this name")]
    UnknownUser,
    /// The password is another one.
    #[error("the password is wrong")]
    WrongPassword,
    /// The address has had too many failures.
    #[error("the address has had too many failures; the next check is in {seconds} s")]
    TooManyFailures {
        /// Until the next check, rounded up.
        seconds: u64,
    },
    /// Too many passwords wait to be checked.
    #[error("too many passwords wait to be checked")]
    Busy,
}

/// The name of the user, or why not.
pub type Verdict = Result<Arc<str>, Refused>;

/// How far a check came without waiting.
#[derive(Debug)]
pub enum Begun {
    /// To its end.
    Known(Verdict),
    /// The password is being checked.
    Waits(Pending),
}

/// A check under way.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Verdict>);

impl Pending {
    /// Waits for its end.
    pub async fn done(self) -> Verdict {
        self.0.await.unwrap_or(Err(Refused::Busy))
    }
}

/// A pair of name and password, by a digest under a key that only this verifier has.
type Digest = [u8; 32];

/// Checks credentials against the users of one policy. What it remembers ends with it, at the next reload.
pub struct Verifier(Arc<Inner>);

struct Inner {
    users: Users,
    key: hmac::Key,
    clock: Clock,
    hashing: Arc<Hashing>,
    cache: Duration,
    right: Recent,
    wrong: Recent,
    failures: Limiter,
    /// Who waits for a check. The same pair is checked once at a time, however many send it.
    waiting: Mutex<HashMap<Digest, Vec<oneshot::Sender<Verdict>>>>,
}

impl Verifier {
    /// A verifier that has seen nothing yet.
    pub fn new(users: Users, settings: Settings, clock: Clock, hashing: Arc<Hashing>) -> Self {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).expect("the system has randomness");
        let window = Algorithm::SlidingWindow { precision: Precision::Exact };
        let failures = LimitSettings {
            max_keys: NonZeroUsize::new(ADDRESSES).unwrap_or(NonZeroUsize::MIN),
            on_overflow: Overflow::Admit,
            ..LimitSettings::new(window, settings.failures, settings.period)
        };
        Self(Arc::new(Inner {
            users,
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            failures: Limiter::new(failures, clock.clone()),
            clock,
            hashing,
            cache: settings.cache,
            right: Recent::default(),
            wrong: Recent::default(),
            waiting: Mutex::default(),
        }))
    }

    /// Checks credentials that came from an address, as far as that takes no time.
    pub fn begin(&self, credentials: Credentials, address: IpAddr) -> Begun {
        let inner = &self.0;
        let digest = inner.digest(credentials.pair());
        let now = inner.clock.now();
        let known = inner.right.get(&digest, now).or_else(|| inner.wrong.get(&digest, now));
        if let Some(verdict) = known {
            return Begun::Known(verdict);
        }
        let address = network(address).to_string();
        let left = inner.failures.decide(&address, 0);
        if left.remaining == 0 && !left.overflowed {
            // The failure that used it up may have been this very pair's.
            if let Some(verdict) = inner.wrong.get(&digest, now) {
                return Begun::Known(verdict);
            }
            // Not counted either, since nothing is left.
            let seconds = inner.failures.decide(&address, 1).retry_after_seconds().unwrap_or(1);
            return Begun::Known(Err(Refused::TooManyFailures { seconds }));
        }
        let (sender, receiver) = oneshot::channel();
        let mut waiting = inner.waiting.lock();
        if let Some(others) = waiting.get_mut(&digest) {
            others.push(sender);
            return Begun::Waits(Pending(receiver));
        }
        waiting.insert(digest, vec![sender]);
        drop(waiting);
        let check = Check { inner: inner.clone(), digest, credentials, address, is_done: false };
        match inner.hashing.submit(Box::new(move || check.run())) {
            Ok(()) => Begun::Waits(Pending(receiver)),
            // Dropping the check has told whoever came meanwhile.
            Err(super::hashing::Full) => Begun::Known(Err(Refused::Busy)),
        }
    }

    /// The users.
    pub fn users(&self) -> &Users {
        &self.0.users
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("users", &self.0.users.len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn digest(&self, bytes: &[u8]) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.key, bytes).as_ref());
        digest
    }
}

/// One check. Whatever becomes of it, nobody waits for ever: dropping it lets go of those who wait.
struct Check {
    inner: Arc<Inner>,
    digest: Digest,
    credentials: Credentials,
    address: String,
    /// Whether those who wait were answered; others may wait for another check of the same pair since.
    is_done: bool,
}

impl Check {
    fn run(mut self) {
        let inner = self.inner.clone();
        // Everybody has left: a flood that does not wait for its answers costs nothing.
        if self.is_abandoned() {
            return;
        }
        let (user, password) = (self.credentials.user(), self.credentials.password());
        let verdict = match inner.users.get(user) {
            Some(user) if user.hash.verify(password) => Ok(user.name.clone()),
            Some(_) => Err(Refused::WrongPassword),
            None => {
                let digest = inner.digest(user);
                let number = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
                // As long as it would take for a user who exists. The result means nothing.
                let _ = inner.users.stand_in(number).map(|user| user.hash.verify(password));
                Err(Refused::UnknownUser)
            }
        };
        if !inner.cache.is_zero() {
            let memory = if verdict.is_ok() { &inner.right } else { &inner.wrong };
            memory.insert(self.digest, verdict.clone(), inner.clock.now() + inner.cache);
        }
        // Last, so that whoever meets the limit because of this failure finds its verdict.
        if verdict.is_err() {
            inner.failures.decide(&self.address, 1);
        }
        let waiting = inner.waiting.lock().remove(&self.digest);
        self.is_done = true;
        for sender in waiting.into_iter().flatten() {
            let _ = sender.send(verdict.clone());
        }
    }
}

impl Check {
    /// Takes the entry away when nobody waits, in one step: whoever comes later begins anew.
    fn is_abandoned(&mut self) -> bool {
        let mut waiting = self.inner.waiting.lock();
        let abandoned = waiting.get(&self.digest).is_none_or(|all| all.iter().all(oneshot::Sender::is_closed));
        if abandoned {
            waiting.remove(&self.digest);
            self.is_done = true;
        }
        abandoned
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        if !self.is_done {
            self.inner.waiting.lock().remove(&self.digest);
        }
    }
}

/// What counts as one address: a household or an office has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

const SHARDS: usize = 16;

/// Verdicts for a while. The oldest makes room; reading changes nothing, so that readers never exclude each other.
#[derive(Default)]
struct Recent([RwLock<Shard>; SHARDS]);

#[derive(Default)]
struct Shard {
    entries: HashMap<Digest, (Verdict, Nanos)>,
    order: VecDeque<Digest>,
}

impl Recent {
    fn shard(&self, digest: &Digest) -> &RwLock<Shard> {
        &self.0[usize::from(digest[0]) % SHARDS]
    }

    fn get(&self, digest: &Digest, now: Nanos) -> Option<Verdict> {
        let shard = self.shard(digest).read();
        let (verdict, until) = shard.entries.get(digest)?;
        (*until > now).then(|| verdict.clone())
    }

    fn insert(&self, digest: Digest, verdict: Verdict, until: Nanos) {
        let mut shard = self.shard(&digest).write();
        if shard.entries.insert(digest, (verdict, until)).is_some() {
            return;
        }
        shard.order.push_back(digest);
        while shard.order.len() > REMEMBERED / SHARDS {
            let Some(oldest) = shard.order.pop_front() else { break };
            shard.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
