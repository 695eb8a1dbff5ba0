//! Requires a JSON Web Token, and checks its signature and claims.

mod handling;
mod step;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError, Issuer, unknown_hint};
use crate::config::{At, Period, Text};
use crate::identity::{
    Algorithm, AlgorithmSet, KeyError, KeyLocation, KeySet, Match, RemoteKeysOptions, RequiredClaim, TokenRules,
    TokenVerifier, VerificationKey, VerifierError, entra,
};
use crate::pipeline::Step;
pub(super) use handling::Handling;

/// Requires a signed [JSON Web Token](https://www.rfc-editor.org/rfc/rfc7519) and checks its signature, lifetime, issuer, audience
/// and claims; see [validate-jwt](https://learn.microsoft.com/azure/api-management/validate-jwt-policy) in Azure API
/// Management. What a token claims is then read by `@claims('sub')`.
///
/// Keys come from `[issuers.NAME]` of gateway.toml or from this policy; at least one source is needed. A key of an issuer
/// verifies that issuer's tokens only. The algorithm must be one that the key is for; unsigned tokens are always refused, and
/// so are encrypted ones. A token whose key is unknown makes the gateway fetch the issuer's keys again, at most every
/// `min-refetch`, and waits for that.
///
/// A request that fails goes to on-error with Azure API Management's reason (`TokenExpired`, `TokenAudienceNotAllowed` …), and
/// its answer has a challenge ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-3)): `invalid_token`, or
/// `insufficient_scope` with the missing scopes when a required `scp` or `scope` is all that is wrong. The log at level `debug` names
/// the check, what was expected and what was found, never the token.
///
/// Signatures by public keys are verified on threads of their own. When more tokens wait there than can be verified soon, the
/// answer is `503` with `Retry-After` (`TokenVerificationOverloaded`). A token that passed is remembered until its `exp`, a
/// change of its issuer's keys, a reload, or until 20,000 others passed since, and meanwhile costs next to nothing.
///
/// ```toml
/// [[inbound]]
/// policy    = "validate-jwt"
/// openid-config = ["https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration"]
/// audiences = ["api://orders"]
///
/// [[inbound.required-claims]]
/// name      = "scp"
/// values    = ["orders.read", "orders.write"]
/// match     = "any"
/// separator = " "
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidateJwt {
    /// The header that carries the token (also `header-name`). Default `Authorization`, unless `query-parameter` or `token` says otherwise.
    #[serde(alias = "header-name")]
    header: Option<At<String>>,
    /// The query parameter that carries the token (also `query-parameter-name`).
    #[serde(alias = "query-parameter-name")]
    query_parameter: Option<At<String>>,
    /// The token itself, without a scheme: an expression (also `token-value`).
    #[serde(alias = "token-value")]
    token: Option<Text>,
    /// The scheme before the token in the header, compared without regard to case. Without it there is no token. Default
    /// `Bearer` for `Authorization`; for other headers none, and a `Bearer` that is there is skipped. `""` asks for none.
    require_scheme: Option<At<String>>,
    /// The status of the answer when the check fails: a number from 200 to 599, or an expression (also
    /// `failed-validation-httpcode`). Default `401`.
    #[serde(alias = "failed-validation-httpcode")]
    failed_validation_status: Option<Text>,
    /// The message of the answer when the check fails: text or an expression (also `failed-validation-error-message`). Default
    /// `JWT not present.` without a token, else `Invalid JWT.`.
    #[serde(alias = "failed-validation-error-message")]
    failed_validation_message: Option<Text>,
    /// Whether a token must have an expiration time (`exp`). Default `true`.
    require_expiration_time: Option<bool>,
    /// Always `true`: an unsigned token can be written by anyone, and `false` is refused.
    require_signed_tokens: Option<At<bool>>,
    /// The allowance for clocks that differ, in `exp` and `nbf`. Default `0s`.
    clock_skew: Option<Period>,
    /// A variable for the token that passed: an object with `algorithm`, `keyId`, `id`, `issuer`, `subject`, `audiences` (a
    /// list) and all `claims` (also `output-token-variable-name`).
    #[serde(alias = "output-token-variable-name")]
    output_token_variable: Option<At<String>>,
    /// Headers for the backend, each with the claim that it gets: `{ "x-user" = "sub" }`. What a caller sent under these names is
    /// always removed; a claim that is not there, or cannot stand in a header, leaves none. The values of a list are joined by
    /// commas, with a comma in a value as `%2C` and a percent sign as `%25`; an object is JSON.
    #[serde(default)]
    claims_to_headers: BTreeMap<String, At<String>>,
    /// Whether the token goes on to the backend, as in Azure API Management. With `false` its header or query parameter is
    /// removed once it passed. Default `true`.
    forward_token: Option<At<bool>>,
    /// The `[issuers.NAME]` whose tokens are accepted.
    issuer: Option<At<String>>,
    /// The `[issuers.NAME]` whose tokens are accepted, when there are several. A URL is a value of `iss`, as Azure API Management's
    /// `issuers` has them: the same as in `accepted-issuers`.
    #[serde(default)]
    issuers: Vec<At<String>>,
    /// URLs of OpenID Connect discovery documents, which name an issuer and its keys; with the defaults of `[issuers.NAME]`.
    #[serde(default)]
    openid_config: Vec<At<String>>,
    /// The URL of a JSON Web Key Set (RFC 7517). Its keys belong to no issuer: see `accepted-issuers`.
    jwks_url: Option<At<String>>,
    /// Keys written here (also `issuer-signing-keys`). They belong to no issuer: see `accepted-issuers`.
    #[serde(default, alias = "issuer-signing-keys")]
    keys: Vec<At<TokenKey>>,
    /// The accepted audiences (`aud`). At least one: without, a token issued for any other API would be accepted. With an issuer that
    /// is Entra ID (`[issuers.NAME.entra]`), the id of an application also stands for `api://ID`, and the reverse.
    audiences: At<Vec<At<String>>>,
    /// Issuers (`iss`) to accept besides the one that a key belongs to, by any of the keys. Without any, `iss` is not checked
    /// for keys that belong to no issuer; needed when only some of the keys belong to one.
    #[serde(default)]
    accepted_issuers: Vec<At<String>>,
    /// Claims that a token must hold.
    #[serde(default)]
    required_claims: Vec<TokenClaim>,
    /// Not supported, and refused: encrypted tokens are not accepted.
    decryption_keys: Option<At<Json>>,
    /// The accepted algorithms (`RS256`, `ES256` …), as far as the keys can serve them. Default: all that the keys are for.
    algorithms: Option<At<Vec<At<String>>>>,
}

/// A key that verifies signatures: one of `secret`, `pem`, `jwk`, or `n` with `e`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenKey {
    /// The key's id, which a token's `kid` must equal. Default: that of the `jwk`, else none, and the key is tried for every
    /// token.
    id: Option<String>,
    /// Base64 of a shared secret of at least 32 bytes for HS256, 48 for HS384 and 64 for HS512, usually `"{{named-value}}"`.
    secret: Option<At<String>>,
    /// A public key or certificate in PEM.
    pem: Option<At<String>>,
    /// A JSON Web Key as text.
    jwk: Option<At<String>>,
    /// The modulus of an RSA key, in base64url.
    n: Option<At<String>>,
    /// The exponent of an RSA key, in base64url.
    e: Option<At<String>>,
}

/// A claim that a token must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenClaim {
    /// The name of the claim, at the top of the token.
    name: At<String>,
    /// The values to find, in a claim that is text or a list. Default: none, so that the claim need only be there.
    #[serde(default)]
    values: Vec<String>,
    /// How many of the values must be there. Default `all`.
    #[serde(default, rename = "match")]
    matching: ClaimMatch,
    /// Splits a claim that is text into values (`" "` for `scp`). Default: none.
    separator: Option<At<String>>,
}

/// How many of the values must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimMatch {
    /// Every one.
    #[default]
    All,
    /// At least one.
    Any,
}

impl Policy for ValidateJwt {
    const NAME: &'static str = "validate-jwt";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let handling = Handling {
            header: &self.header,
            query_parameter: &self.query_parameter,
            token: &self.token,
            require_scheme: &self.require_scheme,
            failed_validation_status: &self.failed_validation_status,
            failed_validation_message: &self.failed_validation_message,
            output_token_variable: &self.output_token_variable,
            claims_to_headers: &self.claims_to_headers,
            forward_token: &self.forward_token,
        };
        handling.step(|cx| self.verifier(cx), cx)
    }
}

impl ValidateJwt {
    fn verifier(&self, cx: &CompileCx<'_, '_>) -> Result<TokenVerifier, CompileError> {
        if let Some(required) = self.require_signed_tokens.as_ref().filter(|required| !required.value) {
            return Err(CompileError::at(required, "a token without a signature can be written by anyone")
                .hint("unsigned tokens are always refused: leave it out"));
        }
        no_decryption(&self.decryption_keys)?;
        let (mut keys, mut remotes, mut entra) = (Vec::new(), Vec::new(), false);
        for name in self.issuer.iter().chain(self.issuers.iter().filter(|issuer| !is_url(issuer))) {
            let issuer = issuer(name, cx)?;
            entra |= issuer.entra;
            keys.extend(issuer.keys.iter().map(|key| key.clone().with_issuer(issuer.issuer.clone())));
            remotes.extend(issuer.remotes.iter().cloned());
        }
        let discovered = self.openid_config.iter().map(|url| (url, KeyLocation::Discovery(url.value.clone())));
        let listed = self.jwks_url.iter().map(|url| (url, KeyLocation::Jwks(url.value.clone())));
        for (url, location) in discovered.chain(listed) {
            let source = cx.world.remote_keys(location, RemoteKeysOptions::default()).map_err(|message| {
                CompileError::at(url, message).hint("an `https` URL; plain `http` only to this machine")
            })?;
            remotes.push(source.into());
        }
        for key in &self.keys {
            keys.push(key.compile(key)?);
        }
        let mut rules = self.rules()?;
        if entra {
            rules.audiences = self.audiences.iter().flat_map(|audience| entra::audience_forms(audience)).collect();
        }
        let cache = cx.world.shared.tokens.clone();
        TokenVerifier::new(rules, KeySet::new(keys), remotes, cache).map_err(|error| self.explain(&error))
    }

    fn rules(&self) -> Result<TokenRules, CompileError> {
        not_empty(self.audiences.iter().chain(&self.accepted_issuers))?;
        let issuers = self.accepted_issuers.iter().chain(self.issuers.iter().filter(|issuer| is_url(issuer)));
        let mut rules = TokenRules {
            audiences: self.audiences.iter().map(|text| text.as_str().into()).collect(),
            issuers: issuers.map(|text| text.as_str().into()).collect(),
            clock_skew: self.clock_skew.unwrap_or_default().0,
            require_expiration: self.require_expiration_time.unwrap_or(true),
            required_claims: TokenClaim::rules(&self.required_claims)?,
            ..TokenRules::default()
        };
        if let Some(names) = &self.algorithms {
            rules.algorithms = names.iter().map(algorithm).collect::<Result<AlgorithmSet, _>>()?;
            if rules.algorithms.is_empty() {
                return Err(CompileError::at(names, "no algorithm is allowed").hint("leave it out for all"));
            }
        }
        Ok(rules)
    }

    /// A verifier's error, at the field that it is about.
    fn explain(&self, error: &VerifierError) -> CompileError {
        let text = error.to_string();
        match (error, &self.algorithms) {
            (VerifierError::NoAudience, _) => {
                CompileError::at(&self.audiences, text).hint("the `aud` value that the issuer writes for this API")
            }
            (VerifierError::NoAlgorithm { .. }, Some(field)) => CompileError::at(field, text),
            (VerifierError::NoKey, _) => CompileError::whole("there is no key to verify tokens with")
                .code("missing-key")
                .hint("give `issuer`, `issuers`, `openid-config`, `jwks-url` or `keys`"),
            (VerifierError::NoIssuer, _) => CompileError::whole(text).hint("list them in `accepted-issuers`"),
            (VerifierError::NoAlgorithm { .. }, None) => CompileError::whole(text),
        }
    }
}

/// Whether this is a value of `iss`, where a name could stand too.
fn is_url(issuer: &str) -> bool {
    issuer.contains("://")
}

/// An issuer of the configuration.
pub(super) fn issuer<'a>(name: &At<String>, cx: &'a CompileCx<'_, '_>) -> Result<&'a Issuer, CompileError> {
    let issuers = &cx.world.issuers;
    let issuer = issuers.get(name.as_str()).ok_or_else(|| {
        let names = issuers.keys().map(String::as_str);
        let otherwise = if name.contains("://") {
            "the name of an `[issuers.NAME]`; values of `iss` go into `accepted-issuers`"
        } else {
            "define it under `[issuers]` in gateway.toml"
        };
        CompileError::at(name, format!("unknown issuer `{}`", name.value))
            .code("unknown-issuer")
            .hint(unknown_hint(name, names, otherwise))
    })?;
    if issuer.keys.is_empty() && issuer.remotes.is_empty() {
        return Err(CompileError::at(name, format!("issuer `{}` has a mistake of its own", name.value))
            .hint(format!("see `[issuers.{}]` in gateway.toml", name.value)));
    }
    Ok(issuer)
}

pub(super) fn no_decryption(keys: &Option<At<Json>>) -> Result<(), CompileError> {
    match keys {
        Some(keys) => Err(CompileError::at(keys, "encrypted tokens are not supported")
            .hint("leave it out, and have the issuer sign tokens without encrypting them")),
        None => Ok(()),
    }
}

pub(super) fn not_empty<'a>(texts: impl IntoIterator<Item = &'a At<String>>) -> Result<(), CompileError> {
    match texts.into_iter().find(|text| text.is_empty()) {
        Some(text) => Err(CompileError::at(text, "the text is empty")),
        None => Ok(()),
    }
}

fn algorithm(name: &At<String>) -> Result<Algorithm, CompileError> {
    name.parse().map_err(|error: crate::identity::algorithm::UnknownAlgorithm| {
        let names = Algorithm::ALL.map(Algorithm::name);
        CompileError::at(name, error.to_string()).hint(unknown_hint(name, names, "RFC 7518 §3.1"))
    })
}

impl TokenKey {
    fn compile(&self, whole: &At<Self>) -> Result<VerificationKey, CompileError> {
        let at = |field: &At<String>, error: &KeyError| CompileError::at(field, error.to_string()).code("bad-key");
        let key = match (&self.secret, &self.pem, &self.jwk, &self.n, &self.e) {
            (Some(text), None, None, None, None) => {
                VerificationKey::from_base64_secret(text).map_err(|error| at(text, &error))
            }
            (None, Some(text), None, None, None) => VerificationKey::from_pem(text).map_err(|error| at(text, &error)),
            (None, None, Some(text), None, None) => VerificationKey::from_jwk(text).map_err(|error| at(text, &error)),
            (None, None, None, Some(n), Some(e)) => {
                VerificationKey::from_rsa_components(n, e).map_err(|error| at(n, &error))
            }
            _ => Err(CompileError::at(whole, "a key is written in one way")
                .hint("one of `secret`, `pem` and `jwk`, or `n` with `e`")),
        }?;
        Ok(match &self.id {
            Some(id) => key.with_id(id.as_str()),
            None => key,
        })
    }
}

impl TokenClaim {
    pub(super) fn rules(claims: &[Self]) -> Result<Vec<RequiredClaim>, CompileError> {
        not_empty(claims.iter().flat_map(|claim| std::iter::once(&claim.name).chain(&claim.separator)))?;
        Ok(claims.iter().map(Self::rule).collect())
    }

    fn rule(&self) -> RequiredClaim {
        RequiredClaim {
            name: self.name.as_str().into(),
            values: self.values.iter().map(|value| value.as_str().into()).collect(),
            matching: match self.matching {
                ClaimMatch::All => Match::All,
                ClaimMatch::Any => Match::Any,
            },
            separator: self.separator.as_ref().map(|separator| separator.as_str().into()),
        }
    }
}
