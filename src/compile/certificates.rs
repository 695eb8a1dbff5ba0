//! `[certificates]`: the gateway's own certificates, by name and by thumbprint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cx::unknown_hint;
use super::{CompileError, Shared, tls};
use crate::backend::{ClientIdentity, IdentityError, Material};
use crate::config::At;
use crate::config::credentials::CertificateSpec;
use crate::identity::certificate::{from_hex, hex};
use crate::process::chain;
use crate::telemetry::metrics::CertificateEnd;

/// Certificates by name. What is defined and wrong is known by its name, so that each use does not become a second mistake.
pub type Certificates = BTreeMap<String, Option<Arc<ClientIdentity>>>;

/// When their time is over, for the metric.
pub fn ends(certificates: &Certificates) -> Vec<CertificateEnd> {
    let end = |(name, identity): (&String, &Option<Arc<ClientIdentity>>)| {
        Some(CertificateEnd::of_client(name, identity.as_ref()?.not_after()?))
    };
    certificates.iter().filter_map(end).collect()
}

/// What the keys of a certificate may be.
const FORMS: &str = "`certificate-file` and `key-file` (PEM), `pkcs12-file`, or `content`";

/// Reads a certificate and its key.
///
/// # Errors
/// What is wrong, at its field.
pub fn certificate(
    spec: &CertificateSpec,
    folder: Option<&Path>,
    shared: &Shared,
) -> Result<Arc<ClientIdentity>, CompileError> {
    let wrong = |error: CompileError| error.code("bad-certificate").hint(FORMS);
    let password = spec.password.as_ref().map(|password| password.as_str());
    let forms = [&spec.certificate_file, &spec.pkcs12_file, &spec.content];
    let mut given = forms.into_iter().flatten();
    let (Some(_), second) = (given.next(), given.next()) else {
        return Err(wrong(CompileError::whole("a certificate needs a file")));
    };
    if let Some(second) = second {
        return Err(wrong(CompileError::at(second, "a certificate comes from one place, and this is another")));
    }
    if let (Some(key), None) = (&spec.key_file, &spec.certificate_file) {
        return Err(wrong(CompileError::at(key, "`key-file` goes with a `certificate-file`")));
    }
    let read = match (&spec.certificate_file, &spec.pkcs12_file, &spec.content) {
        (Some(file), ..) => {
            let key_file = spec.key_file.as_ref().unwrap_or(file);
            let (certificate, key) = (material(file, folder)?, material(key_file, folder)?);
            ClientIdentity::from_pem(&certificate, &key, password).map_err(|error| {
                // Whether a key fits is known only once both were read.
                let of_the_certificate = match &error {
                    IdentityError::Pem { place, .. } | IdentityError::NoCertificate { place } => {
                        &**place == certificate.place()
                    }
                    _ => false,
                };
                unfit(if of_the_certificate { file } else { key_file }, &error).code("bad-file")
            })?
        }
        (None, Some(file), _) => {
            let archive = material(file, folder)?;
            ClientIdentity::from_pkcs12(&archive, password.unwrap_or_default())
                .map_err(|error| unfit(file, &error).code("bad-file"))?
        }
        (None, None, Some(text)) => {
            return from_text(text, password, shared).map_err(|error| error.code("bad-certificate"));
        }
        (None, None, None) => unreachable!("one is given"),
    };
    Ok(keep(read, shared))
}

/// A certificate and its key from a text: PEM with both, or Base64 of PKCS#12. A key vault gives one or the other.
///
/// # Errors
/// What is wrong, at the text.
pub fn from_text(
    text: &At<String>,
    password: Option<&str>,
    shared: &Shared,
) -> Result<Arc<ClientIdentity>, CompileError> {
    const PLACE: &str = "this text";
    let read = if text.contains("-----BEGIN ") {
        let both = Material::new(text.as_bytes(), PLACE);
        ClientIdentity::from_pem(&both, &both, password)
    } else {
        let bare: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let bytes = STANDARD.decode(bare).map_err(|_| {
            CompileError::at(text, "this is neither PEM nor Base64")
                .hint("PEM with the certificate and the key, or Base64 of a PKCS#12 file")
        })?;
        ClientIdentity::from_pkcs12(&Material::new(&bytes, PLACE), password.unwrap_or_default())
    };
    read.map(|identity| keep(identity, shared)).map_err(|error| unfit(text, &error))
}

/// The one of the last configuration when it is the same, so that connections that show it live on.
fn keep(identity: ClientIdentity, shared: &Shared) -> Arc<ClientIdentity> {
    shared.identities.get(hex(identity.fingerprint()), || identity)
}

fn material(file: &At<String>, folder: Option<&Path>) -> Result<Material, CompileError> {
    let place = format!("`{}`", file.value);
    let bytes = std::fs::read(tls::path(file, folder))
        .map_err(|error| CompileError::at(file, format!("{place} cannot be read: {error}")).code("bad-file"))?;
    Ok(Material::new(&bytes, &place))
}

fn unfit(text: &At<String>, error: &IdentityError) -> CompileError {
    let message = chain(error);
    let unfit = CompileError::at(text, message);
    match error {
        IdentityError::OldEncryption { .. } => {
            unfit.hint("`openssl pkcs8 -topk8 -in OLD -out NEW` writes it as PKCS#8, encrypted or with `-nocrypt`")
        }
        IdentityError::Password { .. } | IdentityError::NoPassword { .. } => unfit.hint(
            "`password = \"{{named-value}}\"`; `openssl pkcs12 -info -in FILE` or `openssl pkey -in FILE` try one",
        ),
        _ => unfit,
    }
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
