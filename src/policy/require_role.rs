//! Requires roles of the caller's token.

use schemars::JsonSchema;
use serde::Deserialize;

use super::granted::{Granted, Requirement};
use super::validate_jwt::ClaimMatch;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::pipeline::Step;

/// Requires that the token which [`validate-jwt`](#validate-jwt) verified has certain roles: in Entra ID the app roles that a
/// user, a group or an application was assigned. Stands behind `validate-jwt`, at the same scope or a narrower one.
///
/// A token that lacks one is answered `403`, with the roles that are needed in the message, and with a challenge
/// ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)); on-error sees the reason `InsufficientRole`. Without a
/// verified token the answer is `401`.
///
/// ```toml
/// [[inbound]]
/// policy    = "validate-jwt"
/// openid-config = ["https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration"]
/// audiences = ["api://orders"]
///
/// [[inbound]]                           # usually [[operation.inbound]]
/// policy = "require-role"
/// roles  = ["Orders.Admin", "Orders.Clerk"]
/// match  = "any"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequireRole {
    /// The roles; compared with their case.
    roles: At<Vec<At<String>>>,
    /// How many of the roles the token must have. Default `all`.
    #[serde(default, rename = "match")]
    matching: ClaimMatch,
    /// The claims that hold the token's roles, as a list or as text with spaces between them. What starts with `/` is a JSON
    /// Pointer (RFC 6901) to a place further inside: Keycloak's are at `"/realm_access/roles"`. Several count
    /// together. Default `["roles"]`.
    claims: Option<At<Vec<At<String>>>>,
}

impl Policy for RequireRole {
    const NAME: &'static str = "require-role";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        Granted::compile(Requirement::Role, &self.roles, self.matching, self.claims.as_ref(), cx)
    }
}
