//! Limits: how many requests a key may make in a time, and how many at once.
//!
//! A [`Limit`] is one configured limit, and where it is counted: by a [`Limiter`] in the memory of this process, or by a
//! [`SharedLimit`] for several. Each decision checks and counts in one step, so that simultaneous requests admit exactly the
//! limit. A rejected request is not counted unless [`Count::All`] says so. A key is forgotten only when it is back to full, so
//! that forgetting it cannot be noticed.
//!
//! | algorithm | admits at most | memory for each key |
//! |---|---|---|
//! | sliding window, exact | `calls` in any half-open window of `period`, and all that this allows | 16 bytes; with several requests in the window 80 and 12 for each in steps of powers of two, up to `24 × calls` |
//! | sliding window in slots | the same, and refuses up to `period / slots` longer | 32 bytes and `4 × slots` |
//! | token bucket | `burst + calls × t / period` in any time `t` | 24 bytes |
//! | fixed window | `calls` in each window, so `2 × calls` in some `period` | 12 bytes |
//! | concurrency | `max` at once | 48 bytes while a request runs, else nothing; 64 for each request in a shared store |
//! | any of them with a waiting line | the same; refuses what would wait too long | 100 bytes for each request that waits |
//!
//! To each comes its place in the table, with 40 bytes for the key's text; what is longer than 38 bytes, and every key of a window in slots,
//! has memory of its own (at most 256 bytes; longer keys are kept as a digest). `benches/README.md`
//! has what a million keys were seen to take.

mod bucket;
mod concurrency;
mod decision;
mod fixed;
mod key;
mod keys;
mod limiter;
mod line;
mod meter;
pub mod quota;
mod registry;
mod remote;
mod settings;
mod shared;
mod slots;
mod stated;
mod window;

#[cfg(test)]
mod tests;

pub use concurrency::{Admission, ConcurrencyLimit, Permit};
pub use decision::{Ask, Count, Decision};
pub use limiter::Limiter;
pub use line::{Line, Passed};
pub use registry::{Plan, Registry};
pub use remote::{Lease, OnStoreError, RemoteConcurrency, RemoteLimit, SharedCounters};
pub use settings::{Algorithm, Overflow, Precision, Rate, Settings, WindowStart};
pub use shared::{Answer, Limit, Pending, SharedLimit};
pub use stated::{MissingKey, Stated, StatedKey, StatedTerms, Tokens};
