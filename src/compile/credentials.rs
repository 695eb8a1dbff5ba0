//! Sources of tokens and the credentials of backends, from their tables.

mod client;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::{CompileError, Shared, unknown_hint};
use crate::config::At;
use crate::config::credentials::{BackendCredentialsSpec, ManagedIdentitySpec, Texts, TokenGrant, TokenSourceSpec};
use crate::credential::{
    BackendCredentials, BackendToken, ClientAuthentication, Grant, Http, IdentityEndpoint, Settings, Target,
    TokenSource, UrlProblem,
};

/// The identity endpoint of virtual machines:
/// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>.
const METADATA_ENDPOINT: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// A source with what its tokens are for when nobody says otherwise.
#[derive(Clone, Debug)]
pub struct NamedSource {
    /// The source.
    pub source: Arc<TokenSource>,
    /// What its tokens are for.
    pub target: Target,
}

/// The sources of one configuration. One with a mistake of its own is none, and known by its name.
pub type NamedSources = BTreeMap<String, Option<NamedSource>>;

fn whole(message: &str) -> CompileError {
    CompileError::whole(message).code("bad-token-source")
}

fn at<T>(field: &At<T>, message: impl Into<String>) -> CompileError {
    CompileError::at(field, message).code("bad-token-source")
}

/// Where identities of the machine come from: what is written, what the environment says, or what virtual machines have.
#[derive(Clone)]
pub struct ManagedIdentity {
    url: String,
    span: Option<Range<usize>>,
    endpoint: IdentityEndpoint,
}

impl ManagedIdentity {
    /// Reads `[managed-identity]`; `environment` is `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    pub fn new(spec: &ManagedIdentitySpec, environment: Option<(String, String)>) -> Self {
        let form = |header: Option<&str>| match header {
            Some(secret) => IdentityEndpoint::AppService { secret: secret.into() },
            None => IdentityEndpoint::Metadata,
        };
        let header = spec.header.as_ref().map(|header| header.as_str());
        match (&spec.endpoint, environment) {
            (Some(url), _) => Self { url: url.value.clone(), span: Some(url.span.clone()), endpoint: form(header) },
            (None, Some((url, secret))) => Self { url, span: None, endpoint: form(Some(header.unwrap_or(&secret))) },
            (None, None) => Self { url: METADATA_ENDPOINT.to_owned(), span: None, endpoint: form(header) },
        }
    }

    /// How tokens of one identity are asked for.
    pub(super) fn settings(&self, client_id: Option<&str>) -> Settings {
        Settings {
            url: self.url.as_str().into(),
            grant: Grant::ManagedIdentity(self.endpoint.clone()),
            client_id: client_id.map(Into::into),
            authentication: ClientAuthentication::None,
            parameters: Vec::new(),
            refresh_before: REFRESH_BEFORE,
            timeout: TIMEOUT,
            capacity: CAPACITY,
        }
    }

    /// An endpoint whose URL is refused.
    pub(super) fn refused(&self, error: &UrlProblem) -> CompileError {
        CompileError {
            span: self.span.clone(),
            code: "bad-token-source",
            message: format!("the identity endpoint cannot be used: {error}"),
            hint: Some("the `endpoint` of `[managed-identity]`".to_owned()),
        }
    }

    /// The source of one identity's tokens.
    ///
    /// # Errors
    /// When the endpoint's URL is refused.
    pub fn source(
        &self,
        name: &str,
        client_id: Option<&str>,
        shared: &Shared,
    ) -> Result<Arc<TokenSource>, CompileError> {
        build(name, self.settings(client_id), None, &[], shared).map_err(|error| self.refused(&error))
    }
}

const REFRESH_BEFORE: Duration = Duration::from_secs(300);
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
const CAPACITY: usize = 10_000;

/// Builds `[token-sources.NAME]`.
///
/// # Errors
/// What is wrong, at its field.
pub fn token_source(
    name: &str,
    spec: &TokenSourceSpec,
    identity: &ManagedIdentity,
    folder: Option<&Path>,
    shared: &Shared,
) -> Result<NamedSource, CompileError> {
    let Asking { settings, target, authorities, secrets } = asking(spec, identity, folder)?;
    let source =
        build(name, settings, authorities.as_deref(), &secrets, shared).map_err(|error| refused(&error, spec))?;
    Ok(NamedSource { source, target })
}

/// How tokens are asked for, from the keys of a token source.
pub(super) struct Asking {
    pub(super) settings: Settings,
    pub(super) target: Target,
    pub(super) authorities: Option<PathBuf>,
    /// The content of the files that it names.
    pub(super) secrets: Vec<u8>,
}

/// Checks the keys of a token source.
///
/// # Errors
/// What is wrong, at its field.
pub(super) fn asking(
    spec: &TokenSourceSpec,
    identity: &ManagedIdentity,
    folder: Option<&Path>,
) -> Result<Asking, CompileError> {
    let managed = spec.grant == TokenGrant::ManagedIdentity;
    let text = |text: &Option<At<String>>| text.as_ref().map(|text| text.as_str().into());
    let target = Target { scope: text(&spec.scope), resource: text(&spec.resource), audience: text(&spec.audience) };
    if managed {
        let foreign = [
            &spec.client_secret,
            &spec.client_key_file,
            &spec.client_certificate_file,
            &spec.client_assertion_file,
            &spec.scope,
            &spec.audience,
        ];
        if let Some(field) = foreign.into_iter().flatten().next() {
            return Err(at(field, "a managed identity has no secret of its own, and its tokens are for a `resource`")
                .hint("`resource = \"https://storage.azure.com\"`, and `client-id` for a user-assigned identity"));
        }
    }
    let exchange = spec.grant == TokenGrant::TokenExchange;
    if let Some(field) = [&spec.subject_token_type, &spec.requested_token_type].into_iter().flatten().next()
        && !exchange
    {
        return Err(at(field, "this belongs to `grant = \"token-exchange\"`"));
    }
    let (url, endpoint) = match (&spec.token_url, managed) {
        (Some(url), false) => (url.value.clone(), IdentityEndpoint::Metadata),
        (Some(url), true) => (url.value.clone(), identity.endpoint.clone()),
        (None, true) => (identity.url.clone(), identity.endpoint.clone()),
        (None, false) => {
            return Err(whole("missing key `token-url`")
                .code("missing-key")
                .hint("`https://login.microsoftonline.com/TENANT/oauth2/v2.0/token` in Entra"));
        }
    };
    let mut secrets: Vec<u8> = Vec::new();
    let authentication = client::authentication(spec, folder, &mut secrets)?;
    let settings = Settings {
        url: url.into(),
        grant: match spec.grant {
            TokenGrant::ClientCredentials => Grant::ClientCredentials,
            TokenGrant::OnBehalfOf => Grant::OnBehalfOf,
            TokenGrant::ManagedIdentity => Grant::ManagedIdentity(endpoint),
            TokenGrant::TokenExchange => Grant::TokenExchange {
                subject_type: match &spec.subject_token_type {
                    None => token_type("access-token").unwrap_or_default(),
                    Some(text) => checked_token_type(text)?,
                },
                requested_type: spec.requested_token_type.as_ref().map(checked_token_type).transpose()?,
            },
        },
        client_id: spec.client_id.as_ref().map(|text| text.as_str().into()),
        authentication,
        parameters: spec.parameters.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
        refresh_before: spec.refresh_before.map_or(REFRESH_BEFORE, |period| period.0),
        timeout: match &spec.timeout {
            None => TIMEOUT,
            Some(period) if period.value.0.is_zero() => return Err(at(period, "no endpoint answers in no time")),
            Some(period) => period.value.0,
        },
        capacity: spec.max_tokens.map_or(CAPACITY, NonZeroUsize::get),
    };
    let authorities = spec.ca_file.as_ref().map(|path| relative(path, folder));
    Ok(Asking { settings, target, authorities, secrets })
}

/// Why a token endpoint is refused, at its field.
pub(super) fn refused(problem: &UrlProblem, spec: &TokenSourceSpec) -> CompileError {
    if let (UrlProblem::Authorities(reason), Some(path)) = (problem, &spec.ca_file) {
        return at(path, format!("`{}` cannot be used: {reason}", path.value));
    }
    let message = problem.to_string();
    let error = spec.token_url.as_ref().map_or_else(|| whole(&message), |field| at(field, message.clone()));
    error.hint("an `https` URL; plain `http` only to this machine")
}

pub(super) fn relative(path: &At<String>, folder: Option<&Path>) -> PathBuf {
    folder.map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value))
}

/// The names of RFC 8693 §3, short.
const TOKEN_TYPES: [&str; 6] = ["access-token", "id-token", "jwt", "refresh-token", "saml1", "saml2"];

fn token_type(name: &str) -> Option<Box<str>> {
    let known = TOKEN_TYPES.contains(&name);
    known.then(|| format!("urn:ietf:params:oauth:token-type:{}", name.replace('-', "_")).into())
}

fn checked_token_type(text: &At<String>) -> Result<Box<str>, CompileError> {
    match token_type(text) {
        Some(uri) => Ok(uri),
        None if text.contains(':') => Ok(text.as_str().into()),
        None => Err(at(text, format!("`{}` is not a type of token", text.value)).hint(unknown_hint(
            text,
            TOKEN_TYPES,
            "`access-token`, `id-token`, `jwt`, or a URI (RFC 8693 §3)",
        ))),
    }
}

/// The source in use when nothing about it has changed, so that its tokens serve on.
fn build(
    name: &str,
    settings: Settings,
    authorities: Option<&Path>,
    secrets: &[u8],
    shared: &Shared,
) -> Result<Arc<TokenSource>, UrlProblem> {
    let http = http_client(&settings, authorities)?;
    let fingerprint = fingerprint(name, &settings, authorities, secrets);
    Ok(shared.token_sources.get(&fingerprint, || {
        let metrics = shared.metrics.token_source(name);
        TokenSource::new(name, settings, http, shared.clock.clone(), shared.control.clone(), metrics)
    }))
}

/// A client for the endpoint.
pub(super) fn http_client(settings: &Settings, authorities: Option<&Path>) -> Result<Http, UrlProblem> {
    let local = matches!(settings.grant, Grant::ManagedIdentity(_));
    Http::new(&settings.url, local, settings.timeout, authorities)
}

/// Everything that makes a difference, secrets included.
pub(super) fn fingerprint(name: &str, settings: &Settings, authorities: Option<&Path>, secrets: &[u8]) -> Vec<u8> {
    let (kind, secret): (u8, &str) = match (&settings.authentication, &settings.grant) {
        (ClientAuthentication::Basic(secret), _) => (1, secret),
        (ClientAuthentication::Post(secret), _) => (2, secret),
        (ClientAuthentication::PrivateKey(_), _) => (3, ""),
        (ClientAuthentication::AssertionFile(path), _) => (5, path.to_str().unwrap_or_default()),
        (ClientAuthentication::None, Grant::ManagedIdentity(IdentityEndpoint::AppService { secret })) => (4, secret),
        (ClientAuthentication::None, _) => (0, ""),
    };
    let mut all = String::new();
    let Settings { url, grant, client_id, parameters, refresh_before, timeout, capacity, .. } = settings;
    // Debug quotes each text, so that no two lists of texts look the same.
    let _ = write!(
        all,
        "{name:?} {url:?} {grant:?} {client_id:?} {parameters:?} {refresh_before:?} {timeout:?} {capacity} {authorities:?} {kind} {secret:?} "
    );
    [all.as_bytes(), secrets].concat()
}

/// A source by name.
///
/// # Errors
/// When there is none, or it has a mistake.
pub fn find<'a>(sources: &'a NamedSources, name: &At<String>) -> Result<&'a NamedSource, CompileError> {
    match sources.get(name.as_str()) {
        Some(Some(source)) => Ok(source),
        Some(None) => Err(CompileError::reported()),
        None => Err(CompileError::at(name, format!("unknown token source `{}`", name.value))
            .code("unknown-token-source")
            .hint(unknown_hint(
                name,
                sources.keys().map(String::as_str),
                "define it under `[token-sources]` in gateway.toml",
            ))),
    }
}

/// Builds the credentials of a backend.
///
/// # Errors
/// What is wrong, at its field. Messages never repeat a value.
pub fn backend_credentials(
    spec: &BackendCredentialsSpec,
    sources: &NamedSources,
) -> Result<BackendCredentials, CompileError> {
    let mut credentials = BackendCredentials { refresh_on_401: spec.refresh_on_401, ..BackendCredentials::default() };
    for (name, texts) in &spec.header {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            CompileError::at(texts, format!("`{name}` cannot be the name of a header"))
                .hint("letters, digits and `-` (RFC 9110 §5.1)")
        })?;
        if header == AUTHORIZATION && (spec.authorization.is_some() || spec.token_source.is_some()) {
            return Err(CompileError::at(texts, "`authorization` is given twice"));
        }
        if crate::policy::is_framing(&header) {
            return Err(CompileError::at(texts, format!("`{header}` belongs to the connection and cannot be changed")));
        }
        let values = some(texts)?.iter().map(|text| header_value(texts, text)).collect::<Result<_, _>>()?;
        credentials.headers.push((header, values));
    }
    for (name, texts) in &spec.query {
        let values = some(texts)?.iter().map(|text| text.as_str().into()).collect();
        credentials.query.push((name.as_str().into(), values));
    }
    if let Some(authorization) = &spec.authorization {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if authorization.scheme.is_empty() || !authorization.scheme.bytes().all(token) {
            return Err(CompileError::at(authorization, "an authentication scheme is one word")
                .hint("`authorization = { scheme = \"Bearer\", parameter = \"{{named-value}}\" }`"));
        }
        let text = format!("{} {}", authorization.scheme, authorization.parameter);
        credentials.headers.push((AUTHORIZATION, vec![header_value(authorization, &text)?]));
    }
    let over = [&spec.scope, &spec.resource, &spec.audience];
    match &spec.token_source {
        Some(name) => {
            if let Some(authorization) = &spec.authorization {
                return Err(CompileError::at(authorization, "both `authorization` and `token-source` are given")
                    .hint("give one of them"));
            }
            let NamedSource { source, target } = find(sources, name)?;
            let [scope, resource, audience] = over.map(|text| text.as_ref().map(|text| text.as_str().into()));
            let target = Target {
                scope: scope.or_else(|| target.scope.clone()),
                resource: resource.or_else(|| target.resource.clone()),
                audience: audience.or_else(|| target.audience.clone()),
            };
            check_target(&source.settings.grant, &target).map_err(|message| CompileError::at(name, message))?;
            credentials.token = Some(if source.settings.grant.is_for_caller() {
                BackendToken::OfCaller(source.clone(), Arc::new(target))
            } else {
                BackendToken::Own(source.fixed(target))
            });
        }
        None => {
            if let Some(field) = over.into_iter().flatten().next() {
                return Err(CompileError::at(field, "this goes with a `token-source`"));
            }
            if spec.refresh_on_401 {
                return Err(CompileError::whole("`refresh-on-401` goes with a `token-source`"));
            }
        }
    }
    Ok(credentials)
}

/// Whether a source can be asked for it.
pub fn check_target(grant: &Grant, target: &Target) -> Result<(), &'static str> {
    match grant {
        Grant::ManagedIdentity(_) if target.resource.is_none() => {
            Err("a token of a managed identity needs a `resource`")
        }
        Grant::ManagedIdentity(_) if target.scope.is_some() || target.audience.is_some() => {
            Err("a token of a managed identity is for a `resource` only")
        }
        _ => Ok(()),
    }
}

fn some(texts: &At<Texts>) -> Result<&[String], CompileError> {
    if texts.value.0.is_empty() || texts.value.0.iter().any(String::is_empty) {
        return Err(CompileError::at(texts, "the value is empty").hint("`\"{{named-value}}\"`"));
    }
    Ok(&texts.value.0)
}

fn header_value<T>(place: &At<T>, text: &str) -> Result<HeaderValue, CompileError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        CompileError::at(place, "a header value cannot hold line breaks or other control characters")
            .hint("RFC 9110 §5.5")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
