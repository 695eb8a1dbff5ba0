//! Authenticates with the backend by user name and password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{TextValue, evaluation_failed};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::expression::EvaluationError;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Authenticates with the backend by user name and password
/// ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)): sends `Authorization: Basic …` in place of what the caller sent; see
/// [authentication-basic](https://learn.microsoft.com/azure/api-management/authentication-basic-policy) in Azure API Management.
///
/// The header goes to whichever backend the request goes to. Credentials that belong to one backend are safer in
/// `[backends.NAME.credentials]`.
///
/// ```toml
/// [named-values]
/// erp-password = { env = "ERP_PASSWORD", default = "for-tests" }
///
/// [[inbound]]
/// policy   = "authentication-basic"
/// username = "gateway"
/// password = "{{erp-password}}"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthenticationBasic {
    /// The user name, without a colon. Evaluated when the step runs; a failure goes to on-error.
    username: Text,
    /// The password, usually `"{{named-value}}"`. Evaluated when the step runs; a failure goes to on-error.
    password: Text,
}

impl Policy for AuthenticationBasic {
    const NAME: &'static str = "authentication-basic";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let username = TextValue::compile(&self.username, cx);
        let username = cx.note(username);
        let password = TextValue::compile(&self.password, cx)?;
        let username = username?;
        match (username.literal(), password.literal()) {
            // The place of the mistake is the user name; the password is never shown.
            (Some(name), _) if !is_name(name) => {
                Err(CompileError::at(&self.username, "a user name holds no colon and no control characters")
                    .hint("RFC 7617 §2: what follows the first colon would be taken for the password"))
            }
            (_, Some(password)) if password.chars().any(char::is_control) => {
                Err(CompileError::at(&self.password, "a password holds no control characters").hint("RFC 7617 §2"))
            }
            (Some(name), Some(password)) => match header(name, password) {
                Some(value) => Ok(Step::sync(Literal(value))),
                None => Err(CompileError::at(&self.username, "this cannot stand in a header")),
            },
            _ => Ok(Step::sync(Evaluated { username, password })),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.contains(|c: char| c == ':' || c.is_control())
}

fn header(name: &str, password: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

// === impl Apply ===

struct Literal(HeaderValue);

impl Apply for Literal {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        cx.message.headers_mut().insert(AUTHORIZATION, self.0.clone());
        Ok(Flow::Next)
    }
}

struct Evaluated {
    username: TextValue,
    password: TextValue,
}

impl Apply for Evaluated {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let value = {
            let (name, password) = (self.username.text(cx)?, self.password.text(cx)?);
            let fits = is_name(&name) && !password.contains(char::is_control);
            fits.then(|| header(&name, &password)).flatten()
        };
        let unfit = || EvaluationError::new("the result is not a user name and a password (RFC 7617 §2)");
        let value = value.ok_or_else(|| evaluation_failed(unfit()))?;
        cx.message.headers_mut().insert(AUTHORIZATION, value);
        Ok(Flow::Next)
    }
}
