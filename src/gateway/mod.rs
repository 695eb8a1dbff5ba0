//! A configuration, compiled: what workers read through one pointer while they serve.

pub mod backend;
pub mod breaker;
pub mod caller;
pub mod connection;
pub mod handle;
pub mod headers;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::{Map, Value as Json};

pub use backend::Backend;
pub use connection::{Connection, Connections};
pub use headers::ApiHeaders;

use crate::clock::Clock;
use crate::credential::VaultSecret;
use crate::forwarded::Forwarding;
use crate::identity::Keys;
use crate::identity::certificate::ClientCertificates;
use crate::pipeline::Pipeline;
use crate::pipeline::public::PublicUrl;
use crate::pipeline::rescue::{BackendErrors, ErrorFormat};
use crate::routing::{Router, Template, WayBack};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{CertificateEnd, Metrics, OperationMetrics};
use crate::trace::Tracing;

/// What is known of each consumer, by name: what `@consumer('name')` reads.
pub type Consumers = HashMap<Arc<str>, Map<String, Json>>;

/// A configuration in force.
#[derive(Debug)]
pub struct Gateway {
    /// A number that no other configuration of this process has.
    pub generation: u64,
    /// Host, path and method to operation.
    pub router: Router<u32, u32>,
    /// The APIs, by the router's numbers.
    pub apis: Vec<Arc<Api>>,
    /// The operations, by the router's numbers.
    pub operations: Vec<Arc<Operation>>,
    /// The pipeline of requests that match nothing: its on-error is the global one.
    pub unmatched: Pipeline,
    /// The subscriptions' keys.
    pub keys: Keys,
    /// The consumers' own facts.
    pub consumers: Consumers,
    /// The secrets of the key vault that it was made with: as long as it is in force they are kept fresh.
    pub vault_secrets: Vec<Arc<VaultSecret>>,
    /// When the time of its certificates is over.
    pub certificate_ends: Vec<CertificateEnd>,
    /// The products.
    pub products: Vec<Arc<Product>>,
    /// The backends, sorted by name.
    pub backends: Vec<Arc<Backend>>,
    /// Settings of the process that a reload may change.
    pub settings: Settings,
    /// The time.
    pub clock: Clock,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
    /// Where lines go; none when the access log is off.
    pub access_log: Option<Arc<AccessLog>>,
    /// How requests are traced, when they are.
    pub tracing: Option<Arc<Tracing>>,
    /// Query parameters in which callers send credentials, sorted: the access log masks their values.
    pub secret_parameters: Box<[Arc<str>]>,
}

/// Settings that the request path reads.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The form of error bodies.
    pub error_format: ErrorFormat,
    /// Bytes of a body that a policy may hold.
    pub buffer_size: u64,
    /// The header of the request id.
    pub request_id_header: HeaderName,
    /// The gateway's address as callers know it, when it is always the same.
    pub public_url: Option<PublicUrl>,
    /// Whose forwarding headers are believed, and which are sent.
    pub forwarding: Forwarding,
    /// Whose word about clients' certificates is believed, and what backends are told.
    pub client_certificates: ClientCertificates,
    /// How long readiness is false before the listener closes.
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish.
    pub drain_deadline: Duration,
}

/// A group of operations under a base path.
#[derive(Debug)]
pub struct Api {
    /// Its name.
    pub name: Arc<str>,
    /// Its base path.
    pub path: Arc<str>,
    /// Whether its path is all that it is found by: it answers on every host and has no version.
    pub found_by_path: bool,
    /// Whether a key is needed before any policy runs.
    pub subscription_required: bool,
    /// Whether keys are looked at before any policy runs, needed or not.
    pub checks_keys: bool,
    /// The header that carries the key.
    pub key_header: HeaderName,
    /// The query parameter that carries the key.
    pub key_query: Arc<str>,
    /// The names of the products that hold it.
    pub products: Box<[Arc<str>]>,
    /// The product that needs no key.
    pub open_product: Option<Arc<Product>>,
    /// What its callers bring to its backend.
    pub connections: Connections,
    /// From the backend's paths to the public ones, once somebody asks; none where they are the same.
    pub way_back: OnceLock<Option<WayBack>>,
    /// The form of the gateway's error answers.
    pub error_format: ErrorFormat,
    /// What becomes of the backend's error answers.
    pub backend_errors: BackendErrors,
    /// Headers that its messages carry, and headers that they do not.
    pub headers: Option<Box<ApiHeaders>>,
    /// Counters for requests that match the API and none of its operations.
    pub unmatched: OperationMetrics,
}

/// APIs that are granted together.
#[derive(Debug)]
pub struct Product {
    /// Its name.
    pub name: Arc<str>,
    /// Whether a key is needed.
    pub subscription_required: bool,
}

/// One method and path template.
#[derive(Debug)]
pub struct Operation {
    /// Its name.
    pub name: Arc<str>,
    /// Its API.
    pub api: Arc<Api>,
    /// Its method; none is any.
    pub method: Option<Method>,
    /// Its template.
    pub template: Template,
    /// The backend that it calls unless a policy chooses another one.
    pub backend: Option<Arc<Backend>>,
    /// What the API's definition says of it, when a policy works with that.
    pub contract: Option<Arc<crate::openapi::Operation>>,
    /// What happens outside any product.
    pub pipeline: Arc<Pipeline>,
    /// What happens under a product, by the product's name.
    pub product_pipelines: Box<[(Arc<str>, Arc<Pipeline>)]>,
    /// Its counters.
    pub metrics: OperationMetrics,
}

impl Operation {
    /// The pipeline for a call under a product, or under none.
    pub fn pipeline(&self, product: Option<&Product>) -> &Pipeline {
        product
            .and_then(|product| self.product_pipelines.iter().find(|(name, _)| *name == product.name))
            .map_or(&*self.pipeline, |(_, pipeline)| &**pipeline)
    }
    /// The pipeline of a call that comes without a key.
    pub fn open_pipeline(&self) -> &Pipeline {
        self.pipeline(self.api.open_product.as_deref())
    }
}
