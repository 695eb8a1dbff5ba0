//! What a folder holds, before anything in it is compiled.

use toml::Spanned;

use crate::config::connections::ConnectionSpec;
use crate::config::credentials::{CertificateSpec, KeyVaultSpec, ManagedIdentitySpec, TokenSourceSpec};
use crate::config::named::NamedValues;
use crate::config::read::Table;
use crate::config::source::{FileId, Location};
use crate::config::spec::{
    ApiSpec, BackendSpec, CacheSpec, ConsumerSpec, ErrorsSpec, IssuerSpec, KeysSpec, OperationSpec, ProductSpec,
    ServerSpec, ShownLimitsSpec, StoreSpec, SubscriptionSpec, TelemetrySpec,
};

/// A policy as written: its name, and a table that is read once its type is known.
#[derive(Debug, Clone)]
pub struct RawPolicy<'i> {
    /// The file it stands in.
    pub file: FileId,
    /// The `policy` value.
    pub name: Spanned<String>,
    /// The `id` that on-error and the trace show.
    pub id: Option<String>,
    /// The operations of the API that it is for; none for all.
    pub operations: Option<Vec<Spanned<String>>>,
    /// The other keys.
    pub table: Table<'i>,
    /// The lists of policies inside it, by the number that stands in the table in their place.
    pub nested: Vec<Vec<RawPolicy<'i>>>,
}

/// The four sections of a scope, and whether broader scopes run too.
#[derive(Debug, Default, Clone)]
pub struct ScopeDocument<'i> {
    /// `[[inbound]]`
    pub inbound: Vec<RawPolicy<'i>>,
    /// `[[backend]]`
    pub backend: Vec<RawPolicy<'i>>,
    /// `[[outbound]]`
    pub outbound: Vec<RawPolicy<'i>>,
    /// `[[on-error]]`
    pub on_error: Vec<RawPolicy<'i>>,
}

/// A named table and where it stands.
#[derive(Debug)]
pub struct Entry<T> {
    /// The name.
    pub name: Spanned<String>,
    /// The table, without the keys that are wrong.
    pub spec: T,
    /// Whether nothing in it is wrong.
    pub clean: bool,
}

/// One `[products.NAME]`.
#[derive(Debug, Default)]
pub struct ProductDocument<'i> {
    /// Its table.
    pub spec: ProductSpec,
    /// Its policies.
    pub scope: ScopeDocument<'i>,
}

/// One `[[operation]]`.
#[derive(Debug)]
pub struct OperationDocument<'i> {
    /// Its table.
    pub spec: OperationSpec,
    /// Its policies.
    pub scope: ScopeDocument<'i>,
}

/// One API's file.
#[derive(Debug)]
pub struct ApiDocument<'i> {
    /// The file.
    pub file: FileId,
    /// `[api]`
    pub spec: ApiSpec,
    /// Its policies.
    pub scope: ScopeDocument<'i>,
    /// Its operations.
    pub operations: Vec<OperationDocument<'i>>,
}

/// The whole configuration as written.
#[derive(Debug, Default)]
pub struct Document<'i> {
    /// gateway.toml's id.
    pub gateway: Option<FileId>,
    /// `[server]`
    pub server: ServerSpec,
    /// `[store]`
    pub store: StoreSpec,
    /// `[cache]`
    pub cache: CacheSpec,
    /// `[limits]`
    pub limits: ShownLimitsSpec,
    /// `[errors]`
    pub errors: ErrorsSpec,
    /// `[telemetry]`
    pub telemetry: TelemetrySpec,
    /// `[named-values]`
    pub named: NamedValues,
    /// `[backends]`
    pub backends: Vec<Entry<BackendSpec>>,
    /// `[issuers]`
    pub issuers: Vec<Entry<IssuerSpec>>,
    /// `[certificates]`
    pub certificates: Vec<Entry<CertificateSpec>>,
    /// `[token-sources]`
    pub token_sources: Vec<Entry<TokenSourceSpec>>,
    /// `[managed-identity]`
    pub managed_identity: ManagedIdentitySpec,
    /// `[key-vault]`
    pub key_vault: KeyVaultSpec,
    /// `[products]`
    pub products: Vec<Entry<ProductDocument<'i>>>,
    /// `[keys]`
    pub keys: KeysSpec,
    /// The key file.
    pub key_file: Option<FileId>,
    /// `[consumers]`
    pub consumers: Vec<Entry<ConsumerSpec>>,
    /// `[connections]`
    pub connections: Vec<Entry<ConnectionSpec>>,
    /// `[subscriptions]`
    pub subscriptions: Vec<Entry<SubscriptionSpec>>,
    /// `[fragments]`
    pub fragments: Vec<Entry<Vec<RawPolicy<'i>>>>,
    /// The global policies.
    pub scope: ScopeDocument<'i>,
    /// The APIs, in the order of their files' names.
    pub apis: Vec<ApiDocument<'i>>,
    /// The policies of operations and APIs that could not be read, to be looked at all the same.
    pub strays: Vec<(FileId, &'static str, ScopeDocument<'i>)>,
    /// Files that could not be read as far as their names.
    pub unread: bool,
    /// Every key, its value as written and its place, for the view of the configuration in force.
    pub settings: Vec<(String, String, Location)>,
}
