//! Requires a client certificate, and says who calls by it.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::identity::certificate::{Absence, ClientCertificate, ClientTrust, Name, Presented, Verdict};
use crate::identity::certificate::{from_hex, hex, significant};
use crate::pipeline::{Apply, Context, Exchange, Fault, Flow, Step};

/// Requires that the client has shown a certificate which fulfils all the rules and, where `identities` are given, one of them; see
/// [validate-client-certificate](https://learn.microsoft.com/azure/api-management/validate-client-certificate-policy) in Azure API
/// Management. Otherwise the answer is `403`, and the log says which check failed.
///
/// The certificate is that of the client's TLS connection, or what one of the `trusted-proxies` tells in the header that
/// `[server.client-certificates]` names. There are also the authorities and revocation lists that it is checked by: nothing is
/// asked over the network. `@clientCertificate('subject')` and others read what it says.
///
/// ```toml
/// [[inbound]]
/// policy = "validate-client-certificate"
/// validate-trust = false                      # self-signed: the thumbprint says it all
///
/// [[inbound.identities]]
/// thumbprint = "BF3D644C46099A9D7C073EC002312878B8F9B847"
/// consumer   = "erp"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidateClientCertificate {
    /// Whether the certificate must go back to one of the `ca-files`. Default `true`. Without it anybody can make a certificate
    /// that says anything; then `identities` should name thumbprints.
    validate_trust: Option<At<bool>>,
    /// Whether it must not be from the future. Default `true`.
    validate_not_before: Option<bool>,
    /// Whether it must not have expired. Default `true`.
    validate_not_after: Option<bool>,
    /// Whether it, and the certificates between it and the authority, must not stand on a revocation list. The lists are the
    /// `crl-files`; a list that is missing or out of date is a refusal. Default: `true` when there are `crl-files`, else `false`.
    validate_revocation: Option<At<bool>>,
    /// Lets requests without a valid certificate go on, as nobody's. Default `false`.
    ignore_error: Option<bool>,
    /// The certificates that are let in. One of them must match; default: any that fulfils the rules.
    identities: Option<At<Vec<Identity>>>,
}

/// One certificate, or a kind of certificate. Everything that is given must match; text compares without case.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Identity {
    /// The SHA-1 or SHA-256 digest of the certificate in hexadecimal digits, with or without colons.
    thumbprint: Option<At<String>>,
    /// The serial number in hexadecimal digits. Only its issuer makes it unique.
    serial_number: Option<At<String>>,
    /// The common name of the subject.
    common_name: Option<At<String>>,
    /// The whole subject: `CN=erp, O=Contoso, C=DE`.
    subject: Option<At<String>>,
    /// A DNS name among the alternative names, as it stands there.
    dns_name: Option<At<String>>,
    /// Any alternative name with its kind: `URI:spiffe://contoso/erp`, `email:erp@contoso.com`, `IP:192.0.2.7`, `DNS:erp.contoso.com`.
    san: Option<At<String>>,
    /// The whole subject of the issuer.
    issuer_subject: Option<At<String>>,
    /// The SHA-1 or SHA-256 digest of the issuer's certificate, which must be among the `ca-files` or sent by the client.
    issuer_thumbprint: Option<At<String>>,
    /// Who calls with it, for logs and `@consumer()`.
    consumer: Option<String>,
}

impl Policy for ValidateClientCertificate {
    const NAME: &'static str = "validate-client-certificate";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let trust = cx.world.client_trust.clone();
        let validate_trust = self.validate_trust.as_ref().is_none_or(|it| it.value);
        if validate_trust && !trust.has_authorities() {
            let message = "there are no authorities to check certificates by";
            let error = match &self.validate_trust {
                Some(field) => CompileError::at(field, message),
                None => CompileError::whole(message),
            };
            return Err(error.hint(
                "`ca-files` in `[server.client-certificates]`, or `validate-trust = false` and identities with a thumbprint",
            ));
        }
        if let Some(field) = self.validate_revocation.as_ref().filter(|it| it.value && !trust.has_lists()) {
            return Err(CompileError::at(field, "there are no revocation lists to look into")
                .hint("`crl-files` in `[server.client-certificates]`; nothing is asked over the network"));
        }
        if let Some(list) = self.identities.as_ref().filter(|list| list.is_empty()) {
            return Err(CompileError::at(list, "nobody would be let in").hint("leave `identities` out for anybody"));
        }
        let given = self.identities.map(|list| list.value).unwrap_or_default();
        if let Some(field) = self.validate_trust.as_ref().filter(|it| !it.value)
            && (given.is_empty() || given.iter().any(Identity::can_be_made_up))
        {
            let message = "anybody can make a certificate that is let in";
            cx.warn(
                field,
                "any-certificate",
                message,
                "a `thumbprint` in each of the `identities`, or `validate-trust = true`",
            );
        }
        let identities = given.into_iter().map(identity).collect::<Result<_, _>>()?;
        Ok(Step::sync(Compiled {
            validate_trust,
            validate_revocation: self.validate_revocation.map_or_else(|| trust.has_lists(), |it| it.value),
            trust,
            validate_not_before: self.validate_not_before.unwrap_or(true),
            validate_not_after: self.validate_not_after.unwrap_or(true),
            ignore_error: self.ignore_error.unwrap_or(false),
            identities,
        }))
    }
}

impl Identity {
    /// Whether a certificate that anybody makes could match. The issuer's thumbprint counts only when its key has signed.
    fn can_be_made_up(&self) -> bool {
        self.thumbprint.is_none() && self.issuer_thumbprint.is_none()
    }
}

fn identity(spec: Identity) -> Result<Matches, CompileError> {
    let digest = |text: &At<String>| {
        let bytes = from_hex(text).filter(|bytes| matches!(bytes.len(), 20 | 32));
        bytes.ok_or_else(|| {
            CompileError::at(text, format!("`{}` is not a thumbprint", text.value))
                .hint("40 hexadecimal digits for SHA-1, 64 for SHA-256")
        })
    };
    let name = |text: &At<String>| {
        Name::parse(text).ok_or_else(|| {
            CompileError::at(text, format!("`{}` is not a distinguished name", text.value))
                .hint("`CN=erp, O=Contoso, C=DE` (RFC 4514)")
        })
    };
    let mut checks = Vec::new();
    let mut add = |check| checks.push(check);
    if let Some(text) = &spec.thumbprint {
        add(Claim::Thumbprint(digest(text)?));
    }
    if let Some(text) = &spec.serial_number {
        let bytes = from_hex(text).or_else(|| from_hex(&format!("0{}", text.value)));
        let bytes = bytes.ok_or_else(|| {
            CompileError::at(text, format!("`{}` is not a serial number", text.value)).hint("hexadecimal digits")
        })?;
        add(Claim::Serial(significant(&bytes).to_owned()));
    }
    if let Some(text) = &spec.common_name {
        add(Claim::CommonName(text.value.clone()));
    }
    if let Some(text) = &spec.subject {
        add(Claim::Subject(name(text)?));
    }
    if let Some(text) = &spec.dns_name {
        add(Claim::Alternative(format!("DNS:{}", text.value)));
    }
    if let Some(text) = &spec.san {
        let kinds = ["DNS:", "URI:", "email:", "IP:", "DirName:"];
        if !kinds.iter().any(|kind| text.starts_with(kind)) {
            return Err(CompileError::at(text, "an alternative name begins with its kind")
                .hint("`DNS:`, `URI:`, `email:`, `IP:` or `DirName:`"));
        }
        add(Claim::Alternative(text.value.clone()));
    }
    if let Some(text) = &spec.issuer_subject {
        add(Claim::IssuerSubject(name(text)?));
    }
    if let Some(text) = &spec.issuer_thumbprint {
        add(Claim::IssuerThumbprint(digest(text)?));
    }
    if checks.is_empty() {
        return Err(CompileError::whole("an identity without a claim would let everybody in")
            .hint("`thumbprint`, `common-name`, `subject`, `dns-name`, `san`, `serial-number` or `issuer-…`"));
    }
    Ok(Matches { claims: checks, consumer: spec.consumer.map(Into::into) })
}

// === impl Apply ===

struct Compiled {
    trust: Arc<ClientTrust>,
    validate_trust: bool,
    validate_revocation: bool,
    validate_not_before: bool,
    validate_not_after: bool,
    ignore_error: bool,
    identities: Vec<Matches>,
}

/// Claims that must all hold.
struct Matches {
    claims: Vec<Claim>,
    consumer: Option<Arc<str>>,
}

enum Claim {
    Thumbprint(Vec<u8>),
    Serial(Vec<u8>),
    CommonName(String),
    Subject(Name),
    Alternative(String),
    IssuerSubject(Name),
    IssuerThumbprint(Vec<u8>),
}

/// Which check failed: a stable code, a sentence, and what was found.
struct Failed {
    reason: &'static str,
    message: &'static str,
    cause: Option<String>,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        match self.check(cx) {
            Ok(consumer) => {
                if let Some(consumer) = consumer {
                    cx.state.consumer = Some(consumer.clone());
                }
                Ok(Flow::Next)
            }
            Err(failed) => self.refuse(cx, failed),
        }
    }
}

impl Compiled {
    fn check(&self, cx: &Context<'_>) -> Result<Option<&Arc<str>>, Failed> {
        let exchange = cx.exchange;
        let certificate = match exchange.certificate.certificate() {
            Ok(Some(certificate)) => certificate,
            Ok(None) => {
                let message = "Client certificate is missing.";
                return Err(failed("ClientCertificateNotPresent", message, Some(absence(exchange))));
            }
            Err(error) => {
                let message = "Client certificate cannot be read.";
                return Err(failed("ClientCertificateUnreadable", message, Some(error.to_string())));
            }
        };
        let needs_issuer = self.identities.iter().any(Matches::needs_issuer);
        let verdict = (self.validate_trust || self.validate_revocation || needs_issuer)
            .then(|| self.trust.verdict(certificate, exchange.time, exchange.started));
        if let Some(verdict) = &verdict {
            if let (true, Err(why)) = (self.validate_trust, &verdict.chain) {
                return Err(because(
                    "ClientCertificateNotTrusted",
                    "Client certificate is not trusted.",
                    why,
                    certificate,
                ));
            }
            if let (true, Err(why)) = (self.validate_revocation, &verdict.revocation) {
                return Err(because(
                    "ClientCertificateRevoked",
                    "Client certificate may be revoked.",
                    why,
                    certificate,
                ));
            }
        }
        let time = |wanted: bool| if wanted { Some(certificate.validity().ok_or(NotSent)) } else { None };
        if let Some(validity) = time(self.validate_not_before) {
            match validity {
                Err(why) => {
                    return Err(because("ClientCertificateNotYetValid", NOT_YET, why, certificate));
                }
                Ok(validity) if exchange.time < validity.not_before => {
                    return Err(because("ClientCertificateNotYetValid", NOT_YET, "it is from the future", certificate));
                }
                Ok(_) => {}
            }
        }
        if let Some(validity) = time(self.validate_not_after) {
            match validity {
                Err(why) => return Err(because("ClientCertificateExpired", EXPIRED, why, certificate)),
                Ok(validity) if exchange.time > validity.not_after => {
                    return Err(because("ClientCertificateExpired", EXPIRED, "its time is over", certificate));
                }
                Ok(_) => {}
            }
        }
        if self.identities.is_empty() {
            return Ok(None);
        }
        let verdict = verdict.as_deref();
        let found = self.identities.iter().find(|it| it.claims.iter().all(|claim| claim.holds(certificate, verdict)));
        found.map(|identity| identity.consumer.as_ref()).ok_or_else(|| {
            let differs = |identity: &Matches| {
                let claim = identity.claims.iter().find(|claim| !claim.holds(certificate, verdict));
                claim.map(|claim| claim.difference(certificate, verdict)).unwrap_or_default()
            };
            let differences: Vec<String> = self.identities.iter().take(MOST_SHOWN).map(differs).collect();
            let cause = differences.join("; ");
            failed("ClientCertificateNotAllowed", "Client certificate is none of those that are allowed.", Some(cause))
        })
    }

    #[cold]
    fn refuse(&self, cx: &Context<'_>, failed: Failed) -> Result<Flow, Fault> {
        let Failed { reason, message, cause } = failed;
        cx.exchange.gateway.metrics.auth_failure(reason);
        if self.ignore_error {
            tracing::debug!(reason, cause, "a request without a valid client certificate goes on");
            return Ok(Flow::Next);
        }
        let fault = Fault::client(StatusCode::FORBIDDEN, reason, message).public("Invalid client certificate");
        Err(match cause {
            Some(cause) => fault.cause(cause),
            None => fault,
        })
    }
}

/// Why there is no certificate, which is a question of what is in front of the gateway.
#[cold]
fn absence(exchange: &Exchange) -> String {
    let settings = &exchange.gateway.settings.client_certificates;
    let header = settings.header.as_ref().map_or("", |(name, ..)| name.as_str());
    let peer = exchange.connection_ip;
    match &exchange.certificate {
        Presented::None(Absence::NotBelieved) => {
            format!("`{header}` came from {peer}, which is none of the `trusted-proxies`")
        }
        Presented::None(Absence::NotTold) => format!("the trusted proxy {peer} tells of none in `{header}`"),
        _ if !exchange.encrypted => {
            "the connection is not encrypted, so there was no TLS handshake to show one in".to_owned()
        }
        _ if !settings.asks => {
            "clients are not asked for one: `mode` of `[server.client-certificates]` is `off`".to_owned()
        }
        _ => "the client has shown none in its TLS handshake".to_owned(),
    }
}

/// Differences from more identities than this make no log line better.
const MOST_SHOWN: usize = 4;
const NOT_YET: &str = "Client certificate is not valid yet.";
const EXPIRED: &str = "Client certificate has expired.";

/// A proxy told of the certificate and kept it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the proxy told of the certificate, but did not send it; a rule that cannot be checked must be turned off")]
struct NotSent;

fn failed(reason: &'static str, message: &'static str, cause: Option<String>) -> Failed {
    Failed { reason, message, cause }
}

/// With what was found: certificates are no secrets.
#[cold]
fn because(
    reason: &'static str,
    message: &'static str,
    why: impl std::fmt::Display,
    certificate: &ClientCertificate,
) -> Failed {
    let facts = certificate.facts();
    let fact = |name: &str| facts[name].as_str().unwrap_or("?").to_owned();
    let cause = format!(
        "{why}: subject `{}`, issuer `{}`, thumbprint {}, valid from {} to {}",
        fact("subject"),
        fact("issuer"),
        fact("thumbprint"),
        fact("notBefore"),
        fact("notAfter")
    );
    failed(reason, message, Some(cause))
}

impl Matches {
    fn needs_issuer(&self) -> bool {
        self.claims.iter().any(|claim| matches!(claim, Claim::IssuerThumbprint(_)))
    }
}

impl Claim {
    fn holds(&self, certificate: &ClientCertificate, verdict: Option<&Verdict>) -> bool {
        let digest = |sha1: Option<&[u8; 20]>, sha256: Option<&[u8; 32]>, want: &[u8]| {
            sha1.is_some_and(|it| it == want) || sha256.is_some_and(|it| it == want)
        };
        match self {
            Self::Thumbprint(want) => digest(certificate.sha1(), certificate.sha256(), want),
            Self::Serial(want) => certificate.serial().is_some_and(|it| significant(it) == want.as_slice()),
            Self::CommonName(want) => certificate
                .subject()
                .and_then(Name::common_name)
                .is_some_and(|it| it.to_lowercase() == want.to_lowercase()),
            Self::Subject(want) => certificate.subject().is_some_and(|it| it.matches(want)),
            Self::Alternative(want) => certificate.names().iter().any(|it| it.to_string().eq_ignore_ascii_case(want)),
            Self::IssuerSubject(want) => certificate.issuer().is_some_and(|it| it.matches(want)),
            Self::IssuerThumbprint(want) => {
                let issuer = verdict.and_then(|it| it.issuer.as_ref());
                issuer.is_some_and(|(sha1, sha256)| digest(Some(sha1), Some(sha256), want))
            }
        }
    }

    /// What was found and what was expected.
    fn difference(&self, certificate: &ClientCertificate, verdict: Option<&Verdict>) -> String {
        let facts = certificate.facts();
        let fact = |name: &str| facts[name].as_str().unwrap_or("none").to_owned();
        match self {
            Self::Thumbprint(want) if want.len() == 32 => format!("SHA-256 is {}, not {}", fact("sha256"), hex(want)),
            Self::Thumbprint(want) => format!("thumbprint is {}, not {}", fact("thumbprint"), hex(want)),
            Self::Serial(want) => format!("serial number is {}, not {}", fact("serialNumber"), hex(want)),
            Self::CommonName(want) => format!("common name is `{}`, not `{want}`", fact("commonName")),
            Self::Subject(want) => format!("subject is `{}`, not `{want}`", fact("subject")),
            Self::Alternative(want) => format!("alternative names are {}, and not `{want}`", facts["san"]),
            Self::IssuerSubject(want) => format!("issuer is `{}`, not `{want}`", fact("issuer")),
            Self::IssuerThumbprint(want) => {
                let found = verdict.and_then(|it| it.issuer.as_ref());
                let found = found.map_or_else(
                    || "not known".to_owned(),
                    |(sha1, sha256)| if want.len() == 32 { hex(sha256) } else { hex(sha1) },
                );
                format!("issuer's thumbprint is {found}, not {}", hex(want))
            }
        }
    }
}
