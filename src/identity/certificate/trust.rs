//! Whether a client's certificate goes back to an authority that is trusted, and has not been revoked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DistinguishedName, RootCertStore};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate, X509Version};

use super::{ClientCertificate, Name};
use crate::clock::Nanos;

/// How long a verdict stands. A certificate of the chain may expire meanwhile; the client's own is looked at each time.
const STANDS: Duration = Duration::from_secs(60);

/// So many of the certificates that came with it may be its issuer's.
const LONGEST_CHAIN: usize = 10;

/// Authorities that clients' certificates are checked by, and lists of those that were revoked.
pub struct ClientTrust {
    id: u64,
    authorities: Vec<CertificateDer<'static>>,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
    /// The chain alone.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// The chain and the revocation lists; none without any.
    revocation: Option<Arc<dyn ClientCertVerifier>>,
}

/// What was found out about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the chain leads to an authority. The time of the certificate itself is left out: that is a question of its
    /// own.
    pub chain: Result<(), Untrusted>,
    /// Whether it was revoked. Only asked when the chain is good and there are revocation lists.
    pub revocation: Result<(), Untrusted>,
    /// SHA-1 and SHA-256 of the certificate that has signed it, when that came with it or is one of the authorities'.
    pub issuer: Option<([u8; 20], [u8; 32])>,
}

impl Verdict {
    /// Whether it can be trusted.
    pub fn is_good(&self) -> bool {
        self.chain.is_ok() && self.revocation.is_ok()
    }
}

/// Why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// There is nothing to check by.
    #[error("there are no authorities to check it by (`ca-files`)")]
    NoAuthorities,
    /// There is nothing to check.
    #[error("the proxy told of the certificate, but did not send it")]
    NotSent,
    /// The chain ends elsewhere.
    #[error("its chain does not lead to one of the authorities, or an intermediate certificate is missing")]
    UnknownIssuer,
    /// One of the certificates between it and the authority is out of its time.
    #[error("a certificate of its chain is out of its time")]
    ChainTime,
    /// It says that it is for something else.
    #[error("it is not made for client authentication")]
    Purpose,
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// There is no list of its issuer.
    #[error("no revocation list (`crl-files`) of its issuer, or of that of an intermediate certificate, is there")]
    NoList,
    /// The list is too old to tell.
    #[error("the revocation list of its issuer is out of date")]
    OldList,
    /// Anything else: broken signatures, unknown critical extensions.
    #[error("it cannot be verified: {0}")]
    Other(String),
}

/// Why authorities or revocation lists cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read, or is no PEM.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// There is nothing of the kind in the file.
    #[error("there is no {what} in `{}`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// What is in it is not what it should be.
    #[error("`{}` holds a {what} that cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// The revocation lists of a file, and when the first of them is out of date.
pub struct Lists {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// When the first of them should have been replaced.
    pub next_update: Option<SystemTime>,
}

impl ClientTrust {
    /// The authorities of a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds none.
    pub fn authorities(path: &Path, roots: &mut RootCertStore) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let what = "certificate";
        let file = |source| TrustError::File { path: path.to_owned(), source };
        let found = CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<Vec<_>, _>>().map_err(file)?;
        for certificate in &found {
            let added = roots.add(certificate.clone());
            added.map_err(|_| TrustError::Unusable { path: path.to_owned(), what })?;
        }
        if found.is_empty() { Err(TrustError::Empty { path: path.to_owned(), what }) } else { Ok(found) }
    }

    /// The revocation lists (RFC 5280 §5) of a PEM or DER file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds none.
    pub fn revocation_lists(path: &Path) -> Result<Lists, TrustError> {
        let what = "revocation list";
        let file = |source| TrustError::File { path: path.to_owned(), source };
        let unusable = || TrustError::Unusable { path: path.to_owned(), what };
        let bytes = std::fs::read(path).map_err(|error| file(pem::Error::Io(error)))?;
        let lists: Vec<_> = if bytes.first() == Some(&0x30) {
            vec![CertificateRevocationListDer::from(bytes)]
        } else {
            CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(file)?
        };
        if lists.is_empty() {
            return Err(TrustError::Empty { path: path.to_owned(), what });
        }
        let mut next_update: Option<SystemTime> = None;
        for list in &lists {
            let (_, parsed) = CertificateRevocationList::from_der(list).map_err(|_| unusable())?;
            let next = parsed.next_update().and_then(|time| u64::try_from(time.timestamp()).ok());
            let next = next.map(|seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds));
            next_update = [next_update, next].into_iter().flatten().min();
        }
        Ok(Lists { lists, next_update })
    }

    /// Trust in these authorities, but for what these lists revoke.
    ///
    /// # Errors
    /// When a list cannot be used.
    pub fn new(
        roots: RootCertStore,
        authorities: Vec<CertificateDer<'static>>,
        lists: Vec<Lists>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let lists: Vec<_> = lists.into_iter().flat_map(|file| file.lists).collect();
        let roots = Arc::new(roots);
        let builder = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let chain = if roots.is_empty() { None } else { Some(builder().build()?) };
        let revocation = if roots.is_empty() || lists.is_empty() {
            None
        } else {
            // As strict as OpenSSL: the whole chain, and a list that is missing or old is a refusal.
            Some(builder().with_crls(lists).enforce_revocation_expiration().build()?)
        };
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, subjects: roots.subjects(), authorities, provider, chain, revocation })
    }

    /// Trust in nobody.
    pub fn none(provider: Arc<CryptoProvider>) -> Self {
        Self { id: 0, authorities: Vec::new(), subjects: Vec::new(), provider, chain: None, revocation: None }
    }

    /// Whether there is anything to check by.
    pub fn has_authorities(&self) -> bool {
        self.chain.is_some()
    }

    /// Whether there are revocation lists.
    pub fn has_lists(&self) -> bool {
        self.revocation.is_some()
    }

    /// For a listener that refuses clients without a certificate that is trusted and in force. None without authorities.
    pub fn required(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.revocation.clone().or_else(|| self.chain.clone())
    }

    /// For a listener that takes any certificate, or none, and leaves the rest to policies.
    pub fn optional(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Anyone { subjects: self.subjects.clone(), provider: self.provider.clone() })
    }

    /// What can be found out about a certificate. Signatures take a tenth of a millisecond each, so the certificate keeps the
    /// verdict for a minute.
    pub fn verdict(&self, certificate: &ClientCertificate, wall: SystemTime, now: Nanos) -> Arc<Verdict> {
        let mut kept = certificate.verdict.lock();
        if let Some((id, until, verdict)) = &*kept
            && *id == self.id
            && now < *until
        {
            return verdict.clone();
        }
        let verdict = Arc::new(self.verify(certificate, wall));
        *kept = Some((self.id, now + STANDS, verdict.clone()));
        verdict
    }

    fn verify(&self, certificate: &ClientCertificate, wall: SystemTime) -> Verdict {
        let mut issuer = None;
        let failed = |why: Untrusted, issuer| Verdict { chain: Err(why.clone()), revocation: Err(why), issuer };
        let (Some((leaf, rest)), Some(validity)) = (certificate.chain().split_first(), certificate.validity()) else {
            return failed(Untrusted::NotSent, issuer);
        };
        // An expired certificate may come from an authority all the same.
        let at = wall.clamp(validity.not_before, validity.not_after.max(validity.not_before));
        let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        issuer = self.issuer(certificate, leaf, rest, at);
        let Some(chain) = &self.chain else { return failed(Untrusted::NoAuthorities, issuer) };
        if let Err(error) = chain.verify_client_cert(leaf, rest, at) {
            return failed(Untrusted::from(&error), issuer);
        }
        // Whether a list is out of date is a question of now.
        let now = UnixTime::since_unix_epoch(wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let revoked =
            |time| self.revocation.as_ref().map_or(Ok(()), |it| it.verify_client_cert(leaf, rest, time).map(drop));
        let revocation = match revoked(now).map_err(|error| Untrusted::from(&error)) {
            Err(Untrusted::ChainTime) => revoked(at).map_err(|error| Untrusted::from(&error)),
            other => other,
        };
        Verdict { chain: Ok(()), revocation, issuer }
    }

    /// The certificate whose key has signed the leaf, which its name alone does not prove.
    fn issuer(
        &self,
        certificate: &ClientCertificate,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'static>],
        at: UnixTime,
    ) -> Option<([u8; 20], [u8; 32])> {
        let name = certificate.issuer()?;
        let has_signed = |candidate: &&CertificateDer<'static>| {
            let named = X509Certificate::from_der(candidate).is_ok_and(|(_, it)| Name::of(it.subject()).matches(name));
            let mut roots = RootCertStore::empty();
            let verifier = (named && roots.add((*candidate).clone()).is_ok())
                .then(|| WebPkiClientVerifier::builder_with_provider(roots.into(), self.provider.clone()).build().ok())
                .flatten();
            verifier.is_some_and(|verifier| verifier.verify_client_cert(leaf, &[], at).is_ok())
        };
        let found = rest.iter().take(LONGEST_CHAIN).chain(&self.authorities).find(has_signed)?;
        Some((super::sha1(found), super::sha256(found)))
    }
}

impl From<&rustls::Error> for Untrusted {
    fn from(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else { return Self::Other(error.to_string()) };
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::ChainTime,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::Purpose,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => Self::NoList,
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                Self::OldList
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.has_lists();
        f.debug_struct("ClientTrust").field("authorities", &self.authorities.len()).field("lists", &lists).finish()
    }
}

/// Takes any certificate: whoever shows one proves only that the key is theirs.
#[derive(Debug)]
struct Anyone {
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        Ok(rustls::server::danger::ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        // webpki reads none of version 1, which is what `openssl x509 -req` makes when it is told of no extension.
        if let Ok((_, read)) = X509Certificate::from_der(certificate)
            && read.version() == X509Version::V1
        {
            let key = SubjectPublicKeyInfoDer::from(read.public_key().raw);
            return rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signature, algorithms);
        }
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
