//! A backend by name: its endpoints, used in turn, and how long they may take.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;

use crate::backend::{Deadlines, Endpoint, EndpointSettings};
use crate::compile::Shared;
use crate::config::diagnostic::suggest;
use crate::config::spec::BackendSpec;
use crate::config::{At, Period};
use crate::telemetry::metrics::BackendMetrics;

/// A named target.
#[derive(Debug)]
pub struct Backend {
    /// Its name; for a base URL that a policy made, the policy's words for it.
    pub name: Arc<str>,
    /// Where it can be reached.
    endpoints: Box<[Target]>,
    /// How long it may take.
    pub deadlines: Deadlines,
    /// Its counters.
    pub metrics: BackendMetrics,
    next: AtomicUsize,
}

/// An endpoint and its name for the log.
#[derive(Debug, Clone)]
pub struct Target {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Host and port.
    pub label: Arc<str>,
}

impl Target {
    /// An endpoint, labelled by its host and port.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        let host = endpoint.host();
        let label = if host.contains(':') {
            format!("[{host}]:{}", endpoint.port())
        } else {
            format!("{host}:{}", endpoint.port())
        };
        Self { endpoint, label: label.into() }
    }
}

impl Backend {
    /// A backend of these endpoints.
    pub fn new(name: &str, endpoints: Vec<Target>, deadlines: Deadlines, metrics: BackendMetrics) -> Self {
        Self { name: name.into(), endpoints: endpoints.into(), deadlines, metrics, next: AtomicUsize::new(0) }
    }

    /// The endpoint for the next request: each in turn.
    pub fn pick(&self) -> Option<&Target> {
        match &*self.endpoints {
            [] => None,
            [only] => Some(only),
            several => several.get(self.next.fetch_add(1, Ordering::Relaxed) % several.len()),
        }
    }

    /// All endpoints.
    pub fn endpoints(&self) -> &[Target] {
        &self.endpoints
    }
}

/// A backend that cannot be.
#[derive(Debug)]
pub struct BackendError {
    /// The value that is wrong; the backend's name when none is.
    pub span: Option<Range<usize>>,
    /// The kind of mistake.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub hint: Option<String>,
}

/// Endpoints that outlive a reload, so that their connections do.
#[derive(Debug, Default)]
pub struct Registry {
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    sample: OnceLock<Result<(std::net::SocketAddr, crate::sample::Handle), std::io::Error>>,
}

impl Registry {
    /// The endpoint with this URL and these settings: the one of the last configuration when nothing changed.
    pub fn endpoint(
        &self,
        url: &Uri,
        settings: EndpointSettings,
    ) -> Result<Arc<Endpoint>, crate::backend::EndpointError> {
        let key = format!("{url} {settings:?}");
        let mut endpoints = self.endpoints.lock();
        if let Some(endpoint) = endpoints.get(&key) {
            return Ok(endpoint.clone());
        }
        // Whatever no configuration holds any more goes, and its connections with it.
        endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        let endpoint = Arc::new(Endpoint::new(url, settings)?);
        endpoints.insert(key, endpoint.clone());
        Ok(endpoint)
    }

    /// The address of the built-in sample backend, which starts when it is first asked for.
    fn sample(&self) -> Result<std::net::SocketAddr, String> {
        match self.sample.get_or_init(crate::sample::spawn) {
            Ok((address, _)) => Ok(*address),
            Err(error) => Err(format!("the sample backend cannot start: {error}")),
        }
    }
}

/// Builds a backend from its table.
pub fn build(name: &str, spec: &BackendSpec, folder: Option<&Path>, shared: &Shared) -> Result<Backend, BackendError> {
    let urls: Vec<&At<String>> = spec.url.iter().chain(&spec.urls).collect();
    let whole = |message: &str, hint: &str| {
        Err(BackendError { span: None, code: "bad-backend", message: message.to_owned(), hint: Some(hint.to_owned()) })
    };
    if urls.is_empty() {
        return whole("a backend needs a URL", "`url = \"https://erp.contoso.internal/v1\"`");
    }
    if spec.url.is_some() && !spec.urls.is_empty() {
        return whole("both `url` and `urls` are given", "give one of them");
    }
    let default = Deadlines::default();
    let or = |period: &Option<Period>, default: Duration| period.map_or(default, |period| period.0);
    let deadlines = Deadlines {
        connect: or(&spec.connect_timeout, default.connect),
        // Azure API Management's forward-request default.
        first_byte: or(&spec.timeout, Duration::from_secs(300)),
        idle: or(&spec.idle_timeout, default.idle),
        exchange: spec.exchange_timeout.map(|period| period.0),
    };
    let settings = EndpointSettings {
        max_idle: spec.max_idle.unwrap_or(256),
        idle_timeout: or(&spec.keep_alive, Duration::from_secs(60)),
        max_connections: spec.max_connections.map_or(4096, std::num::NonZeroUsize::get),
        preserve_host: spec.preserve_host,
        authorities: spec
            .ca_file
            .as_ref()
            .map(|path| folder.map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value))),
    };
    let targets = urls.into_iter().map(|url| target(url, &settings, shared)).collect::<Result<_, _>>()?;
    Ok(Backend::new(name, targets, deadlines, shared.metrics.backend(name)))
}

fn target(url: &At<String>, settings: &EndpointSettings, shared: &Shared) -> Result<Target, BackendError> {
    let fail = |message: String, hint: Option<String>| BackendError {
        span: Some(url.span.clone()),
        code: "bad-url",
        message,
        hint,
    };
    let text = match url.strip_prefix("sample:") {
        // A configuration that is only checked starts nothing.
        Some(path) if shared.offline => format!("http://sample.invalid{path}"),
        Some(path) => {
            let address = shared.endpoints.sample().map_err(|message| fail(message, None))?;
            format!("http://{address}{path}")
        }
        None => url.value.clone(),
    };
    let form = || Some("`https://host/path`, or `sample:/v1` for the built-in sample backend".to_owned());
    let uri: Uri = text.parse().map_err(|error| fail(format!("`{}` is not a URL: {error}", url.value), form()))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        let hint = "set the header `authorization` with a `set-header` policy, from a named value".to_owned();
        return Err(fail("a backend's URL holds no user name and password".to_owned(), Some(hint)));
    }
    let endpoint = shared.endpoints.endpoint(&uri, settings.clone()).map_err(|error| {
        let scheme = uri.scheme_str().filter(|scheme| !matches!(*scheme, "http" | "https"));
        let hint = scheme.and_then(|scheme| suggest(scheme, ["http", "https"])).or_else(form);
        fail(format!("`{}` is not the URL of a backend: {error}", url.value), hint)
    })?;
    Ok(Target::new(endpoint))
}
