//! Subscriptions and their keys: who a presented key belongs to, and what it may call.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::{constant_time, digest};
use serde_json::{Map, Value as Json};

use super::key_ring::LastFour;

/// The SHA-256 digest of a key: all that the gateway keeps of it.
///
/// Two digests are compared in constant time. Hashing first is what makes a lookup independent of the key itself: the
/// time can only tell something about the digest of what the caller sent, which the caller knows, and no guess can
/// be steered toward a stored digest without inverting SHA-256.
#[derive(Clone, Copy, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Hashes a key.
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        Self(bytes)
    }

    /// A digest that was made in pieces; what is no SHA-256 digest is hashed.
    pub(crate) fn from_digest(digest: &[u8]) -> Self {
        <[u8; 32]>::try_from(digest).map_or_else(|_| Self::of(digest), Self)
    }

    pub(crate) fn first_byte(&self) -> u8 {
        self.0[0]
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl std::hash::Hash for KeyDigest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // A digest is uniform: eight of its bytes fill a hash table as well as all of them, and the table's seed keeps
        // a caller from choosing the bucket.
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[8..16]);
        state.write_u64(u64::from_ne_bytes(prefix));
    }
}

/// The form of configuration: `sha256:` and 64 hexadecimal digits.
impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

const PREFIX: &str = "sha256:";

/// A key digest that cannot be read. Never shows what was written: it may be the key itself, pasted by mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `sha256:` in front.
    #[error("expected `sha256:` and 64 hexadecimal digits; keys are written as digests, never in clear")]
    Prefix,
    /// Too few or too many digits.
    #[error("expected 64 hexadecimal digits after `sha256:`, found {found} characters")]
    Length {
        /// How many characters follow the prefix.
        found: usize,
    },
    /// Something other than a hexadecimal digit.
    #[error("expected 64 hexadecimal digits after `sha256:`, character {position} is not one")]
    Digit {
        /// The place of the first wrong character, counted from 1.
        position: usize,
    },
}

impl FromStr for KeyDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(PREFIX).ok_or(DigestError::Prefix)?;
        let found = digits.chars().count();
        if found != 64 {
            return Err(DigestError::Length { found });
        }
        let mut bytes = [0; 32];
        for (index, digit) in digits.chars().enumerate() {
            // At most 15, so the cast keeps it whole.
            let value = digit.to_digit(16).ok_or(DigestError::Digit { position: index + 1 })? as u8;
            bytes[index / 2] = bytes[index / 2] << 4 | value;
        }
        Ok(Self(bytes))
    }
}

/// Reads a digest as configuration writes it: `sha256:` and 64 hexadecimal digits.
pub fn parse_digest(text: &str) -> Result<KeyDigest, DigestError> {
    text.parse()
}

/// The digest of a key, as configuration writes it.
pub fn digest_of(key: &[u8]) -> String {
    KeyDigest::of(key).to_string()
}

/// What a subscription may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every API.
    All,
    /// The APIs of one product; its policies run.
    Product(Arc<str>),
    /// These APIs.
    Apis(Box<[Arc<str>]>),
}

/// Where a subscription is in its life. Only an active one works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for, not yet approved.
    Submitted,
    /// In force.
    Active,
    /// Stopped for now by the owner of the API.
    Suspended,
    /// Ended by either side.
    Cancelled,
    /// Asked for and refused.
    Rejected,
    /// Past its end.
    Expired,
}

impl State {
    /// The name in configuration and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

/// A grant to call, and whom it was given to.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The name in configuration, logs and `@subscription()`.
    pub id: Arc<str>,
    /// Who calls with it (`@consumer()`).
    pub consumer: Option<Arc<str>>,
    /// What it may call.
    pub scope: Scope,
    /// Whether it is in force.
    pub state: State,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
    /// When it began; quotas count their periods from here.
    pub start: Option<SystemTime>,
    /// What `@subscription('name')` reads.
    pub metadata: Option<Box<Map<String, Json>>>,
}

impl Subscription {
    /// The product it is a subscription to, whose policies run.
    pub fn product(&self) -> Option<&Arc<str>> {
        match &self.scope {
            Scope::Product(product) => Some(product),
            Scope::All | Scope::Apis(_) => None,
        }
    }

    /// Whether a call to `api`, which the `products` contain, is granted at the time `now`.
    pub fn authorize(&self, api: &str, products: &[Arc<str>], now: SystemTime) -> Result<(), Refusal> {
        if self.state != State::Active {
            return Err(Refusal::Inactive { subscription: Arc::clone(&self.id), state: self.state });
        }
        if self.expires.is_some_and(|expires| now >= expires) {
            return Err(Refusal::Expired { subscription: Arc::clone(&self.id) });
        }
        let covered = match &self.scope {
            Scope::All => true,
            Scope::Product(product) => products.contains(product),
            Scope::Apis(apis) => apis.iter().any(|name| &**name == api),
        };
        if covered { Ok(()) } else { Err(Refusal::OutOfScope { subscription: Arc::clone(&self.id), api: api.into() }) }
    }
}

/// Why a call is not granted. The text is for the log; the caller reads [`Refusal::public_message`], which does not tell
/// a key that is unknown from one that is suspended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key came with the request.
    #[error("no subscription key in the request")]
    KeyMissing,
    /// The key is nobody's.
    #[error("the subscription key is not known")]
    KeyUnknown,
    /// The key has ended, and its subscription may go on with another one.
    #[error("a key{} of subscription `{subscription}` {ended}", last_four.map(|four| format!(" that ends in `{four}`")).unwrap_or_default())]
    KeyEnded {
        /// The subscription.
        subscription: Arc<str>,
        /// The end of the key.
        last_four: Option<LastFour>,
        /// How: `was revoked`, `has expired`.
        ended: &'static str,
    },
    /// The subscription is not in force.
    #[error("subscription `{subscription}` is {}", state.name())]
    Inactive {
        /// The subscription.
        subscription: Arc<str>,
        /// Its state.
        state: State,
    },
    /// The subscription has ended.
    #[error("subscription `{subscription}` has expired")]
    Expired {
        /// The subscription.
        subscription: Arc<str>,
    },
    /// The subscription is for something else.
    #[error("subscription `{subscription}` does not cover API `{api}`")]
    OutOfScope {
        /// The subscription.
        subscription: Arc<str>,
        /// The API that was called.
        api: Arc<str>,
    },
}

impl Refusal {
    /// Azure API Management's reason code.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::KeyMissing => "SubscriptionKeyNotFound",
            _ => "SubscriptionKeyInvalid",
        }
    }

    /// Azure API Management's message for on-error.
    pub const fn message(&self) -> &'static str {
        match self {
            Self::KeyMissing => {
                "Access denied due to missing subscription key. Make sure to include subscription key when making requests to this API."
            }
            _ => self.public_message(),
        }
    }

    /// What the caller reads. For a missing key it says "an API" where [`Refusal::message`] says "this API", as Azure
    /// API Management does.
    pub const fn public_message(&self) -> &'static str {
        match self {
            Self::KeyMissing => {
                "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API."
            }
            _ => {
                "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription."
            }
        }
    }
}

#[cfg(test)]
mod tests;
