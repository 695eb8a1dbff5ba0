//! Quotas: how much a key may use in a period, counted in memory and kept in a store over restarts.
//!
//! A [`Ledger`] holds what the keys of one quota have used: calls, and units (bytes or tokens). Each [`Ledger::take`] checks and
//! counts in one step under the lock of the key's shard, so that simultaneous requests admit exactly the limit of calls. Units are
//! known only afterwards: they are added when an exchange ends, and a key is admitted while it has some left, so that it uses at
//! most its limit and what its requests in progress at that moment transfer.
//!
//! | schedule | admits at most | memory for each key |
//! |---|---|---|
//! | calendar, fixed length, first call | the limit in each period | 24 bytes |
//! | sliding | the limit in any window of the period; it comes back up to a sixtieth of the period late | 24 bytes for each sixtieth in use, at most 61 |
//!
//! To that come the key's text (at most 256 bytes; longer keys are kept as a digest) and 48 to 96 bytes for its place in the
//! table. A key is forgotten only when everything it used has come back.

mod book;
mod ledger;
mod registry;
mod remote;
pub mod schedule;
#[cfg(test)]
mod tests;
mod usage;

pub use book::Book;
pub use ledger::{Allowance, Exceeded, Ledger, Left, Settings, Ticket, Verdict};
pub use registry::{Batch, Keeper, Plan, Registry, Row};
pub use remote::RemoteLedger;
pub use schedule::{Millis, Schedule, Unit};
pub use usage::Usage;

/// What a key is stored under: its SHA-256, so that a secret that serves as a key is not written to a disk.
pub type Digest = [u8; 32];
