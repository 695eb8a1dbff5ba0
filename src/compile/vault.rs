//! Named values of a key vault: fetched when a configuration first names them, and held while it is in force.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::credentials::{self, Asking, ManagedIdentity, TIMEOUT};
use super::{CompileError, Shared};
use crate::config::credentials::{KeyVaultSpec, ManagedIdentitySpec};
use crate::config::named::{self, Offline, Secret, SecretStore, Wanted};
use crate::config::source::FileId;
use crate::config::{At, Diagnostic, Diagnostics};
use crate::credential::{CredentialError, Grant, Purpose, Target, UrlProblem, VaultAccess, VaultSecret};

/// Azure API Management's own.
const REFRESH: Duration = Duration::from_secs(4 * 3600);
/// No vault is asked more often.
const LEAST_REFRESH: Duration = Duration::from_secs(1);

/// What a token for a vault is for, by the end of the vault's host:
/// <https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-object-identifiers>.
const CLOUDS: [(&str, &str); 3] = [
    (".vault.azure.net", "https://vault.azure.net"),
    (".vault.azure.cn", "https://vault.azure.cn"),
    (".vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net"),
];

/// The key vault as one configuration uses it.
pub(super) struct Vault<'a> {
    shared: &'a Shared,
    folder: Option<&'a Path>,
    /// What was asked for.
    secrets: Mutex<Vec<Arc<VaultSecret>>>,
}

impl<'a> Vault<'a> {
    pub(super) fn new(shared: &'a Shared, folder: Option<&'a Path>) -> Self {
        Self { shared, folder, secrets: Mutex::default() }
    }

    /// The secrets that were asked for: those that were given, and the others.
    pub(super) fn into_secrets(self) -> (Vec<Arc<VaultSecret>>, Vec<Arc<VaultSecret>>) {
        self.secrets.into_inner().into_iter().partition(|secret| secret.value().is_some())
    }

    /// As whom the vault at a host is asked: the way in use, or a new one.
    fn access(
        &self,
        spec: &KeyVaultSpec,
        identity: &ManagedIdentity,
        host: &str,
        client_id: Option<&str>,
    ) -> Result<(Arc<VaultAccess>, Vec<u8>), CompileError> {
        let usual = || {
            let known = CLOUDS.iter().find(|(end, _)| host.ends_with(end));
            Purpose::Usual(known.map_or(CLOUDS[0].1, |(_, resource)| resource).into())
        };
        let (asking, purpose, http) = match (&spec.credentials, client_id) {
            (Some(own), None) => {
                let asking = credentials::asking(own, identity, self.folder)?;
                let Target { scope, resource, .. } = &asking.target;
                let purpose = match (&asking.settings.grant, &spec.resource) {
                    (Grant::OnBehalfOf | Grant::TokenExchange { .. }, _) => {
                        let message = "no caller stands behind the secrets of a key vault";
                        let place = own.token_url.as_ref();
                        return Err(place
                            .map_or_else(|| CompileError::whole(message), |url| CompileError::at(url, message))
                            .code("bad-token-source")
                            .hint("`grant = \"client-credentials\"` or `\"managed-identity\"`"));
                    }
                    _ if scope.is_some() || resource.is_some() => Purpose::Said(asking.target.clone()),
                    (Grant::ManagedIdentity(_), Some(said)) => Purpose::Said(of_resource(said)),
                    (Grant::ClientCredentials, Some(said)) => {
                        let scope = Some(format!("{}/.default", said.value).into());
                        Purpose::Said(Target { scope, ..asking.target.clone() })
                    }
                    (_, None) => usual(),
                };
                let http = credentials::http_client(&asking.settings, asking.authorities.as_deref())
                    .map_err(|error| credentials::refused(&error, own))?;
                (asking, purpose, http)
            }
            _ => {
                let settings = identity.settings(client_id);
                let http = credentials::http_client(&settings, None).map_err(|error| identity.refused(&error))?;
                let purpose = spec.resource.as_ref().map_or_else(usual, |said| Purpose::Said(of_resource(said)));
                (Asking { settings, target: Target::default(), authorities: None, secrets: Vec::new() }, purpose, http)
            }
        };
        let Asking { settings, authorities, secrets, .. } = asking;
        let mut fingerprint = credentials::fingerprint("key-vault", &settings, authorities.as_deref(), &secrets);
        fingerprint.extend_from_slice(format!("{purpose:?} {host}").as_bytes());
        let access = self.shared.vault.access(&fingerprint, || VaultAccess::new(settings, purpose, http));
        Ok((access, fingerprint))
    }

    /// The secret in use, or a new one.
    fn secret(
        &self,
        spec: &KeyVaultSpec,
        wanted: &Wanted<'_>,
        (access, fingerprint): &(Arc<VaultAccess>, Vec<u8>),
    ) -> Result<Arc<VaultSecret>, CompileError> {
        let refresh = match &spec.refresh {
            None => REFRESH,
            Some(period) if period.value.0 < LEAST_REFRESH => {
                return Err(CompileError::at(period, "a key vault is asked at most once a second").hint("default `4h`"));
            }
            Some(period) => period.value.0,
        };
        let authorities = spec.ca_file.as_ref().map(|path| credentials::relative(path, self.folder));
        let new = VaultSecret::new(wanted.name, wanted.url, access.clone(), refresh, TIMEOUT, authorities.as_deref());
        let new = new.map_err(|error| match (&error, &spec.ca_file) {
            (UrlProblem::Authorities(problem), Some(path)) => {
                CompileError::at(path, format!("`{}` cannot be used: {problem}", path.value))
            }
            _ => CompileError::at(wanted.url, error.to_string()).hint("`https://NAME.vault.azure.net/secrets/SECRET`"),
        })?;
        let own = format!("{:?} {:?} {refresh:?} {authorities:?} ", wanted.name, wanted.url.value);
        Ok(self.shared.vault.get(&[own.as_bytes(), fingerprint].concat(), || new))
    }

    fn find(
        &self,
        spec: &KeyVaultSpec,
        identity: &ManagedIdentity,
        wanted: &Wanted<'_>,
    ) -> Result<Arc<VaultSecret>, CompileError> {
        let host = host_of_secret(wanted.url)?;
        let access = self.access(spec, identity, &host, wanted.identity)?;
        self.secret(spec, wanted, &access)
    }
}

fn of_resource(said: &At<String>) -> Target {
    Target { resource: Some(said.as_str().into()), ..Target::default() }
}

/// The host of a secret's URL, which is checked as far as it can be without a connection.
fn host_of_secret(url: &At<String>) -> Result<String, CompileError> {
    let wrong = || {
        CompileError::at(url, format!("`{}` is not the URL of a secret in a key vault", url.value))
            .hint("`https://NAME.vault.azure.net/secrets/SECRET`, with or without `/VERSION`")
    };
    let parsed = reqwest::Url::parse(url).map_err(|_| wrong())?;
    let mut rest = parsed.path_segments().ok_or_else(wrong)?.skip_while(|segment| *segment != "secrets").skip(1);
    let named = rest.next().is_some_and(|name| !name.is_empty()) && rest.nth(1).is_none();
    if !named || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong());
    }
    Ok(parsed.host_str().ok_or_else(wrong)?.to_owned())
}

/// What usually helps.
fn advice(problem: &CredentialError, secret: &str, spec: &KeyVaultSpec) -> Option<String> {
    let text = match problem {
        CredentialError::Refused { status: 403, .. } => {
            "the identity needs `get` on secrets, as the role `Key Vault Secrets User` has it"
        }
        CredentialError::Refused { status: 404, .. } => "is the secret in this vault, enabled, and spelt like this?",
        CredentialError::Refused { status: 401, .. } => {
            "a vault takes tokens of its own tenant, for the `resource` of `[key-vault]`"
        }
        CredentialError::Transport { url, .. } if url != secret && spec.credentials.is_none() => {
            "a machine outside Azure has no identity of its own; give `[key-vault]` the `credentials` of a client"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

impl SecretStore for Vault<'_> {
    fn secrets(
        &self,
        spec: &KeyVaultSpec,
        identity: &ManagedIdentitySpec,
        wanted: &[Wanted<'_>],
        file: FileId,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Option<Secret>> {
        let identity = ManagedIdentity::new(identity, named::identity_environment());
        let found: Vec<Option<Arc<VaultSecret>>> = wanted
            .iter()
            .map(|wanted| {
                let found = self.find(spec, &identity, wanted);
                found.map_err(|error| super::world::report(error, wanted.url.span.clone(), file, diagnostics)).ok()
            })
            .collect();
        if self.shared.offline {
            let placeholders = Offline.secrets(spec, &ManagedIdentitySpec::default(), wanted, file, diagnostics);
            return placeholders.into_iter().zip(&found).map(|(one, found)| one.filter(|_| found.is_some())).collect();
        }
        let secrets: Vec<Arc<VaultSecret>> = found.iter().flatten().cloned().collect();
        self.shared.vault.fetch_now(&secrets, &self.shared.clock);
        self.secrets.lock().extend(secrets);
        let value = |(wanted, secret): (&Wanted<'_>, Option<Arc<VaultSecret>>)| {
            let secret = secret?;
            let value = secret.value();
            if value.is_none() {
                let problem = secret.problem();
                let cause = problem.as_ref().map(ToString::to_string).unwrap_or_default();
                let message = format!("named value `{}` cannot be had from the key vault: {cause}", wanted.name);
                diagnostics.push(
                    Diagnostic::error("missing-secret", file, wanted.url.span.clone(), message)
                        .maybe_hint(problem.and_then(|problem| advice(&problem, &secret.status().url, spec))),
                );
            }
            value.map(|value| Secret::Value(value.to_string()))
        };
        wanted.iter().zip(found).map(value).collect()
    }
}
