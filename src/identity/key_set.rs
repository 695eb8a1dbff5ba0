//! Keys that verify token signatures: from secrets, RSA components, PEM, certificates and JSON Web Keys.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use aws_lc_rs::{encoding::AsDer, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::algorithm::{Algorithm, AlgorithmSet};
use super::entra::tenant_of_key;

/// A key that cannot be used, or text that is no key. Never shows the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64.
    #[error("`{field}` is not valid base64")]
    Base64 {
        /// What was being read.
        field: &'static str,
    },
    /// RFC 7518 §3.2: a secret shorter than the hash.
    #[error("an HMAC secret needs at least 32 bytes, found {found} (RFC 7518 §3.2)")]
    SecretTooShort {
        /// Its length in bytes.
        found: usize,
    },
    /// RFC 7518 §3.3: an RSA key below 2048 bits, or one that is too large to verify in reasonable time.
    #[error("an RSA key needs 2048 to 8192 bits")]
    RsaSize,
    /// The numbers or points are no public key.
    #[error("not a valid {kind} public key")]
    Invalid {
        /// What kind of key was expected.
        kind: &'static str,
    },
    /// Not PEM, or PEM of something else.
    #[error("expected a PEM block `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`, found {found}")]
    Pem {
        /// What is there instead.
        found: String,
    },
    /// The document is not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// A member of a key is absent or of the wrong type.
    #[error("the key has no text member `{0}`")]
    Member(&'static str),
    /// A key type that cannot sign tokens here.
    #[error("unknown key type `{0}`, expected `RSA`, `EC`, `OKP` or `oct`")]
    KeyType(String),
    /// A curve that is not supported.
    #[error("unknown curve `{0}`, expected `P-256`, `P-384`, `P-521` or `Ed25519`")]
    Curve(String),
    /// The key is declared to be for something else.
    #[error("the key is not for verifying signatures ({0})")]
    Use(String),
    /// The key's `alg` is none that this key can verify with.
    #[error("the key's `alg` is `{found}`, expected one of {expected}")]
    Algorithm {
        /// Its `alg`.
        found: String,
        /// What such a key can do.
        expected: AlgorithmSet,
    },
    /// A secret in a published set: whoever reads the set could sign.
    #[error("a symmetric key (`oct`) in a key set is refused: whoever can read the set could sign tokens")]
    SymmetricInSet,
    /// The document is no key set.
    #[error("not a JSON Web Key Set: expected an object with an array `keys`")]
    NotASet,
    /// More keys than are allowed.
    #[error("the key set has {found} keys, at most {limit} are allowed")]
    TooManyKeys {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// No key of the set can be used.
    #[error("none of the {found} keys in the set can verify signatures{}", first_reason(.first))]
    NoUsableKey {
        /// How many there are.
        found: usize,
        /// Why the first one is of no use.
        first: Option<Box<KeyError>>,
    },
}

fn first_reason(first: &Option<Box<KeyError>>) -> String {
    first.as_ref().map(|error| format!(" (the first: {error})")).unwrap_or_default()
}

/// A key with everything parsed, so that a verification does nothing but arithmetic. Clones share it.
#[derive(Clone)]
pub struct VerificationKey {
    id: Option<Arc<str>>,
    issuer: Option<Arc<str>>,
    /// The only tenant that the key signs for, of a key that Entra ID publishes.
    tenant: Option<Arc<str>>,
    algorithms: AlgorithmSet,
    verifiers: Arc<[(Algorithm, Verifier)]>,
}

enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
];

// Each curve goes with one hash (RFC 7518 §3.4).
const CURVES: [(&str, Algorithm, &dyn VerificationAlgorithm, usize); 3] = [
    ("P-256", Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32),
    ("P-384", Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48),
    ("P-521", Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, 66),
];

impl VerificationKey {
    /// An HMAC secret. It serves the algorithms whose hash is no longer than it (RFC 7518 §3.2).
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < 32 {
            return Err(KeyError::SecretTooShort { found: secret.len() });
        }
        let verifiers = [
            (Algorithm::Hs256, hmac::HMAC_SHA256, 32),
            (Algorithm::Hs384, hmac::HMAC_SHA384, 48),
            (Algorithm::Hs512, hmac::HMAC_SHA512, 64),
        ]
        .into_iter()
        .filter(|(_, _, length)| secret.len() >= *length)
        .map(|(algorithm, hash, _)| (algorithm, Verifier::Secret(Box::new(hmac::Key::new(hash, secret)))))
        .collect();
        Ok(Self::new(verifiers))
    }

    /// An HMAC secret in base64, as Azure API Management writes it, with or without padding.
    pub fn from_base64_secret(secret: &str) -> Result<Self, KeyError> {
        Self::from_secret(&any_base64(secret, "key")?)
    }

    /// An RSA public key by modulus and exponent in base64url (Azure API Management's `n` and `e`) or base64.
    pub fn from_rsa_components(modulus: &str, exponent: &str) -> Result<Self, KeyError> {
        let invalid = KeyError::Invalid { kind: "RSA" };
        let strip = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let components =
            RsaPublicKeyComponents { n: strip(any_base64(modulus, "n")?), e: strip(any_base64(exponent, "e")?) };
        // Before the arithmetic: building an absurdly large key is work that a key set must not be able to ask for.
        if !(256..=1024).contains(&components.n.len()) || components.n[0] == 0 {
            return Err(KeyError::RsaSize);
        }
        // An exponent of 1 would accept any signature; an even one is never valid.
        if components.e.len() > 8 || components.e == [1] || components.e.last().is_none_or(|byte| byte % 2 == 0) {
            return Err(invalid);
        }
        let der = components.as_der().map_err(|_| invalid)?;
        Self::rsa(der.as_ref())
    }

    /// A public key or certificate in PEM. Of a certificate only the key is used: who issued it and until when it is
    /// valid do not matter, as it is named in the configuration.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = read_pem(text)?;
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::from_public_der(&der),
            "CERTIFICATE" => {
                let certificate = CertificateDer::from(der);
                let parsed = rustls::server::ParsedCertificate::try_from(&certificate)
                    .map_err(|_| KeyError::Invalid { kind: "X.509 certificate's" })?;
                Self::from_public_der(&parsed.subject_public_key_info())
            }
            other => Err(KeyError::Pem { found: format!("`{other}`") }),
        }
    }

    /// One JSON Web Key (RFC 7517 §4) as configuration may hold it; a secret (`oct`) is allowed.
    pub fn from_jwk(json: &str) -> Result<Self, KeyError> {
        let value = serde_json::from_str(json).map_err(|error| KeyError::Json(error.to_string()))?;
        Self::from_jwk_value(&value)
    }

    fn from_jwk_value(jwk: &Value) -> Result<Self, KeyError> {
        let text = |name: &'static str| jwk.get(name).and_then(Value::as_str);
        let member = |name: &'static str| text(name).ok_or(KeyError::Member(name));
        if let Some(usage) = text("use").filter(|usage| *usage != "sig") {
            return Err(KeyError::Use(format!("`use` is `{}`", clip(usage))));
        }
        if let Some(operations) = jwk.get("key_ops").and_then(Value::as_array)
            && !operations.iter().any(|operation| operation == "verify")
        {
            return Err(KeyError::Use("`key_ops` does not hold `verify`".to_owned()));
        }
        let mut key = match member("kty")? {
            "RSA" => Self::from_rsa_components(member("n")?, member("e")?)?,
            "EC" => {
                let curve = member("crv")?;
                let (_, algorithm, parameters, size) =
                    CURVES.into_iter().find(|(name, ..)| *name == curve).ok_or_else(|| KeyError::Curve(clip(curve)))?;
                let (x, y) = (any_base64(member("x")?, "x")?, any_base64(member("y")?, "y")?);
                // RFC 7518 §6.2.1.2: both coordinates have the full length of the curve's field.
                if x.len() != size || y.len() != size {
                    return Err(KeyError::Invalid { kind: "EC" });
                }
                Self::public("EC", &[(algorithm, parameters)], &[&[4], x.as_slice(), y.as_slice()].concat())?
            }
            "OKP" => match member("crv")? {
                "Ed25519" => {
                    let point = any_base64(member("x")?, "x")?;
                    if point.len() != 32 {
                        return Err(KeyError::Invalid { kind: "Ed25519" });
                    }
                    Self::public("Ed25519", &[(Algorithm::EdDsa, &signature::ED25519)], &point)?
                }
                curve => return Err(KeyError::Curve(clip(curve))),
            },
            "oct" => Self::from_secret(&any_base64(member("k")?, "k")?)?,
            other => return Err(KeyError::KeyType(clip(other))),
        };
        if let Some(name) = text("alg") {
            let only = name.parse().ok().filter(|algorithm| key.algorithms.contains(*algorithm));
            let only = only.ok_or_else(|| KeyError::Algorithm { found: clip(name), expected: key.algorithms })?;
            key = key.restricted(AlgorithmSet::from_iter([only]));
        }
        key.id = text("kid").map(Into::into);
        key.tenant = text("issuer").and_then(tenant_of_key);
        Ok(key)
    }

    fn from_public_der(der: &[u8]) -> Result<Self, KeyError> {
        for (_, algorithm, parameters, _) in CURVES {
            if let Ok(key) = Self::public("EC", &[(algorithm, parameters)], der) {
                return Ok(key);
            }
        }
        Self::public("Ed25519", &[(Algorithm::EdDsa, &signature::ED25519)], der).or_else(|_| Self::rsa(der))
    }

    fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let algorithms = RSA.map(|(algorithm, parameters)| (algorithm, parameters as &dyn VerificationAlgorithm));
        let key = Self::public("RSA, EC or Ed25519", &algorithms, der)?;
        // Parsing does not look at the size; each verification would, and then fail for no reason one can see.
        let bits = RsaParameters::public_modulus_len(der).ok().or_else(|| {
            Some(u32::try_from(PublicEncryptingKey::from_der(der).ok()?.key_size_bits()).unwrap_or(u32::MAX))
        });
        match bits {
            Some(2048..=8192) => Ok(key),
            _ => Err(KeyError::RsaSize),
        }
    }

    fn public(
        kind: &'static str,
        algorithms: &[(Algorithm, &'static dyn VerificationAlgorithm)],
        bytes: &[u8],
    ) -> Result<Self, KeyError> {
        let verifiers = algorithms
            .iter()
            .map(|(algorithm, parameters)| {
                let key = ParsedPublicKey::new(*parameters, bytes).map_err(|_| KeyError::Invalid { kind })?;
                Ok((*algorithm, Verifier::Public(key)))
            })
            .collect::<Result<_, KeyError>>()?;
        Ok(Self::new(verifiers))
    }

    fn new(verifiers: Vec<(Algorithm, Verifier)>) -> Self {
        let algorithms = verifiers.iter().map(|(algorithm, _)| *algorithm).collect();
        Self { id: None, issuer: None, tenant: None, algorithms, verifiers: verifiers.into() }
    }

    /// Gives the key an id, which a token's `kid` must equal.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Says whose key it is: it verifies no other issuer's tokens, unless the rules list that issuer.
    #[must_use]
    pub fn with_issuer(mut self, issuer: Option<Arc<str>>) -> Self {
        self.issuer = issuer;
        self
    }

    /// Keeps only the algorithms that are also in `allowed`.
    #[must_use]
    pub fn restricted(mut self, allowed: AlgorithmSet) -> Self {
        self.algorithms = self.algorithms.intersection(allowed);
        self
    }

    /// The key's id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whose key it is, when it belongs to one issuer.
    pub fn issuer(&self) -> Option<&Arc<str>> {
        self.issuer.as_ref()
    }

    /// The only tenant that it signs for, when the published key says so.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The algorithms that this key verifies.
    pub fn algorithms(&self) -> AlgorithmSet {
        self.algorithms
    }

    /// Whether `signature` over `message` is by this key; nothing when the key is not one for `algorithm`.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<bool> {
        let allowed = self.algorithms.contains(algorithm);
        let (_, verifier) = self.verifiers.iter().find(|(own, _)| allowed && *own == algorithm)?;
        Some(match verifier {
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
            Verifier::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        })
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationKey({:?}, {})", self.id, self.algorithms)
    }
}

/// Keys to verify with; never changed, only replaced.
#[derive(Debug, Default)]
pub struct KeySet(Vec<VerificationKey>);

impl KeySet {
    /// A set of these keys.
    pub fn new(keys: Vec<VerificationKey>) -> Self {
        Self(keys)
    }

    /// Reads a JSON Web Key Set (RFC 7517 §5). Keys that cannot be used are left out and returned beside the set with
    /// the reason, as §5 asks; a set without any usable key is an error. Symmetric keys are never taken from a set.
    pub fn from_jwks(document: &[u8], limit: usize) -> Result<(Self, Vec<KeyError>), KeyError> {
        let document: Value = serde_json::from_slice(document).map_err(|error| KeyError::Json(error.to_string()))?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(KeyError::NotASet)?;
        if keys.len() > limit {
            return Err(KeyError::TooManyKeys { found: keys.len(), limit });
        }
        let (mut usable, mut skipped) = (Vec::with_capacity(keys.len()), Vec::new());
        for jwk in keys {
            let key = match jwk.get("kty").and_then(Value::as_str) {
                Some("oct") => Err(KeyError::SymmetricInSet),
                _ => VerificationKey::from_jwk_value(jwk),
            };
            match key {
                Ok(key) => usable.push(key),
                Err(error) => skipped.push(error),
            }
        }
        if usable.is_empty() {
            return Err(KeyError::NoUsableKey { found: keys.len(), first: skipped.into_iter().next().map(Box::new) });
        }
        Ok((Self(usable), skipped))
    }

    /// The keys that a token with this `kid` may be signed with: those of that id and those without one; all of them
    /// when the token names none.
    pub(super) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &VerificationKey> {
        self.0.iter().filter(move |key| match (key.id(), kid) {
            (Some(id), Some(kid)) => id == kid,
            _ => true,
        })
    }

    /// Whether some key belongs to one issuer.
    pub(super) fn has_issuer(&self) -> bool {
        self.0.iter().any(|key| key.issuer.is_some())
    }

    /// Whether every key belongs to one issuer.
    pub(super) fn has_issuers(&self) -> bool {
        self.0.iter().all(|key| key.issuer.is_some())
    }

    /// Every algorithm that some key verifies.
    pub fn algorithms(&self) -> AlgorithmSet {
        self.0.iter().fold(AlgorithmSet::EMPTY, |set, key| set.union(key.algorithms))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The start of a text that others wrote, for a message of bounded length.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// Both alphabets, with and without padding: documents mix them.
fn any_base64(text: &str, field: &'static str) -> Result<Vec<u8>, KeyError> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Base64 { field })
}

/// The label and content of the first block (RFC 7468).
fn read_pem(text: &str) -> Result<(&str, Vec<u8>), KeyError> {
    let none = || KeyError::Pem { found: "no PEM block".to_owned() };
    let (_, rest) = text.split_once("-----BEGIN ").ok_or_else(none)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(none)?;
    let (body, rest) = rest.split_once("-----END ").ok_or_else(none)?;
    if !rest.strip_prefix(label).is_some_and(|rest| rest.starts_with("-----")) {
        return Err(KeyError::Pem { found: "a block whose end does not match its beginning".to_owned() });
    }
    let body: String = body.split_ascii_whitespace().collect();
    Ok((label, STANDARD.decode(body).map_err(|_| KeyError::Base64 { field: "PEM" })?))
}

#[cfg(test)]
mod tests;
