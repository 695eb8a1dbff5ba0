//! Configuration → pipeline: the only module that knows both sides.

mod cache;
pub mod certificates;
mod connections;
pub mod credentials;
mod cx;
mod definitions;
pub mod entra;
mod kept;
mod routes;
mod scope;
pub mod settings;
mod store;
pub mod subscriptions;
#[cfg(test)]
mod tests;
pub mod tls;
mod traces;
mod vault;
mod world;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use cx::{CompileCx, CompileError, Item, RateSeen, ScopeId, has_layer, unknown_hint};
pub use kept::Kept;

pub use world::{Issuer, Rehearsal, Shared, World, shown};

use crate::config::diagnostic::suggest;
use crate::config::folder::{self, ApiDocument, Document, Entry, NamedText, ProductDocument};
use crate::config::key_file::{self, KEYS_FILE};
use crate::config::source::{FileId, Location, Sources};
use crate::config::spec::ErrorsSpec;
use crate::config::{At, Diagnostic, Diagnostics};
use crate::credential::VaultSecret;
use crate::gateway::{Api, ApiHeaders, Backend, Connections, Gateway, Operation, Product};
use crate::identity::certificate::ClientTrust;
use crate::limit;
use crate::pipeline::{self, Pipeline};
use crate::policy::{Kind, Section};
use crate::telemetry::metrics::CertificateEnd;
use definitions::Definitions;
use scope::{Fragments, ScopeItems, Setting};

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A folder.
    Folder(PathBuf),
    /// Files that are part of the program.
    Embedded(Vec<NamedText>),
}

impl Origin {
    /// The folder, where there is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) => Some(path),
            Self::Embedded(_) => None,
        }
    }

    /// Its files.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read(&self) -> std::io::Result<Vec<NamedText>> {
        match self {
            Self::Folder(path) => folder::read_folder(path),
            Self::Embedded(files) => Ok(files.clone()),
        }
    }
}

/// What policies say about their limits, each with the place of its policy.
pub type StatedLimits = Vec<(Arc<pipeline::Origin>, limit::Stated)>;

/// What became of a configuration.
pub struct Loaded {
    /// Its files.
    pub sources: Sources,
    /// Its mistakes, in the order of files and lines.
    pub diagnostics: Diagnostics,
    /// What can run; none when there is an error.
    pub gateway: Option<Gateway>,
    /// The limits of `gateway`; to be committed when it goes into force.
    pub limits: Option<limit::Plan>,
    /// What only the start of the process reads.
    pub process: settings::Process,
    /// The configuration in force as the admin listener shows it: key, value with secrets masked, file and line.
    pub view: Vec<(String, String, String)>,
    /// The other files that it reads: secrets, keys, certificates.
    pub files: Vec<PathBuf>,
    /// What its policies say about their limits, each with the place of its policy.
    pub stated: StatedLimits,
    /// What the key vault did not give. While somebody holds them they are asked for again, and one that is given then is a
    /// change to load for.
    pub missing_secrets: Vec<Arc<VaultSecret>>,
}

impl Loaded {
    /// Whether nothing is wrong but that the key vault does not give its secrets.
    pub fn lacks_only_secrets(&self) -> bool {
        let missing = self.missing_secrets.len();
        missing > 0 && self.diagnostics.errors() == missing
    }
}

/// Reads and compiles a configuration. Nothing is listened on, and nothing is fetched but secrets of a key vault that no
/// configuration in force has: what is compiled depends on them.
pub fn load(origin: &Origin, shared: &Arc<Shared>) -> Loaded {
    match origin.read() {
        Ok(files) => compile(files, origin.folder(), shared),
        Err(error) => {
            let path = origin.folder().map(|path| path.display().to_string()).unwrap_or_default();
            let mut diagnostics = Diagnostics::default();
            diagnostics.push(
                Diagnostic::global("unreadable", format!("the folder `{path}` cannot be read: {error}"))
                    .hint("give the path of a folder that holds gateway.toml"),
            );
            Loaded {
                sources: Sources::default(),
                diagnostics,
                gateway: None,
                limits: None,
                process: settings::Process::default(),
                view: Vec::new(),
                files: Vec::new(),
                stated: Vec::new(),
                missing_secrets: Vec::new(),
            }
        }
    }
}

/// Compiles the files of a configuration.
pub fn compile(files: Vec<NamedText>, folder: Option<&Path>, shared: &Arc<Shared>) -> Loaded {
    let mut sources = Sources::default();
    let keys = key_file(&files, folder);
    for (name, text) in files {
        if name == KEYS_FILE {
            sources.add_keys(name, text);
        } else {
            sources.add(name, text);
        }
    }
    let mut diagnostics = Diagnostics::default();
    match keys {
        Ok(Some((name, text))) => drop(sources.add_keys(name, text)),
        Ok(None) => {}
        Err(unreadable) => diagnostics.push(*unreadable),
    }
    let vault = vault::Vault::new(shared, folder);
    let document = folder::parse(&sources, folder, &vault, &mut diagnostics);
    if !sources.iter().any(|(_, source)| source.name == folder::GATEWAY_FILE) {
        diagnostics.push(
            Diagnostic::global("missing-file", format!("there is no {} in the folder", folder::GATEWAY_FILE))
                .hint("it describes the process; an empty file will do"),
        );
    }
    let trust = tls::client_trust(&document, folder, shared.clock.wall(), &mut diagnostics);
    let listener = tls::listener(&document, folder, &trust, &mut diagnostics);
    if let (Some(path), Some(file), None) = (&document.keys.file, document.gateway, document.key_file) {
        diagnostics.push(
            Diagnostic::warning("no-key-file", file, path.span.clone(), format!("there is no file `{}`", path.value))
                .hint("`sluicegate key new` makes it; until then no key of it is known"),
        );
    }
    let (listener, listener_end) = listener.unzip();
    let process = settings::process(&document, folder, listener, &mut diagnostics);
    let definitions = Definitions::read(&document, folder, shared, &mut diagnostics);
    let built = build(&document, &sources, folder, shared, &trust, &definitions, &mut diagnostics);
    diagnostics.sort();
    // A message may quote a value that a secret stands in.
    for one in &mut diagnostics.0 {
        let quoted = one.location.as_ref().and_then(|at| sources.file(at.file).text.get(at.span.clone()));
        if quoted.is_some_and(|text| text.contains("{{")) {
            document.named.redact(&mut one.message);
            one.hint.iter_mut().for_each(|hint| document.named.redact(hint));
        }
    }
    let view = settings::view(&document, &sources);
    let files = settings::files(&document, folder);
    definitions.tell(&mut sources, &mut diagnostics);
    let built = built.filter(|_| diagnostics.errors() == 0);
    let (mut gateway, limits, stated) = match built {
        Some((gateway, limits, stated)) => (Some(gateway), Some(limits), stated),
        None => (None, None, Vec::new()),
    };
    let (fetched, missing_secrets) = vault.into_secrets();
    if let Some(gateway) = &mut gateway {
        gateway.vault_secrets = fetched;
        gateway
            .certificate_ends
            .extend(listener_end.flatten().map(|end| CertificateEnd::of_listener("server.tls", end)));
    }
    Loaded { diagnostics, gateway, limits, process, view, files, stated, missing_secrets, sources }
}

/// The name and the text of the key file, unless it is among the files or is not there. One that cannot be read is a mistake:
/// to go on without its keys would refuse callers who have a good one.
fn key_file(files: &[NamedText], folder: Option<&Path>) -> Result<Option<NamedText>, Box<Diagnostic>> {
    let (Some(gateway), Some(folder)) = (files.iter().find(|(name, _)| name == folder::GATEWAY_FILE), folder) else {
        return Ok(None);
    };
    let named = key_file::named(&gateway.1);
    if named.is_none() && files.iter().any(|(name, _)| name == KEYS_FILE) {
        return Ok(None);
    }
    let name = named.as_deref().unwrap_or(KEYS_FILE).to_owned();
    let bytes = match std::fs::read(key_file::path(named.as_deref(), folder)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let text = format!("the key file `{name}` cannot be read: {error}");
            let unreadable = Diagnostic::global("unreadable", text)
                .hint("the gateway needs to read it; its owner and its permissions say who may");
            return Err(Box::new(unreadable));
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // What is not UTF-8 becomes U+FFFD, which is refused and shown.
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Ok(Some((name, text)))
}

fn build(
    document: &Document<'_>,
    sources: &Sources,
    folder: Option<&Path>,
    shared: &Arc<Shared>,
    trust: &Arc<ClientTrust>,
    definitions: &Definitions,
    diagnostics: &mut Diagnostics,
) -> Option<(Gateway, limit::Plan, StatedLimits)> {
    let file = document.gateway?;
    let mut world = World::build(document, sources, folder, shared, diagnostics);
    world.client_trust = trust.clone();
    let settings = settings::settings(document, trust, diagnostics);
    let fragments: Fragments<'_, '_> =
        document.fragments.iter().map(|entry| (entry.name.get_ref().as_str(), entry)).collect();
    let setting = Setting { world: &world, sources, fragments: &fragments };
    let scope = ScopeId::new("global", "global");
    let global = ScopeItems::compile(&document.scope, true, &scope, file, &setting, diagnostics);
    check_fragments(document, file, &setting, diagnostics);
    connections::check_apis(document, diagnostics);
    connections::check_asked(document, diagnostics);
    let products = products(document, file, &setting, diagnostics);
    let mut assembly = Assembly {
        setting,
        definitions,
        errors: &document.errors,
        global,
        products,
        apis: Vec::new(),
        operations: Vec::new(),
        routes: Vec::new(),
    };
    let mut names: HashMap<&str, &ApiDocument<'_>> = HashMap::new();
    for api in &document.apis {
        if let Some(first) = names.insert(api.spec.name.as_str(), api) {
            let at = Location { file: first.file, span: first.spec.name.span.clone() };
            diagnostics.push(
                Diagnostic::error(
                    "duplicate-api",
                    api.file,
                    api.spec.name.span.clone(),
                    format!("two APIs are named `{}`", api.spec.name.value),
                )
                .related(at, "first defined here")
                .hint("give each API a name of its own"),
            );
        }
        let connections = connections::connections(api, document, &world, sources, diagnostics);
        assembly.api(api, connections, diagnostics);
    }
    for (file, kind, scope) in &document.strays {
        ScopeItems::compile(scope, true, &ScopeId::new(kind, kind), *file, &assembly.setting, diagnostics);
    }
    let Assembly { global, products, apis, operations, routes, .. } = assembly;
    cache::check(&world.caches.lock(), diagnostics);
    let router = routes::build(&routes, document, sources, diagnostics);
    let tracing = traces::tracing(document, &world, &apis, diagnostics);
    if diagnostics.errors() == 0 {
        shared.token_sources.watch(tracing.is_some());
    }
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    let gateway = Gateway {
        generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        router,
        apis,
        operations,
        unmatched: scope::pipeline(&[&global], None).0,
        keys: world.keys.clone(),
        consumers: world.consumers,
        products: products.into_iter().map(|one| one.product).collect(),
        backends: world.backends.values().cloned().collect(),
        settings: settings?,
        clock: shared.clock.clone(),
        metrics: shared.metrics.clone(),
        access_log: None,
        tracing,
        vault_secrets: Vec::new(),
        certificate_ends: certificates::ends(&world.certificates),
        secret_parameters: world.secret_parameters.into_inner().into_iter().map(Into::into).collect(),
    };
    Some((gateway, world.limits, world.stated.into_inner()))
}

/// A fragment that nobody includes is compiled all the same, so that its mistakes are found; in the first section where all
/// of its policies may stand.
fn check_fragments<'i>(
    document: &Document<'i>,
    file: FileId,
    setting: &Setting<'_, 'i>,
    diagnostics: &mut Diagnostics,
) {
    for entry in &document.fragments {
        let name = entry.name.get_ref();
        if !includes(document, name) {
            diagnostics.push(
                Diagnostic::warning(
                    "unused-fragment",
                    file,
                    entry.name.span(),
                    format!("fragment `{name}` is not included anywhere"),
                )
                .hint("`policy = \"include-fragment\"` includes it"),
            );
            let scope = ScopeId::new("fragment", &format!("fragment:{name}"));
            let may_stand = |section: &Section| {
                let mut kinds = entry.spec.iter().filter_map(|raw| Kind::find(raw.name.get_ref()));
                kinds.all(|kind| kind.sections.contains(*section))
            };
            let section = Section::ALL.into_iter().find(may_stand).unwrap_or(Section::Inbound);
            let mut cx =
                CompileCx::new(setting.world, setting.sources, diagnostics, setting.fragments, section, scope, file);
            cx.section(&entry.spec);
        }
    }
}

fn includes(document: &Document<'_>, name: &str) -> bool {
    document.settings.iter().any(|(key, value, _)| key.ends_with(".fragment") && value == name)
}

fn products<'i>(
    document: &Document<'i>,
    file: FileId,
    setting: &Setting<'_, 'i>,
    diagnostics: &mut Diagnostics,
) -> Vec<CompiledProduct> {
    let mut open: HashMap<&str, &Entry<ProductDocument<'_>>> = HashMap::new();
    let mut products = Vec::new();
    for entry in &document.products {
        let (name, spec) = (entry.name.get_ref(), &entry.spec.spec);
        world::known_apis(&spec.apis, document, file, diagnostics);
        let subscription_required = spec.subscription_required.unwrap_or(true);
        if !subscription_required {
            for api in &spec.apis {
                if let Some(first) = open.insert(api.as_str(), entry) {
                    let text = format!("API `{}` is in two products that need no key", api.value);
                    let at = Location { file, span: first.name.span() };
                    diagnostics.push(
                        Diagnostic::error("two-open-products", file, api.span.clone(), text)
                            .related(at, "the other one")
                            .hint("a call without a key could belong to either; Azure API Management refuses this too"),
                    );
                }
            }
        }
        let scope = ScopeId::new("product", &format!("product:{name}"));
        let inherit = spec.inherit.unwrap_or(true);
        let items = ScopeItems::compile(&entry.spec.scope, inherit, &scope, file, setting, diagnostics);
        products.push(CompiledProduct {
            product: Arc::new(Product { name: name.as_str().into(), subscription_required }),
            apis: spec.apis.iter().map(|api| api.value.clone()).collect(),
            items,
        });
    }
    products
}

/// Reports policies for operations that the API does not have, and lists of operations where they mean nothing.
fn check_operations(document: &ApiDocument<'_>, diagnostics: &mut Diagnostics) {
    let scope = &document.scope;
    let known = || document.operations.iter().map(|operation| operation.spec.name.as_str());
    for raw in [&scope.inbound, &scope.backend, &scope.outbound, &scope.on_error].into_iter().flatten() {
        for name in raw.operations.iter().flatten().filter(|name| !known().any(|known| known == name.get_ref())) {
            let text = format!("the API has no operation `{}`", name.get_ref());
            diagnostics.push(
                Diagnostic::error("unknown-operation", raw.file, name.span(), text)
                    .maybe_hint(suggest(name.get_ref(), known())),
            );
        }
    }
}

/// A product with its own steps.
struct CompiledProduct {
    product: Arc<Product>,
    /// The names of its APIs.
    apis: Vec<String>,
    items: ScopeItems,
}

/// One operation's place in the router. APIs have the numbers that they have in the document.
struct Route {
    api: usize,
    operation: usize,
    /// Its place among the API's operations in the document.
    place: usize,
    method: Option<http::Method>,
    template: crate::routing::Template,
}

/// APIs and operations, as they are put together.
struct Assembly<'a, 'i> {
    setting: Setting<'a, 'i>,
    definitions: &'a Definitions,
    /// What holds for APIs that say nothing of errors.
    errors: &'a ErrorsSpec,
    global: ScopeItems,
    products: Vec<CompiledProduct>,
    apis: Vec<Arc<Api>>,
    operations: Vec<Arc<Operation>>,
    routes: Vec<Route>,
}

/// The pipelines of an operation.
#[derive(Clone)]
struct Pipelines {
    /// Outside any product.
    plain: Arc<Pipeline>,
    /// Under each product.
    products: Box<[(Arc<str>, Arc<Pipeline>)]>,
    /// The steps that ask for a verified token before any step gives one.
    without_token: Vec<Arc<pipeline::Origin>>,
}

impl<'i> Assembly<'_, 'i> {
    fn pipelines(
        &self,
        products: &[Arc<Product>],
        api: &ScopeItems,
        operation: Option<&ScopeItems>,
        name: Option<&str>,
    ) -> Pipelines {
        let mut without_token = Vec::new();
        let mut under = |product: Option<&ScopeItems>| {
            let scopes: Vec<&ScopeItems> =
                [Some(&self.global), product, Some(api), operation].into_iter().flatten().collect();
            let (pipeline, steps, caches) = scope::pipeline(&scopes, name);
            caches.note(&mut self.setting.world.caches.lock());
            without_token.extend(steps);
            Arc::new(pipeline)
        };
        let mine = self.products.iter().filter(|one| products.iter().any(|product| Arc::ptr_eq(product, &one.product)));
        let plain = under(None);
        let products = mine.map(|one| (one.product.name.clone(), under(Some(&one.items)))).collect();
        Pipelines { plain, products, without_token }
    }

    /// Warns about steps that ask for a verified token which no step before them gives, once for each.
    fn without_token(&self, steps: &[Arc<pipeline::Origin>], diagnostics: &mut Diagnostics) {
        for step in steps {
            let mut needs = self.setting.world.token_needs.lock();
            // Taken out, so that one step of a broad scope is not reported for each operation.
            let found = needs.iter().position(|(known, _)| Arc::ptr_eq(known, step));
            let Some((_, Location { file, span })) = found.map(|at| needs.swap_remove(at)) else { continue };
            diagnostics.push(
                Diagnostic::warning("no-token", file, span, "no policy before this one verifies a token")
                    .hint("`policy = \"validate-jwt\"` before it, in this scope or a broader one"),
            );
        }
    }

    /// A backend by name; a name that is not known is reported.
    fn backend(&self, name: Option<&At<String>>, file: FileId, diagnostics: &mut Diagnostics) -> Option<Arc<Backend>> {
        let name = name?;
        let backends = &self.setting.world.backends;
        if let Some(backend) = backends.get(name.as_str()) {
            return Some(backend.clone());
        }
        diagnostics.push(
            Diagnostic::error("unknown-backend", file, name.span.clone(), format!("unknown backend `{}`", name.value))
                .hint("define it under `[backends]` in gateway.toml")
                .maybe_hint(suggest(name, backends.keys().map(String::as_str))),
        );
        None
    }

    fn api(&mut self, document: &ApiDocument<'i>, connections: Connections, diagnostics: &mut Diagnostics) {
        let spec = &document.spec;
        let world = self.setting.world;
        let metrics = &world.shared.metrics;
        let number = self.apis.len();
        let key_header =
            settings::header_name(spec.key_header.as_ref(), "ocp-apim-subscription-key", document.file, diagnostics);
        let backend = self.backend(spec.backend.as_ref(), document.file, diagnostics);
        let holds = |product: &&CompiledProduct| product.apis.iter().any(|name| **name == *spec.name.value);
        let products: Vec<Arc<Product>> = self.products.iter().filter(holds).map(|one| one.product.clone()).collect();
        let open_product = products.iter().find(|product| !product.subscription_required).cloned();
        let required = spec.subscription_required.unwrap_or(!products.is_empty());
        let api_metrics = metrics.api(&spec.name);
        let errors = spec.errors.as_ref();
        let format = errors.and_then(|own| own.format).or(self.errors.format);
        let backend_errors = errors.and_then(|own| own.backend).or(self.errors.backend);
        let key_query = spec.key_query.as_ref().map_or("subscription-key", |name| name.as_str());
        world.secret_parameters.lock().insert(key_query.to_owned());
        let api = Arc::new(Api {
            name: spec.name.as_str().into(),
            path: spec.path.as_str().into(),
            found_by_path: spec.hosts.is_empty() && spec.version.is_none(),
            subscription_required: required,
            // A key is looked at where one may matter: an API that says nothing of keys may pass on those of its backend.
            checks_keys: spec.subscription_required.is_some() || !products.is_empty(),
            key_header,
            key_query: key_query.into(),
            products: products.iter().map(|product| product.name.clone()).collect(),
            open_product,
            connections,
            way_back: OnceLock::new(),
            error_format: settings::error_format(format.unwrap_or_default()),
            backend_errors: settings::backend_errors(backend_errors.unwrap_or_default()),
            headers: ApiHeaders::compile(spec.headers.as_ref(), document.file, diagnostics),
            unmatched: metrics.operation(&api_metrics, "unmatched"),
        });
        self.apis.push(api.clone());
        let id = ScopeId::new("api", &format!("api:{}", spec.name.value));
        let inherit = spec.inherit.unwrap_or(true);
        let items = ScopeItems::compile(&document.scope, inherit, &id, document.file, &self.setting, diagnostics);
        check_operations(document, diagnostics);
        let shared = self.pipelines(&products, &items, None, None);
        if document.operations.is_empty() && !diagnostics.has_error_in(document.file) {
            diagnostics.push(
                Diagnostic::warning(
                    "no-operations",
                    document.file,
                    spec.name.span.clone(),
                    format!("API `{}` has no operations, so every call is 404", spec.name.value),
                )
                .hint("`[[operation]]` with a name and `match = \"GET /{id}\"`; `match = \"* /*\"` takes everything"),
            );
        }
        let contract = self.definitions.of(&api.name);
        let mut names: HashMap<&str, &At<String>> = HashMap::new();
        for (place, operation) in document.operations.iter().enumerate() {
            let spec = &operation.spec;
            if let Some(first) = names.insert(spec.name.as_str(), &spec.name) {
                let at = Location { file: document.file, span: first.span.clone() };
                diagnostics.push(
                    Diagnostic::error(
                        "duplicate-operation",
                        document.file,
                        spec.name.span.clone(),
                        format!("two operations are named `{}`", spec.name.value),
                    )
                    .related(at, "first defined here")
                    .hint("give each operation of an API a name of its own"),
                );
            }
            let matches = routes::matches(&spec.matches, document.file, self.setting.sources, diagnostics);
            let mut id = ScopeId::new("operation", &format!("operation:{}/{}", api.name, spec.name.value));
            id.variables =
                matches.as_ref().map(|(_, template)| template.names().iter().map(|name| name.to_string()).collect());
            let inherit = spec.inherit.unwrap_or(true);
            let own = ScopeItems::compile(&operation.scope, inherit, &id, document.file, &self.setting, diagnostics);
            let Some((method, template)) = matches else { continue };
            let alike = own.adds_nothing() && !items.tells_operations_apart();
            let pipelines =
                if alike { shared.clone() } else { self.pipelines(&products, &items, Some(&own), Some(&spec.name)) };
            self.without_token(&pipelines.without_token, diagnostics);
            let contract = contract.and_then(|contract| {
                definitions::operation(contract, spec, method.as_ref(), &template, document.file, diagnostics)
            });
            self.routes.push(Route {
                api: number,
                operation: self.operations.len(),
                place,
                method: method.clone(),
                template: template.clone(),
            });
            self.operations.push(Arc::new(Operation {
                name: spec.name.as_str().into(),
                api: api.clone(),
                method,
                template,
                backend: backend.clone(),
                contract,
                pipeline: pipelines.plain,
                product_pipelines: pipelines.products,
                metrics: metrics.operation(&api_metrics, &spec.name),
            }));
        }
    }
}
