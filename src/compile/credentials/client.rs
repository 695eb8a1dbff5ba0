//! How the gateway proves to a token endpoint who it is.

use std::path::Path;

use super::{at, relative, whole};
use crate::compile::CompileError;
use crate::config::At;
use crate::config::credentials::{ClientAuthenticationSpec, TokenSourceSpec};
use crate::credential::{ClientAuthentication, ClientKey, ClientKeyError};

/// Reads how a client proves who it is, and the files for it, whose content goes to `secrets`.
///
/// # Errors
/// What is wrong, at its field.
pub(super) fn authentication(
    spec: &TokenSourceSpec,
    folder: Option<&Path>,
    secrets: &mut Vec<u8>,
) -> Result<ClientAuthentication, CompileError> {
    use ClientAuthenticationSpec as Way;
    if let Some(file) = &spec.client_assertion_file {
        return assertion_file(spec, file, folder);
    }
    if let (Some(secret), Some(_)) = (&spec.client_secret, &spec.client_key_file) {
        return Err(at(secret, "a client has a secret or a key").hint("give `client-secret` or `client-key-file`"));
    }
    let way = match (&spec.client_authentication, &spec.client_secret, &spec.client_key_file) {
        (Some(way), ..) => way.value,
        (None, _, Some(_)) => Way::PrivateKeyJwt,
        (None, Some(_), _) => Way::Basic,
        (None, None, None) => Way::None,
    };
    if let (None, Some(certificate)) = (&spec.client_key_file, &spec.client_certificate_file) {
        return Err(at(certificate, "a certificate needs its key").hint("`client-key-file`"));
    }
    let place =
        |message: &str| spec.client_authentication.as_ref().map_or_else(|| whole(message), |field| at(field, message));
    if way != Way::None && spec.client_id.is_none() {
        return Err(place("missing key `client-id`")
            .code("missing-key")
            .hint("the id that the secret or key belongs to"));
    }
    match (way, &spec.client_secret, &spec.client_key_file) {
        (Way::Basic | Way::Post, Some(secret), _) if secret.is_empty() => Err(at(secret, "the secret is empty")),
        (Way::Basic, Some(secret), _) => Ok(ClientAuthentication::Basic(secret.as_str().into())),
        (Way::Post, Some(secret), _) => Ok(ClientAuthentication::Post(secret.as_str().into())),
        (Way::Basic | Way::Post, None, _) => {
            Err(place("missing key `client-secret`").code("missing-key").hint("`client-secret = \"{{named-value}}\"`"))
        }
        (Way::PrivateKeyJwt, _, Some(path)) => {
            let read = |path: &At<String>| {
                let full = relative(path, folder);
                std::fs::read(&full).map_err(|error| at(path, format!("`{}` cannot be read: {error}", path.value)))
            };
            let key = read(path)?;
            let certificate = spec.client_certificate_file.as_ref().map(read).transpose()?;
            secrets.extend_from_slice(&key);
            secrets.extend_from_slice(certificate.as_deref().unwrap_or_default());
            secrets.extend_from_slice(spec.client_key_id.as_deref().unwrap_or_default().as_bytes());
            ClientKey::from_pem(&key, certificate.as_deref(), spec.client_key_id.as_deref())
                .map(|key| ClientAuthentication::PrivateKey(Box::new(key)))
                .map_err(|error| {
                    let field = match (&error, &spec.client_certificate_file) {
                        (ClientKeyError::Certificate, Some(certificate)) => certificate,
                        _ => path,
                    };
                    at(field, format!("`{}`: {error}", field.value))
                })
        }
        (Way::PrivateKeyJwt, _, None) => {
            Err(place("missing key `client-key-file`").code("missing-key").hint("a private key in PEM"))
        }
        (Way::None, Some(secret), _) => {
            Err(at(secret, "a secret is given and not used").hint("`client-authentication = \"basic\"` or `\"post\"`"))
        }
        (Way::None, None, _) => Ok(ClientAuthentication::None),
    }
}

/// A file that somebody else writes anew all the time, so that it is read for each request for a token and not before.
fn assertion_file(
    spec: &TokenSourceSpec,
    file: &At<String>,
    folder: Option<&Path>,
) -> Result<ClientAuthentication, CompileError> {
    if spec.client_id.is_none() {
        return Err(at(file, "missing key `client-id`").code("missing-key").hint("the id that the assertion is for"));
    }
    let other = [&spec.client_secret, &spec.client_key_file, &spec.client_certificate_file];
    if let Some(other) = other.into_iter().flatten().next() {
        return Err(at(other, "a client has an assertion or something else").hint("`client-assertion-file` alone"));
    }
    match &spec.client_authentication {
        Some(way) => Err(at(way, "an assertion from a file is a way of its own").hint("take it out")),
        None => Ok(ClientAuthentication::AssertionFile(relative(file, folder).into())),
    }
}
