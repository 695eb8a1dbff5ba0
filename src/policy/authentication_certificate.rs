//! Authenticates with the backend by a client certificate.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::TextValue;
use super::{Policy, Sections};
use crate::backend::ClientIdentity;
use crate::compile::certificates::{self, Certificates};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::identity::certificate::from_hex;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Authenticates with the backend by a client certificate of `[certificates]`, in the TLS handshake; see
/// [authentication-certificate](https://learn.microsoft.com/azure/api-management/authentication-certificate-policy) in Azure API
/// Management. Connections that show different certificates are never exchanged. A backend that is not called over TLS goes to on-error
/// (`BackendNotEncrypted`), and one with a `credentials.certificate` is shown that.
///
/// One of `certificate-id`, `thumbprint` and `body` is needed.
///
/// ```toml
/// [[inbound]]
/// policy         = "authentication-certificate"
/// certificate-id = "@{if(startsWith(path(), '/test'), 'erp-test', 'erp')}"      # [certificates.erp] in gateway.toml
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthenticationCertificate {
    /// The name of a certificate. Evaluated when the step runs; a failure, and a name that no certificate has, goes to on-error.
    certificate_id: Option<Text>,
    /// The SHA-1 or SHA-256 digest of a certificate in hexadecimal digits. Evaluated when the step runs; a failure, and a digest that
    /// no certificate has, goes to on-error.
    thumbprint: Option<Text>,
    /// The certificate and its key as text: Base64 of PKCS#12, or PEM. It is `"{{named-value}}"`, known when the gateway starts; Azure
    /// API Management takes an expression, which would have to hold the key.
    body: Option<At<String>>,
    /// The password of the `body`, usually `"{{named-value}}"`. Default: the empty one.
    password: Option<At<String>>,
}

impl Policy for AuthenticationCertificate {
    const NAME: &'static str = "authentication-certificate";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if let (Some(password), None) = (&self.password, &self.body) {
            return Err(CompileError::at(password, "`password` goes with a `body`"));
        }
        let (text, by) = match (&self.certificate_id, &self.thumbprint, &self.body) {
            (Some(text), None, None) => (text, By::Name),
            (None, Some(text), None) => (text, By::Thumbprint),
            (None, None, Some(body)) => return self.with_body(body, cx),
            (None, None, None) => {
                return Err(CompileError::whole("missing key `certificate-id`")
                    .code("missing-key")
                    .hint("the name of a certificate, or `thumbprint`, or `body`"));
            }
            _ => {
                return Err(CompileError::whole("more than one certificate is given")
                    .hint("one of `certificate-id`, `thumbprint` and `body`"));
            }
        };
        let value = TextValue::compile(text, cx)?;
        let known = &cx.world.certificates;
        let Some(literal) = value.literal() else {
            return Ok(Step::sync(Evaluated { value, by, known: known.clone() }));
        };
        let identity = match by {
            By::Name => certificates::find(known, &At { value: literal.to_owned(), span: text.span.clone() })?,
            By::Thumbprint if from_hex(literal).is_none_or(|digest| !matches!(digest.len(), 20 | 32)) => {
                return Err(CompileError::at(text, format!("`{literal}` is not a thumbprint"))
                    .hint("40 hexadecimal digits for SHA-1, 64 for SHA-256"));
            }
            By::Thumbprint => certificates::by_thumbprint(known, literal).ok_or_else(|| {
                // One that cannot be read may be the one that is meant.
                if known.values().any(Option::is_none) {
                    return CompileError::reported();
                }
                CompileError::at(text, "no certificate of `[certificates]` has this thumbprint")
                    .code("unknown-certificate")
                    .hint("`openssl x509 -in FILE -noout -fingerprint` prints it")
            })?,
        };
        Ok(Step::sync(Literal(identity)))
    }
}

impl AuthenticationCertificate {
    fn with_body(&self, body: &At<String>, cx: &CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if body.starts_with('@') {
            return Err(CompileError::at(body, "a certificate must be known when the gateway starts")
                .hint("a named value, or `certificate-id` with an expression that chooses one of `[certificates]`"));
        }
        let password = self.password.as_ref().map(|password| password.as_str());
        certificates::from_text(body, password, &cx.world.shared).map(|identity| Step::sync(Literal(identity)))
    }
}

#[derive(Clone, Copy)]
enum By {
    Name,
    Thumbprint,
}

// === impl Apply ===

struct Literal(Arc<ClientIdentity>);

impl Apply for Literal {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        cx.state.identity = Some(self.0.clone());
        Ok(Flow::Next)
    }
}

struct Evaluated {
    value: TextValue,
    by: By,
    known: Arc<Certificates>,
}

impl Apply for Evaluated {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let identity = {
            let text = self.value.text(cx)?;
            match self.by {
                By::Name => self.known.get(&*text).cloned().flatten(),
                By::Thumbprint => certificates::by_thumbprint(&self.known, &text),
            }
        };
        let not_found =
            || Fault::internal("CertificateNotFound", "the result names no certificate of `[certificates]`");
        cx.state.identity = Some(identity.ok_or_else(not_found)?);
        Ok(Flow::Next)
    }
}
