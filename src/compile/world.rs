//! The named things of a configuration, built: backends, issuers, subscriptions; and what outlives a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tokio::runtime::Handle;

use super::cache::CacheEnd;
use super::certificates::{self, Certificates};
use super::credentials::{self, ManagedIdentity, NamedSources};
use super::subscriptions::{self, KeyFile};
use super::{CompileError, Kept};
use crate::backend::ClientIdentity;
use crate::cache::{Cache, Held, Memory};
use crate::clock::Clock;
use crate::config::diagnostic::suggest;
use crate::config::folder::{ApiDocument, Document, Entry};
use crate::config::source::{FileId, Location, Sources};
use crate::config::spec::{ConsumerSpec, IssuerSpec, LimitHeaders};
use crate::config::{At, Diagnostic, Diagnostics, Period, named};
use crate::credential::{TokenSources, Vault};
use crate::gateway::Backend;
use crate::gateway::Consumers;
use crate::identity::basic::Hashing;
use crate::identity::certificate::ClientTrust;
use crate::identity::{
    KeyLocation, Keys, RemoteKeyRegistry, RemoteKeys, RemoteKeysOptions, RemoteSource, TokenCache, VerificationKey,
    VerificationPool,
};
use crate::layer::retry::Budget;
use crate::limit;
use crate::openapi::Contract;
use crate::pipeline::Origin;
use crate::pipeline::limits::Shown;
use crate::telemetry::Metrics;
use crate::trace::Traces;

/// What outlives a reload: counters, fetched keys, connections, metrics.
pub struct Shared {
    /// The time.
    pub clock: Clock,
    /// Where key sets are fetched; workers have runtimes of their own.
    pub control: Handle,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
    /// The counters of limits.
    pub limits: limit::Registry,
    /// The budgets of retries.
    pub budgets: Kept<Budget>,
    /// Whether nothing may be fetched: the configuration is only checked.
    pub offline: bool,
    /// Key sets that were fetched.
    pub remote_keys: RemoteKeyRegistry,
    /// Where passwords are checked.
    pub hashing: Arc<Hashing>,
    /// The threads that verify tokens.
    pub verification: Arc<VerificationPool>,
    /// The tokens that passed.
    pub tokens: Arc<TokenCache>,
    /// The key file as last read, so that a change of anything else does not read it again.
    pub key_file: Mutex<Option<Arc<KeyFile>>>,
    /// The gateway's own certificates, so that connections which show them live on.
    pub identities: Kept<ClientIdentity>,
    /// Sources of tokens for backends, with the tokens they gave.
    pub token_sources: TokenSources,
    /// The secrets of the key vault.
    pub vault: Vault,
    /// The endpoints of backends, with their pools and breakers.
    pub endpoints: crate::gateway::backend::Registry,
    /// The definitions of APIs, compiled, by what their files hold.
    pub contracts: Kept<Contract>,
    /// What caches keep in memory.
    pub memories: Kept<Memory<Held>>,
    /// The stores that gateways share.
    pub stores: crate::shared_store::Registry,
    /// The last traces.
    pub traces: Arc<Traces>,
    /// What stands in for the world outside while a load test runs.
    pub rehearsal: Option<Rehearsal>,
}

/// What stands in for the world outside: a load test and `--stand-in` send nothing to real backends, and a load test needs callers
/// that nobody else is.
#[derive(Clone, Debug, Default)]
pub struct Rehearsal {
    /// Where the requests to all backends go; to the real ones when there is none.
    pub backend: Option<std::net::SocketAddr>,
    /// What is there, when it is part of this process.
    pub server: Option<Arc<crate::sample::Handle>>,
    /// Subscriptions besides those of the configuration, with the digests of their keys.
    pub guests: Vec<(crate::identity::Subscription, crate::identity::subscription::KeyDigest)>,
}

impl Shared {
    /// Nothing counted and nothing fetched yet.
    pub fn new(clock: Clock, control: Handle) -> Self {
        let metrics = Arc::new(Metrics::new(&clock));
        let limits = limit::Registry::new(clock.clone());
        let hashing = Arc::new(Hashing::new(control.clone()));
        let vault = Vault::new(metrics.vault());
        Self {
            clock,
            control,
            metrics,
            limits,
            budgets: Kept::default(),
            offline: false,
            remote_keys: RemoteKeyRegistry::default(),
            hashing,
            verification: Arc::new(VerificationPool::for_cores(cores())),
            tokens: Arc::default(),
            key_file: Mutex::default(),
            identities: Kept::default(),
            token_sources: TokenSources::default(),
            vault,
            endpoints: crate::gateway::backend::Registry::default(),
            contracts: Kept::default(),
            memories: Kept::default(),
            stores: crate::shared_store::Registry::default(),
            traces: Arc::default(),
            rehearsal: None,
        }
    }
}

impl Shared {
    /// Where the requests to all backends go, when that is not where they are meant for.
    pub fn stand_in(&self) -> Option<std::net::SocketAddr> {
        self.rehearsal.as_ref()?.backend
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The keys of a token issuer.
#[derive(Clone)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub issuer: Option<Arc<str>>,
    /// Keys from the configuration.
    pub keys: Vec<VerificationKey>,
    /// Keys that are fetched.
    pub remotes: Vec<RemoteSource>,
    /// Whether they are of Entra ID, where an application has two audiences.
    pub entra: bool,
}

/// The named things of one configuration.
pub struct World {
    /// What outlives a reload.
    pub shared: Arc<Shared>,
    /// Where relative paths start.
    pub folder: Option<PathBuf>,
    /// The backends.
    pub backends: BTreeMap<String, Arc<Backend>>,
    /// Who clients' certificates are checked by.
    pub client_trust: Arc<ClientTrust>,
    /// The issuers.
    pub issuers: BTreeMap<String, Issuer>,
    /// The gateway's own certificates.
    pub certificates: Arc<Certificates>,
    /// The sources of tokens for backends.
    pub token_sources: NamedSources,
    /// Where tokens of the machine's own identity come from.
    pub identity: ManagedIdentity,
    /// The keys of subscriptions.
    pub keys: Keys,
    /// The consumers, by name.
    pub consumers: Consumers,
    /// The names of the APIs and of their operations.
    pub apis: BTreeMap<String, Vec<String>>,
    /// Whether there may be more of them, in files that could not be read.
    pub apis_unread: bool,
    /// The APIs that name a definition.
    pub defined: BTreeSet<String>,
    /// The limits of this configuration, put in force with it.
    pub limits: limit::Plan,
    /// Which headers tell of limits that do not say so themselves.
    pub limits_shown: Shown,
    /// Query parameters in which callers send credentials: logs mask them.
    pub secret_parameters: Mutex<BTreeSet<String>>,
    /// Headers in which callers send credentials: traces mask them.
    pub secret_headers: Mutex<BTreeSet<String>>,
    /// Whether steps are traced.
    pub traced: bool,
    /// The policies that ask for a verified token, and where they stand.
    pub token_needs: Mutex<Vec<(Arc<Origin>, Location)>>,
    /// Whether counts of quotas are kept over restarts.
    pub keeps_counts: bool,
    /// What is cached.
    pub cache: Arc<Cache>,
    /// The policies that are one end of a cache of answers, and where they stand.
    pub caches: Mutex<Vec<CacheEnd>>,
    /// What policies say about their limits.
    pub stated: Mutex<Vec<(Arc<Origin>, limit::Stated)>>,
}

impl World {
    /// Builds the named things; mistakes go to `diagnostics`.
    pub fn build(
        document: &Document<'_>,
        sources: &Sources,
        folder: Option<&Path>,
        shared: &Arc<Shared>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let counters = super::store::build(document, folder, shared, diagnostics);
        let cache = super::cache::build(document, counters.as_ref(), shared, diagnostics);
        let mut world = Self {
            shared: shared.clone(),
            folder: folder.map(Path::to_owned),
            backends: BTreeMap::new(),
            client_trust: Arc::new(ClientTrust::none(crate::server::tls::provider())),
            issuers: BTreeMap::new(),
            keys: Keys::default(),
            consumers: Consumers::default(),
            certificates: Arc::default(),
            token_sources: BTreeMap::new(),
            identity: ManagedIdentity::new(&document.managed_identity, named::identity_environment()),
            apis: document.apis.iter().map(operation_names).collect(),
            apis_unread: document.unread,
            defined: document.apis.iter().filter(|api| api.spec.definition.is_some()).map(named).collect(),
            limits: shared.limits.plan().counted_in(counters),
            limits_shown: shown(document.limits.headers.as_deref().unwrap_or(&[LimitHeaders::Ratelimit])),
            secret_parameters: Mutex::default(),
            secret_headers: Mutex::default(),
            traced: super::traces::kept(document, shared) > 0,
            token_needs: Mutex::default(),
            keeps_counts: document.store.path.is_some(),
            cache: Arc::new(cache),
            caches: Mutex::default(),
            stated: Mutex::default(),
        };
        let Some(file) = document.gateway else { return world };
        for entry in &document.token_sources {
            let name = entry.name.get_ref();
            let built = entry
                .clean
                .then(|| credentials::token_source(name, &entry.spec, &world.identity, folder, shared))
                .transpose();
            let source = built.unwrap_or_else(|error| {
                report(error, entry.name.span(), file, diagnostics);
                None
            });
            world.token_sources.insert(name.clone(), source);
        }
        world.certificates = Arc::new(own_certificates(document, folder, shared, file, diagnostics));
        for entry in &document.backends {
            let name = entry.name.get_ref();
            let shown = entry.spec.credentials.as_ref().and_then(|spec| spec.certificate.as_ref());
            let identity = shown.and_then(|name| {
                let found = certificates::find(&world.certificates, name);
                found.map_err(|error| report(error, name.span.clone(), file, diagnostics)).ok()
            });
            // The text tells: in a rehearsal all endpoints are one without TLS.
            let is_plain = |url: &At<String>| url.get(..6).is_none_or(|scheme| !scheme.eq_ignore_ascii_case("https:"));
            let build = || {
                if !entry.clean {
                    return None;
                }
                let built = crate::gateway::backend::build(name, &entry.spec, identity, folder, shared);
                built
                    .map_err(|error| {
                        let span = error.span.unwrap_or_else(|| entry.name.span());
                        diagnostics
                            .push(Diagnostic::error(error.code, file, span, error.message).maybe_hint(error.hint));
                    })
                    .ok()
            };
            // What is defined and wrong is known by its name, so that each use does not become a second mistake.
            let mut backend = build().unwrap_or_else(|| {
                Backend::new(name, Vec::new(), crate::backend::Deadlines::default(), shared.metrics.backend(name))
            });
            if let Some(shown) = shown.filter(|_| entry.spec.url.iter().chain(&entry.spec.urls).any(is_plain)) {
                let message = "a backend that is not called over TLS cannot be shown a certificate";
                diagnostics
                    .push(Diagnostic::error("bad-backend", file, shown.span.clone(), message).hint("an `https` URL"));
            }
            if let Some(spec) = &entry.spec.credentials {
                match credentials::backend_credentials(spec, &world.token_sources) {
                    Ok(credentials) => backend.credentials = Some(Box::new(credentials)),
                    Err(error) => report(error, entry.name.span(), file, diagnostics),
                }
            }
            world.backends.insert(name.clone(), Arc::new(backend));
        }
        for entry in &document.issuers {
            let built = if entry.clean { world.issuer(entry, file, diagnostics) } else { None };
            let issuer = built.unwrap_or(Issuer { issuer: None, keys: Vec::new(), remotes: Vec::new(), entra: false });
            world.issuers.insert(entry.name.get_ref().clone(), issuer);
        }
        world.keys = subscriptions::keys(document, file, sources, &shared.key_file, diagnostics);
        if let Some(guests) = shared.rehearsal.as_ref().map(|rehearsal| &rehearsal.guests) {
            world.keys.written = subscriptions::with_guests(&world.keys.written, guests);
        }
        for entry in &document.consumers {
            world.consumers.insert(entry.name.get_ref().as_str().into(), consumer(entry, file, diagnostics));
        }
        world
    }

    fn issuer(&self, entry: &Entry<IssuerSpec>, file: FileId, diagnostics: &mut Diagnostics) -> Option<Issuer> {
        let spec = &entry.spec;
        let mut fail = |span: std::ops::Range<usize>, message: String, hint: &str| {
            diagnostics.push(Diagnostic::error("bad-issuer", file, span, message).hint(hint));
        };
        let sources = [&spec.openid_config, &spec.jwks_url, &spec.key_file, &spec.secret].into_iter().flatten().count()
            + usize::from(spec.entra.is_some());
        if sources != 1 {
            let text =
                if sources == 0 { "an issuer needs a source of keys" } else { "an issuer has one source of keys" };
            fail(
                entry.name.span(),
                text.to_owned(),
                "one of `entra`, `openid-config`, `jwks-url`, `key-file` and `secret`",
            );
            return None;
        }
        if let (Some(issuer), Some(_)) = (&spec.issuer, &spec.entra) {
            let text = "the issuers of Entra ID are known from its tenants".to_owned();
            fail(issuer.span.clone(), text, "leave `issuer` out");
            return None;
        }
        if spec.issuer.is_none() && spec.openid_config.is_none() && spec.entra.is_none() {
            fail(
                entry.name.span(),
                "missing key `issuer`".to_owned(),
                "the `iss` value of its tokens; only `openid-config` tells it by itself",
            );
            return None;
        }
        let mut issuer = Issuer {
            issuer: spec.issuer.as_ref().map(|text| text.value.as_str().into()),
            keys: Vec::new(),
            remotes: Vec::new(),
            entra: spec.entra.is_some(),
        };
        if let Some(entra) = &spec.entra {
            match super::entra::sources(entra, &options(spec), self) {
                Ok(remotes) => issuer.remotes = remotes,
                Err(error) => {
                    let span = error.span.unwrap_or_else(|| entra.span.clone());
                    diagnostics.push(Diagnostic::error(error.code, file, span, error.message).maybe_hint(error.hint));
                }
            }
        } else if let Some(path) = &spec.key_file {
            match self.key_file(path) {
                Ok(keys) => issuer.keys = keys,
                Err(message) => {
                    fail(path.span.clone(), message, "a PEM public key or certificate, or a JSON key set (RFC 7517)");
                }
            }
        } else if let Some(secret) = &spec.secret {
            match VerificationKey::from_base64_secret(secret) {
                Ok(key) => issuer.keys = vec![key],
                // The message must not repeat the value.
                Err(error) => {
                    fail(secret.span.clone(), error.to_string(), "Base64 of at least 32 bytes (RFC 7518 §3.2)");
                }
            }
        } else if let Some((location, text)) = spec
            .openid_config
            .as_ref()
            .map(|url| (KeyLocation::Discovery(url.value.clone()), url))
            .or_else(|| spec.jwks_url.as_ref().map(|url| (KeyLocation::Jwks(url.value.clone()), url)))
        {
            let options = RemoteKeysOptions { check_issuer: spec.issuer.is_none(), ..options(spec) };
            match self.remote_keys(location, options) {
                Ok(keys) => {
                    issuer.remotes = vec![RemoteSource { keys, issuer: issuer.issuer.clone(), tenants: None }];
                }
                Err(message) => fail(text.span.clone(), message, "an `https` URL; plain `http` only to this machine"),
            }
        }
        Some(issuer)
    }

    /// Keys that are fetched: the source in use when there is one with the same options, else one that starts now.
    ///
    /// # Errors
    /// Why the location or an option is refused.
    pub fn remote_keys(&self, location: KeyLocation, options: RemoteKeysOptions) -> Result<Arc<RemoteKeys>, String> {
        let Shared { clock, control, .. } = &*self.shared;
        if self.shared.offline {
            return RemoteKeys::new(location, options, clock.clone(), control.clone())
                .map_err(|error| error.to_string());
        }
        self.shared.remote_keys.get(location, options, clock, control).map_err(|error| error.to_string())
    }

    /// The keys of a file: a JSON key set, or PEM.
    fn key_file(&self, path: &At<String>) -> Result<Vec<VerificationKey>, String> {
        let bytes = self.read_file(path)?;
        if bytes.trim_ascii_start().starts_with(b"{") {
            let text = String::from_utf8_lossy(&bytes);
            let set: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| format!("`{}` is not JSON: {error}", path.value))?;
            let keys = set.get("keys").and_then(|keys| keys.as_array().cloned()).unwrap_or_else(|| vec![set]);
            if keys.is_empty() {
                return Err(format!("`{}` holds no keys", path.value));
            }
            return keys
                .iter()
                .map(|key| VerificationKey::from_jwk(&key.to_string()).map_err(|error| error.to_string()))
                .collect();
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("`{}` is not text", path.value))?;
        VerificationKey::from_pem(&text).map(|key| vec![key]).map_err(|error| error.to_string())
    }

    /// A file of the configuration folder.
    pub fn read_file(&self, path: &At<String>) -> Result<Vec<u8>, String> {
        read_file(self.folder.as_deref(), path)
    }
}

fn options(spec: &IssuerSpec) -> RemoteKeysOptions {
    let default = RemoteKeysOptions::default();
    let or = |period: &Option<Period>, default: Duration| period.map_or(default, |period| period.0);
    RemoteKeysOptions {
        refresh: or(&spec.refresh, default.refresh),
        min_refetch: or(&spec.min_refetch, default.min_refetch),
        stale_max: or(&spec.stale_max, default.stale_max),
        ..default
    }
}

pub(super) fn report(
    error: CompileError,
    otherwise: std::ops::Range<usize>,
    file: FileId,
    diagnostics: &mut Diagnostics,
) {
    if !error.is_reported() {
        let span = error.span.unwrap_or(otherwise);
        diagnostics.push(Diagnostic::error(error.code, file, span, error.message).maybe_hint(error.hint));
    }
}

/// `[certificates]`.
fn own_certificates(
    document: &Document<'_>,
    folder: Option<&Path>,
    shared: &Shared,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Certificates {
    let mut all = Certificates::new();
    for entry in &document.certificates {
        let built = entry.clean.then(|| certificates::certificate(&entry.spec, folder, shared)).transpose();
        let identity = built.unwrap_or_else(|error| {
            report(error, entry.name.span(), file, diagnostics);
            None
        });
        if let Some(not_after) = identity.as_ref().and_then(|it| it.not_after()).filter(|it| *it < shared.clock.wall())
        {
            let date = jiff::Timestamp::try_from(not_after).map(|date| format!("{date:.0}")).unwrap_or_default();
            diagnostics.push(
                Diagnostic::warning(
                    "expired-certificate",
                    file,
                    entry.name.span(),
                    format!("its time was over on {date}"),
                )
                .hint("backends will refuse it; renew it and replace the file"),
            );
        }
        all.insert(entry.name.get_ref().clone(), identity);
    }
    all
}

fn named(api: &ApiDocument<'_>) -> String {
    api.spec.name.value.clone()
}

fn operation_names(api: &ApiDocument<'_>) -> (String, Vec<String>) {
    let names = api.operations.iter().map(|operation| operation.spec.name.value.clone());
    (api.spec.name.value.clone(), names.collect())
}

/// Which headers tell of limits.
pub fn shown(headers: &[LimitHeaders]) -> Shown {
    Shown {
        ratelimit: headers.contains(&LimitHeaders::Ratelimit),
        x_ratelimit: headers.contains(&LimitHeaders::XRatelimit),
    }
}

/// A file of the configuration folder.
pub(super) fn read_file(folder: Option<&Path>, path: &At<String>) -> Result<Vec<u8>, String> {
    let full = folder.map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value));
    std::fs::read(&full).map_err(|error| format!("`{}` cannot be read: {error}", path.value))
}

/// What `@consumer('name')` reads.
fn consumer(entry: &Entry<ConsumerSpec>, file: FileId, diagnostics: &mut Diagnostics) -> Map<String, Json> {
    let spec = &entry.spec;
    if spec.metadata.contains_key("groups") {
        diagnostics.push(
            Diagnostic::error("bad-name", file, entry.name.span(), "`groups` cannot be the name of metadata")
                .hint("`@consumer('groups')` reads the list `groups` beside `metadata`"),
        );
    }
    let metadata = spec.metadata.iter().map(|(name, value)| (name.clone(), value.0.clone()));
    metadata.chain([("groups".to_owned(), Json::from(spec.groups.clone()))]).collect()
}

/// Reports names of APIs that no file describes.
pub fn known_apis(names: &[At<String>], document: &Document<'_>, file: FileId, diagnostics: &mut Diagnostics) {
    // The API may be in a file that could not be read.
    for name in names.iter().filter(|_| !document.unread) {
        if !document.apis.iter().any(|api| api.spec.name.value == name.value) {
            diagnostics.push(
                Diagnostic::error("unknown-api", file, name.span.clone(), format!("unknown API `{}`", name.value))
                    .hint("the `name` in some file's `[api]` table")
                    .maybe_hint(suggest(name, document.apis.iter().map(|api| api.spec.name.as_str()))),
            );
        }
    }
}
