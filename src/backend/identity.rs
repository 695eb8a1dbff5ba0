//! Certificates that the gateway shows to backends, with their keys.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use p12_keystore::Pkcs12Archive;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use x509_parser::prelude::{FromDer, Pem, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::identity::certificate::{ClientCertificate, hex};
use crate::server::tls::provider;

/// A certificate with its key.
pub struct ClientIdentity {
    /// The certificate, then the one that signed it, and so on.
    #[cfg(test)]
    chain: Vec<CertificateDer<'static>>,
    resolver: Arc<SingleCertAndKey>,
    sha1: [u8; 20],
    sha256: [u8; 32],
    /// Of the certificate and those that are sent with it. Connections of different fingerprints are never exchanged.
    fingerprint: [u8; 32],
    /// When its time is over.
    not_after: Option<SystemTime>,
    /// What a log says of it.
    shown: Arc<str>,
}

/// Bytes that hold a certificate or a key, and what a message calls them.
#[derive(Clone)]
pub struct Material {
    bytes: Arc<[u8]>,
    place: Arc<str>,
}

impl Material {
    /// Bytes from a place, as in "there is no certificate in `erp.pem`".
    pub fn new(bytes: &[u8], place: &str) -> Self {
        Self { bytes: bytes.into(), place: place.into() }
    }

    /// What a message calls it.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// Why something is no certificate with a key. Each names the place.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is no PEM.
    #[error("{place} is no PEM")]
    Pem {
        /// Where.
        place: Arc<str>,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// There is no certificate, or one that cannot be used.
    #[error("there is no certificate in {place}")]
    NoCertificate {
        /// Where.
        place: Arc<str>,
    },
    /// There is no key.
    #[error("there is no private key in {place}")]
    NoKey {
        /// Where.
        place: Arc<str>,
    },
    /// The key is of a kind that is not known.
    #[error("the private key in {place} cannot be used")]
    Key {
        /// Where.
        place: Arc<str>,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The key belongs to another certificate.
    #[error("the private key in {place} belongs to another certificate")]
    Mismatch {
        /// Where the key is.
        place: Arc<str>,
    },
    /// The key is encrypted.
    #[error("the private key in {place} is encrypted, and there is no `password`")]
    NoPassword {
        /// Where.
        place: Arc<str>,
    },
    /// The password does not open it.
    #[error("the password does not open {place}")]
    Password {
        /// Where.
        place: Arc<str>,
    },
    /// Before PKCS#8, OpenSSL encrypted keys by MD5.
    #[error("the private key in {place} is encrypted in OpenSSL's own old way")]
    OldEncryption {
        /// Where.
        place: Arc<str>,
    },
    /// It is no PKCS#12 file, or one of unknown algorithms.
    #[error("{place} cannot be read as PKCS#12")]
    Pkcs12 {
        /// Where.
        place: Arc<str>,
        /// What is wrong with it.
        source: p12_keystore::error::Error,
    },
}

impl ClientIdentity {
    /// From PEM: the certificate, with those between it and its authority, and the key. Both may be one text. The password is that
    /// of a key in PKCS#8.
    ///
    /// # Errors
    /// When one of them cannot be read, or both do not fit.
    pub fn from_pem(certificate: &Material, key: &Material, password: Option<&str>) -> Result<Self, IdentityError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate.bytes).collect();
        let chain = chain.map_err(|source| IdentityError::Pem { place: certificate.place.clone(), source })?;
        Self::new(chain, private_key(key, password)?, certificate, key)
    }

    /// From PKCS#12 with one key.
    ///
    /// # Errors
    /// When it cannot be read, the password is wrong, or the key has no certificate.
    pub fn from_pkcs12(archive: &Material, password: &str) -> Result<Self, IdentityError> {
        use p12_keystore::error::Error;
        let place = || archive.place.clone();
        let read = Pkcs12Archive::from_pkcs12(&archive.bytes, password).map_err(|source| match source {
            Error::MacError(_) => IdentityError::Password { place: place() },
            source => IdentityError::Pkcs12 { place: place(), source },
        })?;
        let key = read.keys.first().ok_or_else(|| IdentityError::NoKey { place: place() })?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()));
        let chain = read.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
        Self::new(chain, key, archive, archive)
    }

    fn new(
        mut chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        certificate: &Material,
        secret: &Material,
    ) -> Result<Self, IdentityError> {
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|source| IdentityError::Key { place: secret.place.clone(), source })?;
        let none = || IdentityError::NoCertificate { place: certificate.place.clone() };
        if chain.is_empty() {
            return Err(none());
        }
        let own = chain.iter().position(|it| belongs_to(it, &*key));
        let own = own.ok_or_else(|| IdentityError::Mismatch { place: secret.place.clone() })?;
        let chain = in_order(chain.remove(own), chain);
        let read = ClientCertificate::from_chain(chain.clone(), false).map_err(|_| none())?;
        let (sha1, sha256) = read.sha1().zip(read.sha256()).ok_or_else(none)?;
        let mut fingerprint = digest::Context::new(&digest::SHA256);
        chain.iter().for_each(|certificate| fingerprint.update(certificate));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(fingerprint.finish().as_ref());
        Ok(Self {
            sha1: *sha1,
            sha256: *sha256,
            fingerprint: bytes,
            #[cfg(test)]
            chain: chain.clone(),
            shown: describe(&read),
            not_after: read.validity().map(|validity| validity.not_after),
            resolver: Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))),
        })
    }

    /// Whether it has this SHA-1 or SHA-256 digest.
    pub fn has_thumbprint(&self, digest: &[u8]) -> bool {
        digest == self.sha1 || digest == self.sha256
    }

    /// What tells it from others, whatever they are called.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// When its time is over.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// What it says, for a log.
    pub fn description(&self) -> &Arc<str> {
        &self.shown
    }

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        self.resolver.clone()
    }
}

fn describe(certificate: &ClientCertificate) -> Arc<str> {
    let facts = certificate.facts();
    let fact = |name: &str| facts[name].as_str().unwrap_or("?");
    let (subject, issuer, thumbprint) = (fact("subject"), fact("issuer"), fact("thumbprint"));
    format!("`{subject}` of `{issuer}`, thumbprint {thumbprint}, valid until {}", fact("notAfter")).into()
}

/// The first private key.
fn private_key(material: &Material, password: Option<&str>) -> Result<PrivateKeyDer<'static>, IdentityError> {
    const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
    let place = || material.place.clone();
    let encrypted = Pem::iter_from_buffer(&material.bytes).flatten().find(|section| section.label == ENCRYPTED);
    if let Some(section) = encrypted {
        let password = password.ok_or_else(|| IdentityError::NoPassword { place: place() })?;
        let key = EncryptedPrivateKeyInfoRef::try_from(section.contents.as_slice());
        let key = key.and_then(|key| key.decrypt(password)).map_err(|_| IdentityError::Password { place: place() })?;
        return Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
    }
    // RFC 1421 §4.6.1.1, which OpenSSL still writes for `openssl genrsa -aes256 -traditional`.
    if memchr::memmem::find(&material.bytes, b"Proc-Type: 4,ENCRYPTED").is_some() {
        return Err(IdentityError::OldEncryption { place: place() });
    }
    PrivateKeyDer::from_pem_slice(&material.bytes).map_err(|source| match source {
        pem::Error::NoItemsFound => IdentityError::NoKey { place: place() },
        source => IdentityError::Pem { place: place(), source },
    })
}

/// Whether a certificate is that of a key. Unlike `CertifiedKey::keys_match` it reads those of version 1, which `openssl x509 -req`
/// makes when it is told of no extension.
fn belongs_to(certificate: &CertificateDer<'_>, key: &dyn SigningKey) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Some(spki) = key.public_key() else { return false };
    let Ok((_, spki)) = SubjectPublicKeyInfo::from_der(&spki) else { return false };
    spki.subject_public_key == certificate.public_key().subject_public_key
}

/// A certificate, then the one that signed it, and so on (RFC 5246 §7.4.2). Files do not agree on which end comes first, and what
/// else they hold is nothing to a backend.
fn in_order(own: CertificateDer<'static>, mut others: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![own];
    while let Some(next) = others.iter().position(|it| chain.iter().any(|known| has_signed(it, known))) {
        chain.push(others.remove(next));
    }
    chain
}

/// Whether one is, by its name, the authority of the other.
fn has_signed(authority: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    let (Ok((_, authority)), Ok((_, certificate))) =
        (X509Certificate::from_der(authority), X509Certificate::from_der(certificate))
    else {
        return false;
    };
    authority.subject().as_raw() == certificate.issuer().as_raw()
}

/// The same text for the same certificates, and no key.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientIdentity({})", hex(&self.fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Material {
        let path = format!("{}/tests/fixtures/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
        Material::new(&std::fs::read(&path).unwrap(), &format!("`{name}`"))
    }

    #[test]
    fn a_chain_begins_with_the_own_certificate_and_ends_with_the_root() {
        let read = [
            ClientIdentity::from_pem(&fixture("chain.pem"), &fixture("open.key"), None),
            ClientIdentity::from_pem(&fixture("chain.pem"), &fixture("encrypted.key"), Some("correct horse")),
            ClientIdentity::from_pkcs12(&fixture("modern.pfx"), "correct horse"),
            ClientIdentity::from_pkcs12(&fixture("legacy.pfx"), "correct horse"),
            ClientIdentity::from_pkcs12(&fixture("open.pfx"), ""),
        ]
        .map(Result::unwrap);
        for identity in &read {
            let chain = &identity.chain;
            let subject = |der: &CertificateDer<'_>| X509Certificate::from_der(der).unwrap().1.subject().to_string();
            let subjects: Vec<String> = chain.iter().map(subject).collect();
            assert_eq!(subjects, ["O=Contoso, CN=gateway", "O=Contoso, CN=Between", "O=Contoso, CN=Root"]);
            assert_eq!(identity.fingerprint(), read[0].fingerprint(), "the same, whatever it was read from");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_a_secret() {
        let pem = |certificate: &str, key: &str, password| {
            ClientIdentity::from_pem(&fixture(certificate), &fixture(key), password).map(drop)
        };
        let pfx = |name: &str, password| ClientIdentity::from_pkcs12(&fixture(name), password).map(drop);
        for (found, want) in [
            (
                pem("chain.pem", "encrypted.key", None),
                "the private key in `encrypted.key` is encrypted, and there is no `password`",
            ),
            (pem("chain.pem", "encrypted.key", Some("wrong")), "the password does not open `encrypted.key`"),
            (
                pem("chain.pem", "old.key", Some("correct horse")),
                "the private key in `old.key` is encrypted in OpenSSL's own old way",
            ),
            (pem("open.key", "open.key", None), "there is no certificate in `open.key`"),
            (pem("chain.pem", "chain.pem", None), "there is no private key in `chain.pem`"),
            (
                pem("chain.pem", "../keys/p256.pem", None),
                "the private key in `../keys/p256.pem` belongs to another certificate",
            ),
            (pfx("modern.pfx", "wrong"), "the password does not open `modern.pfx`"),
            (pfx("legacy.pfx", ""), "the password does not open `legacy.pfx`"),
            (pfx("chain.pem", ""), "`chain.pem` cannot be read as PKCS#12"),
        ] {
            assert_eq!(found.unwrap_err().to_string(), want);
        }
    }
}
