//! Plain tower middleware: it delays, repeats, times or refuses whatever service it wraps, and knows no policy.
//!
//! Each layer takes plain parameters and small decision traits. The inner service must be cheap to clone.

pub mod concurrency;
pub mod retry;
pub mod timeout;
pub mod total;

pub use concurrency::{Concurrency, ConcurrencyLayer, PermitBody};
pub use retry::{Retry, RetryLayer};
pub use timeout::{Deadline, Timeout, TimeoutLayer};
pub use total::{Due, DueBody, Total, TotalLayer};
