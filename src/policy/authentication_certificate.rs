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
/// Either `certificate-id` or `thumbprint` is needed. Azure API Management's `body` and `password` do not exist here: keys do not
/// belong into policies.
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
}

impl Policy for AuthenticationCertificate {
    const NAME: &'static str = "authentication-certificate";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let (text, by) = match (&self.certificate_id, &self.thumbprint) {
            (Some(text), None) => (text, By::Name),
            (None, Some(text)) => (text, By::Thumbprint),
            (Some(_), Some(_)) => {
                return Err(
                    CompileError::whole("both `certificate-id` and `thumbprint` are given").hint("give one of them")
                );
            }
            (None, None) => {
                return Err(CompileError::whole("missing key `certificate-id`")
                    .code("missing-key")
                    .hint("the name of a certificate, or `thumbprint`"));
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
