//! Certificates that the gateway shows to backends, with their keys.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use p12_keystore::Pkcs12Archive;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::identity::certificate::{ClientCertificate, hex};
use crate::server::tls::provider;

/// A certificate with its key.
pub struct ClientIdentity {
    resolver: Arc<SingleCertAndKey>,
    sha1: [u8; 20],
    sha256: [u8; 32],
    /// Of the certificate and those that are sent with it. Connections of different fingerprints are never exchanged.
    fingerprint: [u8; 32],
    /// When its time is over.
    not_after: Option<SystemTime>,
}

/// Why files are no certificate with a key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// There is no certificate, or one that cannot be used.
    #[error("there is no certificate in `{}`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no key.
    #[error("there is no private key in `{}`", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind that is not known.
    #[error("the private key in `{}` cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The key belongs to another certificate.
    #[error("the private key in `{}` belongs to another certificate", path.display())]
    Mismatch {
        /// The file of the key.
        path: PathBuf,
    },
    /// The password does not open it.
    #[error("the password does not open `{}`", path.display())]
    Password {
        /// The file.
        path: PathBuf,
    },
    /// It is no PKCS#12 file, or one of unknown algorithms.
    #[error("`{}` cannot be read as PKCS#12", path.display())]
    Pkcs12 {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: p12_keystore::error::Error,
    },
}

impl ClientIdentity {
    /// From PEM files: the certificate, followed by those between it and its authority, and the key. Both may be one file.
    ///
    /// # Errors
    /// When a file cannot be read, or both do not fit.
    pub fn from_pem(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::File { path, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).map_err(file(certificate))?.collect();
        let chain = chain.map_err(file(certificate))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| match source {
            pem::Error::NoItemsFound => IdentityError::NoKey { path: key.to_owned() },
            source => file(key)(source),
        })?;
        Self::new(chain, secret, certificate, key)
    }

    /// From a PKCS#12 file with one key.
    ///
    /// # Errors
    /// When the file cannot be read, the password is wrong, or the key has no certificate.
    pub fn from_pkcs12(path: &Path, password: &str) -> Result<Self, IdentityError> {
        use p12_keystore::error::Error;
        let bytes = std::fs::read(path)
            .map_err(|error| IdentityError::File { path: path.to_owned(), source: pem::Error::Io(error) })?;
        let archive = Pkcs12Archive::from_pkcs12(&bytes, password).map_err(|source| match source {
            Error::MacError(_) => IdentityError::Password { path: path.to_owned() },
            source => IdentityError::Pkcs12 { path: path.to_owned(), source },
        })?;
        let key = archive.keys.first().ok_or_else(|| IdentityError::NoKey { path: path.to_owned() })?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()));
        let chain = archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
        Self::new(chain, key, path, path)
    }

    fn new(
        mut chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        path: &Path,
        key_path: &Path,
    ) -> Result<Self, IdentityError> {
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|source| IdentityError::Key { path: key_path.to_owned(), source })?;
        let none = || IdentityError::NoCertificate { path: path.to_owned() };
        if chain.is_empty() {
            return Err(none());
        }
        let own = chain.iter().position(|it| belongs_to(it, &*key));
        let own = own.ok_or_else(|| IdentityError::Mismatch { path: key_path.to_owned() })?;
        let chain = in_order(chain.swap_remove(own), chain);
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

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        self.resolver.clone()
    }
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
