//! Private keys that sign tokens: made anew, or read from PEM; and the public half that an issuer publishes.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use crate::identity::Algorithm;

/// The length of a key id in bytes before base64url: that of the ids of Entra ID.
const ID_BYTES: usize = 20;

/// A key that cannot sign. Never shows the key.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Not PEM, or not of a private key.
    #[error("expected PEM of a private key (`PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`)")]
    Pem,
    /// A key of a kind or size that signs nothing here.
    #[error("the private key is none that can sign tokens: RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519")]
    Kind,
    /// The key is for other algorithms.
    #[error("{article} {kind} key cannot sign with {algorithm}", article = if *.kind == "RSA" { "an" } else { "a" })]
    Algorithm {
        /// What the key is.
        kind: &'static str,
        /// What was asked of it.
        algorithm: Algorithm,
    },
    /// RFC 7518 §3.2: a secret shorter than the hash.
    #[error("{algorithm} needs a secret of at least {expected} bytes, found {found} (RFC 7518 §3.2)")]
    SecretTooShort {
        /// What was asked.
        algorithm: Algorithm,
        /// The least.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// The library could not make a key or a signature.
    #[error("the key could not be made or used")]
    Failed,
}

/// A private key, the algorithm it signs with, and its id.
pub struct SigningKey {
    id: String,
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(&'static Curve, Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Secret(Box<hmac::Key>),
}

/// Each curve goes with one hash (RFC 7518 §3.4).
struct Curve {
    name: &'static str,
    algorithm: Algorithm,
    signing: &'static EcdsaSigningAlgorithm,
}

static CURVES: [Curve; 3] = [
    Curve { name: "P-256", algorithm: Algorithm::Es256, signing: &signature::ECDSA_P256_SHA256_FIXED_SIGNING },
    Curve { name: "P-384", algorithm: Algorithm::Es384, signing: &signature::ECDSA_P384_SHA384_FIXED_SIGNING },
    Curve { name: "P-521", algorithm: Algorithm::Es512, signing: &signature::ECDSA_P521_SHA512_FIXED_SIGNING },
];

impl SigningKey {
    /// A new key for an algorithm with a public key; RSA with 2048 bits.
    ///
    /// # Errors
    /// For HMAC, whose secrets are chosen and shared, and when the library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        let failed = |_| SigningKeyError::Failed;
        let pair = match algorithm {
            Algorithm::EdDsa => Pair::Ed25519(Box::new(Ed25519KeyPair::generate().map_err(failed)?)),
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => {
                let curve = curve(algorithm).ok_or(SigningKeyError::Failed)?;
                Pair::Ec(curve, Box::new(EcdsaKeyPair::generate(curve.signing).map_err(failed)?))
            }
            _ if algorithm.is_symmetric() => return Err(SigningKeyError::Failed),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).map_err(failed)?)),
        };
        Self::new(pair, algorithm)
    }

    /// The private keys of a PEM text, in its order. Each signs with `algorithm` when that is given and fits, else with
    /// the default of its kind: RS256, or the one of its curve.
    ///
    /// # Errors
    /// When there is none, or one that cannot sign.
    pub fn all_from_pem(text: &str, algorithm: Option<Algorithm>) -> Result<Vec<Self>, SigningKeyError> {
        let keys: Vec<PrivateKeyDer<'_>> = PrivateKeyDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| SigningKeyError::Pem)?;
        if keys.is_empty() {
            return Err(SigningKeyError::Pem);
        }
        keys.iter().map(|key| Self::from_der(key, algorithm)).collect()
    }

    fn from_der(key: &PrivateKeyDer<'_>, algorithm: Option<Algorithm>) -> Result<Self, SigningKeyError> {
        let pair = match key {
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(|key| Pair::Rsa(key.into()))
            }
            PrivateKeyDer::Sec1(der) => CURVES.iter().find_map(|curve| {
                let pair = EcdsaKeyPair::from_private_key_der(curve.signing, der.secret_sec1_der()).ok()?;
                Some(Pair::Ec(curve, pair.into()))
            }),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(|key| Pair::Rsa(key.into()));
                let ec = || {
                    let found = |curve: &'static Curve| {
                        Some(Pair::Ec(curve, EcdsaKeyPair::from_pkcs8(curve.signing, der).ok()?.into()))
                    };
                    CURVES.iter().find_map(found)
                };
                let ed = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(|key| Pair::Ed25519(key.into()));
                rsa().or_else(ec).or_else(ed)
            }
            _ => None,
        };
        let pair = pair.ok_or(SigningKeyError::Kind)?;
        let (kind, default) = match &pair {
            Pair::Rsa(_) => ("RSA", Algorithm::Rs256),
            Pair::Ec(curve, _) => (curve.name, curve.algorithm),
            Pair::Ed25519(_) | Pair::Secret(_) => ("Ed25519", Algorithm::EdDsa),
        };
        let algorithm = algorithm.unwrap_or(default);
        let fits = match &pair {
            Pair::Rsa(_) => rsa_encoding(algorithm).is_some(),
            _ => algorithm == default,
        };
        if !fits {
            return Err(SigningKeyError::Algorithm { kind, algorithm });
        }
        Self::new(pair, algorithm)
    }

    /// A shared secret, for HS256, HS384 and HS512.
    ///
    /// # Errors
    /// When it is shorter than the hash.
    pub fn from_secret(secret: &[u8], algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        let (hash, expected) = match algorithm {
            Algorithm::Hs256 => (hmac::HMAC_SHA256, 32),
            Algorithm::Hs384 => (hmac::HMAC_SHA384, 48),
            Algorithm::Hs512 => (hmac::HMAC_SHA512, 64),
            _ => return Err(SigningKeyError::Algorithm { kind: "shared", algorithm }),
        };
        if secret.len() < expected {
            return Err(SigningKeyError::SecretTooShort { algorithm, expected, found: secret.len() });
        }
        let pair = Pair::Secret(Box::new(hmac::Key::new(hash, secret)));
        Ok(Self { id: String::new(), algorithm, pair })
    }

    fn new(pair: Pair, algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        if let Pair::Rsa(pair) = &pair
            && !(256..=1024).contains(&pair.public_modulus_len())
        {
            return Err(SigningKeyError::Kind);
        }
        let mut key = Self { id: String::new(), algorithm, pair };
        // RFC 7638 §3: the digest of the required members in the order of their names.
        let members: std::collections::BTreeMap<String, Value> = key.public_members().into_iter().collect();
        let text = serde_json::to_string(&members).map_err(|_| SigningKeyError::Failed)?;
        let hash = digest::digest(&digest::SHA256, format!("{algorithm}{text}").as_bytes());
        key.id = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..ID_BYTES]);
        Ok(key)
    }

    /// The key's id, made from its public half and algorithm: the same whenever the same key is read. Empty for a secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The private key in PEM (PKCS #8); nothing for a secret.
    pub fn to_pem(&self) -> Option<String> {
        let der = match &self.pair {
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(&**pair).ok()?.as_ref().to_vec(),
            Pair::Ec(_, pair) => pair.to_pkcs8v1().ok()?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().ok()?.as_ref().to_vec(),
            Pair::Secret(_) => return None,
        };
        let text = STANDARD.encode(der);
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Some(pem)
    }

    /// The public half as a JSON Web Key (RFC 7517); nothing for a secret, which is never published.
    pub fn jwk(&self) -> Option<Value> {
        let mut members = self.public_members();
        if members.is_empty() {
            return None;
        }
        members.insert("use".to_owned(), json!("sig"));
        members.insert("alg".to_owned(), json!(self.algorithm.name()));
        members.insert("kid".to_owned(), json!(self.id));
        Some(Value::Object(members))
    }

    /// The members that make the key what it is (RFC 7638 §3.2).
    fn public_members(&self) -> Map<String, Value> {
        let text = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
        let members = match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({ "kty": "RSA", "n": text(n), "e": text(e) })
            }
            Pair::Ec(curve, pair) => {
                // One byte that says that both coordinates follow, then the two (SEC 1 §2.3.3).
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve.name, "x": text(x), "y": text(y) })
            }
            Pair::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) }),
            Pair::Secret(_) => return Map::new(),
        };
        match members {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// A token of this header and these claims (RFC 7515 §7.1). `alg` is put first, and taken from the key.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign(&self, header: &Map<String, Value>, claims: &Map<String, Value>) -> Result<String, SigningKeyError> {
        let mut full = Map::from_iter([("alg".to_owned(), json!(self.algorithm.name()))]);
        full.extend(
            header.iter().filter(|(name, _)| *name != "alg").map(|(name, value)| (name.clone(), value.clone())),
        );
        let part = |members: &Map<String, Value>| {
            serde_json::to_vec(members).map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|_| SigningKeyError::Failed)
        };
        let signed = format!("{}.{}", part(&full)?, part(claims)?);
        let signature = self.signature(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding = rsa_encoding(self.algorithm).ok_or(SigningKeyError::Failed)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).map_err(|_| SigningKeyError::Failed)?;
                Ok(signature)
            }
            Pair::Ec(_, pair) => {
                Ok(pair.sign(&random, message).map_err(|_| SigningKeyError::Failed)?.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.id, self.algorithm)
    }
}

fn curve(algorithm: Algorithm) -> Option<&'static Curve> {
    CURVES.iter().find(|curve| curve.algorithm == algorithm)
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{KeySet, TokenRules, TokenVerifier, VerificationKey};

    #[test]
    fn what_is_signed_verifies_by_the_published_half_and_after_reading_the_key_again() {
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_symmetric()) {
            let key = SigningKey::generate(algorithm).unwrap();
            let pem = key.to_pem().unwrap();
            let [again] = <[_; 1]>::try_from(SigningKey::all_from_pem(&pem, Some(algorithm)).unwrap()).unwrap();
            assert_eq!((again.id(), again.algorithm()), (key.id(), algorithm));
            assert_eq!(key.id().len(), 27, "{algorithm}");
            let published = VerificationKey::from_jwk(&key.jwk().unwrap().to_string()).unwrap();
            assert_eq!(published.algorithms().iter().collect::<Vec<_>>(), [algorithm]);
            let rules = TokenRules { audiences: vec!["orders".into()], ..TokenRules::default() };
            let verifier =
                TokenVerifier::new(rules, KeySet::new(vec![published]), Vec::new(), Default::default()).unwrap();
            let Value::Object(claims) = json!({ "aud": "orders", "exp": 4_000_000_000_u64 }) else { panic!() };
            let header = Map::from_iter([("kid".to_owned(), json!(again.id())), ("alg".to_owned(), json!("none"))]);
            let token = again.sign(&header, &claims).unwrap();
            let verified = verifier.verify(&token, std::time::UNIX_EPOCH);
            assert_eq!(verified.unwrap().algorithm, algorithm);
        }
    }

    #[test]
    fn other_forms_of_key_are_read_and_the_rest_is_refused() {
        const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/");
        struct Case {
            file: &'static str,
            algorithm: Option<Algorithm>,
            want: Result<Algorithm, &'static str>,
        }
        for Case { file, algorithm, want } in [
            Case { file: "rsa-a.pem", algorithm: None, want: Ok(Algorithm::Rs256) },
            Case { file: "rsa-a.pem", algorithm: Some(Algorithm::Ps384), want: Ok(Algorithm::Ps384) },
            Case {
                file: "rsa-a.pem",
                algorithm: Some(Algorithm::Es256),
                want: Err("an RSA key cannot sign with ES256"),
            },
            Case { file: "p256.pem", algorithm: None, want: Ok(Algorithm::Es256) },
            Case { file: "p384.pem", algorithm: None, want: Ok(Algorithm::Es384) },
            Case { file: "p521.pem", algorithm: None, want: Ok(Algorithm::Es512) },
            Case { file: "ed25519.pem", algorithm: None, want: Ok(Algorithm::EdDsa) },
            Case {
                file: "p256.pem",
                algorithm: Some(Algorithm::Hs256),
                want: Err("a P-256 key cannot sign with HS256"),
            },
            Case { file: "rsa-a.pub.pem", algorithm: None, want: Err("expected PEM of a private key") },
        ] {
            let text = std::fs::read_to_string(format!("{KEYS}{file}")).unwrap();
            match (SigningKey::all_from_pem(&text, algorithm), want) {
                (Ok(keys), Ok(want)) => assert_eq!(keys[0].algorithm(), want, "{file}"),
                (Err(error), Err(want)) => assert!(error.to_string().starts_with(want), "{file}: {error}"),
                (found, want) => panic!("{file}: {found:?}, not {want:?}"),
            }
        }
    }
}
