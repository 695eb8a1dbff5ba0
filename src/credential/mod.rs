//! What the gateway shows to backends: keys, access tokens and the sources they come from, and the secrets of a key vault.
//!
//! ```text
//! policy, backend ──► Credential::token ──► at hand: a header's value, after one look
//!                                      └──► not at hand: one fetch on the control runtime, shared by all who wait
//! ```
//!
//! Nothing here shows a secret: errors name the source and the URL without its query, never a key, a token or what was sent.

mod answer;
mod asked;
mod assertion;
mod backend;
mod cache;
mod caller;
mod error;
mod fetch;
mod request;
mod settings;
mod slot;
mod source;
#[cfg(test)]
mod tests;
mod vault;

pub use asked::{Asked, Watched};
pub use assertion::{ClientKey, ClientKeyError};
pub use backend::{BackendCredentials, BackendToken, Renewal, ahead, settle};
pub(crate) use caller::missing;
pub use caller::{Subject, subject_of};
pub use error::CredentialError;
pub use fetch::{Http, UrlProblem};
pub use settings::{ClientAuthentication, Grant, IdentityEndpoint, Settings, Target};
pub use slot::{Credential, Fetching, Obtained};
pub use source::{SourceStatus, TokenSource, TokenSources};
pub use vault::{Purpose, SecretStatus, Vault, VaultAccess, VaultSecret};
