//! TLS from PEM files: certificates to show clients, authorities to check backends by.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::backend::ClientIdentity;
use crate::identity::certificate::ClientCertificate;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or is no PEM.
    #[error("`{path}` cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the file.
    #[error("no certificate in `{path}`")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system has no certificate authorities.
    #[error("the system's certificate authorities cannot be read")]
    NoRoots,
    /// The certificate and the key do not fit, or are of a kind that is not supported.
    #[error("cannot use the certificate")]
    Unusable(#[from] rustls::Error),
}

/// What a listener shows and asks for, which can be replaced while connections are served.
#[derive(Debug)]
pub struct ServerTls(ArcSwap<ServerConfig>);

impl ServerTls {
    /// Shows and asks for what the configuration says.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(ArcSwap::new(config))
    }

    /// Reads a certificate chain and its key; clients are not asked for theirs.
    ///
    /// # Errors
    /// When a file cannot be read or both do not fit.
    pub fn from_pem(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(server_config(certificate, key, None)?.0)))
    }

    /// New connections use another configuration.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |source| TlsError::File { path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<_, _>>().map_err(file)?;
    if found.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

/// The cryptography that everything uses.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: OnceLock<Arc<rustls::crypto::CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

/// TLS for a listener, from PEM files. `clients` decides about clients' certificates; without it, nobody is asked for one. Sessions
/// that were begun under one configuration are not resumed under another, so that what it asks for is asked for. Beside it stands when the
/// certificate's time is over.
///
/// # Errors
/// When a file cannot be read or both do not fit.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<(ServerConfig, Option<SystemTime>), TlsError> {
    let chain = certificates(certificate)?;
    let read = ClientCertificate::from_chain(chain.clone(), false).ok();
    let not_after = read.and_then(|read| Some(read.validity()?.not_after));
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File { path: key.to_owned(), source })?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, secret)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, not_after))
}

/// TLS toward backends: checked by the system's certificate authorities, which are read once, or by those in a PEM file.
/// Sessions are resumed only under the same configuration, so that no certificate is shown in another's place.
///
/// # Errors
/// When there are no authorities to check by.
pub fn client_config(
    authorities: &Authorities,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    static NATIVE: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let shared = authorities.is_native && identity.is_none();
    if let (true, Some(config)) = (shared, NATIVE.get()) {
        return Ok(config.clone());
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities.roots.clone());
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    Ok(if shared { NATIVE.get_or_init(|| config).clone() } else { config })
}

/// Whom backends' certificates are checked by.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    is_native: bool,
}

impl Authorities {
    /// The system's, which are read once, or those in a PEM file.
    ///
    /// # Errors
    /// When there are none.
    pub fn read(path: Option<&Path>) -> Result<Self, TlsError> {
        static NATIVE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
        let mut roots = RootCertStore::empty();
        if let Some(path) = path {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            return Ok(Self { roots: Arc::new(roots), is_native: false });
        }
        if let Some(roots) = NATIVE.get() {
            return Ok(Self { roots: roots.clone(), is_native: true });
        }
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        Ok(Self { roots: NATIVE.get_or_init(|| Arc::new(roots)).clone(), is_native: true })
    }
}
