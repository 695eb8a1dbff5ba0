//! Where a quota counts: memory, at once, or a store that several gateways share, after a while.

use std::sync::Arc;

use super::{Allowance, Ledger, Millis, RemoteLedger, Ticket, Verdict};

/// Where a quota counts.
#[derive(Clone, Debug)]
pub enum Book {
    /// In memory: at hand.
    Memory(Arc<Ledger>),
    /// In a store: awaited.
    Store(Arc<RemoteLedger>),
}

impl Book {
    /// The ledger in memory: what counts, or what does while the store does not answer.
    pub fn ledger(&self) -> &Arc<Ledger> {
        match self {
            Self::Memory(ledger) => ledger,
            Self::Store(remote) => remote.local(),
        }
    }

    /// Whether verdicts are at hand, so that the step that asks need not be asynchronous.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// As [`Ledger::take`], in one atomic step wherever that is.
    pub async fn take(
        &self,
        key: &str,
        first: Option<Millis>,
        allowance: &Allowance,
        calls: u64,
        units: u64,
    ) -> Verdict {
        match self {
            Self::Memory(ledger) => ledger.take(key, first, allowance, calls, units),
            Self::Store(remote) => remote.take(key, first, allowance, calls, units).await,
        }
    }

    /// As [`Ledger::settle`]; nobody waits for a store.
    pub fn settle(&self, key: &str, first: Option<Millis>, ticket: Ticket, calls: (u64, u64), units: (u64, u64)) {
        match self {
            Self::Memory(ledger) => ledger.settle(key, first, ticket, calls, units),
            Self::Store(remote) => remote.settle(key, first, ticket, calls, units),
        }
    }
}
