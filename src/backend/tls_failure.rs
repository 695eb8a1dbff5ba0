//! What a failure of TLS with a backend means, in the log's words.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription as Alert, CertificateError};

/// Why TLS with a backend failed: who refused whom, and by which check.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsFailure {
    /// It wants to see a certificate.
    #[error("the backend demands a client certificate, and was shown none")]
    Demanded(#[source] Detail),
    /// It does not like the one it was shown.
    #[error("the backend refused the client certificate")]
    Refused(#[source] Detail),
    /// It may want to see one: before TLS 1.3 the alert does not tell.
    #[error("the TLS handshake with the backend failed")]
    Unknown(#[source] Detail),
    /// The gateway does not like the backend's.
    #[error("the backend's certificate is not trusted")]
    Untrusted(#[source] Detail),
}

/// What was found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Detail(String);

impl TlsFailure {
    /// The failure in an error, when it says more than that the connection broke. `shown` is what the gateway's own certificate says.
    pub(super) fn find(error: &(dyn StdError + 'static), shown: Option<&str>) -> Option<Self> {
        match (of_tls(error)?, shown) {
            (rustls::Error::AlertReceived(alert), Some(shown)) if is_about_a_certificate(*alert) => {
                Some(Self::Refused(Detail(format!("{alert:?}; it was shown {shown}"))))
            }
            (rustls::Error::AlertReceived(alert), None) if is_about_a_certificate(*alert) => {
                Some(Self::Demanded(Detail(format!(
                    "{alert:?}; `credentials.certificate` of the backend or the policy `authentication-certificate` shows one"
                ))))
            }
            (rustls::Error::AlertReceived(Alert::HandshakeFailure), None) => Some(Self::Unknown(Detail(
                "HandshakeFailure; the backend demands a client certificate, and was shown none, or has no cipher in common".to_owned(),
            ))),
            (rustls::Error::InvalidCertificate(error), _) => {
                let hint = match error {
                    // `openssl req -x509` makes such certificates when it is not told otherwise.
                    CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                        "; it is marked as an authority's own (`basicConstraints` has `CA:TRUE`), which a server's must not be"
                    }
                    CertificateError::UnknownIssuer => {
                        "; `ca-file` of the backend names the authorities in place of the system's, and the backend must send the \
                         certificates between its own and one of them"
                    }
                    _ => "",
                };
                Some(Self::Untrusted(Detail(format!("{error}{hint}"))))
            }
            _ => None,
        }
    }
}

/// The alerts of RFC 8446 §6.2 by which a server says that it wants a certificate, or another one.
fn is_about_a_certificate(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

/// TLS's own error among the causes of another.
fn of_tls<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The source of an `io::Error` is that of the error inside it, which is passed over.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}
