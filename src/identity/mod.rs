//! Who calls: subscriptions and their keys, and JSON Web Tokens and the keys that verify them.
//!
//! ```text
//! Basic         ──► basic::Verifier ──► user
//! certificate   ──► certificate::ClientCertificate, ClientTrust
//! presented key ──► Keys::lookup ──► Key::authorize
//! bearer token  ──► TokenVerifier ──► algorithm, key (KeySet or RemoteKeys), signature, claims ──► Verified
//! ```
//!
//! Nothing here answers a request: refusals are typed errors that name the check, what was expected and what was
//! found, and never hold a key or a token.

pub mod algorithm;
pub mod basic;
pub mod certificate;
mod claims;
pub mod entra;
mod fetch;
mod key_registry;
pub mod key_ring;
pub mod key_set;
pub mod remote_keys;
pub mod subscription;
#[cfg(test)]
#[path = "tests/support.rs"]
pub(crate) mod test_support;
mod token_cache;
pub mod token_error;
mod token_rules;
pub mod token_verifier;
mod verification_pool;

pub use algorithm::{Algorithm, AlgorithmSet};
pub use claims::{Match, Permission, RequiredClaim};
pub use entra::Tenants;
pub use fetch::{FetchError, UrlError};
pub use key_registry::RemoteKeyRegistry;
pub use key_ring::{KeyRing, Keys};
pub use key_set::{KeyError, KeySet, VerificationKey};
pub use remote_keys::{KeyLocation, RemoteKeys, RemoteKeysError, RemoteKeysOptions};
pub use subscription::{KeyDigest, Refusal, Scope, State, Subscription};
pub use token_cache::TokenCache;
pub use token_error::TokenError;
pub use token_rules::{TokenRules, VerifierError};
pub use token_verifier::{
    Begun, Check, Explanation, KeyRefresh, Outcome, RemoteSource, Standing, TokenVerifier, Verified,
};
pub use verification_pool::VerificationPool;
