//! Requires a token of Microsoft Entra ID, and checks its tenant, audience, application and permissions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::validate_jwt::{self, Handling, TokenClaim, not_empty};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError, entra};
use crate::config::spec::{EntraSpec, EntraVersion};
use crate::config::{At, Period, Text};
use crate::identity::entra::{audience_forms, is_guid};
use crate::identity::{KeySet, Permission, RemoteKeysOptions, TokenRules, TokenVerifier};
use crate::pipeline::Step;

/// Requires an access token of [Microsoft Entra ID](https://learn.microsoft.com/entra/identity-platform/access-tokens) and checks its
/// signature, lifetime, tenant, audience, application and permissions; see
/// [validate-azure-ad-token](https://learn.microsoft.com/azure/api-management/validate-azure-ad-token-policy) in Azure API
/// Management. What a token claims is then read by `@claims('oid')`.
///
/// Tokens of version 1 (`https://sts.windows.net/TENANT/`) and version 2 (`https://login.microsoftonline.com/TENANT/v2.0`) are
/// accepted; the issuer must be that of the token's own tenant (`tid`). An audience that is the id of an application is accepted bare
/// and as `api://ID`, because version 1 has the one and version 2 the other. Refusals are those of `validate-jwt`.
///
/// ```toml
/// [[inbound]]
/// policy    = "validate-azure-ad-token"
/// tenant-id = "contoso.onmicrosoft.com"
/// audiences = ["11111111-2222-3333-4444-555555555555"]
/// client-application-ids = ["66666666-7777-8888-9999-000000000000"]
/// scopes    = ["access_as_user"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidateAzureAdToken {
    /// The tenant: its id or a domain that it owns. `organizations` and `common` stand for all tenants, and need `tenants` or
    /// `any-tenant`.
    tenant_id: Option<At<String>>,
    /// The ids of the tenants to accept, when there are several.
    #[serde(default)]
    tenants: Vec<At<String>>,
    /// Whether the users and applications of every tenant in the world are accepted. Default `false`.
    any_tenant: Option<At<bool>>,
    /// The versions of tokens to accept, `"1.0"` and `"2.0"`. Default both.
    versions: Option<At<Vec<EntraVersion>>>,
    /// Where tokens come from: the host of a national cloud (`https://login.microsoftonline.us`), or an issuer on this machine.
    /// Default `https://login.microsoftonline.com`.
    authority: Option<At<String>>,
    /// An `[issuers.NAME]` with `entra`, in place of the keys above.
    issuer: Option<At<String>>,
    /// The accepted audiences (`aud`): the API's application id or its application ID URI. These or `backend-application-ids`
    /// are needed: without, a token issued for any other API would be accepted.
    #[serde(default)]
    audiences: Vec<At<String>>,
    /// The ids of the API's own applications, accepted as audiences bare and as `api://ID`.
    #[serde(default)]
    backend_application_ids: Vec<At<String>>,
    /// The ids of the applications that may call (`azp` or `appid`): a connector's client registration. Default: any
    /// application of the tenant.
    #[serde(default)]
    client_application_ids: Vec<At<String>>,
    /// Delegated permissions (`scp`), of which a token needs one: `access_as_user`. A token that has one of `roles` instead is
    /// accepted too.
    #[serde(default)]
    scopes: Vec<At<String>>,
    /// Application permissions or roles (`roles`), of which a token needs one unless it has one of `scopes`.
    #[serde(default)]
    roles: Vec<At<String>>,
    /// Claims that a token must hold.
    #[serde(default)]
    required_claims: Vec<TokenClaim>,
    /// Not supported, and refused: encrypted tokens are not accepted.
    decryption_keys: Option<At<Json>>,
    /// The header that carries the token (also `header-name`). Default `Authorization`, unless `query-parameter` or `token` says
    /// otherwise.
    #[serde(alias = "header-name")]
    header: Option<At<String>>,
    /// The query parameter that carries the token (also `query-parameter-name`).
    #[serde(alias = "query-parameter-name")]
    query_parameter: Option<At<String>>,
    /// The token itself, without a scheme: an expression (also `token-value`).
    #[serde(alias = "token-value")]
    token: Option<Text>,
    /// The status of the answer when the check fails: a number from 200 to 599, or an expression (also
    /// `failed-validation-httpcode`). Default `401`.
    #[serde(alias = "failed-validation-httpcode")]
    failed_validation_status: Option<Text>,
    /// The message of the answer when the check fails: text or an expression (also `failed-validation-error-message`). Default
    /// `JWT not present.` without a token, else `Invalid JWT.`.
    #[serde(alias = "failed-validation-error-message")]
    failed_validation_message: Option<Text>,
    /// The allowance for clocks that differ, in `exp` and `nbf`. Default `0s`.
    clock_skew: Option<Period>,
    /// A variable for the token that passed, as in `validate-jwt` (also `output-token-variable-name`).
    #[serde(alias = "output-token-variable-name")]
    output_token_variable: Option<At<String>>,
    /// Headers for the backend, each with the claim that it gets, as in `validate-jwt`: `{ "x-user" = "oid" }`.
    #[serde(default)]
    claims_to_headers: BTreeMap<String, At<String>>,
    /// Whether the token goes on to the backend, as in Azure API Management. Default `true`.
    forward_token: Option<At<bool>>,
}

impl Policy for ValidateAzureAdToken {
    const NAME: &'static str = "validate-azure-ad-token";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let handling = Handling {
            header: &self.header,
            query_parameter: &self.query_parameter,
            token: &self.token,
            require_scheme: &None,
            failed_validation_status: &self.failed_validation_status,
            failed_validation_message: &self.failed_validation_message,
            output_token_variable: &self.output_token_variable,
            claims_to_headers: &self.claims_to_headers,
            forward_token: &self.forward_token,
        };
        handling.step(|cx| self.verifier(cx), cx)
    }
}

impl ValidateAzureAdToken {
    fn verifier(&self, cx: &CompileCx<'_, '_>) -> Result<TokenVerifier, CompileError> {
        validate_jwt::no_decryption(&self.decryption_keys)?;
        let own = EntraSpec {
            tenant_id: self.tenant_id.clone(),
            tenants: self.tenants.clone(),
            any_tenant: self.any_tenant.clone(),
            versions: self.versions.clone(),
            authority: self.authority.clone(),
        };
        let remotes = match &self.issuer {
            Some(name) => {
                let issuer = validate_jwt::issuer(name, cx)?;
                if !issuer.entra {
                    return Err(CompileError::at(name, format!("issuer `{}` is not one of Entra ID", name.value))
                        .hint(format!("give it `[issuers.{}.entra]`, or use `validate-jwt`", name.value)));
                }
                let written = [&own.tenant_id, &own.authority].into_iter().flatten().chain(&own.tenants);
                let spans = written.map(|text| &text.span).chain(own.any_tenant.iter().map(|any| &any.span));
                if let Some(span) = spans.chain(own.versions.iter().map(|versions| &versions.span)).next() {
                    let place = At { value: (), span: span.clone() };
                    return Err(CompileError::at(&place, "the issuer says this already")
                        .hint(format!("see `[issuers.{}.entra]` in gateway.toml", name.value)));
                }
                issuer.remotes.clone()
            }
            None => entra::sources(&own, &RemoteKeysOptions::default(), cx.world)?,
        };
        let rules = self.rules()?;
        let cache = cx.world.shared.tokens.clone();
        TokenVerifier::new(rules, KeySet::default(), remotes, cache)
            .map_err(|error| CompileError::whole(error.to_string()))
    }

    fn rules(&self) -> Result<TokenRules, CompileError> {
        not_empty(self.audiences.iter().chain(&self.scopes).chain(&self.roles))?;
        if let Some(id) =
            self.backend_application_ids.iter().chain(&self.client_application_ids).find(|id| !is_guid(id))
        {
            return Err(CompileError::at(id, format!("`{}` is not the id of an application", id.value))
                .hint("32 hexadecimal digits in five groups: Application (client) ID in the Azure portal"));
        }
        // As one word each, `scp` would never hold it.
        if let Some(scope) = self.scopes.iter().find(|scope| scope.contains(' ') || scope.contains("://")) {
            return Err(CompileError::at(scope, format!("`{}` is not how a scope stands in a token", scope.value))
                .hint("without the application: `access_as_user` for `api://ID/access_as_user`; one text for each"));
        }
        let texts = |list: &[At<String>]| list.iter().map(|text| text.as_str().into()).collect();
        let audiences = self.audiences.iter().chain(&self.backend_application_ids);
        let audiences: Vec<_> = audiences.flat_map(|audience| audience_forms(audience)).collect();
        if audiences.is_empty() {
            return Err(CompileError::whole(
                "at least one audience is required: without it a token issued for any other API would be accepted",
            )
            .code("missing-key")
            .hint("`audiences` or `backend-application-ids`: the API's own application id"));
        }
        let permission = Permission { scopes: texts(&self.scopes), roles: texts(&self.roles) };
        Ok(TokenRules {
            audiences,
            clients: texts(&self.client_application_ids),
            permission: Some(permission).filter(|permission| *permission != Permission::default()),
            clock_skew: self.clock_skew.unwrap_or_default().0,
            required_claims: TokenClaim::rules(&self.required_claims)?,
            ..TokenRules::default()
        })
    }
}
