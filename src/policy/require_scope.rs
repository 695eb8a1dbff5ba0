//! Requires scopes of the caller's token.

use schemars::JsonSchema;
use serde::Deserialize;

use super::granted::{Granted, Requirement};
use super::validate_jwt::ClaimMatch;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::pipeline::Step;

/// Requires that the token which [`validate-jwt`](#validate-jwt) verified was issued for certain scopes: what its user allowed the
/// application to do. Stands behind `validate-jwt`, at the same scope or a narrower one: usually that is one `validate-jwt` for
/// the API, and one `require-scope` for each operation.
///
/// A token that lacks one is answered `403`, with the scopes that are needed in the message and in the challenge
/// (`error="insufficient_scope"`, [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)); on-error sees
/// the reason `InsufficientScope`. Without a verified token the answer is `401`.
///
/// ```toml
/// [[inbound]]
/// policy    = "validate-jwt"
/// openid-config = ["https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration"]
/// audiences = ["api://orders"]
///
/// [[inbound]]                           # usually [[operation.inbound]]
/// policy = "require-scope"
/// scopes = ["orders.write"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequireScope {
    /// The scopes; compared with their case (RFC 6749 §3.3).
    scopes: At<Vec<At<String>>>,
    /// How many of the scopes the token must have. Default `all`.
    #[serde(default, rename = "match")]
    matching: ClaimMatch,
    /// The claims that hold the token's scopes, as text with spaces between them or as a list. What starts with `/` is a JSON
    /// Pointer (RFC 6901) to a place further inside. Several count together. Default `["scp", "scope"]`: Entra ID's, and the
    /// one of RFC 8693.
    claims: Option<At<Vec<At<String>>>>,
}

impl Policy for RequireScope {
    const NAME: &'static str = "require-scope";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        Granted::compile(Requirement::Scope, &self.scopes, self.matching, self.claims.as_ref(), cx)
    }
}
