//! The named things of a configuration, built: backends, issuers, subscriptions; and what outlives a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::Kept;
use crate::clock::Clock;
use crate::config::diagnostic::suggest;
use crate::config::folder::{ApiDocument, Document, Entry};
use crate::config::source::{FileId, Location};
use crate::config::spec::{IssuerSpec, SubscriptionSpec, SubscriptionState};
use crate::config::{At, Diagnostic, Diagnostics, Period};
use crate::gateway::Backend;
use crate::identity::subscription::{Scope, State, Subscription, SubscriptionKey};
use crate::identity::{KeyLocation, KeyRing, RemoteKeyRegistry, RemoteKeys, RemoteKeysOptions, VerificationKey};
use crate::layer::retry::Budget;
use crate::limit;
use crate::telemetry::Metrics;

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
    /// The endpoints of backends, with their pools and breakers.
    pub endpoints: crate::gateway::backend::Registry,
}

impl Shared {
    /// Nothing counted and nothing fetched yet.
    pub fn new(clock: Clock, control: Handle) -> Self {
        let metrics = Arc::new(Metrics::new(&clock));
        let limits = limit::Registry::new(clock.clone());
        Self {
            clock,
            control,
            metrics,
            limits,
            budgets: Kept::default(),
            offline: false,
            remote_keys: RemoteKeyRegistry::default(),
            endpoints: crate::gateway::backend::Registry::default(),
        }
    }
}

/// The keys of a token issuer.
#[derive(Clone)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub issuer: Option<Arc<str>>,
    /// Keys from the configuration.
    pub keys: Vec<VerificationKey>,
    /// Keys that are fetched.
    pub remote: Option<Arc<RemoteKeys>>,
}

/// The named things of one configuration.
pub struct World {
    /// What outlives a reload.
    pub shared: Arc<Shared>,
    /// Where relative paths start.
    pub folder: Option<PathBuf>,
    /// The backends.
    pub backends: BTreeMap<String, Arc<Backend>>,
    /// The issuers.
    pub issuers: BTreeMap<String, Issuer>,
    /// The keys of subscriptions.
    pub keys: Arc<KeyRing>,
    /// The limits of this configuration, put in force with it.
    pub limits: limit::Plan,
    /// Query parameters in which callers send credentials: logs mask them.
    pub secret_parameters: Mutex<BTreeSet<String>>,
    /// The APIs, for policies that name one.
    pub apis: KnownApis,
    /// Whether counts are kept over restarts.
    pub keeps_counts: bool,
}

/// The APIs of the configuration.
#[derive(Debug, Default)]
pub struct KnownApis {
    /// Each API's name and those of its operations.
    pub names: Vec<(String, Vec<String>)>,
    /// Whether a file could not be read, so that some may be missing.
    pub unread: bool,
}

impl KnownApis {
    fn of(document: &Document<'_>) -> Self {
        let operations = |api: &ApiDocument<'_>| {
            api.operations.iter().map(|operation| operation.spec.name.value.clone()).collect()
        };
        Self {
            names: document.apis.iter().map(|api| (api.spec.name.value.clone(), operations(api))).collect(),
            unread: document.unread,
        }
    }
}

impl World {
    /// Builds the named things; mistakes go to `diagnostics`.
    pub fn build(
        document: &Document<'_>,
        folder: Option<&Path>,
        shared: &Arc<Shared>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut world = Self {
            shared: shared.clone(),
            folder: folder.map(Path::to_owned),
            backends: BTreeMap::new(),
            issuers: BTreeMap::new(),
            keys: Arc::new(KeyRing::default()),
            limits: shared.limits.plan(),
            secret_parameters: Mutex::default(),
            apis: KnownApis::of(document),
            keeps_counts: document.store.path.is_some(),
        };
        let Some(file) = document.gateway else { return world };
        for entry in &document.backends {
            let name = entry.name.get_ref();
            let mut build = || {
                if !entry.clean {
                    return None;
                }
                let built = crate::gateway::backend::build(name, &entry.spec, folder, shared);
                built
                    .map_err(|error| {
                        let span = error.span.unwrap_or_else(|| entry.name.span());
                        diagnostics
                            .push(Diagnostic::error(error.code, file, span, error.message).maybe_hint(error.hint));
                    })
                    .ok()
            };
            // What is defined and wrong is known by its name, so that each use does not become a second mistake.
            let backend = build().unwrap_or_else(|| {
                Backend::new(name, Vec::new(), crate::backend::Deadlines::default(), shared.metrics.backend(name))
            });
            world.backends.insert(name.clone(), Arc::new(backend));
        }
        for entry in &document.issuers {
            let built = if entry.clean { world.issuer(entry, file, diagnostics) } else { None };
            let issuer = built.unwrap_or(Issuer { issuer: None, keys: Vec::new(), remote: None });
            world.issuers.insert(entry.name.get_ref().clone(), issuer);
        }
        let subscriptions =
            document.subscriptions.iter().filter_map(|entry| subscription(entry, document, file, diagnostics));
        match KeyRing::new(subscriptions.collect::<Vec<_>>()) {
            Ok(keys) => world.keys = Arc::new(keys),
            Err(duplicate) => {
                let keys = |id: &str| {
                    let entry = document.subscriptions.iter().find(|entry| *entry.name.get_ref() == *id);
                    entry.map_or(&[][..], |entry| &entry.spec.keys[..])
                };
                let same = |key: &&At<String>| {
                    let other = keys(&duplicate.first)
                        .iter()
                        .find(|other| other.eq_ignore_ascii_case(key) && other.span != key.span);
                    other.map(|other| (key.span.clone(), other.span.clone()))
                };
                let (second, first) =
                    keys(&duplicate.second).iter().rev().find_map(|key| same(&key)).unwrap_or_default();
                diagnostics.push(
                    Diagnostic::error("duplicate-key", file, second, duplicate.to_string())
                        .related(Location { file, span: first }, "the same key")
                        .hint("each key belongs to one subscription"),
                );
            }
        }
        world
    }

    fn issuer(&self, entry: &Entry<IssuerSpec>, file: FileId, diagnostics: &mut Diagnostics) -> Option<Issuer> {
        let spec = &entry.spec;
        let mut fail = |span: std::ops::Range<usize>, message: String, hint: &str| {
            diagnostics.push(Diagnostic::error("bad-issuer", file, span, message).hint(hint));
        };
        let sources = [&spec.openid_config, &spec.jwks_url, &spec.key_file, &spec.secret].into_iter().flatten().count();
        if sources != 1 {
            let text =
                if sources == 0 { "an issuer needs a source of keys" } else { "an issuer has one source of keys" };
            fail(entry.name.span(), text.to_owned(), "one of `openid-config`, `jwks-url`, `key-file` and `secret`");
            return None;
        }
        if spec.issuer.is_none() && spec.openid_config.is_none() {
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
            remote: None,
        };
        if let Some(path) = &spec.key_file {
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
            match self.remote(location, spec) {
                Ok(remote) => issuer.remote = Some(remote),
                Err(message) => fail(text.span.clone(), message, "an `https` URL; plain `http` only to this machine"),
            }
        }
        Some(issuer)
    }

    fn remote(&self, location: KeyLocation, spec: &IssuerSpec) -> Result<Arc<RemoteKeys>, String> {
        let default = RemoteKeysOptions::default();
        let or = |period: &Option<Period>, default: Duration| period.map_or(default, |period| period.0);
        let options = RemoteKeysOptions {
            refresh: or(&spec.refresh, default.refresh),
            min_refetch: or(&spec.min_refetch, default.min_refetch),
            stale_max: or(&spec.stale_max, default.stale_max),
            ..default
        };
        self.remote_keys(location, options)
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
        let full = self.folder.as_ref().map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value));
        std::fs::read(&full).map_err(|error| format!("`{}` cannot be read: {error}", path.value))
    }
}

fn subscription(
    entry: &Entry<SubscriptionSpec>,
    document: &Document<'_>,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Option<Subscription> {
    let spec = &entry.spec;
    let before = diagnostics.errors();
    let mut keys = Vec::new();
    for key in &spec.keys {
        match key.value.parse() {
            Ok(digest) => keys.push(SubscriptionKey { digest, last_four: None }),
            Err(error) => {
                let error: crate::identity::subscription::DigestError = error;
                diagnostics.push(
                    Diagnostic::error("bad-digest", file, key.span.clone(), error.to_string())
                        .hint("`sluicegate key digest` reads a key from standard input and prints its digest"),
                );
            }
        }
    }
    if spec.keys.is_empty() && entry.clean {
        diagnostics.push(
            Diagnostic::warning(
                "no-keys",
                file,
                entry.name.span(),
                format!("subscription `{}` has no keys, so nobody can use it", entry.name.get_ref()),
            )
            .hint("keys = [\"sha256:…\"]"),
        );
    }
    if spec.product.is_some() && !spec.apis.is_empty() {
        diagnostics.push(
            Diagnostic::error(
                "bad-subscription",
                file,
                entry.name.span(),
                "a subscription grants a product or a list of APIs",
            )
            .hint("give `product` or `apis`"),
        );
    }
    if let Some(product) = &spec.product
        && !document.products.iter().any(|known| *known.name.get_ref() == product.value)
    {
        diagnostics.push(
            Diagnostic::error(
                "unknown-product",
                file,
                product.span.clone(),
                format!("unknown product `{}`", product.value),
            )
            .hint("define it under `[products]` in gateway.toml")
            .maybe_hint(suggest(product, document.products.iter().map(|known| known.name.get_ref().as_str()))),
        );
    }
    known_apis(&spec.apis, document, file, diagnostics);
    let mut time = |text: &Option<At<String>>| match text {
        None => None,
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(SystemTime::from(time)),
            Err(_) => {
                diagnostics.push(
                    Diagnostic::error(
                        "bad-value",
                        file,
                        text.span.clone(),
                        format!("`{}` is not a date and time", text.value),
                    )
                    .hint("RFC 3339 with a time zone: `2027-01-31T00:00:00Z`"),
                );
                None
            }
        },
    };
    let (expires, start) = (time(&spec.expires), time(&spec.start));
    if diagnostics.errors() > before {
        return None;
    }
    Some(Subscription {
        id: entry.name.get_ref().as_str().into(),
        consumer: spec.consumer.as_deref().map(Into::into),
        scope: match &spec.product {
            Some(product) => Scope::Product(product.as_str().into()),
            None if spec.apis.is_empty() => Scope::All,
            None => Scope::Apis(spec.apis.iter().map(|name| name.as_str().into()).collect()),
        },
        state: match spec.state {
            SubscriptionState::Active => State::Active,
            SubscriptionState::Suspended => State::Suspended,
            SubscriptionState::Submitted => State::Submitted,
            SubscriptionState::Rejected => State::Rejected,
            SubscriptionState::Cancelled => State::Cancelled,
            SubscriptionState::Expired => State::Expired,
        },
        expires,
        start,
        keys,
    })
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
