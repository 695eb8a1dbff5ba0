//! Requires a JSON Web Token, and checks its signature and claims.

mod step;

use http::StatusCode;
use http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{StatusValue, TextValue};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError, unknown_hint};
use crate::config::{At, Period, Text};
use crate::identity::{
    Algorithm, AlgorithmSet, KeyError, KeyLocation, KeySet, Match, RemoteKeysOptions, RemoteSource, RequiredClaim,
    TokenRules, TokenVerifier, VerificationKey, VerifierError,
};
use crate::pipeline::Step;
use step::{Immediate, Place, Validation, Waiting};

/// Requires a signed [JSON Web Token](https://www.rfc-editor.org/rfc/rfc7519) and checks its signature, lifetime, issuer, audience
/// and claims; see [validate-jwt](https://learn.microsoft.com/azure/api-management/validate-jwt-policy) in Azure API
/// Management. What a token claims is then read by `@claims('sub')`.
///
/// Keys come from `[issuers.NAME]` of gateway.toml or from this policy; at least one source is needed. A key of an issuer
/// verifies that issuer's tokens only. The algorithm must be one that the key is for; unsigned tokens are always refused, and
/// encrypted ones are not supported. A token whose key is unknown makes the gateway fetch the issuer's keys again, at
/// most every `min-refetch`, and waits for that.
///
/// A request that fails goes to on-error with Azure API Management's reason (`TokenExpired`, `TokenAudienceNotAllowed` …), and
/// its answer has a challenge ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-3)). The log at level `debug` names the check,
/// what was expected and what was found, never the token.
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
    /// The header that carries the token. Default `Authorization`, unless `query-parameter` or `token` says otherwise.
    header: Option<At<String>>,
    /// The query parameter that carries the token.
    query_parameter: Option<At<String>>,
    /// The token itself, without a scheme: an expression.
    token: Option<Text>,
    /// The scheme before the token in the header, compared without regard to case. Without it there is no token. Default
    /// `Bearer` for `Authorization`; for other headers none, and a `Bearer` that is there is skipped. `""` asks for none.
    require_scheme: Option<At<String>>,
    /// The status of the answer when the check fails: a number from 200 to 599, or an expression. Default `401`.
    failed_validation_status: Option<Text>,
    /// The message of the answer when the check fails: text or an expression. Default `JWT not present.` without a token,
    /// else `Invalid JWT.`.
    failed_validation_message: Option<Text>,
    /// Whether a token must have an expiration time (`exp`). Default `true`.
    require_expiration_time: Option<bool>,
    /// The allowance for clocks that differ, in `exp` and `nbf`. Default `0s`.
    clock_skew: Option<Period>,
    /// A variable for the token that passed: an object with `algorithm`, `keyId`, `id`, `issuer`, `subject`, `audiences` (a
    /// list) and all `claims`.
    output_token_variable: Option<At<String>>,
    /// The `[issuers.NAME]` whose tokens are accepted.
    issuer: Option<At<String>>,
    /// The `[issuers.NAME]` whose tokens are accepted, when there are several.
    #[serde(default)]
    issuers: Vec<At<String>>,
    /// URLs of OpenID Connect discovery documents, which name an issuer and its keys; with the defaults of `[issuers.NAME]`.
    #[serde(default)]
    openid_config: Vec<At<String>>,
    /// The URL of a JSON Web Key Set (RFC 7517). Its keys belong to no issuer: see `accepted-issuers`.
    jwks_url: Option<At<String>>,
    /// Keys written here. They belong to no issuer: see `accepted-issuers`.
    #[serde(default)]
    keys: Vec<At<TokenKey>>,
    /// The accepted audiences (`aud`). At least one: without, a token issued for any other API would be accepted.
    audiences: At<Vec<At<String>>>,
    /// Issuers (`iss`) to accept besides the one that a key belongs to, by any of the keys. Without any, `iss` is not checked
    /// for keys that belong to no issuer; needed when only some of the keys belong to one.
    #[serde(default)]
    accepted_issuers: Vec<At<String>>,
    /// Claims that a token must hold.
    #[serde(default)]
    required_claims: Vec<TokenClaim>,
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
        cx.gives_token = true;
        let place = self.place(cx);
        let place = cx.note(place);
        let verifier = self.verifier(cx);
        let verifier = cx.note(verifier);
        let status = match &self.failed_validation_status {
            Some(status) => StatusValue::compile(status, cx),
            None => Ok(StatusValue::Literal(StatusCode::UNAUTHORIZED)),
        };
        let status = cx.note(status);
        let message = self.failed_validation_message.map(|text| TextValue::compile(&text, cx)).transpose();
        let message = cx.note(message)?;
        let place = place?;
        let scheme = match &place {
            Place::Header { scheme: Some(scheme), .. } => scheme.as_str(),
            _ => "Bearer",
        };
        let validation = Validation {
            scheme: scheme.to_owned(),
            place,
            verifier: verifier?,
            status: status?,
            message,
            output: self.output_token_variable.map(|name| name.as_str().into()),
        };
        // Asynchronous only where a token may have to wait for keys.
        Ok(if validation.verifier.fetches_keys() {
            Step::asynchronous(Waiting(validation))
        } else {
            Step::sync(Immediate(validation))
        })
    }
}

impl ValidateJwt {
    fn place(&self, cx: &mut CompileCx<'_, '_>) -> Result<Place, CompileError> {
        match (&self.header, &self.query_parameter, &self.token) {
            (_, None, None) => {}
            (None, Some(name), None) if self.require_scheme.is_none() => {
                cx.secret_parameter(name);
                return Ok(Place::Query(name.value.clone()));
            }
            (None, None, Some(token)) if self.require_scheme.is_none() => {
                return TextValue::compile(token, cx).map(Place::Value);
            }
            (None, Some(_), None) | (None, None, Some(_)) => {
                return Err(CompileError::whole("`require-scheme` is for tokens in a header"));
            }
            _ => {
                return Err(CompileError::whole("a token comes from one place")
                    .hint("give one of `header`, `query-parameter` and `token`"));
            }
        }
        let name = self.header.as_ref().map_or(Ok(AUTHORIZATION), |name| cx.header_name(name))?;
        let scheme = match &self.require_scheme {
            Some(scheme) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte)) => {
                Some(scheme.value.clone()).filter(|scheme| !scheme.is_empty())
            }
            Some(scheme) => {
                return Err(
                    CompileError::at(scheme, "an authentication scheme is one word").hint("for example `Bearer`")
                );
            }
            None => (name == AUTHORIZATION).then(|| "Bearer".to_owned()),
        };
        Ok(Place::Header { name, scheme })
    }

    fn verifier(&self, cx: &CompileCx<'_, '_>) -> Result<TokenVerifier, CompileError> {
        let (mut keys, mut remotes) = (Vec::new(), Vec::new());
        for name in self.issuer.iter().chain(&self.issuers) {
            let issuers = &cx.world.issuers;
            let issuer = issuers.get(name.as_str()).ok_or_else(|| {
                let names = issuers.keys().map(String::as_str);
                CompileError::at(name, format!("unknown issuer `{}`", name.value))
                    .code("unknown-issuer")
                    .hint(unknown_hint(name, names, "define it under `[issuers]` in gateway.toml"))
            })?;
            if issuer.keys.is_empty() && issuer.remote.is_none() {
                return Err(CompileError::at(name, format!("issuer `{}` has a mistake of its own", name.value))
                    .hint(format!("see `[issuers.{}]` in gateway.toml", name.value)));
            }
            keys.extend(issuer.keys.iter().map(|key| key.clone().with_issuer(issuer.issuer.clone())));
            remotes.extend(
                issuer.remote.iter().map(|keys| RemoteSource { keys: keys.clone(), issuer: issuer.issuer.clone() }),
            );
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
        TokenVerifier::new(self.rules()?, KeySet::new(keys), remotes).map_err(|error| self.explain(&error))
    }

    fn rules(&self) -> Result<TokenRules, CompileError> {
        let named =
            self.audiences.iter().chain(&self.accepted_issuers).chain(self.required_claims.iter().map(|it| &it.name));
        for text in named.chain(self.required_claims.iter().filter_map(|it| it.separator.as_ref())) {
            if text.is_empty() {
                return Err(CompileError::at(text, "the text is empty"));
            }
        }
        let texts = |list: &[At<String>]| list.iter().map(|text| text.as_str().into()).collect();
        let mut rules = TokenRules {
            audiences: texts(&self.audiences),
            issuers: texts(&self.accepted_issuers),
            clock_skew: self.clock_skew.unwrap_or_default().0,
            require_expiration: self.require_expiration_time.unwrap_or(true),
            required_claims: self.required_claims.iter().map(TokenClaim::rule).collect(),
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
