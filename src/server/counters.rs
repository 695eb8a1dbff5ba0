//! What the sockets count. Each worker counts for itself; a reader adds the workers up.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The counters of one worker. Only that worker writes them.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)+ }

        /// The counters of all workers, added up at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)+ }

        impl Totals {
            /// Adds up the workers.
            pub fn of(workers: &[Arc<Counters>]) -> Self {
                let mut totals = Self::default();
                for worker in workers {
                    $(totals.$name = totals.$name.wrapping_add(worker.$name.get());)+
                }
                totals
            }
        }
    };
}

counters! {
    /// Client connections accepted.
    accepted,
    /// Client connections open now.
    open,
    /// Client connections closed at once because the worker was full.
    refused,
    /// Failed calls of `accept`.
    accept_errors,
    /// Keep-alive connections closed because no request came.
    closed_idle,
    /// Connections closed because the head of a request took too long.
    closed_slow_head,
    /// Connections closed because the client did not take the answer.
    closed_stalled,
    /// TLS handshakes that failed.
    handshakes_failed,
    /// Messages that hyper's parser refused; it answers those itself.
    bad_requests,
    /// Requests passed to the handler.
    requests,
    /// Requests whose answer is not complete yet.
    in_flight,
    /// Connections opened to backends.
    upstream_opened,
    /// Connections to backends open now.
    upstream_open,
    /// Requests sent over a connection from the pool.
    upstream_reused,
    /// Connections to backends waiting in the pool now.
    upstream_idle,
    /// Failed attempts to connect to a backend.
    upstream_connect_errors,
    /// Requests sent again because the pooled connection was already dead.
    replayed,
}

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more. A load and a store are enough with a single writer, and an order of magnitude cheaper than an atomic add.
    pub(crate) fn add(&self) {
        self.0.store(self.get().wrapping_add(1), Ordering::Relaxed);
    }

    /// One fewer.
    pub(crate) fn sub(&self) {
        self.0.store(self.get().saturating_sub(1), Ordering::Relaxed);
    }
}

thread_local! {
    static MINE: OnceCell<Arc<Counters>> = const { OnceCell::new() };
}

/// Makes `counters` this thread's; before the first use of [`count`].
pub(crate) fn adopt(counters: Arc<Counters>) {
    MINE.with(|mine| {
        let _ = mine.set(counters);
    });
}

/// Changes this thread's counters. A thread that is no worker counts for nobody.
pub(crate) fn count(change: impl FnOnce(&Counters)) {
    let _ = MINE.try_with(|mine| change(mine.get_or_init(Arc::default)));
}
