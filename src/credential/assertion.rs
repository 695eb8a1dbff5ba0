//! A client's proof by a key of its own: a signed assertion in place of a secret (RFC 7523 §2.2, `private_key_jwt`).

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::error::CredentialError;

/// How long an assertion can be used.
const LIFETIME: Duration = Duration::from_secs(300);

/// The longest assertion that is read from a file.
const MAX_ASSERTION: u64 = 16 * 1024;

/// Reads an assertion that somebody else signs. The file is small and on this machine, or in its memory.
pub(super) fn from_file(path: &Path) -> Result<String, CredentialError> {
    let failed = |problem: &dyn std::fmt::Display| {
        CredentialError::Assertion(format!("the file `{}` cannot be used: {problem}", path.display()))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failed(&error))?;
    file.take(MAX_ASSERTION + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    match text.trim() {
        "" => Err(failed(&"it is empty")),
        _ if text.len() as u64 > MAX_ASSERTION => Err(failed(&format!("it is longer than {MAX_ASSERTION} bytes"))),
        assertion => Ok(assertion.to_owned()),
    }
}

/// A private key to sign assertions with, and how its public half is found.
pub struct ClientKey {
    key: EncodingKey,
    header: Header,
}

/// A key that cannot be used. Never shows the key.
#[derive(Debug, thiserror::Error)]
pub enum ClientKeyError {
    /// Not a private key, or one of a kind that is not supported.
    #[error("expected a private key in PEM: RSA, or an elliptic curve P-256 or P-384, or Ed25519")]
    Key,
    /// Not a certificate.
    #[error("expected a certificate in PEM")]
    Certificate,
}

impl ClientKey {
    /// A key from PEM. With a certificate the assertion carries its SHA-256 thumbprint (`x5t#S256`), by which Entra finds it, and
    /// an RSA key signs with PS256, as Entra asks; without one it signs with RS256, which every server knows.
    ///
    /// # Errors
    /// When the key or the certificate is not one.
    pub fn from_pem(key: &[u8], certificate: Option<&[u8]>, key_id: Option<&str>) -> Result<Self, ClientKeyError> {
        let rsa = if certificate.is_some() { Algorithm::PS256 } else { Algorithm::RS256 };
        let (key, algorithm) = [
            (EncodingKey::from_rsa_pem(key), rsa),
            (EncodingKey::from_ec_pem(key), Algorithm::ES256),
            (EncodingKey::from_ec_pem(key), Algorithm::ES384),
            (EncodingKey::from_ed_pem(key), Algorithm::EdDSA),
        ]
        .into_iter()
        .filter_map(|(key, algorithm)| Some((key.ok()?, algorithm)))
        // The curve shows only when the key signs.
        .find(|(key, algorithm)| jsonwebtoken::crypto::sign(b"probe", key, *algorithm).is_ok())
        .ok_or(ClientKeyError::Key)?;
        let mut header = Header::new(algorithm);
        header.kid = key_id.map(str::to_owned);
        if let Some(pem) = certificate {
            let (_, pem) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| ClientKeyError::Certificate)?;
            if pem.label != "CERTIFICATE" || pem.parse_x509().is_err() {
                return Err(ClientKeyError::Certificate);
            }
            header.x5t_s256 = Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &pem.contents)));
        }
        Ok(Self { key, header })
    }

    /// An assertion that `client` shows to the token endpoint at `audience`.
    pub(super) fn assertion(&self, client: &str, audience: &str, wall: SystemTime) -> Result<String, CredentialError> {
        let failed = |error: &dyn std::fmt::Display| CredentialError::Assertion(error.to_string());
        let now = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|error| failed(&error))?;
        let claims = json!({
            "iss": client,
            "sub": client,
            "aud": audience,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.as_secs(),
            "nbf": now.as_secs(),
            "exp": (now + LIFETIME).as_secs(),
        });
        encode(&self.header, &claims, &self.key).map_err(|error| failed(&error))
    }
}
