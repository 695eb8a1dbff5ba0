//! Authenticates with the backend by an OAuth 2.0 token: the gateway's own, or one made of the caller's.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::token::{Evaluated, Purpose, TokenStep};
use super::value::TextValue;
use super::{Policy, Sections};
use crate::compile::credentials::{self, NamedSource};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::pipeline::Step;

/// Authenticates with the backend by an OAuth 2.0 token from a `[token-sources.NAME]` of gateway.toml: the gateway's own
/// (client credentials, managed identity), or one made of the caller's (token exchange, on-behalf-of). Sends
/// `Authorization: Bearer …` in place of what the caller sent.
///
/// A token that is at hand costs a look; otherwise the request waits for the one fetch that all share. Without a token the
/// request goes to on-error: 502 `BackendTokenUnavailable` when the endpoint cannot be reached or answers nonsense, 500
/// `BackendTokenRefused` when it refuses the gateway. A caller's token that is refused is the caller's affair: 401
/// `SubjectTokenRefused` or `InteractionRequired`, or 403 `ConsentRequired`, with a challenge that passes on the endpoint's claims
/// challenge.
///
/// The header goes to whichever backend the request goes to; a token that belongs to one backend is safer in
/// `[backends.NAME.credentials]`.
///
/// ```toml
/// [token-sources.erp]
/// token-url     = "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
/// client-id     = "11111111-2222-3333-4444-555555555555"
/// client-secret = "{{erp-secret}}"
/// scope         = "api://erp/.default"
///
/// [named-values]
/// erp-secret = { env = "ERP_SECRET", default = "for-tests" }
///
/// [[inbound]]
/// policy = "authentication-oauth2"
/// source = "erp"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthenticationOauth2 {
    /// The name of a `[token-sources.NAME]`.
    source: At<String>,
    /// What the token is for, in place of the source's own `scope`. Evaluated when the step runs; a failure goes to on-error.
    scope: Option<Text>,
    /// What the token is for, in place of the source's own `resource`. Evaluated when the step runs.
    resource: Option<Text>,
    /// What the token is for, in place of the source's own `audience`. Evaluated when the step runs.
    audience: Option<Text>,
    /// The caller's token, with or without `Bearer`: an expression. Only for sources that make a token of the caller's. Default: the
    /// bearer token in `Authorization`, which `validate-jwt` must have accepted before. A token given here is passed on
    /// unverified, so that any caller can make the gateway ask the endpoint.
    subject_token: Option<Text>,
    /// The header that carries the token, without `Bearer`. Default `Authorization`, with `Bearer`.
    header: Option<At<String>>,
    /// A variable for the token, without `Bearer`. No header is set then.
    output_token_variable: Option<At<String>>,
    /// Whether the request goes on without a token when there is none; the header is taken out then, and the variable is null.
    /// Default `false`.
    #[serde(default)]
    ignore_error: bool,
    /// Whether a 401 of the backend makes the gateway fetch a new token, at most every 30 s, and send the request once more;
    /// only one without a body or with one that is in memory, and only with the token in `Authorization`. Default `false`.
    #[serde(default)]
    refresh_on_401: bool,
}

impl Policy for AuthenticationOauth2 {
    const NAME: &'static str = "authentication-oauth2";
    const SECTIONS: Sections = Sections::REQUEST;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let world = cx.world;
        let found = credentials::find(&world.token_sources, &self.source);
        let found = cx.note(found);
        let header = self.header.as_ref().map(|name| cx.header_name(name)).transpose();
        let header = cx.note(header);
        let compiled = [&self.scope, &self.resource, &self.audience, &self.subject_token].map(|text| {
            let compiled = text.as_ref().map(|text| TextValue::compile(text, cx)).transpose();
            cx.note(compiled)
        });
        let NamedSource { source, target } = found?;
        let header = header?;
        let [scope, resource, audience, subject] = compiled;
        let or = |text: Option<TextValue>, own: &Option<Arc<str>>| text.or_else(|| own.as_deref().map(TextValue::of));
        let purpose = Evaluated {
            scope: or(scope?, &target.scope),
            resource: or(resource?, &target.resource),
            audience: or(audience?, &target.audience),
        };
        let subject = subject?;
        let for_caller = source.settings.grant.is_for_caller();
        if let (Some(field), false) = (&self.subject_token, for_caller) {
            return Err(CompileError::at(
                field,
                format!("source `{}` makes no token of the caller's", self.source.value),
            )
            .hint("`grant = \"token-exchange\"` or `\"on-behalf-of\"` does"));
        }
        if let (Some(name), Some(_)) = (&self.header, &self.output_token_variable) {
            return Err(
                CompileError::at(name, "both `header` and `output-token-variable` are given").hint("give one of them")
            );
        }
        if self.refresh_on_401 && (self.header.is_some() || self.output_token_variable.is_some()) {
            return Err(CompileError::whole("`refresh-on-401` is for a token in `Authorization`"));
        }
        let literal = purpose.literal();
        if let Some(target) = &literal {
            credentials::check_target(&source.settings.grant, target)
                .map_err(|message| CompileError::at(&self.source, message))?;
        }
        let purpose = match (literal, for_caller) {
            (Some(target), false) => Purpose::Fixed(source.fixed(target)),
            (Some(target), true) => Purpose::OfCaller(source.clone(), Arc::new(target)),
            (None, _) => Purpose::Evaluated(source.clone(), Box::new(purpose)),
        };
        Ok(Step::asynchronous(TokenStep {
            purpose,
            subject,
            header,
            output: self.output_token_variable.map(|name| name.as_str().into()),
            ignore_error: self.ignore_error,
            refresh_on_401: self.refresh_on_401,
            origin: cx.origin.clone(),
        }))
    }
}
