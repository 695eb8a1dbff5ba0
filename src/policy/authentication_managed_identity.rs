//! Authenticates with the backend by a token of the machine's own identity in Azure.

use schemars::JsonSchema;
use serde::Deserialize;

use super::token::{Evaluated, Purpose, TokenStep};
use super::value::TextValue;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::Step;

/// Authenticates with the backend by a token of the machine's managed identity in Azure: sends `Authorization: Bearer …` in
/// place of what the caller sent; see
/// [authentication-managed-identity](https://learn.microsoft.com/azure/api-management/authentication-managed-identity-policy)
/// in Azure API Management.
///
/// The token comes from the endpoint of `[managed-identity]`, by default that of the platform the gateway runs on. It is kept,
/// shared and replaced before its end as those of `[token-sources.NAME]` are. With `output-token-variable` the token goes into the
/// variable and no header is set: Azure's documentation leaves that open, and its example sets the header from the variable.
///
/// Without a token the request goes to on-error: 502 `BackendTokenUnavailable` when the endpoint cannot be reached, 500
/// `BackendTokenRefused` when it refuses, for example because the machine has no such identity.
///
/// ```toml
/// [[inbound]]
/// policy   = "authentication-managed-identity"
/// resource = "https://storage.azure.com"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthenticationManagedIdentity {
    /// What the token is for: the application id URI of the backend in Entra. Evaluated when the step runs; a failure goes to
    /// on-error.
    resource: Text,
    /// The client id of a user-assigned identity. Default: the system-assigned one.
    client_id: Option<At<String>>,
    /// A variable for the token, without `Bearer`. No header is set then.
    output_token_variable: Option<At<String>>,
    /// Whether the request goes on without a token when there is none; `Authorization` is taken out then, and the variable is null.
    /// Default `false`.
    #[serde(default)]
    ignore_error: bool,
}

impl Policy for AuthenticationManagedIdentity {
    const NAME: &'static str = "authentication-managed-identity";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.resource.is_empty() {
            return Err(CompileError::at(&self.resource, "the resource is empty")
                .hint("the application id URI of the backend, for example `https://storage.azure.com`"));
        }
        let purpose = Evaluated { resource: Some(TextValue::compile(&self.resource, cx)?), ..Evaluated::default() };
        let client_id = self.client_id.as_ref().map(|id| id.as_str());
        let source = cx.world.identity.source("managed-identity", client_id, &cx.world.shared)?;
        let purpose = match purpose.literal() {
            Some(target) => Purpose::Fixed(source.fixed(target)),
            None => Purpose::Evaluated(source, Box::new(purpose)),
        };
        Ok(Step::asynchronous(TokenStep {
            purpose,
            subject: None,
            header: None,
            output: self.output_token_variable.map(|name| name.as_str().into()),
            ignore_error: self.ignore_error,
            refresh_on_401: false,
            origin: cx.origin.clone(),
        }))
    }
}
