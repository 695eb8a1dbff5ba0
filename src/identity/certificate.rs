//! Client certificates: what one says, where it was shown, and whether it can be trusted.
//!
//! ```text
//! TLS handshake ───────────────────────────────► ClientCertificate ──► ClientTrust: chain, revocation
//! trusted proxy's header ──► HeaderFormat::read ──────────┘
//! ```

mod forwarded;
mod name;
#[cfg(test)]
#[path = "../../tests/support/certificates.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole gateway")]
pub(crate) mod test_support;
mod trust;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use serde_json::{Value as Json, json};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use forwarded::{CLIENT_CERT, CLIENT_CERT_CHAIN, X_FORWARDED_CLIENT_CERT};
pub use forwarded::{ClientCertificates, Element, ForwardAs, Forwarded, HeaderError, HeaderFormat, Presented};
pub use name::Name;
pub use trust::{ClientTrust, TrustError, Untrusted, Verdict};

use crate::clock::Nanos;

/// A certificate that a client has shown, itself or through a proxy. What it says is no proof of anything: see
/// [`ClientTrust`].
pub struct ClientCertificate {
    /// The certificate and those that came with it. Empty when a proxy told only some of what it says.
    chain: Vec<CertificateDer<'static>>,
    sha1: Option<[u8; 20]>,
    sha256: Option<[u8; 32]>,
    subject: Option<Name>,
    issuer: Option<Name>,
    serial: Option<Box<[u8]>>,
    names: Vec<AlternativeName>,
    validity: Option<Validity>,
    is_forwarded: bool,
    facts: Json,
    /// The last verdict: whose it was, and until when it stands.
    verdict: Mutex<Option<(u64, Nanos, Arc<Verdict>)>>,
}

/// When a certificate is in force.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// From then on.
    pub not_before: SystemTime,
    /// Up to then.
    pub not_after: SystemTime,
}

/// One name of a certificate besides its subject (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlternativeName {
    /// `DNS`, `URI`, `email`, `IP` or `DirName`, as OpenSSL writes them.
    pub kind: &'static str,
    /// The name.
    pub value: Box<str>,
}

/// Why bytes are no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an X.509 certificate")]
pub struct NotACertificate;

impl ClientCertificate {
    /// Reads what a certificate says. The first of the chain is the client's.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn from_chain(chain: Vec<CertificateDer<'static>>, is_forwarded: bool) -> Result<Self, NotACertificate> {
        let leaf = chain.first().ok_or(NotACertificate)?;
        let (rest, parsed) = X509Certificate::from_der(leaf).map_err(|_| NotACertificate)?;
        if !rest.is_empty() {
            return Err(NotACertificate);
        }
        let names = match parsed.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(alternative_name).collect(),
            Ok(None) => Vec::new(),
            Err(_) => return Err(NotACertificate),
        };
        let time = |seconds: i64| u64::try_from(seconds).map_or(UNIX_EPOCH, |it| UNIX_EPOCH + Duration::from_secs(it));
        let validity = parsed.validity();
        let validity = Validity {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        };
        let (subject, issuer) = (Name::of(parsed.subject()), Name::of(parsed.issuer()));
        let serial = parsed.raw_serial().into();
        let mut certificate = Self {
            sha1: Some(sha1(leaf)),
            sha256: Some(sha256(leaf)),
            subject: Some(subject),
            issuer: Some(issuer),
            serial: Some(serial),
            names,
            validity: Some(validity),
            is_forwarded,
            facts: Json::Null,
            verdict: Mutex::default(),
            chain,
        };
        certificate.facts = certificate.describe();
        Ok(certificate)
    }

    /// What a proxy told of a certificate that it did not pass on.
    fn told(sha256: Option<[u8; 32]>, subject: Option<Name>, names: Vec<AlternativeName>) -> Self {
        let mut certificate = Self {
            chain: Vec::new(),
            sha1: None,
            sha256,
            subject,
            issuer: None,
            serial: None,
            names,
            validity: None,
            is_forwarded: true,
            facts: Json::Null,
            verdict: Mutex::default(),
        };
        certificate.facts = certificate.describe();
        certificate
    }

    /// The certificate and those that came with it; empty when a proxy told only some of what it says.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether a proxy told of it.
    pub fn is_forwarded(&self) -> bool {
        self.is_forwarded
    }

    /// SHA-1 of the certificate, which is what "thumbprint" means.
    pub fn sha1(&self) -> Option<&[u8; 20]> {
        self.sha1.as_ref()
    }

    /// SHA-256 of the certificate.
    pub fn sha256(&self) -> Option<&[u8; 32]> {
        self.sha256.as_ref()
    }

    /// Who it is for.
    pub fn subject(&self) -> Option<&Name> {
        self.subject.as_ref()
    }

    /// Who has signed it.
    pub fn issuer(&self) -> Option<&Name> {
        self.issuer.as_ref()
    }

    /// Its number, as its issuer gave it.
    pub fn serial(&self) -> Option<&[u8]> {
        self.serial.as_deref()
    }

    /// Its other names.
    pub fn names(&self) -> &[AlternativeName] {
        &self.names
    }

    /// When it is in force.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }

    /// What expressions read.
    pub fn facts(&self) -> &Json {
        &self.facts
    }

    fn describe(&self) -> Json {
        let hex = |bytes: &[u8]| hex(bytes);
        let time = |time: SystemTime| jiff::Timestamp::try_from(time).map(|time| format!("{time:.0}")).ok();
        json!({
            "thumbprint": self.sha1.as_ref().map(|it| hex(it)),
            "sha256": self.sha256.as_ref().map(|it| hex(it)),
            "subject": self.subject.as_ref().map(Name::to_string),
            "commonName": self.subject.as_ref().and_then(Name::common_name),
            "issuer": self.issuer.as_ref().map(Name::to_string),
            "serialNumber": self.serial.as_deref().map(hex),
            "san": self.names.iter().map(AlternativeName::to_string).collect::<Vec<_>>(),
            "notBefore": self.validity.and_then(|it| time(it.not_before)),
            "notAfter": self.validity.and_then(|it| time(it.not_after)),
        })
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate").field(&self.subject.as_ref().map(Name::to_string)).finish()
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

fn alternative_name(name: &GeneralName<'_>) -> Option<AlternativeName> {
    let (kind, value) = match name {
        GeneralName::DNSName(name) => ("DNS", (*name).into()),
        GeneralName::URI(name) => ("URI", (*name).into()),
        GeneralName::RFC822Name(name) => ("email", (*name).into()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from)).ok()?;
            ("IP", address.to_string().into())
        }
        GeneralName::DirectoryName(name) => ("DirName", Name::of(name).to_string().into()),
        _ => return None,
    };
    Some(AlternativeName { kind, value })
}

/// SHA-1 of a certificate.
pub fn sha1(certificate: &[u8]) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref());
    bytes
}

/// SHA-256 of a certificate.
pub fn sha256(certificate: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    bytes
}

/// Upper-case digits, as Windows and Azure show thumbprints.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02X}"))
}

/// Bytes from hexadecimal digits, with or without colons and spaces between, as tools print them.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !matches!(c, ':' | ' ' | '\u{200e}')).map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok()).collect()
}

/// A serial number without the zeros before it.
pub fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros.min(serial.len().saturating_sub(1))..]
}

#[cfg(test)]
mod tests;
