//! Whole answers: which may be kept, under which key, how they are found again, and how they come to be kept.
//!
//! What is kept is the backend's answer, before outbound: whoever is served from the cache goes through outbound as if the backend had
//! answered just so. RFC 9111 says what a cache that callers share may keep.

mod candidate;
mod find;
mod key;
pub mod rules;
mod stored;

pub use candidate::{Candidate, Kept};
pub use find::{Fetched, Found, How};
pub use key::Key;
pub use stored::Stored;
