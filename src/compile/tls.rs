//! Files of certificates, read and checked with each mistake at its place: the listener's, clients' authorities.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::{RootCertStore, ServerConfig};

use crate::config::folder::Document;
use crate::config::source::FileId;
use crate::config::spec::{ClientCertificateMode, HeaderElement, SentCertificate};
use crate::config::{At, Diagnostic, Diagnostics};
use crate::identity::certificate::{ClientCertificates, ClientTrust, Element, ForwardAs, HeaderFormat};
use crate::process::chain;
use crate::server::tls::{self, TlsError};

/// A path of the configuration.
pub fn path(path: &At<String>, folder: Option<&Path>) -> PathBuf {
    folder.map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value))
}

/// What a failure with a file is called, without the folder, which the reader knows.
fn error(text: &At<String>, file: FileId, folder: Option<&Path>, error: &dyn std::error::Error) -> Diagnostic {
    let full = path(text, folder).display().to_string();
    let message = chain(error).replace(&format!("`{full}`"), &format!("`{}`", text.value)).replace("I/O error: ", "");
    Diagnostic::error("bad-file", file, text.span.clone(), message)
}

/// `[server.client-certificates]`: the authorities and the revocation lists.
pub fn client_trust(
    document: &Document<'_>,
    folder: Option<&Path>,
    now: SystemTime,
    diagnostics: &mut Diagnostics,
) -> Arc<ClientTrust> {
    let spec = &document.server.client_certificates;
    let mut roots = RootCertStore::empty();
    let mut authorities = Vec::new();
    let mut lists = Vec::new();
    if let Some(file) = document.gateway {
        for text in &spec.ca_files {
            match ClientTrust::authorities(&path(text, folder), &mut roots) {
                Ok(found) => authorities.extend(found),
                Err(problem) => diagnostics.push(
                    error(text, file, folder, &problem).hint("PEM with the certificates of one or more authorities"),
                ),
            }
        }
        for text in &spec.crl_files {
            match ClientTrust::revocation_lists(&path(text, folder)) {
                Ok(found) => {
                    if found.next_update.is_some_and(|next| next < now) {
                        let message =
                            format!("`{}` is out of date, so that nobody whom it speaks of is let in", text.value);
                        diagnostics.push(
                            Diagnostic::warning("old-revocation-list", file, text.span.clone(), message)
                                .hint("fetch a new one from the authority"),
                        );
                    }
                    lists.push(found);
                }
                Err(problem) => {
                    diagnostics
                        .push(error(text, file, folder, &problem).hint("a revocation list (RFC 5280 §5), PEM or DER"));
                }
            }
        }
        if let Some(first) = spec.crl_files.first().filter(|_| spec.ca_files.is_empty()) {
            let message = "revocation lists without `ca-files` are never looked at";
            diagnostics.push(Diagnostic::error("bad-value", file, first.span.clone(), message));
        }
        if let (Some(mode), None) = (&spec.mode, &document.server.tls)
            && mode.value != ClientCertificateMode::Off
        {
            let message = "only a listener with TLS can ask for certificates";
            diagnostics.push(
                Diagnostic::error("bad-value", file, mode.span.clone(), message)
                    .hint("`[server.tls]`; or `header`, when a proxy in front asks for them"),
            );
        }
        if let Some(mode) = &spec.mode
            && mode.value == ClientCertificateMode::Required
            && spec.ca_files.is_empty()
        {
            let message = "`required` needs authorities to check certificates by";
            diagnostics.push(
                Diagnostic::error("bad-value", file, mode.span.clone(), message)
                    .hint("`ca-files`; or `optional`, and let a policy decide"),
            );
        }
    }
    match ClientTrust::new(roots, authorities, lists, tls::provider()) {
        Ok(trust) => Arc::new(trust),
        Err(problem) => {
            if let (Some(file), Some(first)) = (document.gateway, spec.crl_files.first()) {
                diagnostics.push(Diagnostic::error("bad-file", file, first.span.clone(), chain(&problem)));
            }
            Arc::new(ClientTrust::none(tls::provider()))
        }
    }
}

/// `[server.tls]`: what the public listener shows and asks for, and when the time of what it shows is over.
pub fn listener(
    document: &Document<'_>,
    folder: Option<&Path>,
    trust: &ClientTrust,
    diagnostics: &mut Diagnostics,
) -> Option<(Arc<ServerConfig>, Option<SystemTime>)> {
    let (spec, file) = (document.server.tls.as_ref()?, document.gateway?);
    let clients = match document.server.client_certificates.mode.as_ref().map(|mode| mode.value) {
        None | Some(ClientCertificateMode::Off) => None,
        Some(ClientCertificateMode::Optional) => Some(trust.optional()),
        Some(ClientCertificateMode::Required) => trust.required(),
    };
    let (certificate, key) = (path(&spec.certificate, folder), path(&spec.key, folder));
    tls::server_config(&certificate, &key, clients)
        .map_err(|problem| {
            // Whether a key fits is known only once both were read.
            let text = match &problem {
                TlsError::File { path, .. } | TlsError::Empty { path } if *path == certificate => &spec.certificate,
                _ => &spec.key,
            };
            diagnostics.push(error(text, file, folder, &problem));
        })
        .ok()
        .map(|(config, not_after)| (Arc::new(config), not_after))
}

/// `[server.client-certificates]`: what proxies in front tell, and what backends are told.
pub fn client_certificates(
    document: &Document<'_>,
    trust: &Arc<ClientTrust>,
    diagnostics: &mut Diagnostics,
) -> ClientCertificates {
    let spec = &document.server.client_certificates;
    let element = match spec.header_element {
        HeaderElement::Last => Element::Last,
        HeaderElement::First => Element::First,
    };
    let header = spec.header.as_ref().zip(document.gateway).map(|(text, file)| {
        let name = super::settings::header_name(Some(text), "x-forwarded-client-cert", file, diagnostics);
        if document.server.trusted_proxies.is_empty() {
            let message = "no proxy is trusted, so nobody's word about certificates is believed";
            diagnostics.push(
                Diagnostic::error("bad-value", file, text.span.clone(), message)
                    .hint("`trusted-proxies` in `[server]`: the addresses of the proxies in front"),
            );
        }
        let format = HeaderFormat::of(&name);
        (name, format, element)
    });
    let forward = match spec.forward {
        SentCertificate::Off => None,
        SentCertificate::XForwardedClientCert => Some(ForwardAs::Envoy),
        SentCertificate::ClientCert => Some(ForwardAs::Rfc9440),
    };
    let mode = spec.mode.as_ref().map(|mode| mode.value).unwrap_or_default();
    ClientCertificates { header, asks: mode != ClientCertificateMode::Off, forward, trust: trust.clone() }
}
