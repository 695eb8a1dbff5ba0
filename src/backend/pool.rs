//! The connections of one worker to its backends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::oneshot;

use super::wire::Wire;
use super::{Endpoint, EndpointSettings};
use crate::body::Body;
use crate::server::counters::count;
use crate::server::deadline::coarse_now;

/// A connection that one request has for itself.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<Body>,
    pub(crate) wire: Arc<Wire>,
    /// Whether it has served a request before.
    pub(crate) reused: bool,
}

struct Idle {
    lease: Lease,
    since: u64,
}

struct Pool {
    /// The newest last: it is the least likely to have been closed by the backend.
    idle: VecDeque<Idle>,
    /// Connections open or being opened.
    open: usize,
    /// Requests that wait for a connection; they get one, or the leave to open one.
    waiting: VecDeque<oneshot::Sender<Option<Lease>>>,
    settings: EndpointSettings,
}

thread_local! {
    static POOLS: RefCell<HashMap<u64, Pool, foldhash::fast::FixedState>> =
        const { RefCell::new(HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0))) };
}

/// What a request gets when it asks for a connection.
pub(crate) enum Checkout {
    /// One from the pool.
    Pooled(Lease),
    /// The leave to open one.
    Connect(Permit),
    /// A place in the queue.
    Wait(oneshot::Receiver<Option<Lease>>),
    /// Not even that.
    Full,
}

/// Counts a connection from before it is opened until after it is closed.
#[derive(Debug)]
pub(crate) struct Permit(u64);

impl Drop for Permit {
    fn drop(&mut self) {
        let _ = POOLS.try_with(|pools| {
            if let Some(pool) = pools.borrow_mut().get_mut(&self.0) {
                pool.open = pool.open.saturating_sub(1);
                while let Some(waiting) = pool.waiting.pop_front() {
                    if waiting.send(None).is_ok() {
                        break;
                    }
                }
            }
        });
    }
}

/// Takes a connection, or what there is in place of one. `fresh` passes over the pool.
pub(crate) fn checkout(endpoint: &Endpoint, fresh: bool) -> Checkout {
    POOLS.with_borrow_mut(|pools| {
        let pool = pools.entry(endpoint.id).or_insert_with(|| Pool {
            idle: VecDeque::new(),
            open: 0,
            waiting: VecDeque::new(),
            settings: endpoint.settings.clone(),
        });
        while !fresh && let Some(Idle { lease, .. }) = pool.idle.pop_back() {
            count(|counters| counters.upstream_idle.sub());
            if !lease.sender.is_closed() {
                return Checkout::Pooled(lease);
            }
        }
        if pool.open >= pool.settings.max_connections
            && let Some(oldest) = pool.idle.pop_front()
        {
            // Only when a fresh one is asked for: room is made, for closing it takes effect a moment later.
            drop(oldest);
            count(|counters| counters.upstream_idle.sub());
        } else if pool.open >= pool.settings.max_connections {
            pool.waiting.retain(|waiting| !waiting.is_closed());
            if pool.waiting.len() >= pool.settings.max_connections {
                return Checkout::Full;
            }
            let (sender, receiver) = oneshot::channel();
            pool.waiting.push_back(sender);
            return Checkout::Wait(receiver);
        }
        pool.open += 1;
        Checkout::Connect(Permit(endpoint.id))
    })
}

/// Gives a connection back after its answer was read to the end.
pub(crate) fn give_back(endpoint: &Endpoint, mut lease: Lease) {
    if lease.sender.is_closed() {
        return;
    }
    lease.reused = true;
    let _ = POOLS.try_with(|pools| {
        let mut pools = pools.borrow_mut();
        let Some(pool) = pools.get_mut(&endpoint.id) else { return };
        while let Some(waiting) = pool.waiting.pop_front() {
            match waiting.send(Some(lease)) {
                Ok(()) => return,
                Err(Some(returned)) => lease = returned,
                Err(None) => return,
            }
        }
        if pool.settings.max_idle == 0 {
            return;
        }
        if pool.idle.len() >= pool.settings.max_idle {
            pool.idle.pop_front();
            count(|counters| counters.upstream_idle.sub());
        }
        pool.idle.push_back(Idle { lease, since: coarse_now() });
        count(|counters| counters.upstream_idle.add());
    });
}

/// Closes connections that have waited too long, and forgets endpoints that nobody uses any more.
pub(crate) fn sweep() {
    let now = coarse_now();
    POOLS.with_borrow_mut(|pools| {
        pools.retain(|_, pool| {
            let allowed = pool.settings.idle_timeout.as_millis();
            let before = pool.idle.len();
            pool.idle
                .retain(|idle| !idle.lease.sender.is_closed() && u128::from(now.saturating_sub(idle.since)) <= allowed);
            for _ in pool.idle.len()..before {
                count(|counters| counters.upstream_idle.sub());
            }
            pool.open > 0 || !pool.idle.is_empty() || !pool.waiting.is_empty()
        });
    });
}

/// Closes everything, at the end of a worker.
pub(crate) fn clear() {
    let pools = POOLS.with_borrow_mut(std::mem::take);
    for _ in pools.values().flat_map(|pool| &pool.idle) {
        count(|counters| counters.upstream_idle.sub());
    }
}
