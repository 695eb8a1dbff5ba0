//! Basic credentials: users and the hashes of their passwords, and how a password is checked without stopping a worker.
//!
//! ```text
//! Authorization ──► Credentials::parse ──► Verifier: cache ─► failures of the address ─► Hashing (its own threads) ──► user
//! ```

mod credentials;
mod hash;
mod hashing;
mod users;
mod verifier;

pub use credentials::{Credentials, Malformed};
pub use hash::{HashError, PasswordHash};
pub use hashing::Hashing;
pub use users::{UserError, Users};
pub use verifier::{Begun, Pending, Refused, Settings, Verifier};
