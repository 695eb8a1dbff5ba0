//! `[certificates]`: the gateway's own certificates, read from their files, by name and by thumbprint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::cx::unknown_hint;
use super::{CompileError, Shared, tls};
use crate::backend::{ClientIdentity, IdentityError};
use crate::config::At;
use crate::config::credentials::CertificateSpec;
use crate::identity::certificate::{from_hex, hex};

/// Certificates by name. What is defined and wrong is known by its name, so that each use does not become a second mistake.
pub type Certificates = BTreeMap<String, Option<Arc<ClientIdentity>>>;

/// Reads a certificate and its key.
///
/// # Errors
/// What is wrong, at its field.
pub fn certificate(
    spec: &CertificateSpec,
    folder: Option<&Path>,
    shared: &Shared,
) -> Result<Arc<ClientIdentity>, CompileError> {
    let hint = "`certificate-file` and `key-file` (PEM), or `pkcs12-file` and `password`";
    if let (Some(password), None) = (&spec.password, &spec.pkcs12_file) {
        return Err(CompileError::at(password, "`password` goes with a `pkcs12-file`")
            .code("bad-certificate")
            .hint(hint));
    }
    let read = match (&spec.certificate_file, &spec.pkcs12_file) {
        (Some(certificate), None) => {
            let key = spec.key_file.as_ref().unwrap_or(certificate);
            let paths = (tls::path(certificate, folder), tls::path(key, folder));
            ClientIdentity::from_pem(&paths.0, &paths.1).map_err(|error| {
                // Whether a key fits is known only once both were read.
                let text = match &error {
                    IdentityError::File { path, .. } | IdentityError::NoCertificate { path } if *path == paths.0 => {
                        certificate
                    }
                    _ => key,
                };
                CompileError::at(text, tls::message(text, folder, &error)).code("bad-file")
            })?
        }
        (None, Some(file)) => {
            if let Some(key) = &spec.key_file {
                return Err(CompileError::at(key, "a PKCS#12 file holds the key").code("bad-certificate").hint(hint));
            }
            let password = spec.password.as_ref().map_or("", |password| password.as_str());
            ClientIdentity::from_pkcs12(&tls::path(file, folder), password)
                .map_err(|error| CompileError::at(file, tls::message(file, folder, &error)).code("bad-file"))?
        }
        (Some(_), Some(file)) => {
            return Err(CompileError::at(file, "both `certificate-file` and `pkcs12-file` are given")
                .code("bad-certificate")
                .hint(hint));
        }
        (None, None) => {
            return Err(CompileError::whole("a certificate needs a file").code("bad-certificate").hint(hint));
        }
    };
    // The one of the last configuration when it is the same, so that connections that show it live on.
    Ok(shared.identities.get(hex(read.fingerprint()), || read))
}

/// A certificate by name.
///
/// # Errors
/// When there is none, or it has a mistake.
pub fn find(certificates: &Certificates, name: &At<String>) -> Result<Arc<ClientIdentity>, CompileError> {
    match certificates.get(name.as_str()) {
        Some(Some(identity)) => Ok(identity.clone()),
        Some(None) => Err(CompileError::reported()),
        None => Err(CompileError::at(name, format!("unknown certificate `{}`", name.value))
            .code("unknown-certificate")
            .hint(unknown_hint(
                name,
                certificates.keys().map(String::as_str),
                "define it under `[certificates]` in gateway.toml",
            ))),
    }
}

/// A certificate by its SHA-1 or SHA-256 digest in hexadecimal digits.
pub fn by_thumbprint(certificates: &Certificates, thumbprint: &str) -> Option<Arc<ClientIdentity>> {
    let digest = from_hex(thumbprint)?;
    certificates.values().flatten().find(|identity| identity.has_thumbprint(&digest)).cloned()
}
