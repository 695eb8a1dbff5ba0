//! Who calls: subscriptions and their keys, and JSON Web Tokens and the keys that verify them.
//!
//! ```text
//! presented key ──► KeyRing::lookup ──► Subscription::authorize
//! Basic         ──► basic::Verifier ──► user
//! bearer token  ──► TokenVerifier ──► algorithm, key (KeySet or RemoteKeys), signature, claims ──► Verified
//! ```
//!
//! Nothing here answers a request: refusals are typed errors that name the check, what was expected and what was
//! found, and never hold a key or a token.

pub mod algorithm;
pub mod basic;
mod claims;
mod fetch;
mod key_registry;
pub mod key_set;
pub mod remote_keys;
pub mod subscription;
#[cfg(test)]
mod test_support;
mod token_cache;
pub mod token_error;
mod token_rules;
pub mod token_verifier;

pub use algorithm::{Algorithm, AlgorithmSet};
pub use claims::{Match, RequiredClaim};
pub use fetch::{FetchError, UrlError};
pub use key_registry::RemoteKeyRegistry;
pub use key_set::{KeyError, KeySet, VerificationKey};
pub use remote_keys::{KeyLocation, RemoteKeys, RemoteKeysError, RemoteKeysOptions};
pub use subscription::{KeyDigest, KeyRing, Refusal, Scope, State, Subscription};
pub use token_error::TokenError;
pub use token_rules::{TokenRules, VerifierError};
pub use token_verifier::{KeyRefresh, Outcome, RemoteSource, TokenVerifier, Verified};
